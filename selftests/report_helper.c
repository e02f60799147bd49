// SPDX-License-Identifier: MIT
/*
 * report_helper.c - event logs that are known by construction, for report_test.sh; and what it reads.
 *
 *	helper write NAME...   one of the logs below
 *	helper big BYTES       a log of about that size; on standard error, how many commits and aborts it has
 *	helper dump FILE       its records, a line each, as uffdstm reads them
 *	helper json FILE       JSON as lines "a.0.b<tab>value"
 *	helper kinds           what dump should say of the log "kinds"
 */
#include <dlfcn.h>
#include <json-c/json.h>

#include "log.h"
#include "log_writer.h"
#include "uffdstm/inlined.h"

#define MS 1000000ull
#define US 1000ull

/* ---- code that the logs are about: report_test.sh looks for the marks ---- */

/* The address of the call, as the library knows it from a return address. */
__attribute__((__noinline__)) uint64_t here(void)
{
	return (uint64_t)__builtin_return_address(0) - 1;
}

__attribute__((__noinline__)) static uint64_t counter_add(void)
{
	uint64_t at = 0;

	at += here(); /* mark: counter */
	return at;
}

struct table {
	uint64_t entries, limit;
};

__attribute__((__noinline__)) static uint64_t table_insert(struct table *table)
{
	table->entries += here(); /* mark: insert */
	return table->entries;
}

__attribute__((__noinline__)) static uint64_t table_look(struct table *table)
{
	table->limit = here(); /* mark: look */
	return table->limit;
}

__attribute__((__noinline__)) static uint64_t by_barrier(void)
{
	return inlined_barrier(); /* mark: barrier */
}

__attribute__((__noinline__)) static uint64_t plain_store(void)
{
	uint64_t value = here(); /* mark: store */

	__asm__ volatile("" : "+r"(value));
	return value;
}

static uint64_t in_library(void)
{
	void *library = dlopen("./libplugin.so", RTLD_NOW);
	uint64_t (*code)(uint64_t(*)(void)) =
		library ? (uint64_t(*)(uint64_t(*)(void)))dlsym(library, "plugin_store") : NULL;

	if (!code) {
		fprintf(stderr, "%s\n", dlerror());
		exit(1);
	}
	return code(here);
}

/* ---- logs ---- */

static void start(int wrong)
{
	log_header();
	if (!getenv("REPORT_NO_MODULES")) /* looking things up is slow, under a fuzzer */
		log_modules(wrong);
	log_site(1, "known.c", 10, "adder");
	log_site(2, "known.c", 20, "reader");
	log_name(1, "totals");
	log_thread(0, 0, 4000, "first");
	log_thread(1, 0, 4001, "second");
}

static struct stm_log_conflict conflict_at(uint64_t address, uint64_t code)
{
	return (struct stm_log_conflict){
		.address = address,
		.writer_code = code,
		.writer_site = 1,
		.writer_thread = 0,
	};
}

/*
 * 100 times, every 10 ms: thread 0 commits for 2 ms in site 1; thread 1 is undone for it in site 2 after 3 ms, backs
 * off for 1 ms, reads the granule from @read, and commits after 2 ms.
 */
static void strife(uint64_t wrote, uint64_t read, uint64_t caller, unsigned int label, uint64_t block_bytes)
{
	const uint64_t frames[] = { read, caller };

	for (uint64_t i = 0; i < 100; i++) {
		struct stm_log_conflict conflict = conflict_at(0x200110, wrote);
		uint64_t t = i * 10 * MS;

		conflict.label = label;
		conflict.label_offset = 16;
		conflict.block = block_bytes ? 0x200100 : 0;
		conflict.block_bytes = block_bytes;
		conflict.alloc_code = block_bytes && !label ? plain_store() : 0;
		log_commit(0, 1, t, 2 * MS);
		log_abort(1, 2, t, 3 * MS, 0, &conflict);
		log_wait(1, 2, t + 3 * MS, 1 * MS, STM_WAIT_BACK_OFF);
		if (read)
			log_reader(1, 2, t + 4 * MS, 0x200110, frames, caller ? 2 : 1);
		log_commit(1, 2, t + 4 * MS, 2 * MS);
	}
	log_end(1000 * MS);
}

