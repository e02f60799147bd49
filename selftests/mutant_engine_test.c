// SPDX-License-Identifier: MIT
/*
 * mutant_engine_test.c - white box: what can go wrong between a thread that waits for a page and the one that makes it,
 * one case at a time; and stores that make no fault.
 *
 * The calls by which the handler thread waits and reads are wrapped. So a test can have it read a message of
 * a thread that is on its way already, and see whether it leaves one waiting for ever.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdatomic.h>
#include <sys/epoll.h>
#include <sys/mman.h>
#include <linux/userfaultfd.h>

#include <uffdstm.h>

#include "internal.h"
#include "support.h"

#define FIRST 1024u                     /* a page that the allocator does not use */

static struct stm_seg *volatile us;     /* NULL: nothing of ours is watched */

/* ---- the handler's calls ---- */

static struct uffd_msg seen;            /* the last message of our view */
static unsigned int forgotten;          /* times that we were left waiting */

enum { NOTHING, EXTRA_READ, EXTRA_MESSAGE, EXTRA_TOLD };
static _Atomic int extra;               /* have the handler read @stale by itself */
static _Atomic unsigned int copies;     /* or so many more of the next message in the same read */
static struct uffd_msg stale;

/* Of messages that were read: how many threads still wait for what will never come. */
static unsigned int waiting_for_ever(int fd)
{
	unsigned int pending = 0, total = 0;
	char path[64], line[64];
	FILE *f;

	snprintf(path, sizeof(path), "/proc/self/fdinfo/%d", fd);
	f = fopen(path, "re");
	while (f && fgets(line, sizeof(line), f)) {
		sscanf(line, "pending: %u", &pending);
		sscanf(line, "total: %u", &total);
	}
	if (f)
		fclose(f);
	return total - pending;
}

int __real_epoll_wait(int fd, struct epoll_event *events, int n, int timeout);
int __wrap_epoll_wait(int fd, struct epoll_event *events, int n, int timeout);
int __wrap_epoll_wait(int fd, struct epoll_event *events, int n, int timeout)
{
	struct stm_seg *seg = us;

	if (seg && waiting_for_ever(seg->view.uffd)) {
		forgotten++;
		stm_uffd_wake(seg->view.uffd, seg->view.heap, stm_view_pages(&seg->view) * STM_PAGE);
	}
	if (extra == EXTRA_MESSAGE)
		extra = EXTRA_TOLD;
	if (extra == EXTRA_READ) {
		events[0].data.ptr = &seg->view;
		return 1;
	}
	return __real_epoll_wait(fd, events, n, timeout);
}

ssize_t __real_read(int fd, void *bytes, size_t len);
ssize_t __wrap_read(int fd, void *bytes, size_t len);
ssize_t __wrap_read(int fd, void *bytes, size_t len)
{
	struct stm_seg *seg = us;
	struct uffd_msg *messages = bytes;
	ssize_t n;

	if (!seg || fd != seg->view.uffd)
		return __real_read(fd, bytes, len);
	if (extra == EXTRA_READ) {
		extra = EXTRA_MESSAGE;
		messages[0] = stale;
		return sizeof(stale);
	}
	n = __real_read(fd, bytes, len);
	if (n <= 0)
		return n;
	seen = messages[0];
	for (; copies && (size_t)n + sizeof(stale) <= len; copies--) {
		messages[(size_t)n / sizeof(stale)] = messages[0];
		n += (ssize_t)sizeof(stale);
	}
	return n;
}

/* ---- pages ---- */

static __attribute__((__noinline__)) volatile long STM *at(size_t page)
{
	return (volatile long STM *)(STM_HEAP + page * STM_PAGE);
}

static long load(size_t page)
{
	volatile long value = 0;

	STM_ATOMIC
		value = *at(page);
	return value;
}

static void store(size_t page, long value)
{
	STM_ATOMIC
		*at(page) = value;
}

static void forget_pages(void)
{
	if (stm_thread_detach() || stm_thread_attach())
		abort();
}

static int start(const char *engine)
{
	struct stm_options options = STM_OPTIONS_INIT;
	int error;

	options.engine = engine;
	options.cluster = options.cluster_max = 1;
	options.heap_size = 4096 * STM_PAGE;
	error = stm_init(&options);
	if (error)
		return error;
	if (stm_thread_attach() || stm_heap_grow(options.heap_size))
		abort();
	us = stm__self;
	return 0;
}

FIXTURE(handler) {
};

FIXTURE_SETUP(handler)
{
	ASSERT_EQ(0, start("thread"));
}

FIXTURE_TEARDOWN(handler)
{
	us = NULL; /* who looks at it already is waited for */
	EXPECT_EQ(0, stm_fini());
}

static void *fault_elsewhere(void *arg)
{
	if (stm_thread_attach())
		abort();
	load(FIRST + 100);
	return arg;
}

/* Have the handler read the last message of our view once more, while we are not waiting. */
static void read_again(void)
{
	stale = seen;
	extra = EXTRA_READ;
	in_thread(fault_elsewhere, NULL); /* wakes the handler */
	while (extra != EXTRA_TOLD)
		sched_yield();
	extra = NOTHING;
}

static uint64_t all_faults(void)
{
	uint64_t n = 0;

	for (int i = 0; i < STM_FAULT_KINDS; i++)
		n += us->faults[i];
	return n;
}

