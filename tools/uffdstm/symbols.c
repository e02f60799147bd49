// SPDX-License-Identifier: MIT
/*
 * symbols.c - asks libdw what an address is.
 *
 * Each module is opened by itself, at address 0, when the first of its addresses is asked for, and only if the file
 * has the build id that the program saw. Debug information that is in a file of its own is found below
 * /usr/lib/debug; no server is asked for any.
 *
 * The barriers are inline functions of uffdstm.h, so an address of one is in the middle of the program's own code: the
 * chain of inlined functions is walked outwards to the first line that is not in one of the library's headers.
 */
#include <dwarf.h>
#include <elfutils/libdw.h>
#include <elfutils/libdwfl.h>
#include <fcntl.h>
#include <search.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "log.h"
#include "symbols.h"
#include "uffdstm.h"

#define MODULES_MOST 4096
#define CODES_MOST 65536

struct module {
	uint64_t begin, bytes;
	struct stm_log_module module;
	char *path;
	const char *base;               /* of @path */
	bool opened;
	Dwfl *dwfl;
	Dwfl_Module *dwfl_module;       /* NULL: it cannot be had, because: */
	const char *why;
};

/* ---- modules ---- */

void symbols_start(struct symbols *symbols, uint64_t run_ns)
{
	*symbols = (struct symbols){ .run_ns = run_ns };
	unsetenv("DEBUGINFOD_URLS"); /* libdw would ask them */
}

static void code_free(void *code)
{
	place_free(&((struct code *)code)->place);
	free(code);
}

void symbols_end(struct symbols *symbols)
{
	for (size_t i = 0; i < symbols->modules_n; i++) {
		struct module *module = symbols->modules[i];

		if (module->dwfl)
			dwfl_end(module->dwfl);
		free(module->path);
		free(module);
	}
	free(symbols->modules);
	tdestroy(symbols->codes, code_free);
	*symbols = (struct symbols){ 0 };
}

void symbols_module(struct symbols *symbols, uint64_t begin, uint64_t bytes, const struct stm_log_module *module,
		    const char *path)
{
	struct module *new;

	if (symbols->modules_n == MODULES_MOST) {
		symbols->overflow++;
		return;
	}
	if (!symbols->modules)
		symbols->modules = need(MODULES_MOST * sizeof(*symbols->modules));
	new = need(sizeof(*new));
	new->begin = begin;
	new->bytes = bytes;
	new->module = *module;
	new->path = need_text(path);
	new->base = strrchr(new->path, '/') ? strrchr(new->path, '/') + 1 : new->path;
	symbols->modules[symbols->modules_n++] = new;
}

static int compare_codes(const void *a, const void *b)
{
	const struct code *x = a, *y = b;

	if (x->module != y->module)
		return x->module < y->module ? -1 : 1;
	return x->address < y->address ? -1 : x->address > y->address;
}

struct code *symbols_code(struct symbols *symbols, uint64_t address)
{
	struct code key = { .address = address }, **found, *code;

	if (!address)
		return NULL;
	/* the latest: another may have been there before */
	for (size_t i = symbols->modules_n; i-- && !key.module;)
		if (address - symbols->modules[i]->begin < symbols->modules[i]->bytes) {
			key.module = symbols->modules[i];
			key.address = address - key.module->module.bias;
		}
	found = tfind(&key, &symbols->codes, compare_codes);
	if (found)
		return *found;
	if (symbols->codes_n == CODES_MOST) {
		symbols->overflow++;
		return NULL;
	}
	code = need(sizeof(*code));
	*code = key;
	if (!tsearch(code, &symbols->codes, compare_codes)) {
		free(code);
		return NULL;
	}
	symbols->codes_n++;
	return code;
}

/* ---- files ---- */

