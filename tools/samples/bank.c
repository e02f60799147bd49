// SPDX-License-Identifier: MIT
/* bank.c [TRANSFERS] - transfers between accounts, while an auditor adds all of them up: no money is ever away. */
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <uffdstm.h>

#define ACCOUNTS 500
#define TELLERS 2
#define OPENING 1000L

struct account { long balance; } __attribute__((__aligned__(STM_GRANULE))); /* neighbours do not conflict */

static struct account STM *accounts;
static long transfers = 1000000;
static _Atomic int at_work = TELLERS;

static void *teller(void *arg)
{
	unsigned int seed = (unsigned int)(size_t)arg;

	stm_thread_attach(); /* and detached at its end */
	for (long i = 0; i < transfers; i++) {
		struct account STM *from = &accounts[rand_r(&seed) % ACCOUNTS];
		struct account STM *to = &accounts[rand_r(&seed) % ACCOUNTS];
		long amount = rand_r(&seed) % 100;

		STM_ATOMIC_NAMED("transfer") {
			if (STM_GET(from->balance) >= amount) {
				STM_SET(from->balance, STM_GET(from->balance) - amount);
				STM_SET(to->balance, STM_GET(to->balance) + amount);
			}
		}
	}
	at_work--;
	return NULL;
}

static int audit(void *arg)
{
	long *sum = arg;

	*sum = 0;
	for (int i = 0; i < ACCOUNTS; i++)
		*sum += STM_GET(accounts[i].balance);
	return 0;
}

int main(int argc, char **argv)
{
	struct stm_name_stats names[2];
	pthread_t threads[TELLERS];
	static long sum, audits, wrong; /* static: main() has an STM_ATOMIC */

	transfers = argc > 1 ? atol(argv[1]) : transfers;
	if (stm_init(NULL) || stm_thread_attach())
		return 2;
	STM_ATOMIC {
		accounts = stm_alloc(ACCOUNTS * sizeof(*accounts));
		for (int i = 0; i < ACCOUNTS; i++)
			STM_SET(accounts[i].balance, OPENING);
	}
	for (size_t i = 0; i < TELLERS; i++)
		pthread_create(&threads[i], NULL, teller, (void *)(i + 1));
	for (bool last = false; !last; audits++) {
		last = !at_work;
		stm_atomic_named(audit, &sum, "audit");
		wrong += sum != ACCOUNTS * OPENING;
	}
	for (int i = 0, n = stm_stats_by_name(names, 2, sizeof(*names)); i < n && i < 2; i++)
		printf("%-8s  %lu committed, %lu run again\n", names[i].name,
		       names[i].commits + names[i].commits_read_only, names[i].aborts[STM_ABORT_CONFLICT]);
	printf("%ld audits, %ld wrong: %s\n", audits, wrong, wrong ? "FAILED" : "verified");
	return wrong != 0;
}