static void write_counter(void)
{
	uint64_t at = counter_add();

	start(0);
	strife(at, at, by_barrier(), 1, 0);
}

static void write_size_field(void)
{
	struct table table = { 0, 0 };
	uint64_t at = table_insert(&table);

	start(0);
	strife(at, at, 0, 0, 64);
}

static void write_granule(void)
{
	struct table table = { 0, 0 };
	uint64_t at = table_insert(&table);

	start(0);
	strife(at, table_look(&table), 0, 0, 64);
}

static void write_two_labels(void)
{
	start(0);
	log_name(2, "limits");
	for (uint64_t i = 0; i < 100; i++) {
		struct stm_log_conflict conflict = conflict_at(0x200110, plain_store());

		conflict.label = 1 + i % 2;
		log_abort(1, 2, i * 10 * MS, 3 * MS, 0, &conflict);
		log_commit(1, 2, i * 10 * MS + 3 * MS, 5 * MS);
	}
	log_end(1000 * MS);
}

static void write_store(void)
{
	start(0);
	strife(plain_store(), 0, 0, 1, 0);
}

static void write_barrier(void)
{
	start(0);
	strife(by_barrier(), 0, 0, 1, 0);
}

static void write_library(void)
{
	uint64_t at = in_library(); /* before its module is written */

	start(0);
	strife(at, 0, 0, 1, 0);
}

static void write_wrong_build(void)
{
	start(1);
	strife(plain_store(), 0, 0, 1, 0);
}

/* Two pairs, one four times as costly; and one without a writer. */
static void write_ranking(void)
{
	struct stm_log_conflict cheap = conflict_at(0x200110, plain_store()),
				dear = conflict_at(0x200200, counter_add());

	start(0);
	for (uint64_t i = 0; i < 10; i++) {
		log_abort(1, 2, i * 100 * MS, 1 * MS, 0, &cheap);
		log_abort(1, 2, i * 100 * MS + 10 * MS, 4 * MS, 0, &dear);
		log_commit(1, 2, i * 100 * MS + 20 * MS, 1 * MS);
	}
	log_abort(1, 1, 999 * MS, 1 * MS / 2, 0, NULL);
	log_end(1000 * MS);
}

/*
 * One thread: 10 ms of which a fault took 1 and a fold inside of a wait of 3 took 2; then 20 ms, the last 15 of
 * them inevitable, after it waited 2 of the first 5; 4 undone; a fault told late, of the 4, that took 1.
 */
static void write_split(void)
{
	start(0);
	log_record(STM_EVENT_FAULT, 0, 1, 2 * MS, 1 * MS, STM_FAULT_VALUE(0x200000, STM_FAULT_READ, 8), NULL, 0);
	log_record(STM_EVENT_FOLD, 0, 0, 6 * MS, 2 * MS, 5, NULL, 0);
	log_wait(0, 1, 5 * MS, 3 * MS, STM_WAIT_INEVITABLE);
	log_commit(0, 1, 0, 10 * MS);
	log_wait(0, 1, 12 * MS, 2 * MS, STM_WAIT_INEVITABLE);
	log_record(STM_EVENT_INEVITABLE, 0, 1, 12 * MS, 3 * MS, 1, NULL, 0);
	log_commit(0, 1, 10 * MS, 20 * MS);
	log_abort(0, 1, 40 * MS, 4 * MS, 0, NULL);
	log_record(STM_EVENT_FAULT, 0, 1, 41 * MS, 1 * MS, STM_FAULT_VALUE(0x200000, STM_FAULT_WRITE, 1), NULL, 0);
	log_end(100 * MS);
}

/* One in 10 is logged. 20 timed commits of 1 ms, 5 aborts of 3 ms, 15 whose length is not known. */
static void write_sampled(void)
{
	struct stm_log_header header = log_header_of("/usr/bin/known");

	header.sample = 10;
	log_put(&header, sizeof(header));
	log_site(1, "known.c", 10, "adder");
	for (uint64_t i = 0; i < 20; i++) {
		struct stm_log_conflict conflict = conflict_at(0x200110, 0);

		log_record(STM_EVENT_ABORT, 0, 1, i * 100 * MS, i < 5 ? 3 * MS : 0,
			   STM_ABORT_VALUE(STM_ABORT_VALIDATE, 0, i >= 5), &conflict, sizeof(conflict));
		log_record(STM_EVENT_COMMIT, 0, 1, i * 100 * MS + 10 * MS, 1 * MS, STM_COMMIT_VALUE(1, 10), NULL, 0);
	}
	log_end(2000 * MS);
}

