// SPDX-License-Identifier: MIT
/*
 * report_say.c - times, numbers, places and things in words.
 */
#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "report.h"

const char *const spent_names[SPENT_KINDS] = {
	[SPENT_COMMITTED] = "committed",   [SPENT_ABORTED] = "aborted",	       [SPENT_WAITING] = "waiting",
	[SPENT_INEVITABLE] = "inevitable", [SPENT_SYSTEM] = "faults and fold",
};

/* ---- numbers ---- */

/* By the clock's own records, if they are far enough apart and not absurd. */
static double ticks_per_second(const struct report *report)
{
	double about = (double)report->log->header.ticks_per_second;
	double ticks = (double)(report->clock_last.ticks - report->clock_first.ticks);
	double ns = (double)(report->clock_last.ns - report->clock_first.ns);

	if (report->log->header.clock != STM_CLOCK_TSC || report->clock_last.ticks <= report->clock_first.ticks ||
	    report->clock_last.ns <= report->clock_first.ns || ns < 1e6)
		return about;
	return ticks / ns * 1e9 > about / 2 && ticks / ns * 1e9 < about * 2 ? ticks / ns * 1e9 : about;
}

double seconds(const struct report *report, double ticks)
{
	return ticks / ticks_per_second(report);
}

double mean_attempt(const struct site *site)
{
	return site->timed > 0 ? site->timed_ticks / site->timed : 0;
}

bool site_used(const struct site *site)
{
	double n = site->commits + site->read_only + site->log_waits;

	for (unsigned int i = 0; i < REASONS; i++)
		n += site->aborts[i];
	return n > 0;
}

const char *say_count(char *buffer, double count)
{
	char digits[20];
	char *to = buffer;
	int len;

	if (count >= 1e10) {
		sprintf(buffer, "%.3g", count);
		return buffer;
	}
	len = snprintf(digits, sizeof(digits), "%.0f", count);
	for (int i = 0; i < len; i++) {
		*to++ = digits[i];
		if ((len - i) % 3 == 1 && i + 1 < len)
			*to++ = ',';
	}
	*to = 0;
	return buffer;
}

const char *say_time(char *buffer, const struct report *report, double ticks)
{
	static const char *const units[] = { "s", "ms", "us", "ns" };
	double value = seconds(report, ticks);
	unsigned int unit = 0;

	if (value >= 1e6) {
		sprintf(buffer, "%.2g s", value);
		return buffer;
	}
	if (value >= 999.5) {
		say_count(buffer, value);
		strcat(buffer, " s");
		return buffer;
	}
	while (value < 0.9995 && unit < 3) {
		value *= 1000;
		unit++;
	}
	if (unit == 3 || value == 0)
		sprintf(buffer, "%.0f %s", value, value == 0 ? "s" : units[unit]);
	else
		sprintf(buffer, "%.*f %s", value < 9.995 ? 2 : value < 99.95 ? 1 : 0, value, units[unit]);
	return buffer;
}

/* ---- places ---- */

/* The end of @text in @most columns, with "..." before it where something is missing. */
void say_short(char *buffer, const char *text, unsigned int most)
{
	size_t bytes = strlen(text);
	const char *from = text + bytes;

	if (columns(text, bytes) <= most) {
		strcpy(buffer, text);
		return;
	}
	/* from the end on: a name may be long */
	for (unsigned int room = most - 3; room;)
		room -= ((unsigned char)*--from & 0xc0) != 0x80; /* the first byte of a character */
	sprintf(buffer, "...%s", from);
}

const char *say_name(char *buffer, const char *name, unsigned int most)
{
	char text[SAY_BYTES];

	*buffer = 0;
	if (!name || !*name)
		return buffer;
	say_short(text, name, most);
	snprintf(buffer, SAY_BYTES, "\"%.250s\" ", text); /* 60 characters of 4 bytes */
	return buffer;
}

const char *say_place(char *buffer, const struct place *place, unsigned int most)
{
	char text[9000], line[16] = "";

	if (place->file && place->line)
		snprintf(line, sizeof(line), ":%u", place->line);
	if (place->file && *place->file)
		snprintf(text, sizeof(text), "%s%s", place->file, line);
	else
		snprintf(text, sizeof(text), "%s", place->code ? place->code : "not known");
	say_short(buffer, text, most < SAY_BYTES / 4 ? most : SAY_BYTES / 4 - 1);
	return buffer;
}

const char *say_object(char *buffer, struct report *report, const struct object *object)
{
	char where[256], byte[40] = ""; /* 60 characters */

	if (object->several_offsets)
		strcpy(byte, ", at several offsets");
	else if (object->label || object->bytes)
		snprintf(byte, sizeof(byte), ", byte %" PRIu64, object->offset);
	if (object->label) {
		say_short(where, object->label->text, 60);
		snprintf(buffer, SAY_BYTES, "%s%s", where, byte);
	} else if (object->allocated) {
		char size[60] = "";

		if (object->bytes)
			snprintf(size, sizeof(size), ", %" PRIu64 " bytes", object->bytes);
		say_place(where, code_place(&report->symbols, object->allocated), 60);
		snprintf(buffer, SAY_BYTES, "allocated at %s%s%s", where, size, byte);
	} else if (object->bytes) {
		snprintf(buffer, SAY_BYTES, "a block of %" PRIu64 " bytes%s", object->bytes, byte);
	} else {
		snprintf(buffer, SAY_BYTES, "not known");
	}
	return buffer;
}

