// SPDX-License-Identifier: MIT
/*
 * speculate.c [GUESTS] - a sequential loop in parallel, although each turn may depend on those before it: first come,
 * first served. A guest looks at some seats, and takes the one that he likes best of those that are free. Seldom is
 * that one gone to the guest just before him, but nobody knows when. stm_parallel_for_ordered() lets guests choose
 * ahead of their turn, runs those again whose choice was another's, and comes to exactly the seats that the loop gives.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <uffdstm.h>

#define SEATS 20000
#define ROUNDS 5

static unsigned int plain[SEATS];       /* whose seat it is; 0: free */
static unsigned int STM *shared;

/* @stm is constant: two functions are made of this one. */
static inline __attribute__((__always_inline__)) void choose(unsigned int guest, bool stm)
{
	unsigned int seed = guest, best = 0, most = 0;

	for (int k = 0; k < 32; k++) {
		unsigned int seat = (unsigned int)rand_r(&seed) % SEATS, liking = guest * 7919 + seat;

		for (int n = 0; n < 200; n++) /* it takes a while to find out */
			liking = (liking ^ liking >> 15) * 0x2c1b3c6du;
		if (liking > most && !(stm ? STM_GET(shared[seat]) : plain[seat]))
			most = liking, best = seat;
	}
	if (stm && most)
		STM_SET(shared[best], guest);
	else if (most)
		plain[best] = guest;
}

static int choose_ahead(size_t begin, size_t end, void *arg)
{
	for (size_t i = begin; i < end; i++)
		choose((unsigned int)i, true);
	return arg != NULL;
}

static int clear(void *arg)
{
	stm_free(shared);
	shared = stm_zalloc(sizeof(plain));
	memset(plain, 0, sizeof(plain));
	return arg != NULL;
}

static int compare(void *arg)
{
	return stm_memcmp_out(shared, plain, sizeof(plain)) || arg;
}

static double seconds(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (double)now.tv_sec + (double)now.tv_nsec / 1e9;
}

static int by_value(const void *a, const void *b)
{
	return *(const double *)a < *(const double *)b ? -1 : *(const double *)a > *(const double *)b;
}

int main(int argc, char **argv)
{
	unsigned int guests = argc > 1 ? (unsigned int)atoi(argv[1]) : 10000;
	double times[ROUNDS], start, middle;
	int wrong = stm_init(NULL) || stm_thread_attach();

	for (int round = 0; !wrong && round < ROUNDS; round++) {
		wrong |= stm_atomic(clear, NULL);
		start = seconds();
		for (unsigned int i = 1; i <= guests; i++)
			choose(i, false);
		middle = seconds();
		wrong |= stm_parallel_for_ordered(1, guests + 1, 4, choose_ahead, NULL);
		times[round] = (middle - start) / (seconds() - middle);
		wrong |= stm_atomic(compare, NULL);
	}
	if (!wrong) {
		qsort(times, ROUNDS, sizeof(*times), by_value);
		printf("%u guests: %.2f times as fast as the loop, the median of %d\n", guests, times[ROUNDS / 2],
		       ROUNDS);
	}
	puts(wrong ? "FAILED" : "verified: each has the seat that the loop gives");
	return wrong;
}
