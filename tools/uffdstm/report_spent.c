// SPDX-License-Identifier: MIT
/*
 * report_spent.c - what the threads' time went into, each moment counted once.
 *
 * The records of a thread come when what they tell of ends, so what happened inside something stands before it: an
 * attempt's page faults, a wait in which the thread folded. Each thread keeps what it did since its last attempt;
 * a record that began before some of that contains it, and its own time is the rest.
 *
 * Of a sampled attempt the rest stands for that of all whose place it takes; the page faults of those have records of
 * their own.
 */
#include "report.h"

/* Of all that the thread did since, what a record that began at @begin contains; taken away. */
static double contained(struct thread *thread, uint64_t begin)
{
	double inside = 0;

	while (thread->nested_n && thread->nested[thread->nested_n - 1].begin >= begin)
		inside += thread->nested[--thread->nested_n].duration;
	return inside;
}

static void add(struct report *report, struct thread *thread, enum spent spent, uint64_t begin, double duration,
		double ticks)
{
	if (ticks <= 0)
		return;
	thread->spent[spent] += ticks;
	report->spent[spent] += ticks;
	axis_add(&report->axis, &thread->when[0][spent], SPENT_KINDS, begin, duration, ticks);
}

void spent_nested(struct report *report, struct thread *thread, const struct stm_record *record, enum spent spent)
{
	double duration = (double)record->duration, own;
	struct nested *nested;

	/* Another thread resolved the fault, and told late: the attempt was told without it. */
	if (record->time >= thread->attempt_begin && record->time < thread->attempt_end) {
		double late = duration * thread->attempt_weight;

		late = late < thread->attempt_left ? late : thread->attempt_left;
		thread->attempt_left -= late;
		thread->spent[thread->attempt_spent] -= late;
		report->spent[thread->attempt_spent] -= late;
		axis_add(&report->axis, &thread->when[0][thread->attempt_spent], SPENT_KINDS, record->time, duration,
			 -late);
		add(report, thread, spent, record->time, duration, duration);
		return;
	}
	own = duration - contained(thread, record->time);
	add(report, thread, spent, record->time, duration, own);
	if (thread->nested_n == NESTED) {
		/* the two oldest become one: a record that contains one of them most likely contains both */
		thread->nested[0].duration += thread->nested[1].duration;
		for (unsigned int i = 2; i < NESTED; i++)
			thread->nested[i - 1] = thread->nested[i];
		thread->nested_n--;
	}
	nested = &thread->nested[thread->nested_n++];
	nested->begin = record->time;
	nested->duration = duration > own ? duration : own;
}

void spent_attempt(struct report *report, struct thread *thread, const struct stm_record *record, double weight,
		   enum spent spent)
{
	uint64_t end = record->time + record->duration, from = end;
	double own;

	if (thread->inevitable && thread->inevitable_from >= record->time && thread->inevitable_from < end) {
		from = thread->inevitable_from;
		own = (double)(end - from) - contained(thread, from);
		add(report, thread, SPENT_INEVITABLE, from, (double)(end - from), own * weight);
	}
	own = ((double)(from - record->time) - contained(thread, record->time)) * weight;
	own = own > 0 ? own : 0;
	thread->nested_n = 0; /* the rest was before it */
	add(report, thread, spent, record->time, (double)(from - record->time), own);
	thread->attempt_begin = record->time;
	thread->attempt_end = from;
	thread->attempt_spent = spent;
	thread->attempt_weight = weight;
	thread->attempt_left = own;
}
