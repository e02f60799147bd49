// SPDX-License-Identifier: MIT
/*
 * report_html.c - one page that needs nothing else: report_html.c.html, with the report and what is to be drawn in it.
 *
 * What is drawn is bounded, whatever the log's length: of each of BINS parts of the run, shares of time for each
 * thread, and the longest of what happened and the costliest conflicts, in full. Numbers stand in arrays, several for
 * each thing, times as microseconds from the start: the page's script knows the order.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "json.h"
#include "report.h"

/* The page, as it is in the source tree, beside this file. */
__asm__(".section .rodata, \"a\"\n"
	"page:\n"
	".incbin \"" __FILE__ ".html\"\n"
	"page_end:\n"
	".previous\n");
extern const char page[], page_end[];

#define MARK "@DATA@"

/* JSON inside of HTML: no tag may begin in it. Texts have "<" as an escape. */
static void put_json(FILE *out, const char *json)
{
	for (; *json; json++)
		if (*json == '<')
			fputs("\\u003c", out);
		else
			putc(*json, out);
}

static double micro(const struct report *report, double ticks)
{
	return seconds(report, ticks) * 1e6;
}

static double since(const struct report *report, uint64_t time)
{
	double ticks = (double)time - (double)report->axis.start;

	return micro(report, ticks > 0 ? ticks : 0);
}

/* Threads' bins, as thousandths of a bin. */
static void put_threads(const struct report *report, FILE *out)
{
	double bin = (double)((uint64_t)1 << report->axis.shift);

	fprintf(out, ",\"bin\":%.9g,\"bins\":[", micro(report, bin));
	for (unsigned int i = 0; i < report->threads_n; i++) {
		fputs(i ? ",[" : "[", out);
		for (unsigned int b = 0; b < BINS; b++)
			for (unsigned int k = 0; k < SPENT_KINDS; k++) {
				double share = 1000 * (double)report->threads[i]->when[b][k] / bin;

				fprintf(out, "%s%.0f", b + k ? "," : "", share < 0 ? 0 : share > 1000 ? 1000 : share);
			}
		putc(']', out);
	}
	putc(']', out);
}

static void put_spans(const struct report *report, FILE *out)
{
	bool first = true;

	fputs(",\"spans\":[", out);
	for (unsigned int b = 0; b < BINS; b++)
		for (unsigned int i = 0; i < report->sampled[b].spans_n; i++) {
			const struct span *span = &report->sampled[b].spans[i];

			fprintf(out, "%s%.3f,%.3f,%u,%u,%u,%u", first ? "" : ",", since(report, span->begin),
				micro(report, span->duration), span->thread, span->kind, span->detail, span->site);
			first = false;
		}
	fputs("],\"arrows\":[", out);
	first = true;
	for (unsigned int b = 0; b < BINS; b++)
		for (unsigned int i = 0; i < report->sampled[b].arrows_n; i++) {
			const struct arrow *arrow = &report->sampled[b].arrows[i];
			const struct pair *pair = arrow->pair->now ? arrow->pair->now : arrow->pair;

			fprintf(out, "%s%.3f,%.3f,%u,%u,%u,%.0f", first ? "" : ",", since(report, arrow->begin),
				micro(report, arrow->duration), arrow->writer, arrow->reader, pair->index,
				(double)arrow->granule);
			first = false;
		}
	fputs("]", out);
}

int write_html(struct report *report, FILE *out, unsigned int top)
{
	struct json_object *object = json_report(report, top);
	const char *mark = memmem(page, (size_t)(page_end - page), MARK, strlen(MARK)), *json = json_text(object, true);
	unsigned long long shown = 0;

	if (!json || !mark) {
		complain(ENOMEM, NULL, "the report");
		json_object_put(object);
		return STATUS_TROUBLE;
	}
	for (unsigned int b = 0; b < BINS; b++)
		shown += report->sampled[b].spans_n;
	fwrite(page, 1, (size_t)(mark - page), out);
	fputs("{\"report\":", out);
	put_json(out, json);
	fprintf(out, ",\"shown\":%llu", shown);
	put_threads(report, out);
	put_spans(report, out);
	putc('}', out);
	fwrite(mark + strlen(MARK), 1, (size_t)(page_end - mark) - strlen(MARK), out);
	json_object_put(object);
	return 0;
}
