// SPDX-License-Identifier: MIT
/*
 * status_text.c - what was seen, as lines of 80 columns: a table, or all about some processes.
 */
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#include "status.h"

#define INDENT 14

/* ---- numbers of few columns ---- */

struct number {
	char text[16];
};

/* At most seven columns: "0.5", "123456", "1234.5M". */
static struct number count(double n)
{
	static const char units[] = "MGTPE";
	struct number number;
	size_t unit = 0;

	if (n < 1e7) {
		snprintf(number.text, sizeof(number.text),
			 n < 10 && n != (double)(int)n ? "%.1f" : "%.0f", n);
		return number;
	}
	for (n /= 1e6; n >= 1e4 && unit + 1 < sizeof(units) - 1; unit++)
		n /= 1e3;
	snprintf(number.text, sizeof(number.text), "%.1f%c", n < 9999 ? n : 9999, units[unit]);
	return number;
}

/* At most eight: "1023 KiB", "12.3 MiB". */
static struct number bytes(double n)
{
	static const char *const units[] = { "B", "KiB", "MiB", "GiB", "TiB", "PiB", "EiB" };
	struct number number;
	size_t unit = 0;

	for (; n >= 1024 && unit + 1 < sizeof(units) / sizeof(units[0]); unit++)
		n /= 1024;
	snprintf(number.text, sizeof(number.text), unit && n < 99.95 ? "%.1f %s" : "%.0f %s", n,
		 units[unit]);
	return number;
}

static struct number percent(uint64_t part, uint64_t whole)
{
	double n = whole ? 100.0 * (double)part / (double)whole : 0;
	struct number number;

	snprintf(number.text, sizeof(number.text), n < 1000 ? "%.0f%%" : ">999%%", n);
	return number;
}

#define COUNT(n) count((double)(n)).text
#define BYTES(n) bytes((double)(n)).text
#define PAGES(n) bytes((double)(n)*STM_STATUS_PAGE).text

/* ---- the table ---- */

static void print_row(const struct process *process, const struct rates *rates)
{
	const struct stm_status_sum *sum = &process->sum;
	char threads[24];

	printf("%7d %-15.15s ", process->pid, process->command);
	if (process->seen != SEEN) {
		printf("%.56s\n", process->problem);
		return;
	}
	snprintf(threads, sizeof(threads), "%u/%u", (unsigned int)sum->running,
		 (unsigned int)sum->attached);
	printf("%-6.6s %7s %8s %8s %7s %8s %4s\n", process->status.engine, threads,
	       rates->known ? COUNT(rates->commits) : "-",
	       rates->known ? COUNT(rates->read_only) : "-",
	       rates->known ? COUNT(rates->aborts) : "-", PAGES(sum->pages_private),
	       percent(sum->entry_bytes_max, process->status.log_limit).text);
}

static void print_table(const struct report *report)
{
	const struct look *look = report->look;
	size_t n = look->n;

	if (report->rows &&
	    n + 4 > report->rows) /* heading, one line below for each kind of rest, the cursor's */
		n = report->rows > 4 ? report->rows - 4 : 1;
	if (look->n)
		printf("    PID COMMAND         ENGINE RUN/ALL COMMIT/S   READ/S ABORT/S  PRIVATE  LOG\n");
	for (size_t i = 0; i < n && i < look->n; i++)
		print_row(&look->processes[i], &report->rates[i]);
	if (n < look->n)
		printf("and %zu more\n", look->n - n);
	if (!look->n)
		printf("no process here uses libuffdstm%s\n",
		       look->denied ? ", of those that may be looked into" : "");
	if (look->denied)
		printf("%lu process%s may not be looked into: run it as root\n", look->denied,
		       look->denied == 1 ? "" : "es");
}

/* ---- all about one ---- */

static void tell(const char *what, const char *format, ...) PRINTF_LIKE(2, 3);
static void tell(const char *what, const char *format, ...)
{
	char text[1000];
	va_list args;

	va_start(args, format);
	vsnprintf(text, sizeof(text), format, args);
	va_end(args);
	printf("  %-*s", INDENT - 2, what);
	wrap(stdout, text, INDENT, INDENT);
	putchar('\n');
}

