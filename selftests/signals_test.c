// SPDX-License-Identifier: MIT
/*
 * signals_test.c - faults and signals that are not the library's reach the program as if it was not there: SIGBUS and
 * SIGSEGV, by access and by kill(2), with every kind of action; masks, alternate stacks, and threads that end.
 */
#include <errno.h>
#include <setjmp.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <ucontext.h>

#include "cell_support.h"

/* ---- faults of the program's own ---- */

/* A mapping behind the end of its file gives SIGBUS; one without rights gives SIGSEGV. */
static volatile char *bad_page(int signum)
{
	int fd = memfd_create("signals_test", MFD_CLOEXEC);
	char *p = mmap(NULL, PAGE, signum == SIGBUS ? PROT_READ | PROT_WRITE : PROT_NONE, MAP_SHARED, fd, 0);

	if (fd < 0 || p == MAP_FAILED)
		abort();
	close(fd);
	return p;
}

/* What the last handler saw. */
static volatile struct {
	int calls, signum, code;
	void *address;
	bool blocked_self, blocked_usr1, on_altstack;
} seen;

static sigjmp_buf back;
static volatile char *bad;
static char altstack[64 * 1024];

static void look(int signum)
{
	sigset_t mask;
	char here;

	sigprocmask(SIG_BLOCK, NULL, &mask);
	seen.calls++;
	seen.signum = signum;
	seen.blocked_self = sigismember(&mask, signum);
	seen.blocked_usr1 = sigismember(&mask, SIGUSR1);
	seen.on_altstack = &here >= altstack && &here < altstack + sizeof(altstack);
}

static void repair(void)
{
	if (mmap((void *)bad, PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0) ==
	    MAP_FAILED)
		abort();
}

/* Makes the access good; it runs again. */
static void on_signal(int signum)
{
	look(signum);
	repair();
}

static void on_signal_info(int signum, siginfo_t *info, void *context)
{
	look(signum);
	seen.code = info->si_code;
	seen.address = info->si_addr;
	if (info->si_code > 0) {
		/* The context is that of the access. */
		if (!((ucontext_t *)context)->uc_mcontext.gregs[REG_RIP])
			abort();
		repair();
	}
}

static void on_signal_jump(int signum)
{
	look(signum);
	siglongjmp(back, 1);
}

static void forget(void)
{
	memset((void *)&seen, 0, sizeof(seen));
}

/* How a program sets its action. */
enum when { BEFORE, AFTER, WHENS };

FIXTURE(signals) {
};

FIXTURE_VARIANT(signals) {
	int signum;
	enum when when;
};

FIXTURE_VARIANT_ADD(signals, sigbus_before_init) { SIGBUS, BEFORE };
FIXTURE_VARIANT_ADD(signals, sigbus_by_stm_sigaction) { SIGBUS, AFTER };
FIXTURE_VARIANT_ADD(signals, sigsegv_before_init) { SIGSEGV, BEFORE };
FIXTURE_VARIANT_ADD(signals, sigsegv_by_stm_sigaction) { SIGSEGV, AFTER };

FIXTURE_SETUP(signals)
{
	bad = bad_page(variant->signum);
}

FIXTURE_TEARDOWN(signals)
{
}

static void set_action(int signum, enum when when, const struct sigaction *act)
{
	struct sigaction old;

	if (when == BEFORE) {
		if (sigaction(signum, act, NULL))
			abort();
		start();
	} else {
		start();
		if (stm_sigaction(signum, act, NULL) || stm_sigaction(signum, NULL, &old))
			abort();
		if (old.sa_handler != act->sa_handler || old.sa_flags != act->sa_flags)
			abort();
	}
}

TEST_F(signals, handler_with_siginfo)
{
	struct sigaction act = { .sa_sigaction = on_signal_info, .sa_flags = SA_SIGINFO };

	sigaddset(&act.sa_mask, SIGUSR1);
	set_action(variant->signum, variant->when, &act);
	bad[5] = 7;
	EXPECT_EQ(7, bad[5]);
	EXPECT_EQ(1, seen.calls);
	EXPECT_EQ(variant->signum, seen.signum);
	EXPECT_EQ(variant->signum == SIGBUS ? BUS_ADRERR : SEGV_ACCERR, seen.code);
	EXPECT_EQ((void *)&bad[5], seen.address);
	EXPECT_TRUE(seen.blocked_self);
	EXPECT_TRUE(seen.blocked_usr1);
	EXPECT_FALSE(seen.on_altstack);
	/* And the mask is as it was. */
	forget();
	look(variant->signum);
	EXPECT_FALSE(seen.blocked_self);
	EXPECT_FALSE(seen.blocked_usr1);
	EXPECT_TRUE(heap_works());
	EXPECT_EQ(1, seen.calls);
}

