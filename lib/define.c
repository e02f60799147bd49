// SPDX-License-Identifier: MIT
/*
 * define.c - sites, names, threads and modules of the event log, each defined before it is first used.
 *
 *   Sites    a table by address, without a lock. Who puts one in defines it, then says so; who finds one of which
 *            that has not been said defines it, too: a definition may come twice.
 *   Names    a tree by contents, under a lock: a program may give each of its objects one.
 *   Modules  the loader counts what comes and goes; when a count has changed, all modules are defined anew. Its own
 *            lock is held meanwhile, and is the only one: a constructor, which the loader runs, may be here as well.
 */
#define _GNU_SOURCE
#include <elf.h>
#include <link.h>
#include <search.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <unistd.h>

#include "clock.h"
#include "define.h"
#include "flush.h"
#include "task_site.h"

#define PROBES 64u                      /* of a table, until it counts as full: begin must not look through all of it */
#define UNITS_MAX 64u                   /* of a record, here: 256 would be a lot of stack */

struct definition {
	struct stm_record record;
	char more[(UNITS_MAX - 1) * STM_LOG_UNIT];
};

static void append_bytes(struct definition *definition, size_t *n, const void *bytes, size_t len)
{
	size_t room = sizeof(definition->more) - *n;

	len = len < room ? len : room;
	memcpy(definition->more + *n, bytes, len);
	*n += len;
}

/* With its terminating zero; what does not fit is cut off at the end. */
static void append_text(struct definition *definition, size_t *n, const char *text)
{
	append_bytes(definition, n, text, strlen(text) + 1);
}

static void define(struct definition *definition, size_t n)
{
	size_t units = (n + STM_LOG_UNIT - 1) / STM_LOG_UNIT;

	memset(definition->more + n, 0, units * STM_LOG_UNIT - n);
	if (units)
		definition->more[units * STM_LOG_UNIT - 1] = 0;
	definition->record.more = (uint8_t)units;
	if (!definition->record.time)
		definition->record.time = stm_ticks();
	stm_flush_define(definition, 1 + units);
}

/* ---- sites ---- */

static struct {
	_Atomic(const struct stm_site *) site;
	_Atomic bool defined;
} sites[STM_SITES_LIMIT];

static void define_site(uint32_t number, const struct stm_site *site)
{
	struct definition d = { .record = { .kind = STM_EVENT_SITE, .thread = STM_NO_THREAD, .site = number } };
	size_t n = 0;

	d.record.value = site->line;
	d.record.duration = (uintptr_t)stm_task_of(site);
	append_text(&d, &n, site->file);
	append_text(&d, &n, site->function);
	if (site->name)
		append_text(&d, &n, site->name);
	define(&d, n);
}

uint32_t stm_define_site(const struct stm_site *site)
{
	unsigned int i = (unsigned int)((uint64_t)(uintptr_t)site * 0x9e3779b97f4a7c15u >> 50); /* 14 bits */

	if (!site)
		return 0;
	for (unsigned int n = 0; n < PROBES; n++, i = (i + 1) % STM_SITES_LIMIT) {
		const struct stm_site *found = atomic_load_explicit(&sites[i].site, memory_order_relaxed);

		if (!found && atomic_compare_exchange_strong(&sites[i].site, &found, site))
			found = site;
		if (found != site)
			continue;
		/* Pairs with the release below: the definition is on its way. */
		if (unlikely(!atomic_load_explicit(&sites[i].defined, memory_order_acquire))) {
			define_site(i + 1, site);
			stm_define_modules();
			atomic_store_explicit(&sites[i].defined, true, memory_order_release);
		}
		return i + 1;
	}
	return 0;
}

/* ---- names ---- */

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static void *names;                     /* struct name, as tsearch(3) keeps them */
static uint32_t names_n;

struct name {
	const char *text;
	uint32_t number;
	char copy[];
};

static int compare_names(const void *a, const void *b)
{
	return strcmp(((const struct name *)a)->text, ((const struct name *)b)->text);
}

/* Its number; 0: no memory. Lock held. */
static uint32_t add_name(const char *text)
{
	struct definition d = { .record = { .kind = STM_EVENT_NAME, .thread = STM_NO_THREAD } };
	size_t len = strlen(text) + 1, n = 0;
	struct name *name = malloc(sizeof(*name) + len);

	if (!name)
		return 0;
	memcpy(name->copy, text, len);
	name->text = name->copy;
	name->number = names_n + 1;
	if (!tsearch(name, &names, compare_names)) {
		free(name);
		return 0;
	}
	d.record.site = ++names_n;
	append_text(&d, &n, text);
	define(&d, n);
	return names_n;
}

uint32_t stm_define_name(const char *name)
{
	struct name key = { .text = name }, **found;
	uint32_t number;

	if (!name)
		return 0;
	pthread_mutex_lock(&lock);
	found = tfind(&key, &names, compare_names);
	number = found ? (*found)->number : add_name(name);
	pthread_mutex_unlock(&lock);
	return number;
}

