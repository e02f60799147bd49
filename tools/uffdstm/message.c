// SPDX-License-Identifier: MIT
/*
 * message.c - one line on standard error for each thing that went wrong.
 */
#include "uffdstm.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

const char *speaker = "uffdstm";

/* ---- standard output ---- */

static int output_error;        /* errno of the first failure */

void start_output(void)
{
	static char buffer[64 << 10]; /* all that a command prints: else a failure hides in printf() */

	if (!isatty(STDOUT_FILENO))
		setvbuf(stdout, buffer, _IOFBF, sizeof(buffer));
}

bool flush_output(void)
{
	if (fflush(stdout) && !output_error)
		output_error = errno;
	return !output_error;
}

int finish_output(int status)
{
	flush_output();
	if (!output_error && ferror(stdout))
		output_error = EIO;
	if (!output_error)
		return status;
	complain(output_error, "nothing that was printed may be trusted", "writing to standard output");
	return STATUS_TROUBLE;
}

/* ---- standard error ---- */

const char *errno_name(int error)
{
	const char *name = strerrorname_np(abs(error));

	return name ? name : "unknown error";
}

void complain(int error, const char *advice, const char *tried, ...)
{
	va_list args;

	flush_output();
	fprintf(stderr, "%s: ", speaker);
	va_start(args, tried);
	vfprintf(stderr, tried, args);
	va_end(args);
	if (error)
		fprintf(stderr, ": %s (%s)", strerror(abs(error)), errno_name(error));
	fprintf(stderr, "%s%s\n", advice ? ": " : "", advice ? advice : "");
}

int usage_error(const char *format, ...)
{
	va_list args;

	fprintf(stderr, "%s: ", speaker);
	va_start(args, format);
	vfprintf(stderr, format, args);
	va_end(args);
	fprintf(stderr, ": see %s --help\n", speaker);
	return STATUS_USAGE;
}

int bad_option(int c, char *const *argv, const struct option *names)
{
	for (; names->name; names++)
		if (names->val == optopt)
			return usage_error("--%s %s value", names->name, c == ':' ? "needs a" : "takes no");
	if (optopt)
		return usage_error("-%c: unknown option", optopt);
	return usage_error("%s: unknown option", argv[optind - 1]);
}
