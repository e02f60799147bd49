// SPDX-License-Identifier: MIT
/*
 * loop.c [NUMBERS] - a parallel loop that adds up, beside its OpenMP versions.
 *
 * How long is the way of each number to 1, if it is halved where it is even, else tripled plus 1? The sum of all is
 * shared, and nobody told OpenMP: the result is wrong, and no line says so. The same oversight with transactions costs
 * conflicts, and stays right; told that it is a reduction, it costs none.
 */
#include <stdio.h>
#include <stdlib.h>
#include <uffdstm.h>

static long STM *shared;

static __attribute__((__noinline__)) long plus_length(long sum, size_t n)
{
	for (; n > 1; sum++)
		n = n % 2 ? 3 * n + 1 : n / 2;
	return sum;
}

static int add_shared(size_t begin, size_t end, void *unused)
{
	for (size_t i = begin; i < end; i++)
		STM_SET(*shared, plus_length(STM_GET(*shared), i));
	return unused != NULL;
}

static int add_piece(size_t begin, size_t end, void *sum, void *unused)
{
	for (size_t i = begin; i < end; i++)
		*(long *)sum = plus_length(*(long *)sum, i);
	return unused != NULL;
}

static void combine(void *sum, const void *next, void *unused)
{
	*(long *)sum += *(const long *)next + (unused != NULL);
}

static bool tell(const char *name, long sum, long right)
{
	printf("%-30s %12ld  %s\n", name, sum, sum == right ? "right" : "WRONG");
	return sum == right;
}

int main(int argc, char **argv)
{
	static struct stm_stats stats;
	static long right, zero, wrong, reduced, sum; /* static: main() has STM_ATOMICs */
	const struct stm_reduction reduction = { sizeof(reduction), sizeof(long), &zero, add_piece, combine };
	const size_t n = argc > 1 ? strtoull(argv[1], NULL, 0) : 1000000;

	if (stm_init(NULL) || stm_thread_attach())
		return 2;
	add_piece(1, n + 1, &right, NULL);
#pragma omp parallel for schedule(dynamic, 1000)
	for (size_t i = 1; i <= n; i++)
		wrong = plus_length(wrong, i); /* a critical is missing */
#pragma omp parallel for schedule(dynamic, 1000) reduction(+ : reduced)
	for (size_t i = 1; i <= n; i++)
		reduced = plus_length(reduced, i);
	tell("OpenMP, critical forgotten", wrong, right);
	tell("OpenMP, a reduction", reduced, right);

	STM_ATOMIC
		shared = stm_zalloc(sizeof(*shared));
	if (stm_parallel_for(1, n + 1, 1000, add_shared, NULL) || stm_stats(&stats, sizeof(stats)))
		return 1;
	STM_ATOMIC
		sum = STM_GET(*shared);
	bool ok = tell("stm_parallel_for, sum shared", sum, right);

	printf("  (%lu pieces ran again)\n", stats.aborts[STM_ABORT_CONFLICT] + stats.aborts[STM_ABORT_VALIDATE]);
	ok &= !stm_parallel_reduce(1, n + 1, &reduction, &sum, NULL, NULL) && tell("stm_parallel_reduce", sum, right);
	puts(ok ? "verified" : "FAILED");
	return !ok;
}
