// SPDX-License-Identifier: MIT
/*
 * fault.c - SIGBUS and SIGSEGV: ours are resolved, others handed on.
 *
 * The program's own actions are kept here. They are read in signal handlers and written by
 * stm_sigaction(), so each is an immutable record behind one atomic pointer; a record that was replaced is
 * kept, since a handler may still be reading it.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <ucontext.h>
#include <unistd.h>

#include <uffdstm.h>

#include "fault.h"
#include "message.h"

#define PAGE_FAULT_WRITE 2 /* bit 1 of the x86 page-fault error code, Intel SDM vol. 3A, 4.7 */

struct action {
	struct sigaction act;
	struct action *replaced;
};

static struct action original[2];
static _Atomic(struct action *) program[2];     /* what the program wants: SIGBUS, SIGSEGV */
static _Atomic(stm_fault_resolver *) resolver;  /* NULL: not installed */

static int which(int signum)
{
	return signum == SIGBUS ? 0 : signum == SIGSEGV ? 1 : -1;
}

/* As if the kernel had never called us: the default action happens when the access runs again. */
static void act_by_default(int signum, const siginfo_t *info)
{
	struct sigaction act = { .sa_handler = SIG_DFL };

	sigaction(signum, &act, NULL);
	if (info->si_code <= 0) /* sent, not a fault: it does not come again by itself */
		raise(signum);
}

static void hand_on(int signum, siginfo_t *info, void *context)
{
	struct action *now = atomic_load_explicit(&program[which(signum)], memory_order_acquire);
	const struct sigaction *act = &now->act;
	sigset_t mask, old;

	if (act->sa_handler == SIG_DFL) {
		act_by_default(signum, info);
		return;
	}
	if (act->sa_handler == SIG_IGN) {
		if (info->si_code > 0) /* the kernel does not let a fault be ignored */
			act_by_default(signum, info);
		return;
	}
	mask = act->sa_mask;
	if (!(act->sa_flags & SA_NODEFER))
		sigaddset(&mask, signum);
	if (act->sa_flags & SA_RESETHAND) {
		static struct action none = { .act = { .sa_handler = SIG_DFL } };

		atomic_store_explicit(&program[which(signum)], &none, memory_order_release);
	}
	sigprocmask(SIG_BLOCK, &mask, &old);
	if (act->sa_flags & SA_SIGINFO)
		act->sa_sigaction(signum, info, context);
	else
		act->sa_handler(signum);
	sigprocmask(SIG_SETMASK, &old, NULL);
}

static void on_fault(int signum, siginfo_t *info, void *context)
{
	const ucontext_t *user = context;
	stm_fault_resolver *resolve = atomic_load_explicit(&resolver, memory_order_acquire);
	struct stm_fault fault = {
		.address = (uintptr_t)info->si_addr,
		.pc = (const void *)user->uc_mcontext.gregs[REG_RIP],
		.write = user->uc_mcontext.gregs[REG_ERR] & PAGE_FAULT_WRITE,
		.mapped = signum == SIGBUS,
		.context = context,
	};
	int saved = errno;

	/* Sent by a process, or a page that the hardware lost: not ours. */
	if (info->si_code <= 0 || (signum == SIGBUS && info->si_code != BUS_ADRERR) || !resolve || !resolve(&fault))
		hand_on(signum, info, context);
	errno = saved;
}

static int install_one(int signum)
{
	/*
	 * Nested faults may come while the program's handler runs: SA_NODEFER. On the alternate stack
	 * where there is one, as runtimes with small stacks expect.
	 */
	struct sigaction act = { .sa_sigaction = on_fault, .sa_flags = SA_SIGINFO | SA_NODEFER | SA_ONSTACK | SA_RESTART };
	struct action *first = &original[which(signum)];

	sigemptyset(&act.sa_mask);
	if (sigaction(signum, NULL, &first->act))
		return -errno;
	atomic_store_explicit(&program[which(signum)], first, memory_order_release);
	return sigaction(signum, &act, NULL) ? -errno : 0;
}

int stm_fault_install(stm_fault_resolver *resolve)
{
	atomic_store_explicit(&resolver, resolve, memory_order_release);

	int error = install_one(SIGBUS);

	if (!error)
		error = install_one(SIGSEGV);
	if (error) {
		stm_complain("sigaction: %s: cannot handle page faults", stm_errno_name(error));
		stm_fault_uninstall();
	}
	return error;
}

static bool is_ours(int signum)
{
	struct sigaction act;

	return sigaction(signum, NULL, &act) == 0 && (act.sa_flags & SA_SIGINFO) && act.sa_sigaction == on_fault;
}

void stm_fault_uninstall(void)
{
	for (int i = 0; i < 2; i++) {
		int signum = i ? SIGSEGV : SIGBUS;
		struct action *now = atomic_load_explicit(&program[i], memory_order_acquire);

		if (now && is_ours(signum))
			sigaction(signum, &now->act, NULL);
	}
	atomic_store_explicit(&resolver, NULL, memory_order_release);
}

bool stm_fault_installed(void)
{
	return is_ours(SIGBUS);
}

bool stm_fault_is_seen(void)
{
	sigset_t blocked;

	return is_ours(SIGSEGV) && !pthread_sigmask(SIG_BLOCK, NULL, &blocked) && !sigismember(&blocked, SIGSEGV);
}

/* Of the form "151 0x3 ...", or "-1 0x7ffd..." where the thread left user code by a fault. */
int stm_fault_system_call(const struct stm_fault *fault)
{
	char path[64], text[32] = "";
	int fd;

	if (!fault->thread)
		return -1;
	snprintf(path, sizeof(path), "/proc/self/task/%d/syscall", fault->thread);
	fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		return -1;
	if (read(fd, text, sizeof(text) - 1) <= 0 || text[0] < '0' || text[0] > '9')
		text[0] = '-', text[1] = '1', text[2] = 0;
	close(fd);
	return atoi(text);
}

void stm_fault_unblock(void)
{
	sigset_t bus;

	sigemptyset(&bus);
	sigaddset(&bus, SIGBUS);
	pthread_sigmask(SIG_UNBLOCK, &bus, NULL);
}

int stm_sigaction(int signum, const struct sigaction *act, struct sigaction *old)
{
	struct sigaction copy;
	int i = which(signum);

	if (act) {
		copy = *act;
		sigdelset(&copy.sa_mask, SIGBUS);
	}
	if (i < 0 || !atomic_load_explicit(&resolver, memory_order_acquire))
		return sigaction(signum, act ? &copy : NULL, old) ? -errno : 0;

	struct action *was = atomic_load_explicit(&program[i], memory_order_acquire);

	if (old)
		*old = was->act;
	if (!act)
		return 0;

	struct action *now = malloc(sizeof(*now));

	if (!now)
		return -ENOMEM;
	now->act = copy;
	now->replaced = was;
	atomic_store_explicit(&program[i], now, memory_order_release);
	return 0;
}
