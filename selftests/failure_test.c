// SPDX-License-Identifier: MIT
/*
 * failure_test.c - white box: the system refuses what the library asks of it. Each call of malloc and its kin, mmap, mprotect,
 * madvise, fallocate and ioctl that the library makes is failed, one at a time; linked with --wrap.
 *
 *   init, attach, growth    return the documented error, leave nothing half done, and work when asked again
 *   begin to commit         go on, or stop the process with one line; nothing that committed is lost
 */
#include <errno.h>
#include <stdarg.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <linux/userfaultfd.h>

#include <uffdstm.h>

#include "internal.h"
#include "compat.h"
#include "failure_support.h"

#define MIB ((size_t)1 << 20)

/* ---- calls that fail ---- */

WRAP(MAPPING, void *, MAP_FAILED, mmap, (void *p, size_t len, int prot, int flags, int fd, off_t offset),
     (p, len, prot, flags, fd, offset))
WRAP(MAPPING, int, -1, mprotect, (void *p, size_t len, int prot), (p, len, prot))
WRAP(BLOCKS, int, -1, fallocate, (int fd, int mode, off_t offset, off_t len), (fd, mode, offset, len))

/* Features that the kernel is to lack; and a kernel before 6.4, which cannot CONTINUE write-protected. */
static uint64_t lacking;
static bool old_kernel;

static bool is_unknown(unsigned long request, const void *arg)
{
	if (request == UFFDIO_API)
		return ((const struct uffdio_api *)arg)->features & lacking;
	return request == UFFDIO_CONTINUE && old_kernel && ((const struct uffdio_continue *)arg)->mode & ~(__u64)1;
}

int __real_ioctl(int fd, unsigned long request, void *arg);

/*
 * A request that the kernel is to do for half of a range. Of the rest it says what is wrong when it is asked for it: until then
 * the answer is EAGAIN.
 */
static volatile unsigned long halve;
static volatile bool halved;

static int do_half(int fd, unsigned long request, void *arg)
{
	struct uffdio_continue *cont = arg;
	struct uffdio_copy *copy = arg;
	struct uffdio_writeprotect *protect = arg;
	bool rest = halved;
	__u64 *len = request == UFFDIO_COPY ? &copy->len : request == UFFDIO_CONTINUE ? &cont->range.len : &protect->range.len;

	if (*len == STM_PAGE && !rest)
		return __real_ioctl(fd, request, arg);
	halved = true;
	if (!rest) {
		*len /= 2;
		if (__real_ioctl(fd, request, arg))
			abort();
		*len *= 2;
	}
	errno = rest || request == UFFDIO_WRITEPROTECT ? ENOMEM : EAGAIN;
	if (errno == ENOMEM)
		halve = 0;
	return -1;
}

int __wrap_ioctl(int fd, unsigned long request, void *arg);
int __wrap_ioctl(int fd, unsigned long request, void *arg)
{
	int result;

	if (request != USERFAULTFD_IOC_NEW && refuse(IOCTL)) /* for that one there is another way */
		return -1;
	if (is_unknown(request, arg)) {
		errno = EINVAL;
		return -1;
	}
	if (request == halve)
		return do_half(fd, request, arg);
	result = __real_ioctl(fd, request, arg);
	if (request == UFFDIO_API)
		((struct uffdio_api *)arg)->features &= ~lacking;
	return result;
}

/* ---- proof that all works ---- */

static long STM *cells;         /* of a page each */
#define CELLS 64
#define STEP (STM_PAGE / sizeof(long))
static volatile long seen;      /* so that loads are not left out */

static int init_heap(void)
{
	struct stm_options options = STM_OPTIONS_INIT;

	options.trim_age = STM_TRIM_NEVER; /* page states are looked at, however long it takes */
	options.heap_size = 64 * MIB;
	return stm_init(&options);
}

