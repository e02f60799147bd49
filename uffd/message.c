// SPDX-License-Identifier: MIT
/*
 * message.c - one line on stderr.
 *
 * Formatted on the stack and written by one write(2), so that it may be called in a
 * signal handler and lines of threads do not mix.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "message.h"

#define LINE_BYTES 512

static void say(const char *format, va_list args)
{
	static const char prefix[] = "libuffdstm: ";
	char line[LINE_BYTES];
	size_t len = sizeof(prefix) - 1;
	int saved = errno;

	memcpy(line, prefix, len);
	int n = vsnprintf(line + len, sizeof(line) - len - 1, format, args);

	if (n > 0)
		len += (size_t)n < sizeof(line) - len - 1 ? (size_t)n : sizeof(line) - len - 2;
	line[len++] = '\n';
	while (write(STDERR_FILENO, line, len) < 0 && errno == EINTR)
		;
	errno = saved;
}

void stm_complain(const char *format, ...)
{
	va_list args;

	va_start(args, format);
	say(format, args);
	va_end(args);
}

void stm_die(const char *format, ...)
{
	va_list args;

	va_start(args, format);
	say(format, args);
	va_end(args);
	abort();
}

const char *stm_errno_name(int error)
{
	const char *name = strerrorname_np(error < 0 ? -error : error);

	return name ? name : "unknown error";
}

bool stm_is_verbose(void)
{
	const char *verbose = secure_getenv("UFFDSTM_VERBOSE");

	return verbose && *verbose && strcmp(verbose, "0");
}
