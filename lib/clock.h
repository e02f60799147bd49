/* SPDX-License-Identifier: MIT */
/*
 * clock.h - the event log's clock: the processor's time stamp counter where the kernel itself keeps time by it, else
 * CLOCK_MONOTONIC. A reading costs 18 and 35 ns on the machine where both were measured.
 */
#ifndef STM_CLOCK_H
#define STM_CLOCK_H

#include <stdbool.h>
#include <stdint.h>
#include <time.h>
#include <x86intrin.h>

#include <uffdstm/event.h>

extern bool stm_clock_is_tsc;           /* set by stm_clock_open(); false until then */

/* Choose the clock, before anybody reads it. */
enum stm_log_clock stm_clock_open(void);

/* How many ticks a second has, about. Takes a millisecond. */
uint64_t stm_clock_rate(void);

/* The same moment by both clocks: ticks, and nanoseconds of CLOCK_MONOTONIC. */
void stm_clock_pair(uint64_t *ticks, uint64_t *ns);

static inline uint64_t stm_clock_ns(clockid_t clock)
{
	struct timespec t;

	clock_gettime(clock, &t);
	return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

uint64_t stm_clock_monotonic(void);     /* its nanoseconds; out of line, so that who reads the counter needs no room for it */

static inline uint64_t stm_ticks(void)
{
	return __builtin_expect(stm_clock_is_tsc, 1) ? __rdtsc() : stm_clock_monotonic();
}

#endif
