// SPDX-License-Identifier: MIT
/*
 * report_folded.c - lost time as folded stacks: what flame graphs are drawn from, a line each.
 *
 *	TRANSACTION;CALLERS...;READ;conflict;written at PLACE;OBJECT MICROSECONDS
 *	TRANSACTION;waiting KIND MICROSECONDS
 *
 * A pair's time goes to the reads that are known in proportion, else to the transaction as a whole.
 */
#include <math.h>
#include <string.h>

#include "report.h"

/* A frame has no ";", and nothing but the number follows a space at the end. */
static void frame(FILE *out, const char *text)
{
	for (; *text; text++)
		putc(*text == ';' ? ',' : *text, out);
}

static void frame_place(FILE *out, const struct place *place)
{
	char where[SAY_BYTES];

	if (place->function && *place->function) {
		frame(out, place->function);
		putc(' ', out);
	}
	frame(out, say_place(where, place, 60));
}

static void frame_site(FILE *out, const struct site *site)
{
	char name[SAY_BYTES];

	if (site->number && !site->defined) {
		fprintf(out, "transaction %u", site->number);
		return;
	}
	frame(out, say_name(name, site->place.name, 60));
	frame_place(out, &site->place);
}

static bool enough(const struct report *report, double ticks)
{
	return seconds(report, ticks) * 1e6 >= 0.5;
}

static void line_end(const struct report *report, FILE *out, double ticks)
{
	fprintf(out, " %.0f\n", fmax(1, seconds(report, ticks) * 1e6));
}

static void conflict(struct report *report, FILE *out, const struct pair *pair, const struct stack *stack, double ticks)
{
	char text[SAY_BYTES];

	if (!enough(report, ticks))
		return;
	frame_site(out, pair->reader);
	for (unsigned int i = stack ? stack->n : 0; i-- > 0;) {
		const struct place *place = code_place(&report->symbols, stack->frames[i]);

		if (place->library && i)
			continue;
		putc(';', out);
		frame_place(out, place);
	}
	fputs(";conflict;written at ", out);
	if (pair->wrote)
		frame_place(out, code_place(&report->symbols, pair->wrote));
	else
		fputs("a place not known", out);
	if (pair->objects_n == 1) {
		putc(';', out);
		frame(out, say_object(text, report, &pair->objects[0]));
	}
	line_end(report, out, ticks);
}

static void pair_lines(struct report *report, FILE *out, const struct pair *pair)
{
	double all = 0;

	for (unsigned int i = 0; i < pair->stacks_n; i++)
		all += pair->stacks[i].count;
	for (unsigned int i = 0; i < pair->stacks_n; i++)
		conflict(report, out, pair, &pair->stacks[i], pair->lost * pair->stacks[i].count / all);
	if (!pair->stacks_n)
		conflict(report, out, pair, NULL, pair->lost);
}

int write_folded(struct report *report, FILE *out)
{
	for (unsigned int i = 0; i < report->pairs_n; i++)
		pair_lines(report, out, report->pairs[i]);
	for (unsigned int i = 0; i < report->sites_n; i++) {
		const struct site *site = report->sites[i];

		/* back-off is in the pairs */
		if (enough(report, site->waits[STM_WAIT_INEVITABLE])) {
			frame_site(out, site);
			fprintf(out, ";waiting %s", say_wait(STM_WAIT_INEVITABLE));
			line_end(report, out, site->waits[STM_WAIT_INEVITABLE]);
		}
		if (enough(report, site->log_waits)) {
			fputs("begin;waiting for the transaction of ", out);
			frame_site(out, site);
			line_end(report, out, site->log_waits);
		}
	}
	return 0;
}