static void tell_rate(const char *what, bool known, double rate, uint64_t all, const char *rest)
{
	if (known)
		tell(what, "%s/s, %s in all%s", COUNT(rate), COUNT(all), rest);
	else
		tell(what, "%s in all%s", COUNT(all), rest);
}

static void list(char *text, size_t size, const uint64_t *counts, unsigned int n,
		 const char *name(unsigned int i))
{
	size_t len = 0;

	*text = 0;
	for (unsigned int i = 0; i < n && len < size; i++)
		if (counts[i])
			len += (size_t)snprintf(text + len, size - len, "%s %s %s", len ? "," : ":",
						name(i), COUNT(counts[i]));
}

static void tell_start(const struct stm_status *status)
{
	time_t started = (time_t)(status->started / 1000000000u);
	char text[64] = "an unknown time";
	struct tm broken;

	if (localtime_r(&started, &broken))
		strftime(text, sizeof(text), "%Y-%m-%d %H:%M:%S", &broken);
	tell("since", "%s, library %s", text, status->library);
}

static void print_process(const struct process *process, const struct rates *rates)
{
	const struct stm_status *status = &process->status;
	const struct stm_status_sum *sum = &process->sum;
	char reasons[200], kinds[200];

	printf("%d %s", process->pid, process->command);
	if (process->seen != SEEN) {
		printf(": %s\n", process->problem);
		return;
	}
	putchar('\n');
	if (*process->program)
		tell("program", "%s", process->program);
	tell_start(status);
	tell("engine", "%s, %s; opened by %s", status->engine, status->engine_why,
	     status->engine_opened);
	tell("segments",
	     "%s attached, %s in a transaction, %s parked; %s made, of at most %u; parked %s times so far",
	     COUNT(sum->attached), COUNT(sum->running), COUNT(sum->parked), COUNT(sum->segments),
	     status->segments_limit, COUNT(status->parks));
	if (silent_segments(process))
		tell("",
		     "of %u more nothing is known, here and below: the program could not share their memory",
		     silent_segments(process));
	tell_rate("commits", rates->known, rates->commits, sum->commits, ", that wrote");
	tell_rate("read only", rates->known, rates->read_only, sum->commits_read_only, "");
	list(reasons, sizeof(reasons), sum->aborts, STM_ABORT_REASONS, stm_abort_name);
	tell_rate("aborts", rates->known, rates->aborts, total_aborts(process), reasons);
	tell("inevitable", "%s transactions in all", COUNT(sum->inevitable));
	tell("pages", "%s private, %s shared; copied %s, dropped %s, of them trimmed %s so far",
	     COUNT(sum->pages_private), COUNT(sum->pages_shared), COUNT(sum->pages_copied),
	     COUNT(sum->pages_dropped), COUNT(sum->trimmed));
	list(kinds, sizeof(kinds), sum->faults, STM_FAULT_KINDS, stm_fault_name);
	tell("page faults", "%s in all%s",
	     COUNT(sum->faults[0] + sum->faults[1] + sum->faults[2] + sum->faults[3]), kinds);
	tell("memory",
	     "heap %s of at most %s; private pages %s, and up to half as much for markers; log %s",
	     BYTES(status->heap_bytes), BYTES(status->heap_limit), PAGES(sum->pages_private),
	     BYTES(sum->entry_bytes + status->slot_bytes));
	tell("log", "the fullest segment has %s of %s; %s commits not folded; %s begins waited",
	     BYTES(sum->entry_bytes_max), BYTES(status->log_limit),
	     COUNT(committed(process) - status->folded), COUNT(sum->log_waits));
	if (*status->log_held_by)
		tell("", "held up last by %s", status->log_held_by);
}

void status_text(const struct report *report)
{
	const struct look *look = report->look;

	if (!report->in_detail) {
		print_table(report);
		return;
	}
	for (size_t i = 0; i < look->n; i++) {
		if (i)
			putchar('\n');
		print_process(&look->processes[i], &report->rates[i]);
	}
}
