// SPDX-License-Identifier: MIT
/*
 * step.c - the processor's trap flag, set in the context that a signal handler returns to.
 *
 * An instruction that faults again before it is through keeps the flag, and traps when it is. Handlers of other
 * signals run without the flag: the kernel keeps it in the context that they interrupted. A rep instruction traps
 * after each turn.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <signal.h>
#include <stdatomic.h>
#include <stddef.h>
#include <ucontext.h>

#include "message.h"
#include "step.h"

#define TRAP_FLAG 0x100                 /* bit 8 of EFLAGS, Intel SDM vol. 1, 3.4.3 */

static struct sigaction before;
static _Atomic(stm_step_handler *) after;       /* NULL: not installed */
static __thread bool was_blocked __attribute__((__tls_model__("initial-exec")));

static void hand_on(int signum, siginfo_t *info, void *context)
{
	if (before.sa_handler == SIG_IGN)
		return;
	if (before.sa_handler == SIG_DFL) {
		/* A trap, unlike a fault, does not come again by itself. */
		sigaction(signum, &before, NULL);
		raise(signum);
	} else if (before.sa_flags & SA_SIGINFO) {
		before.sa_sigaction(signum, info, context);
	} else {
		before.sa_handler(signum);
	}
}

static void on_trap(int signum, siginfo_t *info, void *context)
{
	stm_step_handler *handler = atomic_load_explicit(&after, memory_order_acquire);
	ucontext_t *user = context;
	int saved = errno;

	if (info->si_code != TRAP_TRACE || !handler || !handler((const void *)user->uc_mcontext.gregs[REG_RIP])) {
		hand_on(signum, info, context);
	} else {
		user->uc_mcontext.gregs[REG_EFL] &= ~TRAP_FLAG;
		if (was_blocked)
			sigaddset(&user->uc_sigmask, SIGTRAP);
	}
	errno = saved;
}

static bool is_ours(void)
{
	struct sigaction act;

	return sigaction(SIGTRAP, NULL, &act) == 0 && (act.sa_flags & SA_SIGINFO) && act.sa_sigaction == on_trap;
}

int stm_step_install(stm_step_handler *handler)
{
	struct sigaction act = { .sa_sigaction = on_trap, .sa_flags = SA_SIGINFO | SA_NODEFER | SA_ONSTACK | SA_RESTART };

	sigemptyset(&act.sa_mask);
	atomic_store_explicit(&after, handler, memory_order_release);
	if (sigaction(SIGTRAP, &act, &before) == 0)
		return 0;

	int error = -errno;

	atomic_store_explicit(&after, NULL, memory_order_release);
	stm_complain("sigaction: %s: cannot step through stores", stm_errno_name(error));
	return error;
}

void stm_step_uninstall(void)
{
	if (is_ours())
		sigaction(SIGTRAP, &before, NULL);
	atomic_store_explicit(&after, NULL, memory_order_release);
}

bool stm_step(void *context)
{
	ucontext_t *user = context;

	if (!is_ours())
		return false;
	if (!(user->uc_mcontext.gregs[REG_EFL] & TRAP_FLAG))
		was_blocked = sigismember(&user->uc_sigmask, SIGTRAP) == 1;
	sigdelset(&user->uc_sigmask, SIGTRAP); /* a trap that is blocked kills */
	user->uc_mcontext.gregs[REG_EFL] |= TRAP_FLAG;
	return true;
}