static void *sum_up(void *arg)
{
	static volatile long sum;

	if (stm_thread_attach())
		_exit(50);
	STM_ATOMIC {
		sum = 0;
		for (size_t i = 0; i < CELLS; i++)
			sum += STM_GET(cells[i * STEP]);
	}
	(void)arg;
	return (void *)&sum;
}

static void work(void)
{
	STM_ATOMIC {
		if (!cells)
			cells = stm_zalloc(CELLS * STM_PAGE);
		if (!cells)
			_exit(51);
		for (size_t i = 0; i < CELLS; i++)
			STM_SET(cells[i * STEP], (long)i);
	}
	if (*(long *)in_thread(sum_up, NULL) != CELLS * (CELLS - 1) / 2)
		_exit(52);
}

/* ---- init and attach ---- */

static void try_init(void *arg)
{
	const struct trial *t = arg;
	int error;

	fail(t->kinds, t->n);
	error = init_heap();
	if (!was_refused())
		_exit(NOT_REFUSED);
	/* Less than was wished for may do: then it is no failure. */
	if (error && (error != -ENOMEM || stm_thread_attach() != -ENXIO || init_heap()))
		_exit(1);
	if (stm_thread_attach())
		_exit(2);
	work();
	_exit(stm_fini() ? 3 : REFUSED);
}

TEST(init)
{
	try_all(_metadata, try_init, MAPPING, false);
	try_all(_metadata, try_init, BLOCKS, false);
}

static void *attach_refused(void *arg)
{
	const struct trial *t = arg;
	int error;

	fail(t->kinds, t->n);
	error = stm_thread_attach();
	if (!was_refused())
		_exit(NOT_REFUSED);
	if (error != -ENOMEM)
		_exit(1);
	if (stm_in_transaction() || stm_thread_detach() != -EPERM)
		_exit(2);
	/* Again, now that there is memory. */
	if (stm_thread_attach())
		_exit(3);
	STM_ATOMIC {
		if (STM_GET(cells[5 * STEP]) != 5)
			_exit(4);
	}
	return NULL;
}

static void try_attach(void *arg)
{
	if (init_heap() || stm_thread_attach())
		_exit(60);
	STM_ATOMIC {
		cells = stm_zalloc(CELLS * STM_PAGE);
		for (size_t i = 0; i < CELLS; i++)
			STM_SET(cells[i * STEP], (long)i);
	}
	in_thread(attach_refused, arg);
	work();
	_exit(stm_fini() ? 5 : REFUSED);
}

TEST(attach)
{
	try_all(_metadata, try_attach, MEMORY, false);
	try_all(_metadata, try_attach, MAPPING, false);
	try_all(_metadata, try_attach, IOCTL, false);
}

/* ---- growth ---- */

static pthread_barrier_t turn;

static void *hold_a_segment(void *arg)
{
	if (stm_thread_attach())
		_exit(50);
	pthread_barrier_wait(&turn);
	pthread_barrier_wait(&turn);
	/* A view that grew, or did not, with the others. */
	STM_ATOMIC {
		if (STM_GET(cells[5 * STEP]) != 5)
			_exit(4);
	}
	return arg;
}

static void try_growth(void *arg)
{
	const struct trial *t = arg;
	void STM *large = NULL;
	pthread_t other;
	int error = 0;

	if (init_heap() || stm_thread_attach())
		_exit(60);
	work();
	pthread_barrier_init(&turn, NULL, 2);
	if (pthread_create(&other, NULL, hold_a_segment, NULL))
		_exit(61);
	pthread_barrier_wait(&turn);
	fail(t->kinds, t->n);
	STM_ATOMIC {
		STM_SET(cells[1 * STEP], 1);
		errno = 0;
		large = stm_alloc(6 * MIB);
		error = errno;
		fail_in = 0;
		STM_SET(cells[2 * STEP], 2); /* the transaction is none the worse */
	}
	if (!was_refused())
		_exit(NOT_REFUSED);
	/* Less than was wished for may do: then it is no failure. */
	if (!large && error != ENOMEM)
		_exit(1);
	STM_ATOMIC {
		if (!large)
			large = stm_alloc(6 * MIB);
		if (large)
			stm_memset(large, 0x11, 6 * MIB);
	}
	if (!large)
		_exit(2);
	STM_ATOMIC {
		if (STM_GET(((unsigned char STM *)large)[6 * MIB - 1]) != 0x11)
			_exit(3);
	}
	pthread_barrier_wait(&turn);
	pthread_join(other, NULL);
	work();
	_exit(stm_fini() ? 5 : REFUSED);
}

