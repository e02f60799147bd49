/* SPDX-License-Identifier: MIT */
/*
 * steps.h - transactions as lists of steps, run by actors (schedule.h) over an area of words.
 *
 *	struct script move = SCRIPT(READ(x), STOP(&stop), WRITE(y, 7));
 *
 *	script_start(&a, &move);
 *	stop_await(&stop);
 *	set_word(&b, x, 1);
 *	stop_release(&stop);
 *	actor_wait(&a);
 *
 * A stop holds the first attempt only: once released, it lets everybody pass.
 */
#ifndef STEPS_H
#define STEPS_H

#include "schedule.h"

typedef uint64_t STM *word_t;

enum step_kind { STEP_READ, STEP_WRITE, STEP_LOAD, STEP_STORE, STEP_STOP, STEP_INEVITABLE, STEP_CANCEL, STEP_VALIDATE,
		 STEP_AWAIT, STEP_COUNT };

struct step {
	enum step_kind kind;
	word_t word;
	uint64_t value;                 /* to write, or what was read by the last attempt */
	struct stop *stop;
};

#define STEPS_MAX 12

struct script {
	struct step steps[STEPS_MAX];
	unsigned int n;
	unsigned int attempts;
	int code;                       /* what stm_atomic() returned */
};

#define READ(w) { .kind = STEP_READ, .word = (w) }
#define WRITE(w, v) { .kind = STEP_WRITE, .word = (w), .value = (v) }
/* Without a barrier: for tracked memory. */
#define LOAD(w) { .kind = STEP_LOAD, .word = (w) }
#define STORE(w, v) { .kind = STEP_STORE, .word = (w), .value = (v) }
#define STOP(s) { .kind = STEP_STOP, .stop = (s) }
#define INEVITABLE { .kind = STEP_INEVITABLE }
#define CANCEL(c) { .kind = STEP_CANCEL, .value = (c) }
#define VALIDATE { .kind = STEP_VALIDATE }
/* stm_retry() unless the word has this value. */
#define AWAIT(w, v) { .kind = STEP_AWAIT, .word = (w), .value = (v) }
/* Add 1. */
#define COUNT(w) { .kind = STEP_COUNT, .word = (w) }
#define SCRIPT(...)                                                     \
	{                                                               \
		.steps = { __VA_ARGS__ },                               \
		.n = sizeof((struct step[]){ __VA_ARGS__ }) / sizeof(struct step) \
	}

void script_start(struct actor *actor, struct script *script);  /* and return at once */
void script_run(struct actor *actor, struct script *script);

/* Zeroed pages that no view maps; pages before and behind them are not used. */
word_t words_new(size_t pages);
word_t tracked_words_new(size_t pages);

static inline word_t word_at(word_t words, size_t page, size_t i)
{
	return (word_t)((uintptr_t)words + page * STM_PAGE + i * sizeof(uint64_t));
}

void set_word(struct actor *actor, word_t word, uint64_t value);
uint64_t get_word(struct actor *actor, word_t word);

/* While it runs. */
static inline unsigned int attempts_of(const struct script *script)
{
	return __atomic_load_n(&script->attempts, __ATOMIC_ACQUIRE);
}

/* @n commits, which write 1 .. n to the word. */
void count_up(struct actor *actor, word_t word, uint64_t n);

/* The position of the next commit. */
uint64_t tail(void);

#endif