TEST_F(signals, handler_without_siginfo)
{
	struct sigaction act = { .sa_handler = on_signal, .sa_flags = SA_NODEFER };

	set_action(variant->signum, variant->when, &act);
	bad[0] = 1;
	EXPECT_EQ(1, seen.calls);
	EXPECT_EQ(variant->signum, seen.signum);
	EXPECT_FALSE(seen.blocked_self);
	EXPECT_TRUE(heap_works());
}

/* In the middle of a transaction, which goes on and commits. */
TEST_F(signals, handler_in_a_transaction)
{
	struct sigaction act = { .sa_sigaction = on_signal_info, .sa_flags = SA_SIGINFO };

	set_action(variant->signum, variant->when, &act);
	STM_ATOMIC {
		long value = STM_GET(*cell);

		bad[1] = 1;
		STM_SET(*cell, value + 1);
	}
	EXPECT_EQ(1, seen.calls);
	STM_ATOMIC {
		EXPECT_EQ(43, +STM_GET(*cell));
		STM_SET(*cell, 42);
	}
	EXPECT_TRUE(heap_works());
}

TEST_F(signals, handler_that_jumps)
{
	struct sigaction act = { .sa_handler = on_signal_jump };
	volatile int jumps = 0;

	set_action(variant->signum, variant->when, &act);
	while (jumps < 3) {
		if (sigsetjmp(back, 1) == 0) {
			bad[0] = 1;
			abort();
		}
		jumps++;
		EXPECT_TRUE(heap_works());
	}
	EXPECT_EQ(3, seen.calls);
}

TEST_F(signals, handler_sent_by_kill)
{
	struct sigaction act = { .sa_sigaction = on_signal_info, .sa_flags = SA_SIGINFO };

	set_action(variant->signum, variant->when, &act);
	ASSERT_EQ(0, kill(getpid(), variant->signum));
	EXPECT_EQ(1, seen.calls);
	EXPECT_EQ(SI_USER, seen.code);
	ASSERT_EQ(0, raise(variant->signum));
	EXPECT_EQ(2, seen.calls);
	EXPECT_EQ(SI_TKILL, seen.code);
	EXPECT_TRUE(heap_works());
}

struct in_child {
	int signum;
	enum when when;
	struct sigaction act;
	void (*doing)(int signum);
};

static void run_in_child(void *arg)
{
	struct in_child *c = arg;

	set_action(c->signum, c->when, &c->act);
	if (!heap_works())
		_exit(100);
	c->doing(c->signum);
	_exit(heap_works() ? 0 : 101);
}

static void touch_bad_page(int signum)
{
	(void)signum;
	bad[0] = 1;
}

static void touch_twice(int signum)
{
	(void)signum;
	bad[0] = 1;
	if (seen.calls != 1)
		_exit(102);
	bad = bad_page(signum);
	bad[0] = 1;
}

static void send(int signum)
{
	kill(getpid(), signum);
}

static void send_to_thread(int signum)
{
	raise(signum);
}

TEST_F(signals, default_action_kills)
{
	struct in_child c = { variant->signum, variant->when, { .sa_handler = SIG_DFL }, NULL };
	static void (*const doings[])(int signum) = { touch_bad_page, send, send_to_thread };

	for (int i = 0; i < 3; i++) {
		c.doing = doings[i];
		struct ended e = run_child_keeping(run_in_child, &c, true);

		EXPECT_TRUE(was_killed_by(&e, variant->signum) && e.lines == 0) {
			TH_LOG("%d: %s", i, how(&e));
		}
	}
}

/* A fault cannot be ignored, a signal that was sent can. */
TEST_F(signals, ignored)
{
	struct in_child c = { variant->signum, variant->when, { .sa_handler = SIG_IGN }, touch_bad_page };
	struct ended e = run_child_keeping(run_in_child, &c, true);

	EXPECT_TRUE(was_killed_by(&e, variant->signum) && e.lines == 0) {
		TH_LOG("fault: %s", how(&e));
	}
	c.doing = send;
	e = run_child_keeping(run_in_child, &c, true);
	EXPECT_TRUE(exited_with(&e, 0)) {
		TH_LOG("kill: %s", how(&e));
	}
}

