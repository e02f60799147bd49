/* SPDX-License-Identifier: MIT */
/*
 * check.h - a probe tries one thing in a child process, and fills in a finding.
 */
#ifndef UFFDSTM_CHECK_H
#define UFFDSTM_CHECK_H

#include <stdbool.h>
#include <stddef.h>

#include "uffdstm.h"

enum verdict {
	WORKS,
	LIMITED,                /* works, but less well than it could */
	LACKING,                /* this kernel lacks it */
	FORBIDDEN,              /* you may not */
	UNTESTED,               /* something else that it needs is missing */
	VERDICTS
};

struct finding {
	enum verdict verdict;
	int error;              /* errno that the system answered with, or 0 */
	char detail[400];       /* what was seen */
	char advice[400];       /* what to do, exactly; empty: nothing */
};

enum need {
	NEEDED,                 /* without it nothing works */
	USEFUL,                 /* without it: usable with limits */
	INFORMATION,            /* of no weight for the exit status */
};

struct probe {
	const char *name;       /* in JSON */
	const char *title;      /* in text */
	enum need need;
	void (*run)(struct finding *finding);
};

/* One table a file of probes; each ends with a name of NULL. */
extern const struct probe probes_library[];

/* Run @probe in a child, so that a security filter that kills hits only that. */
void probe_run(const struct probe *probe, struct finding *finding);

/* Fill in. */
void found(struct finding *finding, enum verdict verdict, const char *format, ...) PRINTF_LIKE(3, 4);
void advise(struct finding *finding, const char *format, ...) PRINTF_LIKE(2, 3);

#endif
