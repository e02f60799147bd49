/* SPDX-License-Identifier: MIT */
/*
 * uffdstm.h - what the subcommands share: their table's functions, and how they speak.
 *
 * Text that was asked for goes to standard output; everything else is one line on standard error that says what was
 * tried, what the system answered, and what to do.
 */
#ifndef UFFDSTM_TOOL_H
#define UFFDSTM_TOOL_H

#include <getopt.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdio.h>

/* Exit statuses that all subcommands share. */
enum status {
	STATUS_DONE = 0,
	STATUS_USAGE = 2,               /* wrong usage: nothing was done */
	STATUS_TROUBLE = 3,             /* could not be done, or its output not be written */
};

/* Subcommands: argv[0] is "uffdstm NAME", which starts every line on standard error. Return the exit status. */
int cmd_check(int argc, char **argv);
int cmd_status(int argc, char **argv);
int cmd_setup(int argc, char **argv);
int cmd_undo(int argc, char **argv);
int cmd_tune(int argc, char **argv);
int cmd_report(int argc, char **argv);

/* "uffdstm check: ": set by main() before a subcommand runs. */
extern const char *speaker;

#define PRINTF_LIKE(a, b) __attribute__((__format__(__printf__, a, b)))

/*
 * "uffdstm setup: /dev/userfaultfd: Permission denied (EACCES): run it as root". @error is an errno, negative or not;
 * 0: the system gave no answer. @advice may be NULL.
 */
void complain(int error, const char *advice, const char *tried, ...) PRINTF_LIKE(3, 4);

/* "uffdstm check: FORMAT: see uffdstm check --help". Always STATUS_USAGE. */
int usage_error(const char *format, ...) PRINTF_LIKE(1, 2);

/*
 * What getopt_long(3), with opterr = 0 and a short-option text that starts with ':' (or "+:"), has just refused by
 * returning @c, '?' or ':'. Always STATUS_USAGE.
 */
int bad_option(int c, char *const *argv, const struct option *names);

#define COLUMNS 80

/* How many columns @bytes of UTF-8 take. */
size_t columns(const char *text, size_t bytes);

/* @text in words from column @at on; lines that follow start at @indent. A word is never cut. */
void wrap(FILE *out, const char *text, size_t at, size_t indent);

/* "EPERM" for 1. */
const char *errno_name(int error);

/* At the start, and at the end: @status, or STATUS_TROUBLE with a line if standard output could not be written. */
void start_output(void);
bool flush_output(void); /* in between; false: it could not be written */
int finish_output(int status);

#endif
