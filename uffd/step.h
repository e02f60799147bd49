/* SPDX-License-Identifier: MIT */
/*
 * step.h - one instruction at a time: run the one that faulted, and be called right behind it.
 *
 * The library owns SIGTRAP from stm_step_install() on; what is not its own goes to the action
 * that was there before.
 */
#ifndef STM_STEP_H
#define STM_STEP_H

#include <stdbool.h>

/* Called in the handler, on the thread that stepped; @next is where it goes on. True if it stepped for us. */
typedef bool stm_step_handler(const void *next);

int stm_step_install(stm_step_handler *handler); /* 0 or -errno */
void stm_step_uninstall(void);

/*
 * In a handler, given its context: when it returns, one instruction runs, and then the handler is called. False: the
 * program has put a handler of SIGTRAP of its own over ours.
 */
bool stm_step(void *context);

#endif
