// SPDX-License-Identifier: MIT
/*
 * place.c - which module a code address is in, and which code called.
 *
 * Used when a mistake is reported, so its price does not matter; it runs in signal handlers. The walk over the modules
 * takes the loader's lock, which the faulting thread cannot hold: the loader stores nothing into the heap. The
 * unwinder is loaded beforehand.
 */
#define _GNU_SOURCE
#include <execinfo.h>
#include <link.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "place.h"

#define FRAMES 32                       /* our handler's are some 6, the C library's few */

static char program[256];

/* Weak: a static program need not have it. */
#pragma weak backtrace

/* Two threads may do this at once, and write the same. */
static const char *program_name(void)
{
	ssize_t n;

	if (program[0])
		return program;
	n = readlink("/proc/self/exe", program, sizeof(program) - 1);
	return n > 0 ? program : "program";
}

struct module {
	uintptr_t address;              /* in it */
	uintptr_t offset;               /* of the address, as in the file */
	const char *name;
	bool found, first;
};

static int look(struct dl_phdr_info *info, size_t size, void *arg)
{
	struct module *module = arg;
	uintptr_t offset = module->address - info->dlpi_addr;

	(void)size;
	for (unsigned int i = 0; i < info->dlpi_phnum; i++) {
		const ElfW(Phdr) *part = &info->dlpi_phdr[i];

		if (part->p_type == PT_LOAD && offset - part->p_vaddr < part->p_memsz) {
			module->found = true;
			module->offset = offset;
			module->name = info->dlpi_name;
			return 1;
		}
	}
	module->first = false;
	return 0;
}

static struct module module_of(uintptr_t address)
{
	struct module module = { .address = address, .first = true };

	dl_iterate_phdr(look, &module);
	if (module.found && (module.first || !module.name || !*module.name))
		module.name = program_name();
	return module;
}

static bool is_c_library(const struct module *module)
{
	const char *slash = strrchr(module->name, '/');

	return !strncmp(slash ? slash + 1 : module->name, "libc.so", 7);
}

static bool is_programs(uintptr_t address)
{
	struct module module = module_of(address), ours = module_of((uintptr_t)&module_of);

	return module.found && !is_c_library(&module) && (ours.first || module.name != ours.name);
}

void stm_place_open(void)
{
	void *frame[1];

	if (backtrace)
		backtrace(frame, 1);
}

uintptr_t stm_place_of(const void *pc, const void *next)
{
	void *frame[FRAMES];
	int n, i = 0;

	if (!backtrace || is_programs((uintptr_t)pc))
		return (uintptr_t)pc;
	n = backtrace(frame, FRAMES);
	while (i < n && frame[i] != next)
		i++;
	/* What comes behind are return addresses: the calls are before them. */
	while (++i < n)
		if (is_programs((uintptr_t)frame[i] - 1))
			return (uintptr_t)frame[i] - 1;
	return (uintptr_t)pc;
}

int stm_place_print(char *text, size_t len, uintptr_t address)
{
	struct module module = module_of(address);

	if (!module.found)
		return snprintf(text, len, "address %#zx", (size_t)address);
	return snprintf(text, len, "%s(+%#zx)", module.name, (size_t)module.offset);
}
