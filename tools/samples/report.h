/* SPDX-License-Identifier: MIT */
/* What finddup prints. */
#ifndef FINDDUP_REPORT_H
#define FINDDUP_REPORT_H

#include <stdio.h>

#include "summary.h"

enum verdict {
	NOT_VERIFIED,
	VERIFIED,
	DIFFERENT,
};

struct report {
	const struct walk *walk;
	const struct table *table;
	const struct summary *summary;
	const struct build *build;
	unsigned int threads;   /* 0: sequential */
	enum verdict verdict;
	double walk_seconds;
};

/* Everything but the run's own figures is the same for every number of threads. */
void report_text(const struct report *report, FILE *out);
/* 0 or -ENOMEM, -EIO. */
int report_json(const struct report *report, FILE *out);

#endif
