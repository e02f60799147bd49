// SPDX-License-Identifier: MIT
/*
 * engine.c - the choice.
 */
#include <unistd.h>

#include "engine.h"
#include "userfaultfd.h"

const struct stm_engine *stm_engine;

/* Views open descriptors of their own later; whether that is allowed is better said now. */
static int try_userfaultfd(const struct stm_engine *engine)
{
	int fd = stm_uffd_open(engine->features);

	if (fd < 0)
		return fd;
	close(fd);
	return 0;
}

int stm_engine_open(stm_fault_resolver *resolve)
{
	const struct stm_engine *engine = &stm_sigbus_engine;
	int error = try_userfaultfd(engine);

	if (!error && engine->open)
		error = engine->open(resolve);
	stm_engine = error ? NULL : engine;
	return error;
}

void stm_engine_close(void)
{
	if (stm_engine && stm_engine->close)
		stm_engine->close();
	stm_engine = NULL;
}