TEST(growth)
{
	try_all(_metadata, try_growth, BLOCKS, false);
	try_all(_metadata, try_growth, MAPPING, false);
	try_all(_metadata, try_growth, MEMORY, false);
}

/* ---- inside transactions ---- */

static void try_alloc(void *arg)
{
	const struct trial *t = arg;
	long STM *p[30];
	size_t n = 0;

	if (init_heap() || stm_thread_attach())
		_exit(60);
	work();
	fail(t->kinds, t->n);
	STM_ATOMIC {
		for (size_t i = 0; i < 30; i++) {
			long STM *q = stm_alloc(3000 * i);

			if (!q) {
				if (errno != ENOMEM)
					_exit(1);
				continue;
			}
			STM_SET(*q, (long)i);
			p[n++] = q;
		}
	}
	if (!was_refused())
		_exit(NOT_REFUSED);
	STM_ATOMIC {
		long last = -1;

		for (size_t i = 0; i < n; i++) {
			if (STM_GET(*p[i]) <= last)
				_exit(2);
			last = +STM_GET(*p[i]);
			stm_free(p[i]);
		}
	}
	work();
	_exit(stm_fini() ? 5 : REFUSED);
}

TEST(allocations)
{
	try_all(_metadata, try_alloc, MEMORY, true);
	try_all(_metadata, try_alloc, IOCTL, true);
}

/* Old bytes of 40 pages and more: undo log, entry and pages must grow. A refusal stops the process. */
static void try_writes(void *arg)
{
	const struct trial *t = arg;

	if (init_heap() || stm_thread_attach())
		_exit(60);
	work();
	if (stm_thread_detach() || stm_thread_attach())
		_exit(61);
	fail(t->kinds, t->n);
	STM_ATOMIC {
		for (size_t i = 0; i < CELLS; i++)
			seen += STM_GET(cells[i * STEP]);
		stm_memset(cells, 0, CELLS * STM_PAGE);
		for (size_t i = 0; i < CELLS; i++)
			STM_SET(cells[i * STEP], 1);
	}
	if (!was_refused())
		_exit(NOT_REFUSED);
	if (*(long *)in_thread(sum_up, NULL) != CELLS)
		_exit(1);
	work();
	_exit(stm_fini() ? 5 : REFUSED);
}

TEST(writes)
{
	try_all(_metadata, try_writes, MEMORY, true);
	try_all(_metadata, try_writes, IOCTL, true);
}

static void *hold_the_log(void *arg)
{
	if (stm_thread_attach())
		_exit(50);
	STM_ATOMIC {
		pthread_barrier_wait(&turn);
		pthread_barrier_wait(&turn);
	}
	return arg;
}

#define COMMITS 40000

/* Many small commits, none of which can be folded: blocks and chunks of the log, 5 MB. */
static void try_commits(void *arg)
{
	const struct trial *t = arg;
	pthread_t holder;

	if (init_heap() || stm_thread_attach())
		_exit(60);
	work();
	pthread_barrier_init(&turn, NULL, 2);
	if (pthread_create(&holder, NULL, hold_the_log, NULL))
		_exit(61);
	pthread_barrier_wait(&turn);
	fail(t->kinds, t->n);
	for (int i = 0; i < COMMITS; i++)
		STM_ATOMIC {
			STM_SET(cells[0], STM_GET(cells[0]) + 1);
		}
	if (!was_refused())
		_exit(NOT_REFUSED);
	pthread_barrier_wait(&turn);
	pthread_join(holder, NULL);
	STM_ATOMIC {
		if (STM_GET(cells[0]) != COMMITS)
			_exit(1);
	}
	work();
	_exit(stm_fini() ? 5 : REFUSED);
}

