// SPDX-License-Identifier: MIT
/*
 * philosophers.c [MEALS] - dining philosophers, who wait by stm_retry(): each takes both forks at once, or sleeps until
 * a neighbour puts one back. No order of forks to think of, no deadlock, no condition variable; and nobody polls.
 */
#include <pthread.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <uffdstm.h>

#define PHILOSOPHERS 5

struct fork { long taken; } __attribute__((__aligned__(STM_GRANULE)));

static struct fork STM *forks;
static _Atomic int held[PHILOSOPHERS];  /* what really happens, outside the heap */
static _Atomic long eaten, wrong;
static long meals = 20000;

static void dine(size_t left, size_t right)
{
	STM_ATOMIC {
		if (STM_GET(forks[left].taken) || STM_GET(forks[right].taken))
			stm_retry();
		STM_SET(forks[left].taken, 1);
		STM_SET(forks[right].taken, 1);
	}
	wrong += held[left]++ + held[right]++;
	eaten++;
	sched_yield(); /* eating takes a while */
	held[left]--;
	held[right]--;
	STM_ATOMIC {
		STM_SET(forks[left].taken, 0);
		STM_SET(forks[right].taken, 0);
	}
}

static void *philosopher(void *arg)
{
	size_t i = (size_t)arg;

	stm_thread_attach();
	for (long n = 0; n < meals; n++)
		dine(i, (i + 1) % PHILOSOPHERS);
	return NULL;
}

int main(int argc, char **argv)
{
	pthread_t threads[PHILOSOPHERS];
	struct stm_stats stats;

	meals = argc > 1 ? atol(argv[1]) : meals;
	if (stm_init(NULL) || stm_thread_attach())
		return 2;
	STM_ATOMIC
		forks = stm_zalloc(PHILOSOPHERS * sizeof(*forks));
	for (size_t i = 0; i < PHILOSOPHERS; i++)
		pthread_create(&threads[i], NULL, philosopher, (void *)i);
	for (int i = 0; i < PHILOSOPHERS; i++)
		pthread_join(threads[i], NULL);
	stm_stats(&stats, sizeof(stats));
	printf("%ld meals of %d, who slept %lu times\n", eaten, PHILOSOPHERS, stats.aborts[STM_ABORT_RETRY]);
	wrong += eaten != PHILOSOPHERS * meals;
	printf("a fork in two hands %ld times: %s\n", wrong, wrong ? "FAILED" : "verified");
	return wrong != 0;
}
