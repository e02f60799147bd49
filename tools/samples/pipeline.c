// SPDX-License-Identifier: MIT
/*
 * pipeline.c [NUMBERS] - a producer, two workers and a consumer, joined by bounded FIFO queues. A worker takes a
 * number, factors it and puts the result into the next queue, in one transaction: nothing is ever taken and not handed
 * on. A full queue makes who puts wait, an empty one who gets.
 */
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <uffdstm.h>
#include <uffdstm/fifo.h>

#define WORKERS 2
#define LIMIT 64                        /* items in a queue */

struct factored { long number, smallest; };

STM_FIFO_TYPE(numbers, long)
STM_FIFO_TYPE(results, struct factored)

static struct stm_fifo STM *todo, *done;
static long last = 50000;

static int factor(void *arg)
{
	struct factored *f = arg;

	numbers_get(todo, &f->number);
	for (f->smallest = 2; f->number % f->smallest && f->smallest * f->smallest <= f->number;)
		f->smallest++;
	if (f->number % f->smallest)
		f->smallest = f->number; /* a prime */
	return f->number ? results_put(done, f) : 0;
}

static void *worker(void *arg)
{
	struct factored f;

	stm_thread_attach();
	while (!stm_atomic(factor, &f) && f.number) /* 0 tells it to stop */
		;
	return arg;
}

static void *producer(void *arg)
{
	stm_thread_attach();
	for (long i = 2; i <= last + WORKERS; i++)
		STM_ATOMIC
			numbers_put(todo, &(long){ i <= last ? i : 0 });
	return arg;
}

static int consume(void *f)
{
	return results_get(done, f);
}

int main(int argc, char **argv)
{
	static long sum, primes, wrong; /* static: main() has an STM_ATOMIC */
	pthread_t threads[WORKERS + 1];
	struct factored f;

	last = argc > 1 ? atol(argv[1]) : last;
	if (stm_init(NULL) || stm_thread_attach())
		return 2;
	STM_ATOMIC
		todo = numbers_new(LIMIT), done = results_new(LIMIT);
	for (int i = 0; i <= WORKERS; i++)
		pthread_create(&threads[i], NULL, i ? worker : producer, NULL);
	for (long i = 2; i <= last; i++) {
		stm_atomic(consume, &f);
		sum += f.number;
		wrong += f.number % f.smallest;
		primes += f.number == f.smallest;
	}
	wrong += sum != last * (last + 1) / 2 - 1;
	printf("%ld numbers, %ld of them primes: %s\n", last - 1, primes, wrong ? "FAILED" : "verified");
	return wrong != 0;
}