TEST(commits)
{
	try_all(_metadata, try_commits, MAPPING, true);
}

/*
 * Copying a page for an after-image fails once the entry is published: the page stays UNMAPPED, and its next reader gets it by
 * a fault. Nothing stops.
 */
static void *commit_other(void *arg)
{
	if (stm_thread_attach())
		_exit(50);
	STM_ATOMIC {
		for (size_t i = 0; i < CELLS; i++)
			STM_SET(cells[i * STEP], STM_GET(cells[i * STEP]) + 1);
	}
	return arg;
}

static void try_apply(void *arg)
{
	const struct trial *t = arg;
	volatile long sum = 0;

	if (init_heap() || stm_thread_attach())
		_exit(60);
	work();
	if (stm_thread_detach() || stm_thread_attach())
		_exit(61);
	stm_log_throttle(stm__self); /* folds: the pages will be SHARED */
	STM_ATOMIC {
		for (size_t i = 0; i < CELLS; i++)
			seen += STM_GET(cells[i * STEP]);
	}
	in_thread(commit_other, NULL);
	fail(t->kinds, t->n);
	STM_ATOMIC { /* applies to SHARED pages that were used lately */
		fail_in = 0;
		sum = 0;
		for (size_t i = 0; i < CELLS; i++)
			sum += STM_GET(cells[i * STEP]);
	}
	if (sum != CELLS * (CELLS - 1) / 2 + CELLS)
		_exit(1);
	if (!was_refused())
		_exit(NOT_REFUSED);
	work();
	_exit(stm_fini() ? 5 : REFUSED);
}

TEST(apply)
{
	try_all(_metadata, try_apply, IOCTL, false);
}

/* ---- a range half done ---- */

/*
 * Another thread's commit makes all cells one more. It is not folded: the base has the old values. @request is halved while the
 * commit is applied.
 */
static bool is_one_more(unsigned long request)
{
	volatile long sum = 0;

	in_thread(commit_other, NULL);
	halve = request;
	STM_ATOMIC {
		sum = 0;
		for (size_t i = 0; i < CELLS; i++)
			sum += STM_GET(cells[i * STEP]);
	}
	return sum == CELLS * (CELLS - 1) / 2 + CELLS;
}

/* What was mapped before the call failed must be gone: as an UNMAPPED page it would miss what is applied. */
static void share_half(struct __test_metadata *_metadata, unsigned long request)
{
	size_t first = ((uintptr_t)cells - STM_HEAP) / STM_PAGE;

	STM_ATOMIC {
		halve = request;
		EXPECT_EQ(-ENOMEM, stm_prefault(cells, CELLS * STM_PAGE));
	}
	EXPECT_TRUE(halved);
	EXPECT_EQ(0, halve);
	EXPECT_EQ(STM_PAGE_UNMAPPED, stm__self->view.state[first]);
	EXPECT_TRUE(is_one_more(0));
	work();
	EXPECT_EQ(0, stm_fini());
}

/* Cells that the base has, and nothing of them in the view. */
static bool start_unmapped(void)
{
	if (init_heap() || stm_thread_attach())
		return false;
	work();
	if (stm_thread_detach() || stm_thread_attach())
		return false;
	stm_log_throttle(stm__self);
	return atomic_load(&stm_global.folded) == stm__self->snapshot;
}

TEST(half_continued)
{
	ASSERT_TRUE(start_unmapped());
	share_half(_metadata, UFFDIO_CONTINUE);
}