/* Two transactions at one place, called by different names, and one that has none: each 10 ms, and an abort of 5 ms. */
static void write_named(void)
{
	struct stm_log_conflict conflict = conflict_at(0x200110, 0);
	struct stm_log_header header = log_header_of("/usr/bin/known");

	log_put(&header, sizeof(header));
	log_named_site(1, "known.c", 10, "adder", "transfer");
	log_named_site(2, "known.c", 10, "adder",
		       "a name that is longer than a line of the report has columns, so that its end is all");
	log_site(3, "known.c", 10, "adder");
	log_thread(0, 0, 4000, "first");
	log_thread(1, 0, 4001, "second");
	for (unsigned int i = 1; i <= 3; i++) {
		log_abort(1, i, i * 100 * MS, (4 - i) * 5 * MS, 0, &conflict);
		log_commit(1, i, i * 100 * MS + 50 * MS, 10 * MS);
	}
	log_end(500 * MS);
}

/* Tasks of one function, called by two names, or by none: each 3 times; and transactions that wait. */
static void write_named_tasks(void)
{
	static const char *const names[] = { "load", "a name that leaves no room for anything that comes behind", "" };
	uint64_t code = (uint64_t)counter_add;

	start(0);
	log_name(2, "printf");
	for (unsigned int i = 0; i < 3; i++) {
		char text[256];
		int len = snprintf(text, sizeof(text), "%c%c%s", 0, 0, names[i]);

		log_record(STM_EVENT_SITE, STM_NO_THREAD, 3 + i, 0, code, 0, text, (size_t)len);
	}
	for (uint64_t i = 0; i < 9; i++) {
		unsigned int site = 3 + (unsigned int)i % 3;

		log_record(STM_EVENT_TASK_BEGIN, 0, site, i * 10 * MS, 0, code, NULL, 0);
		log_record(STM_EVENT_INEVITABLE, 0, site, i * 10 * MS + 1 * MS, 0, 2, NULL, 0);
		log_wait(1, site, i * 10 * MS, 1 * MS, STM_WAIT_INEVITABLE);
		log_commit(0, site, i * 10 * MS, (4 - i % 3) * MS);
		log_commit(1, site, i * 10 * MS, 2 * MS);
		log_record(STM_EVENT_TASK_END, 0, site, i * 10 * MS, (5 - i % 3) * MS, code, NULL, 0);
	}
	log_end(100 * MS);
}

/* Numbers as long as they get: thousands of millions of commits, a clock that stands nearly still. */
static void write_most(void)
{
	struct stm_log_header header = log_header_of("/usr/bin/known");
	struct stm_log_conflict conflict = conflict_at(0x200110, 0);

	header.sample = 4000000000;
	header.ticks_per_second = 1000;
	log_put(&header, sizeof(header));
	log_site(1, "known.c", 10, "adder");
	log_thread(0, 0, 4000, "fifteen letters");
	for (uint64_t i = 0; i < 2; i++)
		log_record(STM_EVENT_COMMIT, 0, 1, i * 1000 * MS, 1000 * MS, STM_COMMIT_VALUE(1, header.sample), NULL, 0);
	log_abort(0, 1, 2000 * MS, 1000 * MS, 0, &conflict);
	log_record(STM_EVENT_DROPPED, 0, 0, 2000 * MS, 0, 77, NULL, 0);
	log_record(STM_EVENT_TASK_BEGIN, 0, 0, 0, 0, (uint64_t)counter_add, NULL, 0);
	log_record(STM_EVENT_TASK_END, 0, 0, 0, 1160 * MS, (uint64_t)counter_add, NULL, 0);
	log_end(3000 * MS);
}

static void write_restarted(void)
{
	start(0);
	for (uint64_t i = 0; i < 30; i++) {
		struct stm_log_conflict conflict = conflict_at(0x200110 + 16 * i, plain_store());

		for (unsigned int k = 0; k < 4; k++)
			log_abort(1, 2, (i * 30 + k * 5) * MS, 5 * MS, k, &conflict);
		log_commit(1, 2, (i * 30 + 20) * MS, 5 * MS);
	}
	log_end(1000 * MS);
}

