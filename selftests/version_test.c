// SPDX-License-Identifier: MIT
/*
 * version_test.c - calls that need no heap: stm_version(), stm_strerror() and the names of counters.
 */
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include <uffdstm.h>

#include "kselftest_harness.h"

TEST(version_is_that_of_the_header)
{
	char expected[32];
	size_t len = (size_t)snprintf(expected, sizeof(expected), "%d.%d", STM_VERSION_MAJOR,
				      STM_VERSION_MINOR);
	const char *version = stm_version();

	ASSERT_NE(NULL, version);
	EXPECT_EQ(0, strncmp(version, expected, len));
	/* A patch level may follow. */
	EXPECT_TRUE(version[len] == '\0' || version[len] == '.');
}

/* Every error that the header documents. */
static const int errors[] = {
	EPERM, ENXIO, EAGAIN, ENOMEM, EFAULT, EBUSY, EINVAL, ENOSYS, EALREADY,
};

TEST(strerror_takes_either_sign)
{
	for (size_t i = 0; i < sizeof(errors) / sizeof(errors[0]); i++) {
		ASSERT_NE(NULL, stm_strerror(errors[i]));
		EXPECT_STREQ(stm_strerror(errors[i]), stm_strerror(-errors[i]));
	}
}

TEST(strerror_tells_errors_apart)
{
	const size_t n = sizeof(errors) / sizeof(errors[0]);

	ASSERT_NE(NULL, stm_strerror(0));
	for (size_t i = 0; i < n; i++) {
		EXPECT_STRNE("", stm_strerror(errors[i]));
		EXPECT_STRNE(stm_strerror(0), stm_strerror(errors[i]));
		for (size_t j = 0; j < i; j++)
			EXPECT_STRNE(stm_strerror(errors[j]), stm_strerror(errors[i]));
	}
}

TEST(strerror_has_a_text_for_anything)
{
	static const int odd[] = { 1000000, -1000000, 4095, -4095, (-2147483647 - 1), 2147483647 };

	for (size_t i = 0; i < sizeof(odd) / sizeof(odd[0]); i++) {
		ASSERT_NE(NULL, stm_strerror(odd[i]));
		EXPECT_STRNE("", stm_strerror(odd[i]));
	}
}

/* A constant text: a later call must not change it, as a shared buffer would. */
TEST(strerror_is_constant)
{
	const char *first = stm_strerror(-ENOMEM);
	char copy[256];

	ASSERT_NE(NULL, first);
	snprintf(copy, sizeof(copy), "%s", first);
	stm_strerror(-EPERM);
	stm_strerror(123456);
	EXPECT_STREQ(copy, first);
}

TEST(counters_have_names)
{
	for (unsigned int i = 0; i < STM_ABORT_REASONS; i++) {
		ASSERT_NE(NULL, stm_abort_name(i));
		for (unsigned int j = 0; j < i; j++)
			EXPECT_STRNE(stm_abort_name(j), stm_abort_name(i));
	}
	for (unsigned int i = 0; i < STM_FAULT_KINDS; i++) {
		ASSERT_NE(NULL, stm_fault_name(i));
		for (unsigned int j = 0; j < i; j++)
			EXPECT_STRNE(stm_fault_name(j), stm_fault_name(i));
	}
	EXPECT_EQ(NULL, stm_abort_name(STM_ABORT_REASONS));
	EXPECT_EQ(NULL, stm_abort_name(~0u));
	EXPECT_EQ(NULL, stm_fault_name(STM_FAULT_KINDS));
	EXPECT_EQ(NULL, stm_fault_name(~0u));
}

TEST_HARNESS_MAIN