/* SA_RESETHAND: once, then the default action. */
TEST_F(signals, reset_after_one)
{
	struct in_child c = { variant->signum, variant->when,
			      { .sa_handler = on_signal, .sa_flags = SA_RESETHAND }, touch_twice };
	struct ended e = run_child_keeping(run_in_child, &c, true);

	EXPECT_TRUE(was_killed_by(&e, variant->signum)) {
		TH_LOG("%s", how(&e));
	}
	c.doing = touch_bad_page;
	e = run_child_keeping(run_in_child, &c, true);
	EXPECT_TRUE(exited_with(&e, 0)) {
		TH_LOG("%s", how(&e));
	}
}

/* Back to the program's own after stm_fini(). */
TEST_F(signals, restored_by_fini)
{
	struct sigaction act = { .sa_sigaction = on_signal_info, .sa_flags = SA_SIGINFO }, now;

	set_action(variant->signum, variant->when, &act);
	ASSERT_EQ(0, stm_fini());
	ASSERT_EQ(0, sigaction(variant->signum, NULL, &now));
	EXPECT_TRUE(now.sa_sigaction == on_signal_info);
	bad[0] = 1;
	EXPECT_EQ(1, seen.calls);
	/* And once more round. */
	bad = bad_page(variant->signum);
	start();
	bad[0] = 1;
	EXPECT_EQ(2, seen.calls);
	EXPECT_TRUE(heap_works());
}

/* ---- stm_sigaction() itself ---- */

TEST(sigaction_of_other_signals)
{
	struct sigaction act = { .sa_handler = on_signal_jump, .sa_flags = SA_RESTART }, old;

	for (int round = 0; round < 2; round++) {
		sigfillset(&act.sa_mask);
		EXPECT_EQ(0, stm_sigaction(SIGUSR2, &act, NULL));
		EXPECT_EQ(0, stm_sigaction(SIGUSR2, NULL, &old));
		EXPECT_TRUE(old.sa_handler == on_signal_jump);
		EXPECT_FALSE(sigismember(&old.sa_mask, SIGBUS)); /* must never be blocked */
		EXPECT_TRUE(sigismember(&old.sa_mask, SIGUSR1));
		EXPECT_EQ(-EINVAL, stm_sigaction(SIGKILL, &act, NULL));
		EXPECT_EQ(-EINVAL, stm_sigaction(-1, &act, NULL));
		EXPECT_EQ(-EINVAL, stm_sigaction(1000, NULL, &old));
		if (!round)
			start();
	}
}

/* Before stm_init() it is sigaction(2) for all of them. */
TEST(sigaction_before_init)
{
	struct sigaction act = { .sa_sigaction = on_signal_info, .sa_flags = SA_SIGINFO }, old;

	bad = bad_page(SIGBUS);
	ASSERT_EQ(0, stm_sigaction(SIGBUS, &act, &old));
	ASSERT_EQ(0, sigaction(SIGBUS, NULL, &old));
	EXPECT_TRUE(old.sa_sigaction == on_signal_info);
	start();
	ASSERT_EQ(0, stm_sigaction(SIGBUS, NULL, &old));
	EXPECT_TRUE(old.sa_sigaction == on_signal_info);
	bad[0] = 1;
	EXPECT_EQ(1, seen.calls);
}

/* ---- a handler put over ours ---- */

static void *attach_here(void *arg)
{
	(void)arg;
	return (void *)(intptr_t)stm_thread_attach();
}

static void replace_handler(void *arg)
{
	struct sigaction act = { .sa_handler = on_signal_jump };

	(void)arg;
	start();
	if (sigaction(SIGBUS, &act, NULL))
		_exit(100);
	_exit((int)-(intptr_t)in_thread(attach_here, NULL));
}

TEST(handler_over_ours)
{
	struct ended e = run_child(replace_handler, NULL);

	EXPECT_TRUE(exited_with(&e, EBUSY) && said(&e, "SIGBUS", "stm_sigaction")) {
		TH_LOG("%s", how(&e));
	}
}

TEST(handler_over_ours_and_back)
{
	struct sigaction act = { .sa_handler = on_signal_jump }, ours;

	start();
	ASSERT_EQ(0, sigaction(SIGBUS, &act, &ours));
	ASSERT_EQ(-EBUSY, (intptr_t)in_thread(attach_here, NULL));
	ASSERT_EQ(0, sigaction(SIGBUS, &ours, NULL));
	EXPECT_EQ(0, (intptr_t)in_thread(attach_here, NULL));
	EXPECT_TRUE(heap_works());
	/* One that is over ours when the library goes is the program's business, and stays. */
	ASSERT_EQ(0, sigaction(SIGBUS, &act, NULL));
	ASSERT_EQ(0, stm_fini());
	ASSERT_EQ(0, sigaction(SIGBUS, NULL, &ours));
	EXPECT_TRUE(ours.sa_handler == on_signal_jump);
}

