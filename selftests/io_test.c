// SPDX-License-Identifier: MIT
/*
 * io_test.c - system calls on heap memory: stm_prefault(), stm_pread(), stm_pwrite() on files and pipes, into
 * and from pages in every state, and what the kernel answers without them.
 */
#include <errno.h>
#include <fcntl.h>
#include <sys/mman.h>

#include <uffdstm.h>

#include "support.h"

#define PAGE ((size_t)4096)
#define BLOCK (64 * PAGE)
#define EACH(i, array) (size_t i = 0; i < sizeof(array) / sizeof((array)[0]); i++)

static const size_t offsets[] = { 0, 1, 15, 16, 4090, 4096, 65530 };
static const size_t lengths[] = { 0, 1, 16, 17, 4096, 5000, 150000 };

static unsigned char plain[BLOCK], other[BLOCK];

FIXTURE(io) {
	unsigned char STM *p;   /* BLOCK bytes, as in plain[] */
	int file;               /* BLOCK bytes, as in plain[] */
	int ends[2];            /* of a pipe */
};

FIXTURE_SETUP(io)
{
	uint64_t seed = 3;

	for (size_t i = 0; i < BLOCK; i++)
		plain[i] = (unsigned char)random_next(&seed);
	signal(SIGPIPE, SIG_IGN);
	self->file = memfd_create("io_test", 0);
	ASSERT_LE(0, self->file);
	ASSERT_EQ(BLOCK, write(self->file, plain, BLOCK));
	ASSERT_EQ(0, pipe(self->ends));
	ASSERT_EQ(0, stm_init(NULL));
	ASSERT_EQ(0, stm_thread_attach());
	STM_ATOMIC {
		self->p = stm_alloc(BLOCK);
		stm_memcpy_in(self->p, plain, BLOCK);
	}
}

FIXTURE_TEARDOWN(io)
{
	EXPECT_EQ(0, stm_fini());
}

/* All pages UNMAPPED. */
static void forget_pages(void)
{
	if (stm_thread_detach() || stm_thread_attach())
		abort();
}

enum state { UNMAPPED, SHARED, PRIVATE, STATES };

/* Bring the pages of the block into a state, as far as a program can. */
static void bring_pages(unsigned char STM *p, enum state state)
{
	forget_pages();
	if (state == UNMAPPED)
		return;
	STM_ATOMIC {
		for (size_t i = 0; i < BLOCK; i += PAGE) {
			stm_read(&p[i]);
			if (state == SHARED)
				(void)*(volatile unsigned char STM *)&p[i];
			else
				stm_write(&p[i]);
		}
	}
}

static bool heap_is(unsigned char STM *p, const unsigned char *expected)
{
	volatile bool same = false;

	STM_ATOMIC {
		same = !stm_memcmp_out(p, expected, BLOCK);
	}
	return same;
}

TEST_F(io, pread_into_pages_of_all_states)
{
	for EACH(i, offsets)
		for EACH(j, lengths)
			for (enum state state = 0; state < STATES; state++) {
				size_t at = offsets[i], len = lengths[j];

				bring_pages(self->p, state);
				STM_ATOMIC {
					EXPECT_EQ((ssize_t)len, stm_pread(self->file, self->p + at, len, 1000));
					EXPECT_EQ(0, stm_memcmp_out(self->p + at, plain + 1000, len));
				}
				memcpy(other, plain, BLOCK);
				memcpy(other + at, plain + 1000, len);
				EXPECT_TRUE(heap_is(self->p, other)) {
					TH_LOG("offset %zu, length %zu, state %d", at, len, state);
				}
				STM_ATOMIC {
					stm_memcpy_in(self->p + at, plain + at, len);
				}
			}
}

/* What a cancelled transaction read is gone. */
TEST_F(io, pread_is_undone)
{
	for (enum state state = 0; state < STATES; state++) {
		bring_pages(self->p, state);
		STM_ATOMIC {
			EXPECT_EQ(50000, stm_pread(self->file, self->p + 77, 50000, 3));
			stm_cancel(1);
		}
		EXPECT_EQ(1, stm_outcome());
		EXPECT_TRUE(heap_is(self->p, plain));
	}
}