/* A message of a thread that found the page by itself: nothing happens, whatever became of the page since. */
TEST_F(handler, a_late_message_is_no_fault)
{
	for (unsigned int write = 0; write < 2; write++) {
		if (write)
			store(FIRST + 1, 5);
		else
			load(FIRST);
		EXPECT_EQ(1 + write, all_faults());
		read_again();
		EXPECT_EQ(1 + write, all_faults());
	}
	forget_pages();
	load(FIRST);
	EXPECT_EQ(3, all_faults());
	forget_pages();
	read_again();
	EXPECT_EQ(3, all_faults());
	EXPECT_EQ(STM_PAGE_UNMAPPED, us->view.state[FIRST]);
	/* The same fault for good: told from the late message by coming again. */
	load(FIRST);
	EXPECT_EQ(4, all_faults());
	EXPECT_EQ(THREAD_SHARES ? STM_PAGE_SHARED : STM_PAGE_PRIVATE, us->view.state[FIRST]);
	store(FIRST, 6);
	EXPECT_EQ(4 + THREAD_SHARES, all_faults());
	EXPECT_EQ(STM_PAGE_PRIVATE, us->view.state[FIRST]);
	EXPECT_EQ(0, forgotten);
}

/*
 * Several messages of one thread in one read, as signals make them: the page is made for the first, and there at the others,
 * all of which were read before the first was answered.
 */
static void read_at_once(struct __test_metadata *_metadata, unsigned int more)
{
	load(FIRST);
	forget_pages();
	copies = more;
	load(FIRST + 7);
	EXPECT_EQ(0, atomic_load(&copies));
	EXPECT_EQ(2, all_faults());
	EXPECT_EQ(STM_PAGE_UNMAPPED, us->view.state[FIRST]);
	EXPECT_EQ(THREAD_SHARES ? STM_PAGE_SHARED : STM_PAGE_PRIVATE, us->view.state[FIRST + 7]);
	EXPECT_EQ(0, forgotten);
}

TEST_F(handler, a_message_twice_in_one_read)
{
	read_at_once(_metadata, 1);
}

TEST_F(handler, a_message_many_times_in_one_read)
{
	read_at_once(_metadata, 5);
}

/* NO_WAKE: a fault on a page that is there, as far as is known, leaves nobody waiting. */
TEST_F(handler, nobody_is_left_waiting)
{
	if (!THREAD_SHARES)
		SKIP(return, "the kernel takes back SHARED pages only, and there is none: Linux before 6.4");
	for (int i = 0; i < 3; i++) {
		load(FIRST);
		STM_ATOMIC {
			/* As reclaim does. */
			madvise(us->view.heap + FIRST * STM_PAGE, STM_PAGE, MADV_DONTNEED);
			(void)*at(FIRST);
		}
		EXPECT_EQ((uint64_t)i + 1, us->faults[STM_FAULT_RECLAIMED]);
		read_again();
		EXPECT_EQ((uint64_t)i + 1, us->faults[STM_FAULT_RECLAIMED]);
		store(FIRST, 3);
		forget_pages();
	}
	EXPECT_EQ(3, us->faults[STM_FAULT_READ]);
	EXPECT_EQ(3, us->faults[STM_FAULT_PROTECT]);
	EXPECT_EQ(0, forgotten);
}

FIXTURE(stores) {
};

FIXTURE_SETUP(stores)
{
	int error = start("async");

	if (error == -EOPNOTSUPP)
		SKIP(return, "no engine async: Linux before 6.7");
	ASSERT_EQ(0, error);
}

FIXTURE_TEARDOWN(stores)
{
	us = NULL;
	stm_fini();
}

static void *commit_both(void *arg)
{
	if (stm_thread_attach())
		abort();
	STM_ATOMIC {
		STM_SET(at(FIRST)[64], 1);
		STM_SET(at(FIRST + 1)[64], 1);
	}
	return arg;
}

/* NO_COLLECT: a page that the kernel copied for a store is the view's own, and stays. */
TEST_F(stores, a_store_without_a_fault_is_found)
{
	volatile long value = 0;

	load(FIRST);
	load(FIRST + 1);
	STM_ATOMIC
		(void)STM_GET(at(FIRST)[0]); /* used lately: FIRST is made private, FIRST + 1 dropped */
	store(FIRST, 41);
	store(FIRST + 1, 42);
	EXPECT_EQ(STM_PAGE_SHARED, us->view.state[FIRST]);
	EXPECT_EQ(0, us->faults[STM_FAULT_PROTECT]);
	in_thread(commit_both, NULL);
	STM_ATOMIC
		value = at(FIRST)[0] * 1000 + at(FIRST + 1)[0] + at(FIRST)[64] * 1000000 + at(FIRST + 1)[64] * 1000000;
	EXPECT_EQ(2041042, value);
	EXPECT_EQ(2, us->faults[STM_FAULT_PROTECT]);
	EXPECT_EQ(STM_PAGE_PRIVATE, us->view.state[FIRST]);
	EXPECT_EQ(STM_PAGE_PRIVATE, us->view.state[FIRST + 1]);

	/* A write barrier beside it. */
	load(FIRST + 2);
	STM_ATOMIC {
		at(FIRST + 2)[0] = 43;
		STM_SET(at(FIRST + 2)[64], 2);
		value = at(FIRST + 2)[0] + at(FIRST + 2)[64];
	}
	EXPECT_EQ(45, value);
	EXPECT_EQ(3, us->faults[STM_FAULT_PROTECT]);
	EXPECT_EQ(us->view.mapped + us->view.copied - us->view.dropped, us->view.shared + us->view.private);
	forget_pages();
	EXPECT_EQ(0, us->view.shared + us->view.private);
	EXPECT_EQ(0, load(FIRST));
}

TEST_HARNESS_MAIN