TEST(half_continued_in_two_steps)
{
	old_kernel = true;
	ASSERT_TRUE(start_unmapped());
	share_half(_metadata, UFFDIO_CONTINUE);
}

TEST(half_write_protected)
{
	old_kernel = true;
	ASSERT_TRUE(start_unmapped());
	share_half(_metadata, UFFDIO_WRITEPROTECT);
}

TEST(half_copied)
{
	ASSERT_TRUE(start_unmapped());
	STM_ATOMIC {
		for (size_t i = 0; i < CELLS; i++)
			seen += STM_GET(cells[i * STEP]);
		EXPECT_LE(CELLS, stm__self->view.shared);
	}
	EXPECT_TRUE(is_one_more(UFFDIO_COPY)); /* which makes private what was used lately */
	EXPECT_TRUE(halved);
	EXPECT_EQ(0, halve);
	work();
	EXPECT_EQ(0, stm_fini());
}

/* ---- what was read stays read, when a page could not be copied back ---- */

static long STM *skew_x, *skew_y;
#define SKEW_BLOCKS 64
static long STM *skew_blocks[SKEW_BLOCKS];

static void *skew_other(void *arg)
{
	if (stm_thread_attach())
		_exit(50);
	STM_ATOMIC {
		STM_SET(*skew_x, STM_GET(*skew_y) + 1);
	}
	return arg;
}

static void try_skew(void *arg)
{
	volatile unsigned int attempts = 0, refusals = 0;
	long x = 0, y = 0;

	if (init_heap() || stm_thread_attach())
		_exit(60);
	STM_ATOMIC {
		skew_y = stm_zalloc(20000);
		for (size_t i = 0; i < SKEW_BLOCKS; i++)
			skew_blocks[i] = stm_zalloc(1024);
	}
	skew_x = skew_blocks[1];
	STM_ATOMIC {
		for (size_t i = 0; i < SKEW_BLOCKS; i++)
			if (i != 1)
				stm_free(skew_blocks[i]);
	}
	if (stm_thread_detach() || stm_thread_attach())
		_exit(61);
	stm_global.shares_hot_pages = true;
	stm_log_throttle(stm__self); /* folds: the pages will be SHARED */
	STM_ATOMIC {
		long seen_x = STM_GET(*skew_x);

		attempts++;
		if (attempts == 1) {
			fail(IOCTL, *(unsigned int *)arg);
			if (!stm_alloc(1024))
				refusals++;
			fail_in = 0;
			in_thread(skew_other, NULL);
		}
		STM_SET(*skew_y, seen_x + 1);
	}
	STM_ATOMIC {
		x = STM_GET(*skew_x);
		y = STM_GET(*skew_y);
	}
	fprintf(stderr, "attempts %u, refusals %u, failed %d, x %ld, y %ld\n", attempts, refusals, failed, x, y);
	_exit(x == y ? 1 : refusals ? 0 : 3);
}

TEST(refused_alloc_keeps_what_was_read)
{
	bool refused = false;

	/* One of the first calls makes the copy; before it an engine may have another. */
	for (unsigned int nth = 1; nth <= 3; nth++) {
		struct ended e = run_child(try_skew, &nth);

		EXPECT_TRUE(exited_with(&e, 0) || exited_with(&e, 3)) {
			TH_LOG("call %u: %s", nth, how(&e));
		}
		refused |= exited_with(&e, 0);
	}
	EXPECT_TRUE(refused);
}

/* ---- older kernels ---- */

static void start_lacking(void *arg)
{
	lacking = *(uint64_t *)arg;
	_exit(-init_heap());
}