/* ---- threads ---- */

void stm_define_thread(uint16_t thread, uint64_t time)
{
	struct definition d = { .record = { .kind = STM_EVENT_THREAD, .thread = thread, .time = time } };
	char name[16] = "";
	size_t n = 0;

	d.record.value = (uint64_t)gettid();
	prctl(PR_GET_NAME, name);
	append_text(&d, &n, name);
	define(&d, n);
}

/* ---- modules ---- */

static unsigned long long came, went;   /* as the loader counts; under its lock */

struct notes {
	const uint8_t *build_id;
	uint32_t bytes;
};

static struct notes find_build_id(const struct dl_phdr_info *info)
{
	for (unsigned int i = 0; i < info->dlpi_phnum; i++) {
		const uint8_t *at = (const uint8_t *)(info->dlpi_addr + info->dlpi_phdr[i].p_vaddr);
		size_t left = info->dlpi_phdr[i].p_memsz;

		if (info->dlpi_phdr[i].p_type != PT_NOTE)
			continue;
		while (left >= sizeof(ElfW(Nhdr))) {
			const ElfW(Nhdr) *note = (const ElfW(Nhdr) *)at;
			size_t name = (note->n_namesz + 3u) & ~(size_t)3, desc = (note->n_descsz + 3u) & ~(size_t)3;

			if (name > left - sizeof(*note) || desc > left - sizeof(*note) - name)
				break;
			if (note->n_type == NT_GNU_BUILD_ID && note->n_namesz == 4 && !memcmp(note + 1, "GNU", 4))
				return (struct notes){ (const uint8_t *)(note + 1) + name, note->n_descsz };
			at += sizeof(*note) + name + desc;
			left -= sizeof(*note) + name + desc;
		}
	}
	return (struct notes){ NULL, 0 };
}

static const char *path_of(const struct dl_phdr_info *info, bool first, char *text, size_t len)
{
	ssize_t n;

	if (!first && info->dlpi_name && *info->dlpi_name)
		return info->dlpi_name;
	n = readlink("/proc/self/exe", text, len - 1);
	text[n > 0 ? n : 0] = 0;
	return text;
}

static void define_module(const struct dl_phdr_info *info, bool first)
{
	struct definition d = { .record = { .kind = STM_EVENT_MODULE, .thread = STM_NO_THREAD } };
	struct stm_log_module module = { .bias = info->dlpi_addr };
	struct notes id = find_build_id(info);
	uintptr_t low = UINTPTR_MAX, high = 0;
	char path[1024];
	size_t n = 0;

	for (unsigned int i = 0; i < info->dlpi_phnum; i++) {
		const ElfW(Phdr) *part = &info->dlpi_phdr[i];

		if (part->p_type != PT_LOAD || !(part->p_flags & PF_X))
			continue;
		low = part->p_vaddr < low ? part->p_vaddr : low;
		high = part->p_vaddr + part->p_memsz > high ? part->p_vaddr + part->p_memsz : high;
	}
	if (low >= high)
		return;
	d.record.value = info->dlpi_addr + low;
	d.record.duration = high - low;
	if (id.bytes && id.bytes <= sizeof(module.build_id)) {
		module.build_id_bytes = id.bytes;
		memcpy(module.build_id, id.build_id, id.bytes);
	}
	append_bytes(&d, &n, &module, sizeof(module));
	append_text(&d, &n, path_of(info, first, path, sizeof(path)));
	define(&d, n);
}

/* The loader's lock is held. The first module is the executable. */
static int visit_module(struct dl_phdr_info *info, size_t size, void *arg)
{
	bool *first = arg;

	(void)size;
	if (*first && came == info->dlpi_adds && went == info->dlpi_subs)
		return 1;
	came = info->dlpi_adds;
	went = info->dlpi_subs;
	define_module(info, *first);
	*first = false;
	return 0;
}

void stm_define_modules(void)
{
	bool first = true;

	dl_iterate_phdr(visit_module, &first);
}

static int visit_executable(struct dl_phdr_info *info, size_t size, void *arg)
{
	struct stm_log_header *header = arg;
	struct notes id = find_build_id(info);

	(void)size;
	if (id.bytes && id.bytes <= sizeof(header->build_id)) {
		header->build_id_bytes = id.bytes;
		memcpy(header->build_id, id.build_id, id.bytes);
	}
	path_of(info, true, header->executable, sizeof(header->executable));
	return 1;
}

void stm_define_open(struct stm_log_header *header)
{
	came = went = 0;
	dl_iterate_phdr(visit_executable, header);
}

void stm_define_close(void)
{
	tdestroy(names, free);
	names = NULL;
	names_n = 0;
	for (unsigned int i = 0; i < STM_SITES_LIMIT; i++) {
		atomic_store_explicit(&sites[i].site, NULL, memory_order_relaxed);
		atomic_store_explicit(&sites[i].defined, false, memory_order_relaxed);
	}
}
