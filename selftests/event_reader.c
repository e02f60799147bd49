// SPDX-License-Identifier: MIT
/*
 * event_reader.c - see event_reader.h.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "event_reader.h"

static bool complain(const struct event_log *log, size_t at, const char *what)
{
	printf("# event log, byte %zu of %zu: %s\n", at, log->size, what);
	return false;
}

static bool load(struct event_log *log, const char *path)
{
	FILE *f = fopen(path, "re");
	long size;

	if (!f || fseek(f, 0, SEEK_END) || (size = ftell(f)) < 0) {
		printf("# event log %s: cannot be read\n", path);
		if (f)
			fclose(f);
		return false;
	}
	rewind(f);
	log->bytes = malloc((size_t)size + 1);
	log->size = (size_t)size;
	if (!log->bytes || fread(log->bytes, 1, log->size, f) != log->size)
		abort();
	fclose(f);
	return true;
}

static bool is_hole(const unsigned char *unit)
{
	static const unsigned char zero[STM_LOG_UNIT];

	return !memcmp(unit, zero, STM_LOG_UNIT);
}

static bool check_header(struct event_log *log)
{
	const struct stm_log_header *h = &log->header;

	if (log->size < sizeof(*h))
		return complain(log, 0, "no header");
	memcpy(&log->header, log->bytes, sizeof(*h));
	if (memcmp(h->magic, STM_LOG_MAGIC, sizeof(h->magic)))
		return complain(log, 0, "another magic");
	if (h->version != STM_LOG_VERSION || h->unit_bytes != STM_LOG_UNIT || h->header_bytes != sizeof(*h))
		return complain(log, 0, "another version");
	return true;
}

bool event_log_open(struct event_log *log, const char *path)
{
	size_t at;

	*log = (struct event_log){ .n = 0 };
	if (!load(log, path) || !check_header(log))
		return false;
	log->events = calloc(log->size / STM_LOG_UNIT + 1, sizeof(*log->events));
	if (!log->events)
		abort();
	for (at = log->header.header_bytes; at + STM_LOG_UNIT <= log->size;) {
		struct event *e = &log->events[log->n];

		if (is_hole(log->bytes + at)) {
			at += STM_LOG_UNIT;
			continue;
		}
		memcpy(&e->r, log->bytes + at, sizeof(e->r));
		e->more = log->bytes + at + STM_LOG_UNIT;
		e->at = at;
		if (log->whole)
			return complain(log, at, "a record behind the end");
		if (at + (1 + (size_t)e->r.more) * STM_LOG_UNIT > log->size)
			break;
		if (e->r.kind == STM_EVENT_END) {
			log->whole = true;
			if (e->r.value != at)
				return complain(log, at, "the end says that it is elsewhere");
		}
		at += (1 + (size_t)e->r.more) * STM_LOG_UNIT;
		log->n++;
	}
	return true;
}

void event_log_close(struct event_log *log)
{
	free(log->events);
	free(log->bytes);
	*log = (struct event_log){ .n = 0 };
}

/* ---- finding ---- */

const struct event *event_next(const struct event_log *log, unsigned int kind, const struct event *after)
{
	for (const struct event *e = after ? after + 1 : log->events; e < log->events + log->n; e++)
		if (e->r.kind == kind)
			return e;
	return NULL;
}

const struct event *event_first(const struct event_log *log, unsigned int kind)
{
	return event_next(log, kind, NULL);
}

#define EACH(e, log, kind) (const struct event *e = NULL; (e = event_next(log, kind, e));)

size_t event_count(const struct event_log *log, unsigned int kind)
{
	size_t n = 0;

	for EACH(e, log, kind)
		n++;
	return n;
}

uint64_t event_sum(const struct event_log *log, unsigned int kind)
{
	uint64_t sum = 0;

	for EACH(e, log, kind)
		sum += e->r.value;
	return sum;
}

uint64_t event_commits(const struct event_log *log, unsigned int kind)
{
	uint64_t n = 0;

	for EACH(e, log, kind)
		n += STM_COMMIT_WEIGHT(e->r.value);
	return n;
}

size_t event_aborts(const struct event_log *log, unsigned int reason)
{
	size_t n = 0;

	for EACH(e, log, STM_EVENT_ABORT)
		n += STM_ABORT_REASON(e->r.value) == reason;
	return n;
}

size_t event_faults(const struct event_log *log, unsigned int kind)
{
	size_t n = 0;

	for EACH(e, log, STM_EVENT_FAULT)
		n += STM_FAULT_KIND(e->r.value) == kind;
	return n;
}

size_t event_waits(const struct event_log *log, unsigned int what)
{
	size_t n = 0;

	for EACH(e, log, STM_EVENT_WAIT)
		n += e->r.value == what;
	return n;
}

const struct stm_log_conflict *event_conflict(const struct event *abort)
{
	return abort->r.more * STM_LOG_UNIT == sizeof(struct stm_log_conflict) ?
		       (const struct stm_log_conflict *)(const void *)abort->more : NULL;
}

const uint64_t *event_frames(const struct event *reader, unsigned int *n)
{
	const uint64_t *frames = (const uint64_t *)(const void *)reader->more;

	for (*n = 0; *n < reader->r.more * STM_FRAMES_A_UNIT && frames[*n]; ++*n)
		;
	return frames;
}

/* ---- definitions ---- */

const char *event_text(const struct event *definition)
{
	size_t skip = definition->r.kind == STM_EVENT_MODULE ? sizeof(struct stm_log_module) : 0;

	return definition->r.more * STM_LOG_UNIT > skip ? (const char *)definition->more + skip : "";
}

static const struct event *definition(const struct event_log *log, unsigned int kind, uint32_t number)
{
	for EACH(e, log, kind)
		if (e->r.site == number)
			return e;
	return NULL;
}

const struct event *event_site(const struct event_log *log, uint32_t number)
{
	return definition(log, STM_EVENT_SITE, number);
}

int event_site_line(const struct event_log *log, uint32_t number)
{
	const struct event *site = event_site(log, number);

	return site ? (int)site->r.value : 0;
}

const char *event_name(const struct event_log *log, uint32_t number)
{
	const struct event *name = definition(log, STM_EVENT_NAME, number);

	return name ? event_text(name) : "";
}

/* ---- code ---- */

bool event_has_lines(void)
{
	return system("addr2line --version > /dev/null 2>&1") == 0;
}

int event_line(const struct event_log *log, uint64_t code, const char *file)
{
	const struct event *module = NULL;
	char command[1200], answer[1024];
	int line = 0;
	FILE *pipe;

	for EACH(e, log, STM_EVENT_MODULE)
		if (code - e->r.value < e->r.duration)
			module = e;
	if (!module)
		return 0;
	snprintf(command, sizeof(command), "addr2line -i -e '%s' %#llx", event_text(module),
		 (unsigned long long)(code - ((const struct stm_log_module *)(const void *)module->more)->bias));
	pipe = popen(command, "r");
	while (pipe && fgets(answer, sizeof(answer), pipe)) {
		const char *slash = strrchr(answer, '/'), *colon = strrchr(answer, ':');

		if (!line && slash && colon && !strncmp(slash + 1, file, strlen(file)) && slash + 1 + strlen(file) == colon)
			line = atoi(colon + 1);
	}
	if (pipe)
		pclose(pipe);
	return line;
}
