// SPDX-License-Identifier: MIT
/*
 * flush_test.c - white box: what is put into the event log's rings comes into the file, once and in order, by io_uring
 * and by pwritev(2).
 */
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <stddef.h>
#include <sys/prctl.h>

#include "clock.h"
#include "flush_support.h"

#define THREADS 4u
#define LOAD 20000u                     /* records of each */

FIXTURE(flush) {
	struct stm_ring rings[STM_RINGS_LIMIT];
};

FIXTURE_VARIANT(flush) {
	enum stm_log_writer kind;
};

FIXTURE_VARIANT_ADD(flush, io_uring) {
	.kind = STM_WRITER_IO_URING,
};

FIXTURE_VARIANT_ADD(flush, pwritev) {
	.kind = STM_WRITER_PWRITE,
};

FIXTURE_SETUP(flush)
{
	ASSERT_TRUE(make_place());
	atomic_store(&ring_refused, variant->kind == STM_WRITER_PWRITE ? ENOSYS : 0);
	ASSERT_EQ(0, open_log());
	if (stm_writer_kind() != variant->kind)
		SKIP(return, "no io_uring: %s", stm_writer_reason());
}

FIXTURE_TEARDOWN(flush)
{
	stm_schedule_hook = NULL;
	stm_flush_close();
	remove_place();
}

/* 128 units are a hundredth of it: it wraps around some four hundred times. */
TEST_F(flush, each_record_once_and_in_order)
{
	struct reading log;

	ring_make(&self->rings[0], 128);
	ASSERT_EQ(0, stm_flush_add(&self->rings[0]));
	put_all(&self->rings[0], 0, 0, LOAD);
	stm_flush_close();
	EXPECT_EQ(atomic_load(&self->rings[0].head), atomic_load(&self->rings[0].tail));
	log = read_log(path, false);
	EXPECT_TRUE(log.good);
	EXPECT_EQ(LOAD, log.records[0]);
	EXPECT_EQ(1, log.writers);
	EXPECT_EQ(variant->kind, log.last_writer);
	EXPECT_EQ(variant->kind == STM_WRITER_IO_URING, !*log.reason);
}

struct producer {
	struct stm_ring *ring;
	unsigned int thread;
};

/* Each 64th record has a site that nobody has heard of. */
static void *produce(void *arg)
{
	struct producer *p = arg;
	uint32_t site = 0;

	if (stm_flush_add(p->ring))
		return arg;
	for (uint64_t i = 0; i < LOAD; i++) {
		if (i % 64 == 0) {
			site = 1 + p->thread + (uint32_t)(i / 64) * THREADS;
			define_site(site);
		}
		while (!put(p->ring, p->thread, i, site))
			sched_yield();
	}
	return NULL;
}

TEST_F(flush, several_producers)
{
	struct producer producers[THREADS];
	pthread_t threads[THREADS];
	struct reading log;
	void *failed;

	for (unsigned int i = 0; i < THREADS; i++) {
		ring_make(&self->rings[i], 128u << (2 * i)); /* 4 KiB to 256 KiB */
		producers[i] = (struct producer){ &self->rings[i], i };
		ASSERT_EQ(0, pthread_create(&threads[i], NULL, produce, &producers[i]));
	}
	for (unsigned int i = 0; i < THREADS; i++) {
		pthread_join(threads[i], &failed);
		EXPECT_EQ(NULL, failed);
	}
	stm_flush_close();
	log = read_log(path, false);
	EXPECT_TRUE(log.good);
	for (unsigned int i = 0; i < THREADS; i++)
		EXPECT_EQ(LOAD, log.records[i]);
}

static struct stm_ring *late;

static void define_and_put(enum stm_point point)
{
	static uint32_t site;

	if (point == STM_POINT_LOOKED && site < 100) {
		define_site(++site);
		put(late, 0, site - 1, site);
	}
}

/* A record put just after the flusher looked, or just before, comes after its definition. */
TEST_F(flush, definitions_stand_first)
{
	struct reading log;

	ring_make(&self->rings[0], 1024);
	late = &self->rings[0];
	ASSERT_EQ(0, stm_flush_add(late));
	stm_schedule_hook = define_and_put;
	while (atomic_load(&late->tail) < 100) /* units: at least */
		stm_flush_hurry();
	stm_flush_close();
	log = read_log(path, false);
	EXPECT_TRUE(log.good);
	EXPECT_LT(0, log.records[0]);
}

/* Definitions are not dropped, however many. */
TEST_F(flush, a_megabyte_of_definitions)
{
	struct reading log;

	ring_make(&self->rings[0], 128);
	ASSERT_EQ(0, stm_flush_add(&self->rings[0]));
	for (uint32_t i = 0; i < 1u << 14; i++)
		define_site(i % SITES);
	put(&self->rings[0], 0, 0, SITES - 1);
	stm_flush_close();
	log = read_log(path, false);
	EXPECT_TRUE(log.good);
	EXPECT_LE((1u << 20), log.size);
	EXPECT_EQ(1, log.records[0]);
}