/* Inevitable for 9 of 10 ms, while the other waits; @late: for 1 of 10. */
static void inevitable(int late)
{
	start(0);
	log_name(2, "printf");
	for (uint64_t i = 0; i < 50; i++) {
		uint64_t t = i * 20 * MS;

		log_record(STM_EVENT_INEVITABLE, 0, 1, t + (late ? 9 : 1) * MS, 0, 2, NULL, 0);
		log_commit(0, 1, t, 10 * MS);
		log_wait(1, 2, t + 9 * MS, 1 * MS, STM_WAIT_INEVITABLE);
		log_commit(1, 2, t, 11 * MS);
	}
	log_end(1000 * MS);
}

static void write_inevitable(void)
{
	inevitable(0);
}

static void write_inevitable_late(void)
{
	inevitable(1);
}

/* A transaction of 2.5 s, for which another waits. */
static void write_log_full(void)
{
	start(0);
	log_record(STM_EVENT_LOG_GROWTH, 1, 0, 1000 * MS, 0, 64 << 20, NULL, 0);
	log_commit(1, 2, 0, 1 * MS);
	log_wait(1, 1, 1000 * MS, 1600 * MS, STM_WAIT_LOG);
	log_commit(0, 1, 100 * MS, 2500 * MS);
	log_end(3000 * MS);
}

/* Two threads take turns to fault on one page. */
static void write_page(void)
{
	start(0);
	for (uint64_t i = 0; i < 40; i++) {
		log_record(STM_EVENT_FAULT, i % 2, 1, i * 10 * MS, 1 * MS,
			   STM_FAULT_VALUE(0x203000, STM_FAULT_PROTECT, 1), NULL, 0);
		log_commit(i % 2, 1, i * 10 * MS, 5 * MS);
	}
	log_end(1000 * MS);
}

static void write_tasks(void)
{
	uint64_t code = (uint64_t)counter_add;

	start(0);
	log_record(STM_EVENT_SITE, STM_NO_THREAD, 3, 0, code, 0, NULL, 0); /* its transactions */
	for (uint64_t i = 0; i < 10; i++) {
		log_record(STM_EVENT_TASK_BEGIN, 0, 0, i * 10 * MS, 0, code, NULL, 0);
		log_commit(0, 3, i * 10 * MS, 4 * MS);
		log_record(STM_EVENT_TASK_END, 0, 0, i * 10 * MS, (i == 9 ? 9 : 5) * MS, code, NULL, 0);
	}
	log_end(100 * MS);
}

/* Number 0 is another thread's after the first left, and is so defined before it is told what the first did. */
static void write_threads(void)
{
	start(0);
	log_thread(0, 40 * MS, 4002, "third");
	log_commit(0, 1, 0, 10 * MS);
	log_record(STM_EVENT_DROPPED, 0, 0, 20 * MS, 0, 77, NULL, 0);
	log_record(STM_EVENT_DETACH, 0, 0, 30 * MS, 0, 0, NULL, 0);
	log_commit(0, 1, 50 * MS, 10 * MS);
	log_commit(0, 1, 60 * MS, 10 * MS);
	log_end(100 * MS);
}

/* Nothing is defined. */
static void write_undefined(void)
{
	struct stm_log_conflict conflict = conflict_at(0x200110, 0x1234567);

	conflict.label = 7;
	log_header();
	log_commit(3, 5, 0, 10 * MS);
	log_abort(3, 5, 10 * MS, 10 * MS, 0, &conflict);
	log_end(100 * MS);
}

/* Names that mean harm to a terminal, a page, JSON, folded stacks. */
static void write_harm(void)
{
	struct stm_log_conflict conflict = conflict_at(0x200110, 0);

	conflict.label = 1;
	log_header();
	log_site(1, "</script><script>alert(1)</script>;\"\\\33[31m.c", 10, "f\"<b>&amp;\x80\xff\xc0\xaf");
	log_name(1, "<!--<script>\n\r\t \xed\xa0\x80 \xc3\xa9");
	log_thread(0, 0, 4000, "<img src=x onerror=alert(1)>");
	log_commit(0, 1, 0, 10 * MS);
	log_abort(0, 1, 10 * MS, 10 * MS, 0, &conflict);
	log_end(100 * MS);
}