static const char *same_build(struct module *module)
{
	const unsigned char *bits;
	GElf_Addr where;
	int bytes = dwfl_module_build_id(module->dwfl_module, &bits, &where);

	if (!module->module.build_id_bytes && bytes <= 0)
		return NULL; /* neither has one: nothing speaks against it */
	if (bytes > 0 && (unsigned int)bytes > sizeof(module->module.build_id))
		bytes = sizeof(module->module.build_id); /* the log has no more of it */
	if (bytes <= 0 || (unsigned int)bytes != module->module.build_id_bytes ||
	    memcmp(bits, module->module.build_id, (size_t)bytes))
		return "the file there has another build id";
	return NULL;
}

static void open_module(struct module *module)
{
	static const Dwfl_Callbacks callbacks = {
		.find_elf = dwfl_build_id_find_elf,
		.find_debuginfo = dwfl_standard_find_debuginfo,
		.section_address = dwfl_offline_section_address,
	};
	struct stat status;
	GElf_Addr bias;
	int fd;

	module->opened = true;
	/* a log names any file, and opening it must not wait */
	fd = open(module->path, O_RDONLY | O_CLOEXEC | O_NOCTTY | O_NONBLOCK);
	if (fd < 0 || fstat(fd, &status) || !S_ISREG(status.st_mode)) {
		if (fd >= 0)
			close(fd);
		module->why = "its file cannot be read";
		return;
	}
	module->dwfl = dwfl_begin(&callbacks);
	if (module->dwfl) {
		dwfl_report_begin(module->dwfl);
		/* which closes fd if all is well */
		module->dwfl_module = dwfl_report_elf(module->dwfl, module->base, module->path, fd, 0, true);
		dwfl_report_end(module->dwfl, NULL, NULL);
	}
	if (!module->dwfl_module || !dwfl_module_getelf(module->dwfl_module, &bias)) {
		if (!module->dwfl_module)
			close(fd);
		module->why = "its file is no program";
		module->dwfl_module = NULL;
		return;
	}
	module->why = same_build(module);
	if (module->why)
		module->dwfl_module = NULL;
}

/* ---- code ---- */

/* uffdstm.h, or uffdstm/SOMETHING.h */
static bool library_header(const char *file)
{
	const char *base = strrchr(file, '/'), *folder;

	base = base ? base + 1 : file;
	if (!strcmp(base, "uffdstm.h"))
		return true;
	folder = base - strlen("uffdstm/");
	return folder >= file && !strncmp(folder, "uffdstm/", strlen("uffdstm/")) &&
	       (folder == file || folder[-1] == '/') && strlen(base) > 2 && !strcmp(base + strlen(base) - 2, ".h");
}

static char *printable(const char *text)
{
	char *copy = need_text(text);

	log_printable(copy);
	return copy;
}

/* @name as the compiler knew it, from the directory where it ran. */
static char *full_path(Dwarf_Die *unit, const char *name)
{
	Dwarf_Attribute attribute;
	const char *folder = dwarf_formstring(dwarf_attr(unit, DW_AT_comp_dir, &attribute));
	size_t bytes;
	char *path;

	if (*name == '/' || !folder)
		return printable(name);
	while (!strncmp(name, "./", 2))
		name += 2;
	bytes = strlen(folder) + strlen(name) + 2;
	path = need(bytes);
	snprintf(path, bytes, "%s/%s", folder, name);
	log_printable(path);
	return path;
}

/* Where the inlined function @die was called. */
static const char *call_file(Dwarf_Die *unit, Dwarf_Die *die, unsigned int *line)
{
	Dwarf_Attribute attribute;
	Dwarf_Files *files;
	Dwarf_Word file, number;
	size_t n;

	if (dwarf_formudata(dwarf_attr(die, DW_AT_call_file, &attribute), &file) ||
	    dwarf_formudata(dwarf_attr(die, DW_AT_call_line, &attribute), &number) ||
	    dwarf_getsrcfiles(unit, &files, &n) || file >= n)
		return NULL;
	*line = (unsigned int)number;
	return dwarf_filesrc(files, file, NULL, NULL);
}

