/* SPDX-License-Identifier: MIT */
/*
 * trim_support.h - clocks that go as trim_test says, and system calls that are refused.
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

#endif