static void *read_back(void *arg)
{
	bool same;

	if (stm_thread_attach())
		return NULL;
	same = heap_is((unsigned char STM *)(uintptr_t)arg, other);
	return same ? arg : NULL;
}

/* Its bytes are committed like any others: another thread sees them. */
TEST_F(io, pread_is_committed)
{
	STM_ATOMIC {
		EXPECT_EQ(50000, stm_pread(self->file, self->p + 77, 50000, 3));
	}
	memcpy(other, plain, BLOCK);
	memcpy(other + 77, plain + 3, 50000);
	EXPECT_TRUE(in_thread(read_back, (void *)(uintptr_t)self->p) != NULL);
}

TEST_F(io, pread_at_the_end_of_a_file)
{
	STM_ATOMIC {
		EXPECT_EQ(10, stm_pread(self->file, self->p, 5000, BLOCK - 10));
		EXPECT_EQ(0, stm_pread(self->file, self->p, 5000, BLOCK));
		EXPECT_EQ(0, stm_memcmp_out(self->p, plain + BLOCK - 10, 10));
		EXPECT_EQ(0, stm_memcmp_out(self->p + 10, plain + 10, 4990));
	}
}

TEST_F(io, pread_of_a_pipe)
{
	ASSERT_EQ(6000, write(self->ends[1], plain + 10, 6000));
	forget_pages();
	STM_ATOMIC {
		EXPECT_EQ(6000, stm_pread(self->ends[0], self->p + 100, 9000, -1)); /* what there is */
		EXPECT_EQ(-ESPIPE, stm_pread(self->ends[0], self->p, 10, 0));
		EXPECT_EQ(0, stm_memcmp_out(self->p + 100, plain + 10, 6000));
	}
	close(self->ends[1]);
	STM_ATOMIC {
		EXPECT_EQ(0, stm_pread(self->ends[0], self->p, 10, -1));
	}
}

/* read(2) and write(2): the file's own position. */
TEST_F(io, offset_of_the_file)
{
	ASSERT_EQ(20, lseek(self->file, 20, SEEK_SET));
	STM_ATOMIC {
		EXPECT_EQ(100, stm_pread(self->file, self->p, 100, -1));
		EXPECT_EQ(100, stm_pread(self->file, self->p + 100, 100, -1));
		EXPECT_EQ(0, stm_memcmp_out(self->p, plain + 20, 200));
		EXPECT_EQ(50, stm_pwrite(self->file, self->p, 50, -1));
	}
	EXPECT_EQ(270, lseek(self->file, 0, SEEK_CUR));
	ASSERT_EQ(50, pread(self->file, other, 50, 220));
	EXPECT_EQ(0, memcmp(other, plain + 20, 50));
}

TEST_F(io, pwrite_from_pages_of_all_states)
{
	int file = memfd_create("out", 0);

	ASSERT_LE(0, file);
	for EACH(i, offsets)
		for EACH(j, lengths)
			for (enum state state = 0; state < STATES; state++) {
				size_t at = offsets[i], len = lengths[j];

				bring_pages(self->p, state);
				ASSERT_EQ(0, ftruncate(file, 0));
				STM_ATOMIC {
					EXPECT_EQ((ssize_t)len, stm_pwrite(file, self->p + at, len, 5));
				}
				ASSERT_EQ((ssize_t)len, pread(file, other, BLOCK, 5));
				EXPECT_EQ(0, memcmp(other, plain + at, len)) {
					TH_LOG("offset %zu, length %zu, state %d", at, len, state);
				}
			}
	close(file);
}

/* It writes what this transaction sees, its own stores included. */
TEST_F(io, pwrite_of_own_stores)
{
	STM_ATOMIC {
		STM_SET(self->p[5], (unsigned char)~plain[5]);
		EXPECT_EQ(20, stm_pwrite(self->file, self->p, 20, 0));
		stm_cancel(1);
	}
	ASSERT_EQ(20, pread(self->file, other, 20, 0));
	EXPECT_EQ((unsigned char)~plain[5], other[5]);
	EXPECT_EQ(plain[6], other[6]);
	EXPECT_TRUE(heap_is(self->p, plain));
}

