// SPDX-License-Identifier: MIT
/*
 * slab_test.c - white box: parts of log memory are what they should be, however they are taken and given, and slabs
 * that nobody uses go back to the system, but for a few.
 */
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "internal.h"
#include "support.h"

#include "kselftest_harness.h"

#define SLAB ((size_t)2 << 20)
#define SLABS_KEPT 8
#define PARTS 600                       /* 20 slabs */
#define TURNS 20000

static int slabs;                       /* mapped now */
static uintptr_t surplus;               /* the end of a new slab, from where it is cut off */

void *__real_mmap(void *p, size_t len, int prot, int flags, int fd, off_t offset);
void *__wrap_mmap(void *p, size_t len, int prot, int flags, int fd, off_t offset);
void *__wrap_mmap(void *p, size_t len, int prot, int flags, int fd, off_t offset)
{
	void *memory = __real_mmap(p, len, prot, flags, fd, offset);

	if (len == 2 * SLAB) { /* what the harness maps is smaller */
		slabs++;
		surplus = ((uintptr_t)memory + SLAB - 1) / SLAB * SLAB + SLAB;
	}
	return memory;
}

int __real_munmap(void *p, size_t len);
int __wrap_munmap(void *p, size_t len);
int __wrap_munmap(void *p, size_t len)
{
	if ((uintptr_t)p == surplus)
		surplus = 0;
	else if (!((uintptr_t)p % SLAB) && len == SLAB)
		slabs--;
	return __real_munmap(p, len);
}

static int huge, small;                 /* slabs for which such pages were asked for */

int __real_madvise(void *p, size_t len, int advice);
int __wrap_madvise(void *p, size_t len, int advice);
int __wrap_madvise(void *p, size_t len, int advice)
{
	huge += advice == MADV_HUGEPAGE;
	small += advice == MADV_NOHUGEPAGE;
	return __real_madvise(p, len, advice);
}

static void *parts[PARTS];

static void fill(size_t i)
{
	memset(parts[i], (int)(i % 251), STM_PART_BYTES);
}

static bool is_whole(size_t i)
{
	const unsigned char *bytes = parts[i];

	for (size_t k = 0; k < STM_PART_BYTES; k += 61)
		if (bytes[k] != i % 251)
			return false;
	return bytes[STM_PART_BYTES - 1] == i % 251;
}

TEST(taken_parts_are_apart)
{
	unsigned int seed = 1;

	for (int turn = 0; turn < TURNS; turn++) {
		size_t i = (size_t)rand_r(&seed) % PARTS;

		if (parts[i]) {
			ASSERT_TRUE(is_whole(i));
			stm_part_give(parts[i]);
			parts[i] = NULL;
		} else {
			parts[i] = stm_part_take();
			ASSERT_NE(NULL, parts[i]);
			ASSERT_EQ(0, (uintptr_t)parts[i] % 64);
			fill(i);
		}
	}
	/* Half of them are taken, in whatever slabs: no slab without a part in use, but for those that are kept. */
	EXPECT_GE(PARTS / 20 + SLABS_KEPT, slabs);
	for (size_t i = 0; i < PARTS; i++)
		if (parts[i]) {
			EXPECT_TRUE(is_whole(i));
			stm_part_give(parts[i]);
		}
	EXPECT_EQ(SLABS_KEPT, slabs);
	stm_parts_close();
	EXPECT_EQ(0, slabs);
}

TEST(a_burst_leaves_no_more_than_what_is_kept)
{
	for (size_t i = 0; i < PARTS; i++)
		parts[i] = stm_part_take();
	EXPECT_LE(PARTS / 31, slabs);
	for (size_t i = 0; i < PARTS; i++)
		stm_part_give(parts[i]);
	EXPECT_EQ(SLABS_KEPT, slabs);

	/* And what is kept is used again. */
	for (size_t i = 0; i < SLABS_KEPT * 30; i++)
		parts[i] = stm_part_take();
	EXPECT_EQ(SLABS_KEPT, slabs);
	for (size_t i = 0; i < SLABS_KEPT * 30; i++)
		stm_part_give(parts[i]);
	stm_parts_close();
	EXPECT_EQ(0, slabs);
}

static void burst(void)
{
	huge = small = 0;
	for (size_t i = 0; i < PARTS; i++)
		parts[i] = stm_part_take();
	for (size_t i = 0; i < PARTS; i++)
		stm_part_give(parts[i]);
}

TEST(as_is_asked_for)
{
	stm_parts_open(0, false);
	burst();
	EXPECT_EQ(0, slabs);
	EXPECT_EQ(0, huge);
	EXPECT_LE(PARTS / 31, small);

	stm_parts_open(2 * SLAB + 1, true);
	burst();
	EXPECT_EQ(3, slabs);
	EXPECT_LE(PARTS / 31, huge);
	EXPECT_EQ(0, small);
	stm_parts_close();
}

/* The part given last is taken first: it is in the cache. */
TEST(last_given_first_taken)
{
	void *first = stm_part_take(), *second = stm_part_take();

	stm_part_give(second);
	EXPECT_EQ(second, stm_part_take());
	stm_part_give(first);
	EXPECT_EQ(first, stm_part_take());
	stm_part_give(first);
	stm_part_give(second);
	stm_parts_close();
}

TEST_HARNESS_MAIN
