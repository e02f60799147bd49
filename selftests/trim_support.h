/* SPDX-License-Identifier: MIT */
/*
 * trim_support.h - clocks that go as the test says, system calls that are refused, a thread and its pages.
 *
 * Linked with --wrap, so that seconds pass when the test says so, and a sweep takes the CPU time that it is to take.
 */
#ifndef STM_SELFTESTS_TRIM_SUPPORT_H
#define STM_SELFTESTS_TRIM_SUPPORT_H

#include <errno.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <time.h>

#define MS ((uint64_t)1000000)

static _Atomic uint64_t time_now = 1000 * 1000 * MS; /* ns */
static _Atomic uint64_t cpu_now, cpu_step;      /* ns; how long it is from one look to the next */

int __real_clock_gettime(clockid_t id, struct timespec *ts);
int __wrap_clock_gettime(clockid_t id, struct timespec *ts);
int __wrap_clock_gettime(clockid_t id, struct timespec *ts)
{
	uint64_t ns;

	if (id == CLOCK_MONOTONIC_COARSE)
		ns = time_now;
	else if (id == CLOCK_THREAD_CPUTIME_ID)
		ns = atomic_fetch_add(&cpu_now, cpu_step) + cpu_step;
	else
		return __real_clock_gettime(id, ts);
	ts->tv_sec = (time_t)(ns / (1000 * MS));
	ts->tv_nsec = (long)(ns % (1000 * MS));
	return 0;
}

static bool no_process_madvise;
static bool process_madvise_failed;
static unsigned int many_calls;         /* of process_madvise(2) */

long __real_syscall(long number, ...);
long __wrap_syscall(long number, long a, long b, long c, long d, long e, long f);
long __wrap_syscall(long number, long a, long b, long c, long d, long e, long f)
{
	long result;

	if (number == SYS_process_madvise) {
		many_calls++;
		if (no_process_madvise) {
			errno = EPERM;
			return -1;
		}
	}
	result = __real_syscall(number, a, b, c, d, e, f);
	process_madvise_failed |= number == SYS_process_madvise && result < 0;
	return result;
}

static bool no_madvise;

int __real_madvise(void *p, size_t len, int advice);
int __wrap_madvise(void *p, size_t len, int advice);
int __wrap_madvise(void *p, size_t len, int advice)
{
	if (no_madvise) {
		errno = ENOMEM;
		return -1;
	}
	return __real_madvise(p, len, advice);
}

#define AGE 3000u                       /* ms: the default */
#define REGION STM_REGION_PAGES
#define FIRST (2 * REGION)              /* the allocator is far below */
#define REGIONS 8u
#define HEAP_PAGES (FIRST + REGIONS * REGION)
#define VERSIONS 100u                   /* transactions that make a page old enough, whatever the time */

/* ---- one thread and its pages ---- */

FIXTURE(trim) {
	struct stm_seg *us;
};

static inline struct stm_options options_of(uint64_t age, uint64_t pages)
{
	struct stm_options options = STM_OPTIONS_INIT;

	options.heap_size = HEAP_PAGES * STM_PAGE;
	options.cluster = 1;
	options.trim_age = age;
	options.trim_pages = pages;
	return options;
}

static inline int start(const struct stm_options *options)
{
	int error = stm_init(options);

	if (!error)
		error = stm_thread_attach();
	return error ? error : stm_heap_grow(HEAP_PAGES * STM_PAGE);
}

FIXTURE_SETUP(trim)
{
	struct stm_options options = options_of(0, 0);

	ASSERT_EQ(0, start(&options));
	self->us = stm__self;
}

FIXTURE_TEARDOWN(trim)
{
	EXPECT_EQ(0, schedule_failures());
	EXPECT_EQ(0, stm_fini());
}

/* Begin again with other options. */
#define START_AGAIN(options)                                            \
	do {                                                            \
		ASSERT_EQ(0, stm_fini());                               \
		ASSERT_EQ(0, start(&(options)));                        \
		self->us = stm__self;                                   \
	} while (0)
#define WITH(...)                                                       \
	do {                                                            \
		struct stm_options options = options_of(__VA_ARGS__);   \
		START_AGAIN(options);                                   \
	} while (0)

/* Not inlined: gcc leaves the %gs out of constant addresses. */
static __attribute__((__noinline__, __unused__)) word_t word(size_t page, size_t i)
{
	return (word_t)(STM_HEAP + page * STM_PAGE + i * sizeof(uint64_t));
}

static inline uint64_t get(size_t page)
{
	volatile uint64_t value = 0;

	STM_ATOMIC
		value = STM_GET(*word(page, 0));
	return value;
}

static inline void set(size_t page, uint64_t value)
{
	STM_ATOMIC
		STM_SET(*word(page, 0), value);
}

static inline uint8_t state_of(size_t page)
{
	return stm__self->view.state[page];
}

/* Time goes by, while transactions use only @page; at its end there is a moment to trim. */
static inline void pass(unsigned int ms, size_t page)
{
	time_now += ms * MS;
	for (unsigned int i = 0; i < VERSIONS; i++)
		get(page);
	stm_trim_look(stm__self);
	get(page);
}

/* As long as it takes: a page is cold when an age is over, and leaves with the next sweep, half an age later. */
static inline void pass_ages(unsigned int ages, size_t page)
{
	for (unsigned int i = 0; i < ages * 8; i++)
		pass(AGE / 8, page);
}

#define HOT FIRST
#define ENOUGH 3u                       /* ages */

#endif