TEST_F(io, pwrite_to_a_pipe)
{
	forget_pages();
	STM_ATOMIC {
		EXPECT_EQ(6000, stm_pwrite(self->ends[1], self->p + 100, 6000, -1));
		EXPECT_EQ(-ESPIPE, stm_pwrite(self->ends[1], self->p, 10, 0));
	}
	ASSERT_EQ(6000, read(self->ends[0], other, sizeof(other)));
	EXPECT_EQ(0, memcmp(other, plain + 100, 6000));
	close(self->ends[0]);
	STM_ATOMIC {
		EXPECT_EQ(-EPIPE, stm_pwrite(self->ends[1], self->p, 10, -1));
	}
}

TEST_F(io, errors)
{
	EXPECT_EQ(-EPERM, stm_prefault(self->p, 1));
	EXPECT_EQ(-EPERM, stm_pread(self->file, self->p, 1, 0));
	EXPECT_EQ(-EPERM, stm_pwrite(self->file, self->p, 1, 0));
	STM_ATOMIC {
		EXPECT_EQ(-EBADF, stm_pread(-1, self->p, 1, 0));
		EXPECT_EQ(-EBADF, stm_pwrite(-1, self->p, 1, 0));
		EXPECT_EQ(-EBADF, stm_pread(-1, self->p, 1, -1));
		EXPECT_EQ(-EBADF, stm_pwrite(-1, self->p, 1, -1));
		EXPECT_EQ(-EINVAL, stm_pread(self->file, self->p, 1, -2));
		EXPECT_EQ(-EINVAL, stm_pwrite(self->file, self->p, 1, -2));
		/* Nothing is nothing, wherever it is. */
		EXPECT_EQ(0, stm_prefault(self->p, 0));
		EXPECT_EQ(0, stm_prefault(NULL, 0));
		EXPECT_EQ(0, stm_pread(self->file, self->p, 0, 0));
		EXPECT_EQ(0, stm_pwrite(self->file, self->p, 0, 0));
		EXPECT_EQ(0, stm_pread(self->file, NULL, 0, 0));
		EXPECT_EQ(0, stm_pwrite(self->file, NULL, 0, 0));
		EXPECT_EQ(-EFAULT, stm_prefault(NULL, 1));
		EXPECT_EQ(-EFAULT, stm_prefault((void STM *)(STM_HEAP - 1), 1));
		EXPECT_EQ(-EFAULT, stm_prefault(self->p, SIZE_MAX));
		EXPECT_EQ(-EFAULT, stm_prefault((void STM *)(STM_HEAP + STM_HEAP_LIMIT), 1));
	}
	EXPECT_TRUE(heap_is(self->p, plain));
}

/*
 * Why these calls exist: the kernel does not take our faults. Under an engine that takes them it would return
 * the bytes, which is as good.
 */
TEST_F(io, system_calls_without_them)
{
	forget_pages();
	STM_ATOMIC {
		ssize_t n = pread(self->file, stm_local(self->p), 100, 0);

		EXPECT_TRUE(n == 100 || (n == -1 && errno == EFAULT));
		n = pwrite(self->file, stm_local(self->p), 100, 0);
		EXPECT_TRUE(n == 100 || (n == -1 && errno == EFAULT));
	}
	EXPECT_TRUE(heap_is(self->p, plain));
}

TEST_F(io, prefault)
{
	static const struct { size_t at, len; } ranges[] = {
		{ 0, 1 }, { 4095, 2 }, { 1, BLOCK - 2 }, { 0, BLOCK }, { 70000, 1 },
	};
	struct stm_stats before, after;

	for EACH(i, ranges)
		for (enum state state = 0; state < STATES; state++) {
			size_t at = ranges[i].at, len = ranges[i].len;

			bring_pages(self->p, state);
			STM_ATOMIC {
				EXPECT_EQ(0, stm_prefault(self->p + at, len));
				EXPECT_EQ(0, stm_prefault(self->p + at, len));
				stm_stats(&before, sizeof(before));
				stm_read_range(self->p + at, len);
				EXPECT_EQ((ssize_t)len, pwrite(self->file, stm_local(self->p + at), len, 0));
				EXPECT_EQ(0, memcmp(stm_local(self->p + at), plain + at, len));
				stm_stats(&after, sizeof(after));
			}
			for (int kind = 0; kind < STM_FAULT_KINDS; kind++)
				EXPECT_EQ(before.faults[kind], after.faults[kind]);
		}
}

TEST_HARNESS_MAIN
