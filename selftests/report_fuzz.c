// SPDX-License-Identifier: MIT
/*
 * report_fuzz.c - any bytes as an event log, by libFuzzer: see report_fuzz.sh. Every kind of report is made of it, and
 * must be what it says it is. Linked with what uffdstm report consists of, but for its options and messages.
 */
#include <ctype.h>
#include <json-c/json.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "report.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void wrong(const char *what, const char *text)
{
	fprintf(stderr, "report_fuzz: %s:\n%.2000s\n", what, text);
	abort();
}

/* ---- instead of message.c and the library ---- */

const char *speaker = "report_fuzz";

void complain(int error, const char *advice, const char *tried, ...)
{
	char line[1000];
	va_list args;

	(void)error;
	(void)advice;
	va_start(args, tried);
	vsnprintf(line, sizeof(line), tried, args);
	va_end(args);
	for (const char *c = line; *c; c++)
		if (*c < ' ' || *c > '~')
			wrong("message", line);
}

const char *errno_name(int error)
{
	return strerrorname_np(error);
}

const char *stm_version(void)
{
	return "0.1";
}

const char *stm_abort_name(unsigned int reason)
{
	return reason < STM_ABORT_REASONS ? "reason" : NULL;
}

/* ---- what must hold ---- */

/* @n bytes are all of it. */
static void is_json(const char *text, size_t n)
{
	struct json_tokener *tokener = json_tokener_new();
	struct json_object *object;

	json_tokener_set_flags(tokener, JSON_TOKENER_STRICT | JSON_TOKENER_VALIDATE_UTF8);
	object = json_tokener_parse_ex(tokener, text, (int)n);
	if (!object || json_tokener_get_error(tokener) != json_tokener_success ||
	    json_tokener_get_parse_end(tokener) != n)
		wrong(json_tokener_error_desc(json_tokener_get_error(tokener)), text);
	json_object_put(object);
	json_tokener_free(tokener);
}

static void is_narrow(const char *text)
{
	while (*text) {
		size_t len = strcspn(text, "\n");

		if (columns(text, len) > COLUMNS)
			wrong("more than 80 columns", text);
		for (size_t i = 0; i < len; i++)
			if ((unsigned char)text[i] < ' ' || text[i] == 0x7f)
				wrong("a control character", text);
		text += len + (text[len] == '\n');
	}
}

static void is_page(const char *text)
{
	static const char open[] = "<script id=\"data\" type=\"application/json\">";
	const char *data = strstr(text, open), *end;

	if (!data)
		wrong("no data in the page", text);
	data += strlen(open);
	end = strchr(data, '<');
	if (!end || strncmp(end, "</script>", 9))
		wrong("a tag in the page's data", data);
	is_json(data, (size_t)(end - data));
}

static void is_folded(const char *text)
{
	while (*text) {
		size_t len = strcspn(text, "\n"), digits = 0;

		while (digits < len && isdigit((unsigned char)text[len - 1 - digits]))
			digits++;
		if (!digits || digits + 1 >= len || text[len - 1 - digits] != ' ' || text[len] != '\n')
			wrong("no folded stack", text);
		text += len + 1;
	}
}

/* ---- reports ---- */

enum kind { TEXT, JSON, HTML, TRACE, FOLDED, KINDS };

static void make(int fd, enum kind kind)
{
	const struct stm_record *record;
	struct report *report;
	struct log log;
	char *text = NULL;
	size_t bytes = 0;
	FILE *out;

	lseek(fd, 0, SEEK_SET);
	if (log_start(&log, dup(fd), "file")) {
		log_close(&log);
		return;
	}
	out = open_memstream(&text, &bytes);
	report = need(sizeof(*report));
	report_start(report, &log, kind == HTML);
	if (kind == TRACE)
		trace_start(report, out);
	while ((record = log_next(&log))) {
		report_record(report, record);
		if (kind == TRACE)
			trace_record(report, out, record);
	}
	report_finish(report);
	if (kind == TEXT)
		write_text(report, out, 10);
	else if (kind == JSON)
		write_json(report, out, 100);
	else if (kind == HTML)
		write_html(report, out, 100);
	else if (kind == FOLDED)
		write_folded(report, out);
	else
		trace_end(report, out);
	fclose(out);
	if (kind == TEXT)
		is_narrow(text);
	else if (kind == HTML)
		is_page(text);
	else if (kind == FOLDED)
		is_folded(text);
	else
		is_json(text, bytes - 1); /* without the new line */
	free(text);
	report_end(report);
	free(report);
	log_close(&log);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static int fd = -1;

	if (fd < 0)
		fd = memfd_create("log", MFD_CLOEXEC);
	if (ftruncate(fd, 0) || pwrite(fd, data, size, 0) != (ssize_t)size)
		abort();
	for (enum kind kind = TEXT; kind < KINDS; kind++)
		make(fd, kind);
	return 0;
}