/* The flusher has no clock: it writes when it is told to, and ends when it is told to. */
TEST_F(flush, it_wakes_when_told)
{
	struct reading log;

	ring_make(&self->rings[0], 128);
	ASSERT_EQ(0, stm_flush_add(&self->rings[0]));
	atomic_store(&endless, true);
	for (uint64_t i = 0; i < 50; i++) {
		ASSERT_TRUE(put(&self->rings[0], 0, i, 0));
		stm_flush_hurry();
		wait_until_flushed(&self->rings[0]);
	}
	stm_flush_close();
	log = read_log(path, false);
	EXPECT_TRUE(log.good);
	EXPECT_EQ(50, log.records[0]);
}

TEST_F(flush, as_many_rings_as_there_may_be)
{
	struct stm_ring surplus;
	struct reading log;

	for (unsigned int i = 0; i < STM_RINGS_LIMIT; i++) {
		ring_make(&self->rings[i], 128);
		ASSERT_EQ(0, stm_flush_add(&self->rings[i]));
	}
	ring_make(&surplus, 128);
	EXPECT_EQ(-ENOSPC, stm_flush_add(&surplus));
	for (uint64_t n = 0; n < 300; n++)
		for (unsigned int i = 0; i < STM_RINGS_LIMIT; i++)
			put_all(&self->rings[i], i, n, n + 1);
	stm_flush_close();
	EXPECT_EQ(-ENXIO, stm_flush_add(&surplus));
	log = read_log(path, false);
	EXPECT_TRUE(log.good);
	for (unsigned int i = 0; i < STM_RINGS_LIMIT; i++)
		EXPECT_EQ(300, log.records[i]);
	if (variant->kind == STM_WRITER_IO_URING)
		EXPECT_EQ(STM_RINGS_LIMIT, stm_writer_stats.buffers);
	/* Many rings are one call. */
	EXPECT_LT(stm_writer_stats.calls, stm_writer_stats.writes);
}

/* The same process again: another file, nothing of the first, rings where they were. */
TEST_F(flush, twice)
{
	struct reading log;

	ring_make(&self->rings[0], 128);
	ASSERT_EQ(0, stm_flush_add(&self->rings[0]));
	put_all(&self->rings[0], 0, 0, 100);
	define_site(1);
	stm_flush_close();
	EXPECT_EQ(100, read_log(path, false).records[0]);
	define_site(2);

	ASSERT_EQ(0, open_log());
	ASSERT_EQ(0, stm_flush_add(&self->rings[0]));
	put_all(&self->rings[0], 0, 0, 50);
	stm_flush_close();
	log = read_log(path, false);
	EXPECT_TRUE(log.good);
	EXPECT_EQ(50, log.records[0]);
}

/* Locked memory is refused: written all the same. */
static void record_without_locked_memory(void *arg)
{
	struct stm_ring rings[8];
	struct reading log;

	(void)arg;
	if (setrlimit(RLIMIT_MEMLOCK, &(struct rlimit){ 64 << 10, 64 << 10 }) || setresuid(65534, 65534, 65534))
		_exit(4);
	if (open_log())
		_exit(1);
	for (unsigned int i = 0; i < 8; i++) {
		ring_make(&rings[i], 1024); /* 32 KiB */
		if (stm_flush_add(&rings[i]))
			_exit(1);
	}
	for (unsigned int i = 0; i < 8; i++)
		put_all(&rings[i], i, 0, 5000);
	stm_flush_close();
	log = read_log(path, false);
	for (unsigned int i = 0; i < 8; i++)
		if (log.records[i] != 5000)
			_exit(2);
	/* Some are not registered, and it is io_uring all the same, if it was. */
	if (stm_writer_stats.buffers > 2 || log.writers != 1)
		_exit(3);
	_exit(log.good ? 0 : 2);
}

TEST_F(flush, locked_memory_is_refused)
{
	struct ended e;

	stm_flush_close();
	unlink(path);
	if (geteuid())
		SKIP(return, "only root can become another user");
	e = run_child(record_without_locked_memory, NULL);
	EXPECT_TRUE(exited_with(&e, 0)) {
		TH_LOG("%s", how(&e));
	}
}

TEST_F(flush, short_and_interrupted_writes)
{
	struct reading log;

	atomic_store(&stuttering, true);
	for (unsigned int i = 0; i < 2; i++) {
		ring_make(&self->rings[i], 128);
		ASSERT_EQ(0, stm_flush_add(&self->rings[i]));
	}
	for (uint64_t n = 0; n < 2000; n++) {
		define_site((uint32_t)(1 + n % (SITES - 1)));
		while (!put(&self->rings[0], 0, n, (uint32_t)(1 + n % (SITES - 1))))
			sched_yield();
		put_all(&self->rings[1], 1, n, n + 1);
	}
	stm_flush_close();
	log = read_log(path, false);
	EXPECT_TRUE(log.good);
	EXPECT_EQ(2000, log.records[0]);
	EXPECT_EQ(2000, log.records[1]);
	EXPECT_EQ(1, log.writers);
}

