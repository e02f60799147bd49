// SPDX-License-Identifier: MIT
/*
 * log_read.c - the records of an event log, one after the other, in a buffer of bounded size.
 *
 * The file has nothing to find one's place again with, so a record that cannot be as long as it says ends the
 * reading: what follows might be read as something that nobody wrote. What is merely unknown, missing or improbable
 * is counted and left out.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "log.h"
#include "uffdstm.h"

#define BUFFER_BYTES ((size_t)1 << 20)
#define SKIP_BYTES ((uint64_t)1 << 16)                  /* a hole so long may be one of the file system */
#define RUN_SECONDS (10ull * 366 * 24 * 3600)           /* no program runs longer */

/* The versions that are read, and how many bytes of header they have. */
static const struct format {
	uint32_t version;
	uint32_t header_bytes;
} formats[] = {
	{ 1, sizeof(struct stm_log_header) },
};

#define FORMATS (sizeof(formats) / sizeof(formats[0]))
_Static_assert(STM_LOG_VERSION == 1, "the newest version and the one before are in the table");

/* How many further units a kind can have. */
static const struct kind {
	uint8_t fewest, most;
	bool known;
} kinds[256] = {
	[STM_EVENT_SITE] = { 0, 255, true },
	[STM_EVENT_NAME] = { 0, 255, true },
	[STM_EVENT_THREAD] = { 0, 255, true },
	[STM_EVENT_MODULE] = { 1, 255, true },
	[STM_EVENT_WRITER] = { 0, 255, true },
	[STM_EVENT_COMMIT] = { 0, 0, true },
	[STM_EVENT_READ_ONLY] = { 0, 0, true },
	[STM_EVENT_ABORT] = { 0, 2, true },
	[STM_EVENT_INEVITABLE] = { 0, 0, true },
	[STM_EVENT_WAIT] = { 0, 0, true },
	[STM_EVENT_FAULT] = { 0, 0, true },
	[STM_EVENT_PRIVATISE] = { 0, 0, true },
	[STM_EVENT_READER] = { 1, STM_READER_FRAMES / STM_FRAMES_A_UNIT, true },
	[STM_EVENT_FOLD] = { 0, 0, true },
	[STM_EVENT_TRIM] = { 0, 0, true },
	[STM_EVENT_PARK] = { 0, 0, true },
	[STM_EVENT_LOG_GROWTH] = { 0, 0, true },
	[STM_EVENT_TASK_BEGIN] = { 0, 0, true },
	[STM_EVENT_TASK_END] = { 0, 0, true },
	[STM_EVENT_DETACH] = { 0, 0, true },
	[STM_EVENT_DROPPED] = { 0, 0, true },
	[STM_EVENT_CLOCK] = { 0, 0, true },
	[STM_EVENT_END] = { 0, 0, true },
};

/* ---- text ---- */

/* How many bytes the UTF-8 character at @text has; 0: it is none, or a control character. */
static size_t character(const unsigned char *text)
{
	/* the second byte must be at least and at most: against overlong forms and surrogates */
	unsigned int c = text[0], low = 0x80, high = 0xbf;
	size_t len = c < 0xe0 ? 2 : c < 0xf0 ? 3 : 4;

	if (c < 0x80)
		return c >= 0x20 && c != 0x7f;
	if (c < 0xc2 || c > 0xf4)
		return 0;
	if (c == 0xc2) /* U+0080 to U+009F are controls, too */
		low = 0xa0;
	else if (c == 0xe0)
		low = 0xa0;
	else if (c == 0xed)
		high = 0x9f;
	else if (c == 0xf0)
		low = 0x90;
	else if (c == 0xf4)
		high = 0x8f;
	if (text[1] < low || text[1] > high)
		return 0;
	for (size_t i = 2; i < len; i++)
		if (text[i] < 0x80 || text[i] > 0xbf)
			return 0;
	return len;
}

void log_printable(char *text)
{
	while (*text) {
		size_t len = character((const unsigned char *)text);

		if (!len)
			*text = '?';
		text += len ? len : 1;
	}
}

/* ---- the file ---- */

/* At least @bytes at @begin, if the file has them. */
static bool have(struct log *log, size_t bytes)
{
	while (log->end - log->begin < bytes && !log->file_ended) {
		ssize_t n;

		/* records stay aligned: what is moved begins with one, and so does the buffer */
		memmove(log->buffer, log->buffer + log->begin, log->end - log->begin);
		log->end -= log->begin;
		log->begin = 0;
		n = read(log->fd, log->buffer + log->end, BUFFER_BYTES - log->end);
		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			log->error = errno;
		log->file_ended = n <= 0;
		log->end += n > 0 ? (size_t)n : 0;
	}
	return log->end - log->begin >= bytes;
}

