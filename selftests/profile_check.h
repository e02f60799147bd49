/* SPDX-License-Identifier: MIT */
/*
 * profile_check.h - what holds of a profile, whatever text it came from: for the test of profiles, and for the fuzzer.
 */
#ifndef STM_SELFTESTS_PROFILE_CHECK_H
#define STM_SELFTESTS_PROFILE_CHECK_H

#include <stdio.h>
#include <string.h>

#include "profile.h"

static inline bool is_power(uint64_t n)
{
	return n && !(n & (n - 1));
}

static inline bool is_in_range(enum stm_profile_key key, uint64_t n)
{
	switch (key) {
	case STM_PROFILE_ENGINE:
		return n < 3;
	case STM_PROFILE_CLUSTER:
	case STM_PROFILE_CLUSTER_WRITES:
	case STM_PROFILE_CLUSTER_MAX:
		return is_power(n) && n <= 512;
	case STM_PROFILE_LOG_LIMIT:
		return n >= (uint64_t)4 << 20 && n <= (uint64_t)1 << 40;
	case STM_PROFILE_LOG_KEEP:
		return n <= (uint64_t)1 << 30;
	case STM_PROFILE_LOG_HUGE:
		return n < 2;
	case STM_PROFILE_TRIM_AGE:
		return (n >= 1 && n <= 86400000) || n == UINT64_MAX;
	case STM_PROFILE_TRIM_SHARE:
		return n >= 1 && n <= 100;
	case STM_PROFILE_TRIM_PAGES:
		return n >= 1;
	case STM_PROFILE_EVENT_BUFFER:
		return n >= (uint64_t)16 << 10 && n <= (uint64_t)256 << 20;
	default:
		return false;
	}
}

/* Values are those that stm_init() takes; printed, they mean the same. NULL, or what is wrong. */
static inline const char *profile_is_wrong(const struct stm_profile *profile)
{
	struct stm_profile again = { .given = { false } };
	char text[1000], value[24];
	size_t len = 0;

	for (unsigned int key = 0; key < STM_PROFILE_KEYS; key++) {
		if (!profile->given[key])
			continue;
		if (!is_in_range(key, profile->value[key]))
			return "a value out of range";
		if (!profile->line[key] || !profile->file[key])
			return "a value from nowhere";
		memset(value, 'x', sizeof(value));
		stm_profile_print(value, sizeof(value), key, profile->value[key]);
		if (!memchr(value, 0, sizeof(value)))
			return "a value that takes more than 24 bytes";
		len += (size_t)snprintf(text + len, sizeof(text) - len, "%s = %s\n", stm_profile_name(key), value);
	}
	for (unsigned int key = STM_PROFILE_CLUSTER; key <= STM_PROFILE_CLUSTER_WRITES; key++)
		if (profile->given[key] && profile->given[STM_PROFILE_CLUSTER_MAX] &&
		    profile->value[key] > profile->value[STM_PROFILE_CLUSTER_MAX])
			return "a cluster that is larger than the largest";
	stm_profile_parse(&again, "again", text, len);
	if (memcmp(again.given, profile->given, sizeof(again.given)) ||
	    memcmp(again.value, profile->value, sizeof(again.value)))
		return "printed and read, it is another";
	return NULL;
}

#endif
