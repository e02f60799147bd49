// SPDX-License-Identifier: MIT
/*
 * check_text.c - what was found, as lines of 80 columns.
 */
#include <stdio.h>
#include <string.h>

#include "check.h"

#define TITLE_COLUMNS 27

static const char *const verdict_texts[VERDICTS] = {
	[WORKS] = "works",
	[LIMITED] = "works, with limits",
	[LACKING] = "this kernel lacks it",
	[FORBIDDEN] = "you may not",
	[UNTESTED] = "not tested",
};

static void print_advice(const struct finding *finding)
{
	const char *line = finding->commands;
	char advice[sizeof(finding->advice) + 1];

	if (*finding->advice) {
		snprintf(advice, sizeof(advice), "%s%s", finding->advice, *line ? ":" : "");
		printf("    ");
		wrap(stdout, advice, 4, 4);
		putchar('\n');
	}
	while (*line) {
		size_t len = strcspn(line, "\n");

		printf("        %.*s\n", (int)len, line);
		line += len + (line[len] == '\n');
	}
}

static void print_result(const struct probe *probe, const struct finding *finding)
{
	size_t at = TITLE_COLUMNS + strlen(verdict_texts[finding->verdict]);

	printf("%-*s%s", TITLE_COLUMNS, probe->title, verdict_texts[finding->verdict]);
	if (*finding->detail) {
		putchar(':');
		wrap(stdout, finding->detail, at + 1, TITLE_COLUMNS);
	}
	putchar('\n');
	print_advice(finding);
}

void check_text(const struct result *results, size_t n, enum usable usable)
{
	static const char *const sums[] = { "usable", "usable, with limits", "not usable" };
	char text[2000];
	size_t len = (size_t)snprintf(text, sizeof(text), "%s", sums[usable]);
	char separator = ':';

	for (size_t i = 0; i < n; i++) {
		print_result(results[i].probe, &results[i].finding);
		if (usable == USABLE || weigh(results[i].probe, &results[i].finding) != usable || len >= sizeof(text))
			continue;
		len += (size_t)snprintf(text + len, sizeof(text) - len, "%c %s", separator, results[i].probe->title);
		separator = ',';
	}
	putchar('\n');
	wrap(stdout, text, 0, 2);
	putchar('\n');
}
