/* SPDX-License-Identifier: MIT */
/*
 * log_writer.h - writes event logs whose contents a test knows, to standard output: see <uffdstm/event.h>.
 *
 * Ticks are nanoseconds since log_header(). Everything is little-endian, like the machines that this runs on.
 */
#ifndef LOG_WRITER_H
#define LOG_WRITER_H

#include <elf.h>
#include <link.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <uffdstm.h>
#include <uffdstm/event.h>

#define LOG_START 1000000000ull

static uint64_t log_bytes; /* written so far */

static void log_put(const void *bytes, size_t n)
{
	if (fwrite(bytes, 1, n, stdout) != n) {
		perror("the log");
		exit(1);
	}
	log_bytes += n;
}

static struct stm_log_header log_header_of(const char *executable)
{
	struct stm_log_header header = {
		.version = STM_LOG_VERSION,
		.header_bytes = sizeof(header),
		.unit_bytes = STM_LOG_UNIT,
		.clock = STM_CLOCK_MONOTONIC,
		.ticks_per_second = 1000000000,
		.start = LOG_START,
		.start_ns = 4000000000000000000, /* the year 2096: no source has changed since */
		.heap = 0x200000,
		.heap_limit = 1 << 30,
		.granule = STM_GRANULE,
		.pid = 1234,
		.sample = 1,
		.library = "0.1",
	};

	memcpy(header.magic, STM_LOG_MAGIC, sizeof(header.magic));
	snprintf(header.executable, sizeof(header.executable), "%s", executable);
	return header;
}

static void log_header(void)
{
	struct stm_log_header header = log_header_of("/usr/bin/known");

	log_put(&header, sizeof(header));
}

/* @bytes of @more are filled up with zeros. */
static void log_record(unsigned int kind, unsigned int thread, unsigned int site, uint64_t time, uint64_t duration,
		       uint64_t value, const void *more, size_t bytes)
{
	static const char zeros[STM_LOG_UNIT];
	struct stm_record record = {
		.time = LOG_START + time,
		.kind = (uint8_t)kind,
		.more = (uint8_t)((bytes + STM_LOG_UNIT - 1) / STM_LOG_UNIT),
		.thread = (uint16_t)thread,
		.site = site,
		.duration = duration,
		.value = value,
	};

	log_put(&record, sizeof(record));
	if (bytes)
		log_put(more, bytes);
	log_put(zeros, record.more * STM_LOG_UNIT - bytes);
}

static inline void log_site(unsigned int number, const char *file, unsigned int line, const char *function)
{
	char text[4096];
	int len = snprintf(text, sizeof(text), "%s%c%s", file, 0, function);

	log_record(STM_EVENT_SITE, STM_NO_THREAD, number, 0, 0, line, text, (size_t)len);
}

static inline void log_named_site(unsigned int number, const char *file, unsigned int line, const char *function,
				  const char *name)
{
	char text[4096];
	int len = snprintf(text, sizeof(text), "%s%c%s%c%s", file, 0, function, 0, name);

	log_record(STM_EVENT_SITE, STM_NO_THREAD, number, 0, 0, line, text, (size_t)len);
}

static inline void log_name(unsigned int number, const char *name)
{
	log_record(STM_EVENT_NAME, STM_NO_THREAD, number, 0, 0, 0, name, strlen(name));
}

static inline void log_thread(unsigned int number, uint64_t time, uint64_t tid, const char *name)
{
	log_record(STM_EVENT_THREAD, number, 0, time, 0, tid, name, strlen(name));
}

static inline void log_commit(unsigned int thread, unsigned int site, uint64_t time, uint64_t duration)
{
	log_record(STM_EVENT_COMMIT, thread, site, time, duration, STM_COMMIT_VALUE(1, 1), NULL, 0);
}

static inline void log_wait(unsigned int thread, unsigned int site, uint64_t time, uint64_t duration, unsigned int kind)
{
	log_record(STM_EVENT_WAIT, thread, site, time, duration, kind, NULL, 0);
}

static inline void log_abort(unsigned int thread, unsigned int site, uint64_t time, uint64_t duration,
			     unsigned int attempt, const struct stm_log_conflict *conflict)
{
	log_record(STM_EVENT_ABORT, thread, site, time, duration, STM_ABORT_VALUE(STM_ABORT_CONFLICT, attempt, 0),
		   conflict, conflict ? sizeof(*conflict) : 0);
}

static inline void log_reader(unsigned int thread, unsigned int site, uint64_t time, uint64_t granule,
			      const uint64_t *frames, unsigned int n)
{
	log_record(STM_EVENT_READER, thread, site, time, 0, granule, frames, n * sizeof(*frames));
}

static inline void log_end(uint64_t time)
{
	log_record(STM_EVENT_END, STM_NO_THREAD, 0, time, 0, log_bytes, NULL, 0);
}

/* ---- this program's modules ---- */

static inline int log_module(struct dl_phdr_info *info, size_t size, void *change)
{
	char unit[sizeof(struct stm_log_module) + 4096] = "";
	struct stm_log_module module = { .bias = info->dlpi_addr };
	uint64_t begin = UINT64_MAX, end = 0;
	char path[4096];

	(void)size;
	for (int i = 0; i < info->dlpi_phnum; i++) {
		const ElfW(Phdr) *header = &info->dlpi_phdr[i];
		uint64_t at = info->dlpi_addr + header->p_vaddr;

		if (header->p_type == PT_LOAD && header->p_flags & PF_X) {
			begin = at < begin ? at : begin;
			end = at + header->p_memsz > end ? at + header->p_memsz : end;
		}
		if (header->p_type != PT_NOTE)
			continue;
		for (uint64_t note = at; note + sizeof(ElfW(Nhdr)) < at + header->p_memsz;) {
			const ElfW(Nhdr) *n = (const ElfW(Nhdr) *)note;
			const char *name = (const char *)(n + 1), *desc = name + (n->n_namesz + 3) / 4 * 4;

			if (n->n_type == NT_GNU_BUILD_ID && !strcmp(name, "GNU") &&
			    n->n_descsz <= sizeof(module.build_id)) {
				module.build_id_bytes = n->n_descsz;
				memcpy(module.build_id, desc, n->n_descsz);
			}
			note = (uint64_t)desc + (n->n_descsz + 3) / 4 * 4;
		}
	}
	if (!end || !realpath(*info->dlpi_name ? info->dlpi_name : "/proc/self/exe", path))
		return 0;
	if (change && module.build_id_bytes)
		module.build_id[0] ^= 1;
	memcpy(unit, &module, sizeof(module));
	snprintf(unit + sizeof(module), sizeof(unit) - sizeof(module), "%s", path);
	log_record(STM_EVENT_MODULE, STM_NO_THREAD, 0, 0, end - begin, begin, unit, sizeof(module) + strlen(path));
	return 0;
}

/* @wrong: with build ids of other files. */
static inline void log_modules(int wrong)
{
	dl_iterate_phdr(log_module, wrong ? &wrong : NULL);
}

#endif