const char *say_thread(char *buffer, const struct thread *thread)
{
	if (thread->name && *thread->name) {
		say_short(buffer, thread->name, 60);
		return buffer;
	}
	snprintf(buffer, SAY_BYTES, thread->tid ? "thread %" PRIu64 : "number %" PRIu64,
		 thread->tid ? thread->tid : thread->number);
	return buffer;
}

const char *say_reason(unsigned int reason)
{
	const char *name = stm_abort_name(reason);

	return name ? name : "other";
}

const char *say_wait(unsigned int wait)
{
	static const char *const names[WAITS] = {
		[0] = "for something else",
		[STM_WAIT_INEVITABLE] = "for inevitable transactions",
		[STM_WAIT_LOG] = "for room in the commit log",
		[STM_WAIT_BACK_OFF] = "after aborts, before the next attempt",
		[STM_WAIT_RETRY] = "in stm_retry, for others' commits",
		[STM_WAIT_TURN] = "in ordered queues, for a turn",
	};

	return names[wait < WAITS ? wait : 0];
}

/* ---- the log ---- */

static bool say_end(char *buffer, const struct log *log)
{
	if (log->damaged)
		snprintf(buffer, SAY_BYTES, "The log is damaged at byte %" PRIu64 ": %s. What follows was not read.",
			 log->offset, log->damage);
	else if (log->error)
		snprintf(buffer, SAY_BYTES, "The log could not be read from byte %" PRIu64 " on: %s (%s).", log->offset,
			 strerror(log->error), errno_name(log->error));
	else if (log->cut_bytes)
		snprintf(buffer, SAY_BYTES,
			 "The log ends inside a record, at byte %" PRIu64 ": the program was killed, or still runs.",
			 log->offset + log->cut_bytes);
	else if (!log->whole)
		snprintf(buffer, SAY_BYTES, "The program did not end the log: it was killed, or still runs.");
	else
		return false;
	return true;
}

static bool say_holes(char *buffer, const struct log *log)
{
	char holes[SAY_BYTES / 8], bytes[SAY_BYTES / 8];

	if (log->missing)
		snprintf(buffer, SAY_BYTES, "The log has lost its last %s bytes.",
			 say_count(bytes, (double)log->missing));
	else if (log->holes)
		snprintf(buffer, SAY_BYTES, "%s %s not written: %s bytes are missing.",
			 say_count(holes, (double)log->holes),
			 log->holes == 1 ? "part of the log was" : "parts of the log were",
			 say_count(bytes, (double)log->hole_bytes));
	else
		return false;
	return true;
}

const char *say_trouble(char *buffer, const struct report *report, unsigned int n)
{
	const struct log *log = report->log;
	char count[SAY_BYTES / 8], why[256] = "";
	double untimed = 0;

	for (unsigned int i = 0; i < report->sites_n; i++)
		untimed += report->sites[i]->untimed;
	if (say_end(buffer, log) && !n--)
		return buffer;
	if (say_holes(buffer, log) && !n--)
		return buffer;
	if (report->dropped && !n--) {
		snprintf(buffer, SAY_BYTES, "%s records were dropped, as the disk did not keep up: sums are too low.",
			 say_count(count, (double)report->dropped));
		return buffer;
	}
	if (log->unknown && !n--) {
		snprintf(buffer, SAY_BYTES, "%s records of kinds that this program does not know were left out.",
			 say_count(count, (double)log->unknown));
		return buffer;
	}
	if (log->impossible && !n--) {
		snprintf(buffer, SAY_BYTES,
			 "%s records with impossible times were left out, the first at byte %" PRIu64 ".",
			 say_count(count, (double)log->impossible), log->impossible_offset);
		return buffer;
	}
	if (report->undefined && !n--) {
		snprintf(buffer, SAY_BYTES, "%s records name places whose definition is missing.",
			 say_count(count, (double)report->undefined));
		return buffer;
	}
	if ((report->overflow || report->symbols.overflow) && !n--) {
		snprintf(buffer, SAY_BYTES,
			 "There are more places, conflicts, threads or the like than are kept: %s left out.",
			 say_count(count, (double)(report->overflow + report->symbols.overflow)));
		return buffer;
	}
	if (log->header.sample > 1 && !n--) {
		snprintf(buffer, SAY_BYTES, "Commits are sampled, one in %u, and weighted: their sums are estimates.",
			 log->header.sample);
		return buffer;
	}
	if (untimed > 0 && !n--) {
		snprintf(buffer, SAY_BYTES,
			 "The length of %s aborts is not known: each counts as the mean of its place.",
			 say_count(count, untimed));
		return buffer;
	}
	if (report->writer == STM_WRITER_PWRITE && !n--) {
		if (report->writer_why)
			say_short(why, report->writer_why, 60);
		snprintf(buffer, SAY_BYTES, "The log was written without io_uring%s%s.", *why ? ": " : "", why);
		return buffer;
	}
	return NULL;
}