/* Each line names a feature that is missing, or says what to do. */
TEST(kernel_without_a_feature)
{
	static const struct {
		uint64_t bits;
		const char *a, *b;
	} missing[] = {
		{ UFFD_FEATURE_SIGBUS, "UFFD_FEATURE_SIGBUS", "Linux" },
		{ UFFD_FEATURE_MINOR_SHMEM, "UFFD_FEATURE_MINOR_SHMEM", "Linux" },
		{ UFFD_FEATURE_WP_HUGETLBFS_SHMEM, "UFFD_FEATURE_WP_HUGETLBFS_SHMEM", "Linux" },
		{ UFFD_FEATURE_MINOR_SHMEM | UFFD_FEATURE_WP_HUGETLBFS_SHMEM, "UFFD_FEATURE_MINOR_SHMEM",
		  "UFFD_FEATURE_WP_HUGETLBFS_SHMEM" },
	};

	for (size_t i = 0; i < sizeof(missing) / sizeof(missing[0]); i++) {
		uint64_t bits = missing[i].bits;
		struct ended e;

		if (bits == UFFD_FEATURE_SIGBUS && engine_asked_is("thread"))
			continue; /* that one does not need it */
		e = run_child(start_lacking, &bits);
		EXPECT_TRUE(exited_with(&e, EINVAL) && strstr(e.text, missing[i].a) && strstr(e.text, missing[i].b) &&
			    e.lines <= 1 + (unsigned int)__builtin_popcountl(bits)) {
			TH_LOG("%zu: %s", i, how(&e));
		}
	}
}

/* Other engines need more: asked for by the program it is an error, by the environment a line. */
static void start_engine(void *arg)
{
	const char *engine = arg;
	struct stm_options options = STM_OPTIONS_INIT;
	int error;

	lacking = strcmp(engine, "async") ? UFFD_FEATURE_THREAD_ID : UFFD_FEATURE_WP_ASYNC;
	unsetenv("UFFDSTM_ENGINE");
	options.engine = engine;
	options.heap_size = 64 * MIB;
	error = stm_init(&options);
	if (error != -EOPNOTSUPP)
		_exit(1);
	setenv("UFFDSTM_ENGINE", engine, 1);
	if (init_heap() || stm_thread_attach() || !engine_is("sigbus"))
		_exit(2);
	work();
	_exit(stm_fini() ? 3 : 0);
}

TEST(kernel_without_what_an_engine_needs)
{
	static char *const engines[] = { "thread", "async" };
	static const char *const needs[] = { "UFFD_FEATURE_THREAD_ID: needs Linux 4.14", "UFFD_FEATURE_WP_ASYNC: needs Linux 6.7" };

	for (int i = 0; i < 2; i++) {
		struct ended e = run_child(start_engine, engines[i]);

		EXPECT_TRUE(exited_with(&e, 0) && e.lines == 2 && strstr(e.text, needs[i]) && strstr(e.text, engines[i])) {
			TH_LOG("%s: %s", engines[i], how(&e));
		}
	}
}

/* Linux before 6.4: two steps instead of one, and the same in the end. */
TEST(kernel_without_write_protected_continue)
{
	uint64_t protects;

	old_kernel = true;
	ASSERT_EQ(0, init_heap());
	ASSERT_EQ(0, stm_thread_attach());
	work();
	ASSERT_EQ(0, stm_thread_detach());
	ASSERT_EQ(0, stm_thread_attach());
	stm_log_throttle(stm__self);
	protects = stm__self->faults[STM_FAULT_PROTECT];
	STM_ATOMIC {
		for (size_t i = 0; i < CELLS; i++)
			seen += STM_GET(cells[i * STEP]);
		EXPECT_LT(0, stm__self->view.shared);
		((volatile long STM *)cells)[8 * STEP] = -1;
	}
	stm_pages_collect(stm__self);
	EXPECT_EQ(protects + 1, stm__self->faults[STM_FAULT_PROTECT]);
	EXPECT_EQ(8, *(long *)(stm_global.base + ((uintptr_t)cells - STM_HEAP) + 8 * STM_PAGE));
	work();
	EXPECT_EQ(0, stm_fini());
}

TEST_HARNESS_MAIN
