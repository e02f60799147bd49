// SPDX-License-Identifier: MIT
/*
 * report_trace.c - the log as trace events, for Perfetto and chrome://tracing. Written while it is read: nothing is
 * kept, so that the trace has as much as the log.
 *
 * A transaction is a slice of its thread; conflicts are instants with what is known of them in their arguments. Arrows
 * (flow events) go from the writer's thread to the aborted attempt's end: when exactly the writer committed the log
 * does not tell.
 *
 * The format: "Trace Event Format", Google, 2016.
 */
#include <inttypes.h>
#include <string.h>

#include "report.h"

static uint64_t flows;
static bool begun;

/* Texts are printable UTF-8: what JSON escapes is few. */
static void text(FILE *out, const char *text)
{
	putc('"', out);
	for (; *text; text++) {
		if (*text == '"' || *text == '\\')
			putc('\\', out);
		putc(*text, out);
	}
	putc('"', out);
}

static double micro(const struct report *report, uint64_t time)
{
	double at = (double)time - (double)report->axis.start;

	return seconds(report, at > 0 ? at : 0) * 1e6;
}

static void event(const struct report *report, FILE *out, const char *phase, const struct thread *thread, uint64_t time)
{
	fprintf(out, "%s\n{\"ph\":\"%s\",\"pid\":%u,\"tid\":%u,\"ts\":%.3f", begun ? "," : "", phase,
		report->log->header.pid, thread->index, micro(report, time));
	begun = true;
}

static void slice(const struct report *report, FILE *out, const struct thread *thread, const struct stm_record *record,
		  const char *category)
{
	event(report, out, "X", thread, record->time);
	fprintf(out, ",\"dur\":%.3f,\"cat\":\"%s\",\"name\":", seconds(report, (double)record->duration) * 1e6,
		category);
}

static void site_name(FILE *out, struct report *report, uint32_t number)
{
	const struct site *site = site_of(report, number);
	char name[SAY_BYTES], where[SAY_BYTES], all[3 * SAY_BYTES];

	if (!site->defined)
		snprintf(all, sizeof(all), "transaction %u", number);
	else
		snprintf(all, sizeof(all), "%s%s%s%.200s", say_name(name, site->place.name, 60),
			 say_place(where, &site->place, 100), *site->place.function ? " " : "", site->place.function);
	text(out, all);
}

static void aborted(struct report *report, FILE *out, const struct thread *thread, const struct stm_record *record)
{
	struct stm_log_conflict conflict;
	const struct thread *writer;
	uint64_t end = record->time + record->duration;

	slice(report, out, thread, record, "aborted");
	site_name(out, report, record->site);
	fprintf(out, ",\"cname\":\"terrible\",\"args\":{\"reason\":\"%s\",\"attempt\":%u",
		say_reason(STM_ABORT_REASON(record->value)), STM_ABORT_ATTEMPT(record->value) + 1);
	if (record->more) {
		struct code *code;

		memcpy(&conflict, record + 1, sizeof(conflict));
		fprintf(out, ",\"address\":\"%#" PRIx64 "\"", conflict.address);
		code = symbols_code(&report->symbols, conflict.writer_code);
		if (code) {
			char where[SAY_BYTES];

			fputs(",\"written at\":", out);
			text(out, say_place(where, code_place(&report->symbols, code), 100));
		}
		if (conflict.writer_site) {
			fputs(",\"by the transaction of\":", out);
			site_name(out, report, conflict.writer_site);
		}
		if (conflict.label) {
			fputs(",\"object\":", out);
			text(out, name_of(report, conflict.label)->text);
		}
	}
	fputs("}}", out);
	writer = record->more ? thread_at(report, conflict.writer_thread, record->time) : NULL;
	if (!writer)
		return;
	event(report, out, "s", writer, end);
	fprintf(out, ",\"id\":%" PRIu64 ",\"cat\":\"conflict\",\"name\":\"conflict\"}", flows);
	event(report, out, "f", thread, end);
	fprintf(out, ",\"bp\":\"e\",\"id\":%" PRIu64 ",\"cat\":\"conflict\",\"name\":\"conflict\"}", flows++);
}

void trace_start(struct report *report, FILE *out)
{
	begun = false;
	flows = 0;
	(void)report;
	fputs("{\"displayTimeUnit\":\"ns\",\"traceEvents\":[", out);
}

void trace_record(struct report *report, FILE *out, const struct stm_record *record)
{
	static const char *const names[] = {
		[STM_EVENT_FAULT] = "page fault", [STM_EVENT_PRIVATISE] = "pages made private",
		[STM_EVENT_FOLD] = "fold",	  [STM_EVENT_TRIM] = "trim",
		[STM_EVENT_PARK] = "park",
	};
	const struct thread *thread;

	if (record->thread == STM_NO_THREAD || record->kind < STM_EVENT_COMMIT || record->kind >= STM_EVENT_DETACH)
		return;
	thread = thread_of(report, record->thread, record->time);
	switch (record->kind) {
	case STM_EVENT_COMMIT:
	case STM_EVENT_READ_ONLY:
		slice(report, out, thread, record, record->kind == STM_EVENT_COMMIT ? "committed" : "read only");
		site_name(out, report, record->site);
		fprintf(out, ",\"args\":{\"granules\":%u,\"stands for\":%u}}", STM_COMMIT_GRANULES(record->value),
			STM_COMMIT_WEIGHT(record->value));
		break;
	case STM_EVENT_ABORT:
		aborted(report, out, thread, record);
		break;
	case STM_EVENT_WAIT:
		slice(report, out, thread, record, "wait");
		fputs("\"waiting ", out);
		fprintf(out, "%s\"}", say_wait(record->value < WAITS ? (unsigned int)record->value : 0));
		break;
	case STM_EVENT_FAULT:
	case STM_EVENT_PRIVATISE:
	case STM_EVENT_FOLD:
	case STM_EVENT_TRIM:
	case STM_EVENT_PARK:
		slice(report, out, thread, record, "system");
		fprintf(out, "\"%s\"}", names[record->kind]);
		break;
	case STM_EVENT_INEVITABLE:
		event(report, out, "i", thread, record->time + record->duration);
		fputs(",\"s\":\"t\",\"name\":\"inevitable\"}", out);
		break;
	case STM_EVENT_TASK_END: {
		struct code *code = symbols_code(&report->symbols, record->value);
		const struct place *place = code ? code_place(&report->symbols, code) : NULL;
		char name[SAY_BYTES], all[2 * SAY_BYTES];

		say_name(name, record->site ? site_of(report, record->site)->place.name : NULL, 60);
		snprintf(all, sizeof(all), "%s%.200s", name,
			 place && place->function ? place->function : place ? place->code : "task");
		slice(report, out, thread, record, "task");
		text(out, all);
		putc('}', out);
		break;
	}
	default:
		break;
	}
}

void trace_end(struct report *report, FILE *out)
{
	for (unsigned int i = 0; i < report->threads_n; i++) {
		char name[SAY_BYTES];

		fprintf(out, "%s\n{\"ph\":\"M\",\"pid\":%u,\"tid\":%u,\"name\":\"thread_name\",\"args\":{\"name\":",
			begun ? "," : "", report->log->header.pid, i);
		begun = true;
		text(out, say_thread(name, report->threads[i]));
		fputs("}}", out);
	}
	fputs("\n]}\n", out);
}
