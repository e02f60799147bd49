/* SPDX-License-Identifier: MIT */
/*
 * fault.h - page faults that arrive as signals.
 *
 * The library owns SIGBUS and SIGSEGV from stm_fault_install() on; what is not its own goes to
 * the handlers that were there before, or that stm_sigaction() set since.
 */
#ifndef STM_FAULT_H
#define STM_FAULT_H

#include <stdbool.h>
#include <stdint.h>

/*
 * Called in the handler, on the faulting thread: true if the fault is resolved and the access may run
 * again, false if it is not ours. @mapped: SIGBUS rather than SIGSEGV.
 */
typedef bool stm_fault_resolver(uintptr_t address, bool write, bool mapped);

int stm_fault_install(stm_fault_resolver *resolve); /* 0 or -errno */
void stm_fault_uninstall(void);

/* Is the handler of SIGBUS still the library's? */
bool stm_fault_installed(void);

/* Let the calling thread receive SIGBUS. */
void stm_fault_unblock(void);

#endif