/* Names as long as can be, and long numbers. */
static void write_long(void)
{
	struct stm_log_conflict conflict = conflict_at(0x200110, 0);
	struct stm_log_header header;
	char name[4001];

	memset(name, 'x', sizeof(name) - 1);
	header = log_header_of(name);
	name[sizeof(name) - 1] = 0;
	conflict.label = 1;
	log_put(&header, sizeof(header));
	log_record(STM_EVENT_WRITER, STM_NO_THREAD, 0, 0, 0, STM_WRITER_PWRITE, name, 1000);
	log_name(1, name);
	log_thread(0, 0, 4000, name);
	name[2000] = '/';
	log_site(1, name, 4000000000u, name + 2001);
	for (uint64_t i = 0; i < 30; i++) {
		log_abort(0, 1, 10000000 * MS, 10000000 * MS, 4000000000u, &conflict);
		log_record(STM_EVENT_COMMIT, 0, 1, 0, 10000000 * MS, STM_COMMIT_VALUE(1, 4000000000u), NULL, 0);
		log_record(STM_EVENT_TASK_END, 0, 0, 0, 10000000 * MS, 0x12345678, NULL, 0);
	}
	log_record(STM_EVENT_DROPPED, 0, 0, 0, 0, 1ull << 63, NULL, 0);
	log_record(STM_EVENT_DROPPED, 0, 0, 0, 0, 1ull << 63, NULL, 0);
	log_end(100000000 * MS);
}

static void write_empty(void)
{
	log_header();
	log_end(0);
}

/* The header says 2,000,000,000 ticks a second; the clock's own records, @ticks apart, that these are @ns. */
static void write_clock_of(enum stm_log_clock clock, uint64_t ticks, uint64_t ns)
{
	struct stm_log_header header = log_header_of("/usr/bin/known");

	header.clock = clock;
	header.ticks_per_second = 2000000000;
	log_put(&header, sizeof(header));
	log_site(1, "known.c", 10, "adder");
	log_record(STM_EVENT_CLOCK, STM_NO_THREAD, 0, 0, 0, 5000000000, NULL, 0);
	log_record(STM_EVENT_CLOCK, STM_NO_THREAD, 0, ticks, 0, 5000000000 + ns, NULL, 0);
	log_commit(0, 1, 0, 1000000000);
	log_end(1600000000);
}

static void write_clock(void)
{
	write_clock_of(STM_CLOCK_TSC, 1600000000, 1000000000);
}

/* Nothing that can be believed: less than half or more than twice, in less than a millisecond, of a clock of known rate. */
static void write_clock_slow(void)
{
	write_clock_of(STM_CLOCK_TSC, 900000000, 1000000000);
}

static void write_clock_fast(void)
{
	write_clock_of(STM_CLOCK_TSC, 1600000000, 300000000);
}

static void write_clock_short(void)
{
	write_clock_of(STM_CLOCK_TSC, 1600000, 999999);
}

static void write_clock_known(void)
{
	write_clock_of(STM_CLOCK_MONOTONIC, 1600000000, 1000000000);
}

/* Each kind, with each field. */
static void write_kinds(void)
{
	static const struct stm_log_conflict conflict = {
		.address = 1,
		.position = 2,
		.writer_code = 3,
		.block = 4,
		.block_bytes = 5,
		.alloc_code = 6,
		.writer_site = 7,
		.label = 8,
		.writer_thread = 9,
		.label_offset = 10,
	};
	static const uint64_t frames[] = { 11, 12, 13, 14, 15, 16, 17 };
	static const struct stm_log_module module = { .bias = 21, .build_id_bytes = 4, .build_id = "abcd" };
	char unit[sizeof(module) + 6];

	log_header();
	memcpy(unit, &module, sizeof(module));
	memcpy(unit + sizeof(module), "module", 6);
	for (unsigned int kind = 1; kind < 256; kind++) {
		static const char text[] = "some text that is longer than a unit";

		if (kind <= STM_EVENT_WRITER && kind != STM_EVENT_MODULE)
			log_record(kind, kind + 1, kind + 2, kind + 3, kind + 4, kind + 5, text, sizeof(text));
		else if (kind == STM_EVENT_MODULE)
			log_record(kind, kind + 1, kind + 2, kind + 3, kind + 4, kind + 5, unit, sizeof(unit));
		else if (kind == STM_EVENT_ABORT)
			log_record(kind, kind + 1, kind + 2, kind + 3, kind + 4, kind + 5, &conflict, sizeof(conflict));
		else if (kind == STM_EVENT_READER)
			log_record(kind, kind + 1, kind + 2, kind + 3, kind + 4, kind + 5, frames, sizeof(frames));
		else
			log_record(kind, kind + 1, kind + 2, kind + 3, kind + 4, kind + 5, NULL, 0);
	}
}