/* ---- io_uring alone ---- */

FIXTURE(ring) {
	struct stm_ring ring;
};

FIXTURE_SETUP(ring)
{
	ASSERT_TRUE(make_place());
	ASSERT_EQ(0, open_log());
	if (stm_writer_kind() != STM_WRITER_IO_URING)
		SKIP(return, "no io_uring: %s", stm_writer_reason());
	ring_make(&self->ring, 128);
	ASSERT_EQ(0, stm_flush_add(&self->ring));
}

FIXTURE_TEARDOWN(ring)
{
	stm_flush_close();
	remove_place();
}

/* io_uring_enter is refused from some call on: nothing is lost, nothing is there twice. */
TEST_F(ring, refused_in_the_middle)
{
	struct reading log;

	put_all(&self->ring, 0, 0, 1000);
	atomic_store(&broken_after, 3);
	put_all(&self->ring, 0, 1000, 3000);
	stm_flush_close();
	log = read_log(path, false);
	EXPECT_TRUE(log.good);
	EXPECT_EQ(3000, log.records[0]);
	EXPECT_EQ(2, log.writers);
	EXPECT_EQ(STM_WRITER_PWRITE, log.last_writer);
	EXPECT_EQ(0, strncmp(log.reason, "io_uring_enter: EPERM", 21));
}

/* A record may go on at the ring's start: that part is never in the file alone. */
TEST_F(ring, no_half_a_record)
{
	struct reading log;

	atomic_store(&half_failing, &self->ring);
	for (uint64_t n = 0; !atomic_load(&halves_failed);) {
		if (put(&self->ring, 0, n, 0))
			n++;
		else
			sched_yield();
		stm_flush_hurry();
	}
	atomic_store(&half_failing, NULL);
	EXPECT_EQ(0, atomic_load(&halves_alone));
	stm_flush_close();
	log = read_log(path, false);
	EXPECT_TRUE(log.good);
}

/* ---- io_uring refused ---- */

static bool refuse_io_uring(int error)
{
	struct sock_filter filter[] = {
		BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
		BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_io_uring_setup, 0, 1),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | (unsigned int)error),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
	};
	struct sock_fprog program = { sizeof(filter) / sizeof(*filter), filter };

	return !prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) && !prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program);
}

TEST(a_filter_refuses_io_uring)
{
	struct stm_ring ring;
	struct reading log;

	ASSERT_TRUE(make_place());
	if (!refuse_io_uring(EPERM))
		SKIP(return, "no seccomp filters");
	ASSERT_EQ(0, open_log());
	EXPECT_EQ(STM_WRITER_PWRITE, stm_writer_kind());
	ring_make(&ring, 128);
	ASSERT_EQ(0, stm_flush_add(&ring));
	put_all(&ring, 0, 0, LOAD);
	stm_flush_close();
	log = read_log(path, false);
	EXPECT_TRUE(log.good);
	EXPECT_EQ(LOAD, log.records[0]);
	EXPECT_EQ(1, log.writers);
	EXPECT_EQ(STM_WRITER_PWRITE, log.last_writer);
	EXPECT_EQ(0, strncmp(log.reason, "io_uring_setup: EPERM: ", 23)) {
		TH_LOG("%s", log.reason);
	}
	remove_place();
}

/* ---- the clock ---- */

TEST(ticks_agree_with_the_kernels_clock)
{
	enum stm_log_clock clock = stm_clock_open();
	uint64_t rate = stm_clock_rate(), ticks[2], ns[2];
	double expected;

	for (int i = 0; i < 2; i++) {
		uint64_t before = stm_clock_ns(CLOCK_MONOTONIC), before_ticks = stm_ticks();

		stm_clock_pair(&ticks[i], &ns[i]);
		EXPECT_LE(before, ns[i]);
		EXPECT_GE(stm_clock_ns(CLOCK_MONOTONIC), ns[i]);
		EXPECT_LE(before_ticks, ticks[i]);
		EXPECT_GE(stm_ticks(), ticks[i]);
		usleep(20000);
	}
	expected = (double)(ns[1] - ns[0]) * (double)rate / 1e9;
	EXPECT_GT(expected * 0.01, __builtin_fabs((double)(ticks[1] - ticks[0]) - expected));
	if (clock == STM_CLOCK_MONOTONIC)
		EXPECT_EQ(ns[1], ticks[1]);
}

TEST_HARNESS_MAIN
