// SPDX-License-Identifier: MIT
/*
 * steps.c - see steps.h.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "engine.h"
#include "steps.h"

static int run_steps(void *arg)
{
	struct script *script = arg;

	__atomic_fetch_add(&script->attempts, 1, __ATOMIC_ACQ_REL);
	for (unsigned int i = 0; i < script->n; i++) {
		struct step *step = &script->steps[i];

		switch (step->kind) {
		case STEP_READ:
			stm_read(step->word);
			/* A stop on the way must hold this thread, not one that resolves the faults of all. */
			if (stm_engine->waits_in_kernel && stm_prefault(step->word, sizeof(*step->word)))
				schedule_fail("stm_prefault() failed");
			step->value = *step->word;
			break;
		case STEP_WRITE:
			STM_SET(*step->word, step->value);
			break;
		case STEP_AWAIT:
			if (STM_GET(*step->word) != step->value) {
				stm_retry();
				schedule_fail("stm_retry() returned");
			}
			break;
		case STEP_COUNT:
			STM_SET(*step->word, STM_GET(*step->word) + 1);
			break;
		case STEP_LOAD:
			step->value = *(volatile uint64_t STM *)step->word;
			break;
		case STEP_STORE:
			*(volatile uint64_t STM *)step->word = step->value;
			break;
		case STEP_STOP:
			stop_here(step->stop);
			break;
		case STEP_INEVITABLE:
			if (stm_become_inevitable("a test"))
				schedule_fail("stm_become_inevitable() failed");
			break;
		case STEP_CANCEL:
			stm_cancel((int)step->value);
			schedule_fail("stm_cancel() returned");
			break;
		case STEP_VALIDATE:
			if (stm_validate())
				schedule_fail("stm_validate() failed");
			break;
		}
	}
	return 0;
}

static void run_script(void *arg)
{
	struct script *script = arg;

	script->code = stm_atomic(run_steps, script);
}

void script_start(struct actor *actor, struct script *script)
{
	actor_do(actor, run_script, script);
}

void script_run(struct actor *actor, struct script *script)
{
	actor_run(actor, run_script, script);
}

struct area {
	size_t pages;
	bool tracked;
	word_t words;
};

static int make_area(void *arg)
{
	struct area *area = arg;

	/*
	 * Small ones share a chunk with others: have at least a chunk, and a page on either side.
	 */
	size_t bytes = (area->pages + 32) * STM_PAGE;

	area->words = area->tracked ? stm_alloc_tracked(bytes) : stm_alloc(bytes);
	if (!area->words)
		return 1;
	memset(stm_local(area->words), 0, bytes);
	return 0;
}

static void make_area_job(void *arg)
{
	if (stm_atomic(make_area, arg)) {
		fprintf(stderr, "# no memory for the words\n");
		abort();
	}
}

static word_t new_area(struct area area)
{
	struct actor maker;

	actor_start(&maker);
	actor_run(&maker, make_area_job, &area);
	actor_end(&maker);
	return word_at(area.words, 16, 0);
}

word_t words_new(size_t pages)
{
	return new_area((struct area){ .pages = pages });
}

word_t tracked_words_new(size_t pages)
{
	return new_area((struct area){ .pages = pages, .tracked = true });
}

void set_word(struct actor *actor, word_t word, uint64_t value)
{
	struct script script = SCRIPT(WRITE(word, value));

	script_run(actor, &script);
}

uint64_t get_word(struct actor *actor, word_t word)
{
	struct script script = SCRIPT(READ(word));

	script_run(actor, &script);
	return script.steps[0].value;
}

struct count {
	word_t word;
	uint64_t n, value;
};

static int count_once(void *arg)
{
	struct count *count = arg;

	STM_SET(*count->word, count->value);
	return 0;
}

static void count_job(void *arg)
{
	struct count *count = arg;

	for (count->value = 1; count->value <= count->n; count->value++)
		stm_atomic(count_once, count);
}

void count_up(struct actor *actor, word_t word, uint64_t n)
{
	struct count count = { .word = word, .n = n };

	actor_run(actor, count_job, &count);
}

uint64_t tail(void)
{
	struct stm_stats stats;

	stm_stats(&stats, sizeof(stats));
	return stats.committed;
}
