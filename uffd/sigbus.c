// SPDX-License-Identifier: MIT
/*
 * sigbus.c - the faulting thread resolves its own fault, in a signal handler.
 *
 * The fastest with full control. fault.c has the handler, which every engine needs to explain wrong accesses.
 */
#include "compat.h"
#include "engine.h"

const struct stm_engine stm_sigbus_engine = {
	.name = "sigbus",
	.features = UFFD_FEATURE_SIGBUS,
};