static int say_kinds(void)
{
	for (unsigned int kind = 1; kind < 256; kind++) {
		if ((kind > 5 && kind < 16) || (kind > 23 && kind < 32) || (kind > 38 && kind < 48) || kind > 50)
			continue;
		printf("%u %u %u %u %u %u", kind, kind + 1, kind + 2, kind + 3, kind + 4, kind + 5);
		if (kind <= STM_EVENT_WRITER && kind != STM_EVENT_MODULE)
			printf(" some text that is longer than a unit");
		else if (kind == STM_EVENT_MODULE)
			printf(" 21 4 abcd module");
		else if (kind == STM_EVENT_ABORT)
			printf(" 1 2 3 4 5 6 7 8 9 10");
		else if (kind == STM_EVENT_READER)
			printf(" 11 12 13 14 15 16 17 0");
		putchar('\n');
	}
	return 0;
}

static int dump(const char *file)
{
	const struct stm_record *record;
	struct log log;

	if (log_open(&log, file))
		return 1;
	while ((record = log_next(&log))) {
		const char *more = (const char *)(record + 1);

		printf("%u %u %u %llu %llu %llu", record->kind, record->thread, record->site,
		       (unsigned long long)(record->time - log.header.start), (unsigned long long)record->duration,
		       (unsigned long long)record->value);
		if (record->kind <= STM_EVENT_WRITER && record->kind != STM_EVENT_MODULE) {
			printf(" %.*s", (int)(record->more * STM_LOG_UNIT), more);
		} else if (record->kind == STM_EVENT_MODULE) {
			const struct stm_log_module *module = (const void *)more;

			printf(" %llu %u %.4s %s", (unsigned long long)module->bias, module->build_id_bytes,
			       (const char *)module->build_id, more + sizeof(*module));
		} else if (record->more == 2 && record->kind == STM_EVENT_ABORT) {
			const struct stm_log_conflict *c = (const void *)more;

			printf(" %llu %llu %llu %llu %llu %llu %u %u %u %u", (unsigned long long)c->address,
			       (unsigned long long)c->position, (unsigned long long)c->writer_code,
			       (unsigned long long)c->block, (unsigned long long)c->block_bytes,
			       (unsigned long long)c->alloc_code, c->writer_site, c->label, c->writer_thread,
			       c->label_offset);
		} else {
			for (unsigned int i = 0; i < record->more * 4u; i++)
				printf(" %llu", (unsigned long long)((const uint64_t *)more)[i]);
		}
		putchar('\n');
	}
	log_close(&log);
	return log.damaged;
}

/* ---- a long log ---- */

static uint64_t random_(void)
{
	static uint64_t state = 88172645463325252ull;

	state ^= state << 13;
	state ^= state >> 7;
	return state ^= state << 17;
}

