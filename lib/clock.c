// SPDX-License-Identifier: MIT
/*
 * clock.c - which clock the event log has, and what its ticks are.
 */
#define _GNU_SOURCE
#include <fcntl.h>
#include <string.h>
#include <sys/prctl.h>
#include <unistd.h>

#include "clock.h"

#define SOURCE "/sys/devices/system/clocksource/clocksource0/current_clocksource"
#define PAIRS 8                         /* the closest of so many readings: a thread may be interrupted in between */
#define RATE_NS 1000000                 /* a rate good to a thousandth */

bool stm_clock_is_tsc;

/* The kernel watches the counter, and takes another source when it is not constant or the processors' differ. */
static bool kernel_trusts_tsc(void)
{
	int fd = open(SOURCE, O_RDONLY | O_CLOEXEC), rights = PR_TSC_SIGSEGV;
	char name[8] = "";
	ssize_t n;

	if (fd < 0)
		return false;
	n = read(fd, name, sizeof(name) - 1);
	close(fd);
	return n >= 4 && !memcmp(name, "tsc\n", 4) && !prctl(PR_GET_TSC, &rights) && rights == PR_TSC_ENABLE;
}

enum stm_log_clock stm_clock_open(void)
{
	stm_clock_is_tsc = kernel_trusts_tsc();
	return stm_clock_is_tsc ? STM_CLOCK_TSC : STM_CLOCK_MONOTONIC;
}

uint64_t stm_clock_monotonic(void)
{
	return stm_clock_ns(CLOCK_MONOTONIC);
}

void stm_clock_pair(uint64_t *ticks, uint64_t *ns)
{
	uint64_t closest = UINT64_MAX;

	if (!stm_clock_is_tsc) {
		*ticks = *ns = stm_clock_ns(CLOCK_MONOTONIC);
		return;
	}
	for (int i = 0; i < PAIRS; i++) {
		uint64_t before = __rdtsc(), now = stm_clock_ns(CLOCK_MONOTONIC), apart = __rdtsc() - before;

		if (apart < closest) {
			closest = apart;
			*ticks = before + apart / 2;
			*ns = now;
		}
	}
}

uint64_t stm_clock_rate(void)
{
	uint64_t ticks[2], ns[2];

	if (!stm_clock_is_tsc)
		return 1000000000u;
	stm_clock_pair(&ticks[0], &ns[0]);
	nanosleep(&(struct timespec){ .tv_nsec = RATE_NS }, NULL);
	do
		stm_clock_pair(&ticks[1], &ns[1]);
	while (ns[1] - ns[0] < RATE_NS);
	return (uint64_t)((unsigned __int128)(ticks[1] - ticks[0]) * 1000000000u / (ns[1] - ns[0]));
}