static void take(struct log *log, size_t bytes)
{
	log->begin += bytes;
	log->offset += bytes;
}

/* Leaves out what the file system knows to be a hole. */
static void skip_hole(struct log *log)
{
	off_t data;

	if (!log->size || log->begin != log->end)
		return;
	data = lseek(log->fd, (off_t)log->offset, SEEK_DATA);
	if (data < 0 && errno == ENXIO)
		data = lseek(log->fd, 0, SEEK_END); /* nothing but a hole */
	if (data < 0 || (uint64_t)data < log->offset)
		data = (off_t)log->offset;
	data -= (data - (off_t)log->offset) % STM_LOG_UNIT;
	if (lseek(log->fd, data, SEEK_SET) != data)
		return;
	log->hole_bytes += (uint64_t)data - log->offset;
	log->offset = (uint64_t)data;
}

/* Zeros where a record should begin. */
static void hole(struct log *log)
{
	static const char zeros[STM_LOG_UNIT];
	uint64_t bytes = 0;

	while (have(log, STM_LOG_UNIT) && !memcmp(log->buffer + log->begin, zeros, STM_LOG_UNIT)) {
		take(log, STM_LOG_UNIT);
		bytes += STM_LOG_UNIT;
		log->hole_bytes += STM_LOG_UNIT;
		if (bytes >= SKIP_BYTES)
			skip_hole(log);
	}
	log->holes += bytes != 0;
}

/* ---- the header ---- */

static int bad(const struct log *log, const char *what, uint64_t value, size_t offset)
{
	complain(0, "it is no event log, or damaged", "%s: byte %zu: %s %llu", log->name, offset, what,
		 (unsigned long long)value);
	return STATUS_TROUBLE;
}

static int check_header(struct log *log)
{
	struct stm_log_header *header = &log->header;
	const struct format *format = NULL;
	uint64_t most;

	if (header->version > STM_LOG_VERSION) {
		complain(0, "use the uffdstm of the library that wrote it",
			 "%s: format %u is newer than this program knows, %u", log->name, header->version,
			 STM_LOG_VERSION);
		return STATUS_TROUBLE;
	}
	for (size_t i = 0; i < FORMATS; i++)
		if (formats[i].version == header->version)
			format = &formats[i];
	if (!format)
		return bad(log, "format", header->version, offsetof(struct stm_log_header, version));
	if (header->header_bytes < format->header_bytes || header->header_bytes > 4096 ||
	    header->header_bytes % STM_LOG_UNIT)
		return bad(log, "header size", header->header_bytes, offsetof(struct stm_log_header, header_bytes));
	if (header->unit_bytes != STM_LOG_UNIT)
		return bad(log, "unit size", header->unit_bytes, offsetof(struct stm_log_header, unit_bytes));
	if (header->clock != STM_CLOCK_MONOTONIC && header->clock != STM_CLOCK_TSC)
		return bad(log, "clock", header->clock, offsetof(struct stm_log_header, clock));
	if (header->ticks_per_second < 1000 || header->ticks_per_second > 100000000000)
		return bad(log, "ticks per second", header->ticks_per_second,
			   offsetof(struct stm_log_header, ticks_per_second));
	most = header->ticks_per_second * RUN_SECONDS;
	if (header->start > UINT64_MAX / 2 - most)
		return bad(log, "start", header->start, offsetof(struct stm_log_header, start));
	log->latest = header->start + most;
	if (!header->sample)
		return bad(log, "sample", header->sample, offsetof(struct stm_log_header, sample));
	if (header->build_id_bytes > sizeof(header->build_id))
		return bad(log, "build id size", header->build_id_bytes,
			   offsetof(struct stm_log_header, build_id_bytes));
	header->executable[sizeof(header->executable) - 1] = 0;
	header->library[sizeof(header->library) - 1] = 0;
	log_printable(header->executable);
	log_printable(header->library);
	return 0;
}

