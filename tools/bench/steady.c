/* SPDX-License-Identifier: MIT */
/*
 * steady.c - page faults and library system calls when everything is warm
 *
 * Two threads, a warm-up, then 1,000,000 transactions. What the kernel counts
 * as page faults of the process between the first and the last of them, and
 * what the library counts as its own system calls.
 */
#define _GNU_SOURCE
#include <sys/resource.h>

#include <uffdstm.h>

#include "bench.h"

#define STEADY_OPS 1000000u
#define STEADY_BAR (STEADY_OPS / 10000)

struct counts {
	uint64_t kernel_faults;
	uint64_t heap_faults;
	uint64_t system_calls;
};

static struct counts counts_now(void)
{
	struct counts counts = { 0 };
	struct stm_stats stats = { 0 };
	struct rusage usage;

	getrusage(RUSAGE_SELF, &usage);
	stm_stats(&stats, sizeof(stats));
	counts.kernel_faults = (uint64_t)usage.ru_minflt + (uint64_t)usage.ru_majflt;
	for (int i = 0; i < STM_FAULT_KINDS; i++)
		counts.heap_faults += stats.faults[i];
	counts.system_calls = stats.system_calls;
	return counts;
}

static void at_start(void *arg)
{
	struct counts *counts = arg;

	counts_now();                   /* faults of the counting itself */
	counts[0] = counts_now();
}

static void at_end(void *arg)
{
	struct counts *counts = arg;

	counts[1] = counts_now();
}

int steady_run(const struct settings *s)
{
	printf("\nsteady state: 2 threads, %u transactions after %u to warm up; "
	       "asked: at most %u of each\n"
	       "%-16s %12s %18s %13s\n",
	       STEADY_OPS, STEADY_OPS, STEADY_BAR, "workload", "page faults", "of them the heap's",
	       "system calls");
	for (unsigned int i = 0; i < WORKLOADS; i++) {
		struct counts counts[2];
		const struct measurement m = {
			.warm_up.ops = STEADY_OPS,
			.run.ops = STEADY_OPS,
			.threads = 2,
			.seed = 1,
			.at_start = at_start,
			.at_end = at_end,
			.arg = counts,
		};
		uint64_t faults, calls;
		struct copy copy;

		if (!selected(s, &workloads[i]))
			continue;
		impl_stm.reset();
		copy_make(&copy, &impl_stm, &workloads[i]);
		measure(&copy, &m);
		faults = counts[1].kernel_faults - counts[0].kernel_faults;
		calls = counts[1].system_calls - counts[0].system_calls;
		printf("%-16s %12llu %18llu %13llu  %s\n", workloads[i].name,
		       (unsigned long long)faults,
		       (unsigned long long)(counts[1].heap_faults - counts[0].heap_faults),
		       (unsigned long long)calls,
		       !faults && !calls ? "reached" :
		       faults <= STEADY_BAR && calls <= STEADY_BAR ? "met" : "NOT MET");
	}
	stm_fini();
	return 0;
}