/* Outwards from @address to the program's own code: the function's name. */
static const char *own_code(Dwarf_Die *unit, Dwarf_Addr address, const char **file, unsigned int *line)
{
	Dwarf_Die *scopes = NULL, *chain = NULL;
	int n = dwarf_getscopes(unit, address, &scopes);
	const char *function = NULL;

	/* from here on as the code lies, not as the source does */
	n = n > 0 ? dwarf_getscopes_die(&scopes[0], &chain) : 0;
	for (int i = 0; i < n; i++) {
		int tag = dwarf_tag(&chain[i]);
		const char *caller;
		unsigned int number;

		if (tag != DW_TAG_subprogram && tag != DW_TAG_inlined_subroutine)
			continue;
		function = dwarf_diename(&chain[i]);
		if (tag == DW_TAG_subprogram || !library_header(*file))
			break;
		caller = call_file(unit, &chain[i], &number);
		if (!caller)
			break;
		*file = caller;
		*line = number;
	}
	free(scopes);
	free(chain);
	return function;
}

static void resolve(struct code *code)
{
	struct module *module = (struct module *)code->module;
	struct place *place = &code->place;
	const char *file = NULL, *function = NULL;
	Dwarf_Addr bias = 0;
	Dwfl_Line *found;
	Dwarf_Die *unit;
	char text[300];
	int line = 0;

	snprintf(text, sizeof(text), "%s%s%#llx", module ? module->base : "", module ? "+" : "",
		 (unsigned long long)code->address);
	place->code = printable(text);
	if (!module) {
		place->why = "no module is there";
		return;
	}
	place->library = !strncmp(module->base, "libuffdstm.so", strlen("libuffdstm.so"));
	if (!module->opened)
		open_module(module);
	place->why = module->why;
	if (!module->dwfl_module)
		return;
	unit = dwfl_module_addrdie(module->dwfl_module, code->address, &bias);
	found = dwfl_module_getsrc(module->dwfl_module, code->address);
	if (found)
		file = dwfl_lineinfo(found, NULL, &line, NULL, NULL, NULL);
	if (unit && file && line > 0) {
		unsigned int number = (unsigned int)line;

		function = own_code(unit, code->address - bias, &file, &number);
		place->file = full_path(unit, file);
		place->line = number;
	} else {
		place->why = "its file has no line numbers";
	}
	if (!function)
		function = dwfl_module_addrname(module->dwfl_module, code->address);
	if (function)
		place->function = printable(function);
	place->library |= function && !strncmp(function, "stm_", strlen("stm_")); /* linked statically */
}

const struct place *code_place(struct symbols *symbols, struct code *code)
{
	if (!code->resolved) {
		code->resolved = true;
		resolve(code);
		symbols_text(symbols, &code->place);
	}
	return &code->place;
}

/* ---- text ---- */

/* @file, if a compiler ran in some other directory: as one of the module's units names it. */
static char *path_in_module(struct module *module, const char *file)
{
	Dwarf_Die *unit = NULL;
	Dwarf_Addr bias;

	if (!module->opened)
		open_module(module);
	if (!module->dwfl_module)
		return NULL;
	while ((unit = dwfl_module_nextcu(module->dwfl_module, unit, &bias))) {
		const char *name = dwarf_diename(unit);

		if (name && !strcmp(name, file))
			return full_path(unit, name);
	}
	return NULL;
}

void symbols_text(struct symbols *symbols, struct place *place)
{
	if (!place->file || !place->line || place->text)
		return;
	place->text = source_line(place->file, place->line, symbols->run_ns, &place->text_why);
	for (size_t i = 0; i < symbols->modules_n && !place->text && !place->text_why && *place->file != '/'; i++) {
		char *path = path_in_module(symbols->modules[i], place->file);

		if (path)
			place->text = source_line(path, place->line, symbols->run_ns, &place->text_why);
		free(path);
	}
}
