/* SPDX-License-Identifier: MIT */
/*
 * check.h - probes, what they find, and what their authors need to explain it.
 *
 * A probe tries one thing in a child process of its own and fills in a finding. It may exit, be killed or hang:
 * that is a finding, too.
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
	UNTESTED,               /* something that the test needs is missing */
	VERDICTS
};

struct finding {
	enum verdict verdict;
	int error;              /* errno that the system answered with, or 0 */
	char detail[300];       /* what was seen */
	char advice[300];       /* what to do; empty: nothing */
	char commands[300];     /* the same as commands, a line each; may be empty */
};

enum need {
	NEEDED,                 /* without it no program that uses the library works */
	USEFUL,                 /* without it: usable with limits */
	INFORMATION,            /* of no weight for the exit status */
};

struct probe {
	const char *name;       /* in JSON */
	const char *title;      /* in text */
	enum need need;
	void (*run)(struct finding *finding);
};

/* A table a file; each ends with a name of NULL. */
extern const struct probe probes_open[], probes_faults[], probes_memory[], probes_limits[], probes_io[],
	probes_library[];

void probe_run(const struct probe *probe, struct finding *finding);

/* ---- for probes ---- */

void found(struct finding *finding, enum verdict verdict, const char *format, ...) PRINTF_LIKE(3, 4);
void advise(struct finding *finding, const char *format, ...) PRINTF_LIKE(2, 3);

/* One more line of commands; for root it starts with "sudo " and ends with a comment, where that is needed. */
void as_root(struct finding *finding, const char *format, ...) PRINTF_LIKE(2, 3);
/* "uffdstm setup --group GROUP" and @options, with the group of who asks. */
void as_setup(struct finding *finding, const char *options);
void as_user(struct finding *finding, const char *format, ...) PRINTF_LIKE(2, 3);

/*
 * A system call answered @error, which is an errno; 0: it has told that it cannot do @what. @since: "6.7", the Linux
 * version that has it first. LACKING if the answer is that of a kernel that does not know it, else FORBIDDEN; with
 * advice, as far as the answer tells.
 */
void refused(struct finding *finding, int error, const char *what, const char *since);

/* Who is asked is not the kernel but a filter in front of it. */
bool seccomp_filtered(void);
void advise_seccomp(struct finding *finding, const char *call);
bool in_user_namespace(void);
bool has_capability(int capability);    /* in the effective set */

/* The number in a file like /proc/sys/vm/max_map_count, or -errno. */
long long read_number(const char *path);

/* The line that starts with @key in a file like /proc/meminfo: the number after it, or -errno. */
long long read_field(const char *path, const char *key);

/* A descriptor for userfaultfd by the best way that is open to us, or -errno. */
int open_uffd(void);

/* From here on, standard error is a file; its first line, without the library's name. */
int catch_stderr(void);
void first_line(int fd, char *line, size_t size);

/* ---- report ---- */

struct result {
	const struct probe *probe;
	struct finding finding;
};

/* The exit statuses of check, too. */
enum usable { USABLE, USABLE_WITH_LIMITS, NOT_USABLE };

enum usable weigh(const struct probe *probe, const struct finding *finding);

void check_text(const struct result *results, size_t n, enum usable usable);
/* 0 or -errno */
int check_json(const struct result *results, size_t n, enum usable usable);

#endif