static int read_header(struct log *log)
{
	size_t bytes = 0;

	if (have(log, sizeof(log->header.magic)))
		memcpy(log->header.magic, log->buffer, sizeof(log->header.magic));
	if (log->error) {
		complain(log->error, NULL, "%s", log->name);
		return STATUS_TROUBLE;
	}
	if (memcmp(log->header.magic, STM_LOG_MAGIC, sizeof(log->header.magic))) {
		complain(0, "a program writes one with UFFDSTM_LOG=FILE", "%s: no event log", log->name);
		return STATUS_TROUBLE;
	}
	if (have(log, sizeof(log->header)))
		bytes = sizeof(log->header);
	memcpy(&log->header, log->buffer, bytes);
	if (bytes) {
		int status = check_header(log);

		if (status)
			return status;
	}
	if (!bytes || !have(log, log->header.header_bytes)) {
		complain(log->error, "it was cut, or the program has not written it yet",
			 "%s: byte %zu: the header is not whole", log->name, log->end);
		return STATUS_TROUBLE;
	}
	take(log, log->header.header_bytes);
	return 0;
}

int log_start(struct log *log, int fd, const char *name)
{
	struct stat status;

	*log = (struct log){ .fd = fd, .name = name };
	if (fstat(fd, &status)) {
		complain(errno, NULL, "%s", name);
		return STATUS_TROUBLE;
	}
	if (S_ISDIR(status.st_mode)) {
		complain(EISDIR, NULL, "%s", name);
		return STATUS_TROUBLE;
	}
	if (S_ISREG(status.st_mode))
		log->size = (uint64_t)status.st_size;
	log->buffer = aligned_alloc(64, BUFFER_BYTES);
	if (!log->buffer) {
		complain(ENOMEM, NULL, "%s", name);
		return STATUS_TROUBLE;
	}
	return read_header(log);
}

int log_open(struct log *log, const char *name)
{
	int fd = STDIN_FILENO, status;

	if (strcmp(name, "-"))
		fd = open(name, O_RDONLY | O_CLOEXEC | O_NOCTTY);
	else
		name = "standard input";
	if (fd < 0) {
		complain(errno, NULL, "%s", name);
		return STATUS_TROUBLE;
	}
	status = log_start(log, fd, name);
	if (status)
		log_close(log);
	return status;
}

void log_close(struct log *log)
{
	free(log->buffer);
	log->buffer = NULL;
	if (log->fd > STDIN_FILENO)
		close(log->fd);
}

/* ---- records ---- */

static void damage(struct log *log, const struct stm_record *record, const char *what)
{
	log->damaged = log->file_ended = true;
	snprintf(log->damage, sizeof(log->damage), "a record of kind %u with %u further units, which %s", record->kind,
		 record->more, what);
	log->begin = log->end;
}

bool log_has_duration(const struct stm_record *record)
{
	return record->kind != STM_EVENT_MODULE && record->kind != STM_EVENT_SITE;
}

/* Its time can be reckoned with. */
static bool possible(struct log *log, const struct stm_record *record, uint64_t offset)
{
	if (record->time <= log->latest &&
	    (!log_has_duration(record) || record->duration <= log->latest - log->header.start))
		return true;
	if (!log->impossible++)
		log->impossible_offset = offset;
	return false;
}

const struct stm_record *log_next(struct log *log)
{
	for (;;) {
		const struct stm_record *record;
		const struct kind *kind;
		uint64_t offset;
		size_t bytes;

		hole(log);
		if (!have(log, sizeof(*record)))
			break;
		record = (const struct stm_record *)(log->buffer + log->begin);
		kind = &kinds[record->kind];
		bytes = sizeof(*record) + (size_t)record->more * STM_LOG_UNIT;
		if (record->kind == STM_EVENT_HOLE) {
			damage(log, record, "is neither a hole nor a record");
			return NULL;
		}
		if (kind->known && (record->more < kind->fewest || record->more > kind->most ||
				    (record->kind == STM_EVENT_ABORT && record->more == 1))) {
			damage(log, record, "it cannot have");
			return NULL;
		}
		if (!have(log, bytes))
			break;
		record = (const struct stm_record *)(log->buffer + log->begin); /* it may have moved */
		if (record->kind == STM_EVENT_END) {
			log->whole = true;
			log->missing = record->value > log->offset ? record->value - log->offset : 0;
		}
		offset = log->offset;
		take(log, bytes);
		log->records++;
		if (!kind->known)
			log->unknown++;
		else if (possible(log, record, offset))
			return record;
	}
	log->cut_bytes = log->end - log->begin;
	return NULL;
}