/* ---- masks and stacks ---- */

static void *work_blocked(void *arg)
{
	sigset_t all, after;

	(void)arg;
	sigfillset(&all);
	pthread_sigmask(SIG_BLOCK, &all, NULL);
	if (stm_thread_attach() || !heap_works())
		return NULL;
	pthread_sigmask(SIG_BLOCK, NULL, &after);
	if (sigismember(&after, SIGBUS) || !sigismember(&after, SIGUSR1) || !sigismember(&after, SIGTERM))
		return NULL;
	return &work_blocked;
}

TEST(thread_with_all_signals_blocked)
{
	start();
	EXPECT_NE(NULL, in_thread(work_blocked, NULL));
}

static void *work_on_altstack(void *arg)
{
	stack_t stack = { .ss_sp = altstack, .ss_size = sizeof(altstack) };

	(void)arg;
	if (sigaltstack(&stack, NULL) || stm_thread_attach() || !heap_works())
		return NULL;
	bad = bad_page(SIGSEGV);
	bad[0] = 1;
	return seen.on_altstack ? &altstack : NULL;
}

TEST(alternate_stack)
{
	struct sigaction act = { .sa_handler = on_signal, .sa_flags = SA_ONSTACK };

	set_action(SIGSEGV, AFTER, &act);
	EXPECT_NE(NULL, in_thread(work_on_altstack, NULL));
	EXPECT_EQ(1, seen.calls);
}

static __attribute__((__noinline__)) size_t overflow_stack(volatile char *p)
{
	volatile char frame[1000];

	frame[0] = p ? p[0] : 1;
	return frame[0] ? overflow_stack(frame) + (size_t)frame[0] : 0;
}

static void *overflow(void *arg)
{
	stack_t stack = { .ss_sp = altstack, .ss_size = sizeof(altstack) };

	(void)arg;
	if (sigaltstack(&stack, NULL) || stm_thread_attach())
		return NULL;
	if (sigsetjmp(back, 1) == 0)
		return (void *)overflow_stack(NULL);
	return heap_works() && seen.on_altstack ? &altstack : NULL;
}

/* What alternate stacks are for: the program's handler gets its stack overflow. */
TEST(stack_overflow)
{
	struct sigaction act = { .sa_handler = on_signal_jump, .sa_flags = SA_ONSTACK };

	if (WITH_ASAN)
		SKIP(return, "AddressSanitizer has stacks of its own");
	set_action(SIGSEGV, BEFORE, &act);
	EXPECT_EQ(&altstack, in_thread(overflow, NULL));
}

/* ---- threads that end ---- */

static void end_in_transaction_now(void)
{
	STM_ATOMIC {
		STM_SET(*cell, -1);
		stm_alloc(1000);
		pthread_exit(NULL);
	}
}

static int undone;

static void count_undone(void *arg)
{
	(void)arg;
	undone++;
}

static void *end_in_transaction(void *arg)
{
	static char saved = 'a';

	if (stm_thread_attach())
		abort();
	STM_ATOMIC {
		stm_on_abort(count_undone, NULL);
		stm_save(&saved, 1);
		saved = 'b';
		if (arg)
			stm_become_inevitable("test");
		end_in_transaction_now();
	}
	return arg;
}

static void *end_attached(void *arg)
{
	if (stm_thread_attach())
		abort();
	STM_ATOMIC {
		STM_SET(cell[2], STM_GET(cell[2]) + 1);
	}
	return arg;
}

TEST(thread_exit_attached)
{
	struct stm_stats stats;

	start();
	for (int i = 0; i < 100; i++) /* more than there are segments */
		in_thread(end_attached, NULL);
	ASSERT_EQ(0, stm_stats(&stats, sizeof(stats)));
	EXPECT_EQ(1, stats.attached);
	STM_ATOMIC {
		EXPECT_EQ(100, +STM_GET(cell[2]));
	}
	EXPECT_EQ(0, stm_fini());
}

TEST(thread_exit_in_a_transaction)
{
	struct stm_stats stats;

	start();
	for (intptr_t i = 0; i < 100; i++)
		in_thread(end_in_transaction, (void *)(i % 2)); /* each second one inevitable */
	ASSERT_EQ(0, stm_stats(&stats, sizeof(stats)));
	EXPECT_EQ(1, stats.attached);
	EXPECT_EQ(100, stats.aborts[STM_ABORT_EXIT]);
	EXPECT_EQ(100, undone);
	EXPECT_TRUE(heap_works()); /* 42 as before, and nobody is in the way */
	EXPECT_EQ(0, stm_fini());
}

TEST_HARNESS_MAIN
