// SPDX-License-Identifier: MIT
/*
 * engine.c - the choice: the program's, else the user's, else the profile's, else the best.
 *
 * A program that names an engine in its options gets that or an error: it may depend on what the engine can do. Who
 * names one in UFFDSTM_ENGINE tries something out, and a profile may be of another kernel: where this one lacks it, a
 * line says so and the best runs.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "engine.h"
#include "message.h"
#include "userfaultfd.h"

const struct stm_engine *stm_engine;

static const char *why;

/* The best first. All need what sigbus needs, so that it is there if any is. */
static const struct stm_engine *const engines[] = { &stm_sigbus_engine, &stm_thread_engine, &stm_async_engine };

#define ENGINES (sizeof(engines) / sizeof(engines[0]))

static const struct stm_engine *find_engine(const char *name, const char *where)
{
	for (size_t i = 0; i < ENGINES; i++)
		if (!strcmp(name, engines[i]->name))
			return engines[i];
	stm_complain("stm_init: %s = \"%s\" (EINVAL): sigbus, thread or async", where, name);
	return NULL;
}

/* What it needs beyond what any does: -EOPNOTSUPP, and another engine may do. */
static int check_features(const struct stm_engine *engine)
{
	uint64_t special = engine->features & ~engines[0]->features, lacking;

	if (!special)
		return 0;
	lacking = stm_uffd_lacking(special) & special;
	if (!lacking)
		return 0;
	stm_complain("engine %s: this kernel lacks %s", engine->name, stm_uffd_feature(lacking));
	return -EOPNOTSUPP;
}

/* Views open descriptors of their own later; whether that is allowed is better said now. */
static int try_descriptor(const struct stm_engine *engine)
{
	int fd = stm_uffd_open(engine->features);

	if (fd < 0)
		return fd;
	close(fd);
	return 0;
}

static int start(const struct stm_engine *engine, stm_fault_resolver *resolve)
{
	int error;

	stm_uffd_start(engine->waits_in_kernel);
	error = check_features(engine);
	if (!error)
		error = try_descriptor(engine);
	if (!error && engine->open)
		error = engine->open(resolve);
	if (error)
		stm_uffd_stop();
	return error;
}

/* ---- one line on request ---- */

/* " (/dev/userfaultfd: EACCES, ...)": each better way that was refused. */
static void list_refused(char *text, size_t size)
{
	size_t len = 0;

	text[0] = 0;
	for (unsigned int way = 0; way < stm_uffd_way(); way++) {
		int n = snprintf(text + len, size - len, "%s%s: %s", len ? ", " : " (", stm_uffd_way_name(way),
				 stm_errno_name(stm_uffd_refused(way)));

		if (n < 0 || (size_t)n >= size - len)
			return;
		len += (size_t)n;
	}
	if (len)
		snprintf(text + len, size - len, ")");
}

static void tell(void)
{
	struct stm_engine_facts facts = stm_engine_facts();
	char refused[200];

	if (!stm_is_verbose())
		return;
	list_refused(refused, sizeof(refused));
	stm_complain("engine %s: %s; opened by %s%s; page faults inside system calls are %s", facts.name, facts.why,
		     facts.opened, refused, facts.in_system_calls ? "resolved" : "not resolved: EFAULT");
}

struct stm_engine_facts stm_engine_facts(void)
{
	return (struct stm_engine_facts){
		.name = stm_engine->name,
		.why = why,
		.opened = stm_uffd_way_name(stm_uffd_way()),
		.in_system_calls = stm_engine->waits_in_kernel && stm_uffd_way() != STM_UFFD_USER_MODE,
	};
}

/* ---- up and down ---- */

int stm_engine_open(const char *asked, const char *profile, const char *needed, stm_fault_resolver *resolve)
{
	const char *wish = asked ? NULL : secure_getenv("UFFDSTM_ENGINE");
	bool profiled = false;
	const struct stm_engine *engine = engines[0];
	int error;

	why = "the default";
	if (wish && !*wish)
		wish = NULL;
	if (!asked && !wish) {
		wish = profile;
		profiled = profile;
	}
	if (asked || wish) {
		engine = asked ? find_engine(asked, "options.engine") :
				 find_engine(wish, profiled ? "profile" : "UFFDSTM_ENGINE");
		if (!engine)
			return -EINVAL;
		why = asked    ? "asked for by options.engine" :
		      profiled ? "as the profile says" :
				 "asked for by UFFDSTM_ENGINE";
	}
	if (needed) {
		if (engine != engines[0])
			stm_complain("engine %s: sigbus runs in its place, %s", engine->name, needed);
		engine = engines[0];
		why = needed;
	}
	error = start(engine, resolve);
	if (error == -EOPNOTSUPP && wish && engine != engines[0]) {
		engine = engines[0];
		why = profiled ? "the default, since what the profile says cannot be had" :
				 "the default, since what UFFDSTM_ENGINE asks for cannot be had";
		error = start(engine, resolve);
	}
	if (error)
		return error;
	stm_engine = engine;
	tell();
	return 0;
}

void stm_engine_close(void)
{
	if (stm_engine->close)
		stm_engine->close();
	stm_uffd_stop();
	stm_engine = NULL;
}
