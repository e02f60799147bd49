// SPDX-License-Identifier: MIT
/*
 * thread.c - a thread that reads fault messages and resolves faults for the threads that wait.
 *
 *   1. A view has one owner, so at most one fault at a time is to be resolved in it. The handler acts as the
 *      owner's hands: the owner stands in the kernel until the page is there.
 *   2. All that the fault changes is changed first: neighbours, states, figures. The page itself is made last
 *      (stm_view_withhold(), stm_view_hand_out()), whole, by one ioctl that wakes the owner, too. From then on
 *      the owner runs, and the handler touches nothing of the view.
 *   3. Waking alone could not do that: a signal, or a wake-up for another reason, lets the owner try again at any
 *      time. It gets past its access only if the page is there; else it waits again, with a new message.
 *   4. Such a new message may be about to be queued just as the page is made, and be read when the owner is on its way
 *      already. It is for the same page and the same kind of access as the last one, or for a page that
 *      the state says is there. A message like that is answered by UFFDIO_WAKE alone; if it was no mistake
 *      it comes again at once, and is believed then, since nothing was made in between. That must be a message that was
 *      read after the wake-up: signals can make the owner send several while one read(2) takes them all.
 *
 * Order: the kernel queues and hands out messages under one lock, and wakes under it. So the handler sees what
 * the owner did before its fault, and the owner what the handler did before it made the page.
 *
 * The handler waits for nothing but messages: it takes no lock of the library or the program (the resolver has none),
 * calls no malloc, and touches of a view only pages that it has just made.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <limits.h>
#include <linux/kcmp.h>
#include <pthread.h>
#include <semaphore.h>
#include <signal.h>
#include <stdatomic.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "compat.h"
#include "engine.h"
#include "message.h"
#include "testing.h"
#include "view.h"

#define BATCH 16                                /* descriptors at once, and messages of each */
#define STACK_BYTES ((size_t)256 << 10)         /* a message on stderr is the deepest */

static stm_fault_resolver *resolver;
static pthread_t handler;
static int events = -1, bell = -1;              /* epoll; an eventfd, for words to the handler itself */
static _Atomic bool quit;
static sem_t heard;
static uint8_t staged[STM_PAGE] __attribute__((__aligned__(4096)));

static bool is_of_this_process(int thread)
{
	return syscall(SYS_tgkill, getpid(), thread, 0) == 0 || errno != ESRCH;
}

/* As vfork(2) and posix_spawn(3) make it, while the caller waits. The kernel tells of processes that it would let us trace. */
static bool is_child_with_our_memory(int process)
{
	return syscall(SYS_kcmp, getpid(), process, KCMP_VM, 0, 0) == 0;
}

/*
 * For whom is this message to be answered? 0: for nobody. A process that reads our memory from outside waits until the owner has
 * the page.
 */
static int who_waits(const struct stm_view *view, int thread)
{
	if (thread == view->doubt.thread || is_of_this_process(thread))
		return thread;
	return is_child_with_our_memory(thread) ? STM_CHILD_OF_OWNER : 0;
}

static bool is_same(const struct stm_view_fault *a, const struct stm_view_fault *b)
{
	return a->page == b->page && a->thread == b->thread && a->write == b->write;
}

/* See 4. above. @first: of those read at once, so that it was read after all that was done before. */
static bool is_doubtful(const struct stm_view *view, const struct stm_view_fault *fault, bool first)
{
	uint8_t state = view->state[fault->page];

	if (STM_MUTATED(DOUBT_NOTHING))
		return false;
	if (is_same(fault, &view->doubt))
		return !(view->doubt_woken && first);
	return state == STM_PAGE_PRIVATE || (state == STM_PAGE_SHARED && !fault->write);
}

static void resolve(struct stm_view *view, const struct uffd_msg *message, bool first)
{
	struct stm_fault fault = {
		.address = message->arg.pagefault.address,
		.thread = who_waits(view, (int)message->arg.pagefault.feat.ptid),
		.write = message->arg.pagefault.flags & (UFFD_PAGEFAULT_FLAG_WRITE | UFFD_PAGEFAULT_FLAG_WP),
		.mapped = true,
	};
	struct stm_view_fault what = {
		.page = (fault.address - (uintptr_t)view->heap) / STM_PAGE,
		.thread = fault.thread,
		.write = fault.write,
	};
	int error;

	if (!fault.thread)
		return;
	if (is_doubtful(view, &what, first)) {
		view->doubt = what;
		view->doubt_woken = true;
		if (!STM_MUTATED(NO_WAKE))
			stm_uffd_wake(view->uffd, view->heap + what.page * STM_PAGE, STM_PAGE);
		return;
	}
	view->doubt = what;
	view->doubt_woken = false;
	stm_view_withhold(view, what.page, staged);
	if (!resolver(&fault))
		stm_die("page fault at address %#zx, which is a page of a view that should be there", (size_t)fault.address);
	error = stm_view_hand_out(view);
	if (error)
		stm_die("page fault at heap address %#zx: %s: no memory for a page",
			(size_t)(fault.address - (uintptr_t)view->heap), stm_errno_name(error));
}

