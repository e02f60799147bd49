/* SPDX-License-Identifier: MIT */
/*
 * symbols.h - from an address of code to function, file and line, and to the line's text.
 */
#ifndef UFFDSTM_SYMBOLS_H
#define UFFDSTM_SYMBOLS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <uffdstm/event.h>

/* Somewhere in a program. What is not known is NULL or 0. All texts are printable. */
struct place {
	char *file;
	char *function;
	char *name;             /* of the transactions that begin there, or NULL */
	unsigned int line;
	char *code;             /* "libx.so+0x1234": where it is known by no more than that */
	const char *why;        /* why no more is known, or NULL */
	char *text;             /* of the line */
	const char *text_why;   /* why there is none, where that is worth saying, or NULL */
	bool library;           /* in libuffdstm itself */
};

struct module;

/* An address of code, once for each. */
struct code {
	const struct module *module;    /* NULL: of no known module */
	uint64_t address;               /* in the module's file, as addr2line(1) wants it; without a module as it was */
	struct place place;
	bool resolved;
};

struct symbols {
	struct module **modules;
	size_t modules_n;
	void *codes;                    /* tsearch(3)'s tree of struct code */
	size_t codes_n;
	uint64_t overflow;              /* definitions and addresses beyond what is kept */
	uint64_t run_ns;                /* when the program began: a source that changed since is not its source */
};

void symbols_start(struct symbols *symbols, uint64_t run_ns);
void symbols_end(struct symbols *symbols);

/* Code is at @begin from here on. @path is printable. */
void symbols_module(struct symbols *symbols, uint64_t begin, uint64_t bytes, const struct stm_log_module *module,
		    const char *path);

/* NULL for address 0. Which module is there now counts. */
struct code *symbols_code(struct symbols *symbols, uint64_t address);

/* What is known of it: looked up at the first call. */
const struct place *code_place(struct symbols *symbols, struct code *code);

/* Looks for the text of @place's line, below the directories that the modules were compiled in as well. */
void symbols_text(struct symbols *symbols, struct place *place);

/*
 * Line @line of a file as printable text without white space around it; NULL and *@why, if it cannot be had.
 * @run_ns: not if the file changed since.
 */
char *source_line(const char *path, unsigned int line, uint64_t run_ns, const char **why);

void place_free(struct place *place);

/* Memory, or the end. */
void *need(size_t bytes);
char *need_text(const char *text);

#endif
