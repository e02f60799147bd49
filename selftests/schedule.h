/* SPDX-License-Identifier: MIT */
/*
 * schedule.h - who runs when: for tests that link a library with schedule points (lib/testing.h).
 *
 *   A stop is a place where one thread waits until the test lets it go: called by the thread
 *   itself, or armed at a schedule point inside the library.
 *   An actor is a thread that does what the test tells it, one function at a time, so that a
 *   test reads as one list of steps although several threads take them.
 *   Torture makes every thread dawdle at random at schedule points, and checks there what must
 *   always hold.
 */
#ifndef SCHEDULE_H
#define SCHEDULE_H

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "internal.h"

/* Tell what went wrong, from any thread; schedule_failures() counts. */
void schedule_fail(const char *format, ...) __attribute__((__format__(__printf__, 1, 2)));
unsigned int schedule_failures(void);

/* ---- stops ---- */

struct stop {
	_Atomic int reached, released;
};

void stop_here(struct stop *stop);              /* by the thread: tell, and wait to be released */
void stop_await(struct stop *stop);             /* by the test: until a thread is there */
void stop_release(struct stop *stop);           /* it, and whoever comes later, may pass */

/* Wait until *@flag is not 0. A test that waits for ever is stopped by the harness. */
void await(_Atomic int *flag);

/* ---- actors ---- */

struct actor {
	pthread_t thread;
	_Atomic(void (*)(void *arg)) job;
	void *arg;
	_Atomic int busy, quit;
	struct stm_seg *seg;            /* while attached */
	unsigned int id;
	int tid;
};

void actor_start(struct actor *actor);          /* a thread, attached */
void actor_do(struct actor *actor, void (*job)(void *arg), void *arg); /* and return at once */
void actor_wait(struct actor *actor);           /* until its job is done */
void actor_run(struct actor *actor, void (*job)(void *arg), void *arg); /* both */
void actor_end(struct actor *actor);            /* detach, join */

/*
 * Arm @stop: @actor stops the @nth time from now (1: the next time) that it is at @point. One at a
 * time.
 */
void actor_stop_at(struct actor *actor, enum stm_point point, unsigned int nth, struct stop *stop);

/* ---- torture ---- */

/* @often: one in so many schedule points is delayed; 0: none, they are only checked. */
void torture_start(uint64_t seed, unsigned int often);
void torture_stop(void);

/*
 * Between transactions: do what a begin does that finds the log too long. Fold, and take the segments
 * that sleep, whatever their lag; who is met sleeping again and again is parked.
 */
void help_fold(void);

/* The number of folded entries, and of other points, that were checked. */
uint64_t torture_checks(void);

/*
 * In a transaction: compare up to @n of the pages [first, last), from a random one on, with the
 * base plus unfolded entries. The first granule of each page is left out. Tells differences by
 * schedule_fail(). Memory that an undone transaction allocated differs rightly: not for such pages.
 */
void verify_view(uint64_t random, unsigned int n, size_t first, size_t last);

static inline uint64_t next_random(uint64_t *state)
{
	uint64_t x = *state;

	x ^= x << 13, x ^= x >> 7, x ^= x << 17;
	*state = x;
	return x * 0x9e3779b97f4a7c15u >> 8;
}

#endif