/* 8 threads that commit, now and then fault, conflict and wait, over ever more places. */
static void big(uint64_t bytes)
{
	uint64_t now[8] = { 0 }, commits = 0, aborts = 0;
	static char buffer[1 << 20];

	setvbuf(stdout, buffer, _IOFBF, sizeof(buffer));
	log_header();
	for (unsigned int i = 1; i <= 500; i++) {
		log_site(i, "known.c", i, "function");
		log_name(i, "label");
	}
	for (unsigned int i = 0; i < 8; i++)
		log_thread(i, 0, 4000 + i, "worker");
	while (log_bytes < bytes) {
		unsigned int thread = random_() % 8, site = 1 + random_() % 20, what = random_() % 100;
		uint64_t duration = 500 + random_() % 4000;

		commits += what < 40;
		aborts += what >= 70 && what < 90;
		if (what < 70) {
			log_record(what < 40 ? STM_EVENT_COMMIT : STM_EVENT_READ_ONLY, thread, site, now[thread],
				   duration, STM_COMMIT_VALUE(3, 1), NULL, 0);
		} else if (what < 90) {
			struct stm_log_conflict conflict =
				conflict_at(0x200000 + 16 * (random_() % 100000), 0x400000 + random_() % 64);

			conflict.label = 1 + random_() % 500;
			conflict.writer_site = 1 + random_() % 20;
			conflict.writer_thread = random_() % 8;
			log_abort(thread, site, now[thread], duration, 0, &conflict);
		} else if (what < 95) {
			log_wait(thread, site, now[thread], duration, STM_WAIT_BACK_OFF);
		} else {
			log_record(STM_EVENT_FAULT, thread, site, now[thread], duration,
				   STM_FAULT_VALUE(0x200000 + 4096 * (random_() % 100000), STM_FAULT_READ, 1), NULL, 0);
		}
		now[thread] += duration;
	}
	log_end(now[0]);
	fprintf(stderr, "%llu %llu\n", (unsigned long long)commits, (unsigned long long)aborts);
}

/* ---- JSON ---- */

static void flatten(struct json_object *value, const char *path)
{
	char name[4000];

	if (json_object_is_type(value, json_type_object)) {
		json_object_object_foreach(value, key, member)
		{
			snprintf(name, sizeof(name), "%s%s%s", path, *path ? "." : "", key);
			flatten(member, name);
		}
	} else if (json_object_is_type(value, json_type_array)) {
		for (size_t i = 0; i < json_object_array_length(value); i++) {
			snprintf(name, sizeof(name), "%s%s%zu", path, *path ? "." : "", i);
			flatten(json_object_array_get_idx(value, i), name);
		}
	} else {
		printf("%s\t%s\n", path, json_object_get_string(value));
	}
}

static int json(const char *file)
{
	struct json_object *value = json_object_from_file(file);

	if (!value) {
		fprintf(stderr, "%s: %s\n", file, json_util_get_last_err());
		return 1;
	}
	flatten(value, "");
	json_object_put(value);
	return 0;
}

static const struct {
	const char *name;
	void (*write)(void);
} logs[] = {
	{ "counter", write_counter },
	{ "size-field", write_size_field },
	{ "granule", write_granule },
	{ "two-labels", write_two_labels },
	{ "store", write_store },
	{ "barrier", write_barrier },
	{ "library", write_library },
	{ "wrong-build", write_wrong_build },
	{ "ranking", write_ranking },
	{ "split", write_split },
	{ "sampled", write_sampled },
	{ "most", write_most },
	{ "named", write_named },
	{ "named-tasks", write_named_tasks },
	{ "restarted", write_restarted },
	{ "inevitable", write_inevitable },
	{ "inevitable-late", write_inevitable_late },
	{ "log-full", write_log_full },
	{ "page", write_page },
	{ "tasks", write_tasks },
	{ "threads", write_threads },
	{ "undefined", write_undefined },
	{ "harm", write_harm },
	{ "long", write_long },
	{ "empty", write_empty },
	{ "clock", write_clock },
	{ "clock-slow", write_clock_slow },
	{ "clock-fast", write_clock_fast },
	{ "clock-short", write_clock_short },
	{ "clock-known", write_clock_known },
	{ "kinds", write_kinds },
};

int main(int argc, char **argv)
{
	if (argc == 2 && !strcmp(argv[1], "kinds"))
		return say_kinds();
	if (argc == 2 && !strcmp(argv[1], "names")) {
		for (size_t i = 0; i < sizeof(logs) / sizeof(logs[0]); i++)
			puts(logs[i].name);
		return 0;
	}
	if (argc != 3)
		return 2;
	if (!strcmp(argv[1], "dump"))
		return dump(argv[2]);
	if (!strcmp(argv[1], "json"))
		return json(argv[2]);
	if (!strcmp(argv[1], "big")) {
		big(strtoull(argv[2], NULL, 0));
		return 0;
	}
	for (size_t i = 0; !strcmp(argv[1], "write") && i < sizeof(logs) / sizeof(logs[0]); i++)
		if (!strcmp(argv[2], logs[i].name)) {
			logs[i].write();
			return 0;
		}
	return 2;
}