static void read_messages(struct stm_view *view)
{
	struct uffd_msg messages[BATCH];
	ssize_t bytes = read(view->uffd, messages, sizeof(messages));
	size_t n = bytes > 0 ? (size_t)bytes / sizeof(messages[0]) : 0;

	for (size_t i = 0; i < n; i++)
		if (messages[i].event == UFFD_EVENT_PAGEFAULT)
			resolve(view, &messages[i], i == 0);
}

static void *handle(void *arg)
{
	struct epoll_event ready[BATCH];

	for (;;) {
		int n = epoll_wait(events, ready, BATCH, -1);

		for (int i = 0; i < n; i++) {
			eventfd_t rings;

			if (ready[i].data.ptr) {
				read_messages(ready[i].data.ptr);
				continue;
			}
			if (atomic_load(&quit))
				return arg;
			eventfd_read(bell, &rings);
			sem_post(&heard);
		}
	}
}

static int start_handler(void)
{
	pthread_attr_t attr;
	sigset_t all, old;
	int error;

	pthread_attr_init(&attr);
	pthread_attr_setstacksize(&attr, STACK_BYTES);
	sigfillset(&all);
	pthread_sigmask(SIG_SETMASK, &all, &old); /* inherited */
	error = -pthread_create(&handler, &attr, handle, NULL);
	pthread_sigmask(SIG_SETMASK, &old, NULL);
	pthread_attr_destroy(&attr);
	if (!error)
		pthread_setname_np(handler, "uffdstm-faults");
	return error;
}

static void close_both(void)
{
	if (events >= 0)
		close(events);
	if (bell >= 0)
		close(bell);
	events = bell = -1;
}

static int thread_open(stm_fault_resolver *resolve_fault)
{
	struct epoll_event event = { .events = EPOLLIN, .data.ptr = NULL };
	int error = 0;

	resolver = resolve_fault;
	events = epoll_create1(EPOLL_CLOEXEC);
	bell = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	atomic_store(&quit, false);
	sem_init(&heard, 0, 0);
	if (events < 0 || bell < 0 || epoll_ctl(events, EPOLL_CTL_ADD, bell, &event))
		error = -errno;
	if (!error)
		error = start_handler();
	if (error) {
		stm_complain("engine thread: %s: it takes a thread and two descriptors: raise RLIMIT_NPROC or RLIMIT_NOFILE",
			     stm_errno_name(error));
		close_both();
	}
	return error;
}

static void thread_close(void)
{
	atomic_store(&quit, true);
	eventfd_write(bell, 1);
	pthread_join(handler, NULL);
	close_both();
}

static int thread_add(struct stm_view *view)
{
	struct epoll_event event = { .events = EPOLLIN, .data.ptr = view };

	view->doubt.page = STM_NO_PAGE;
	if (epoll_ctl(events, EPOLL_CTL_ADD, view->uffd, &event) == 0)
		return 0;

	int error = -errno;

	stm_complain("epoll_ctl: %s: engine thread cannot watch one more segment: see fs.epoll.max_user_watches",
		     stm_errno_name(error));
	return error;
}

/*
 * Nobody has a fault in it any more, but the handler may be about to look at a message that came late. What
 * it finds together with the bell was collected after the view was taken off.
 */
static void thread_remove(struct stm_view *view)
{
	epoll_ctl(events, EPOLL_CTL_DEL, view->uffd, NULL);
	eventfd_write(bell, 1);
	while (sem_wait(&heard) && errno == EINTR)
		;
}

const struct stm_engine stm_thread_engine = {
	.name = "thread",
	.features = UFFD_FEATURE_THREAD_ID | UFFD_FEATURE_EXACT_ADDRESS,
	.waits_in_kernel = true,
	.open = thread_open,
	.close = thread_close,
	.add = thread_add,
	.remove = thread_remove,
};
