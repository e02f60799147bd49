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

/* An access that could not be done. */
struct stm_fault {
	uintptr_t address;
	const void *pc;                 /* where the program does it; NULL: not known */
	int thread;                     /* the kernel's id of the thread, which waits; 0: the calling thread; or */
#define STM_CHILD_OF_OWNER (-1)         /* a child that shares the memory of the view's owner, who waits for it: vfork(2) */
	bool write;
	bool mapped;                    /* in a view, whose pages come by faults; else where nothing may be */
	void *context;                  /* the signal handler's, a ucontext_t; NULL: not in one */
};

/*
 * True if the fault is resolved and the access may run again, false if it is not ours. Called on the
 * faulting thread, in a signal handler, or for it.
 */
typedef bool stm_fault_resolver(const struct stm_fault *fault);

int stm_fault_install(stm_fault_resolver *resolve); /* 0 or -errno */
void stm_fault_uninstall(void);

/* The system call that a thread other than the caller is in: its number, -1 if none, or if that cannot be told. */
int stm_fault_system_call(const struct stm_fault *fault);

/* Is the handler of SIGBUS still the library's? */
bool stm_fault_installed(void);

/* Would the calling thread's access to a page without rights be told? Not if it blocks SIGSEGV, or that is not ours any more. */
bool stm_fault_is_seen(void);

/* Let the calling thread receive SIGBUS. */
void stm_fault_unblock(void);

#endif
