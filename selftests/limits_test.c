// SPDX-License-Identifier: MIT
/*
 * limits_test.c - systems that give less than usual: limits of address space, files and memory, overcommit mode 2, locked
 * memory, security filters, a full heap; and the other end: all segments at once, a very large heap. Each gives an
 * error code with at most one line that says what to do, or works; nothing is lost either way.
 */
#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <stddef.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/sysinfo.h>
#include <linux/audit.h>
#include <linux/filter.h>
#include <linux/seccomp.h>

#include <uffdstm.h>

#include "support.h"

#define PAGE ((size_t)4096)
#define MIB ((size_t)1 << 20)
#define GIB ((size_t)1 << 30)

static int init_heap(size_t bytes)
{
	struct stm_options options = STM_OPTIONS_INIT;

	options.heap_size = bytes;
	return stm_init(&options);
}

static void *attach_only(void *arg)
{
	(void)arg;
	return (void *)(intptr_t)stm_thread_attach();
}

/* A heap, and proof that it works: a few pages, two threads, faults. Exits with a code of its own if it does not. */
static long STM *cells;

static void *add_in_thread(void *arg)
{
	if (stm_thread_attach())
		_exit(50);
	for (int i = 0; i < 100; i++)
		STM_ATOMIC {
			STM_SET(cells[0], STM_GET(cells[0]) + 1);
			STM_SET(cells[10 * PAGE], STM_GET(cells[10 * PAGE]) + 1);
		}
	return arg;
}

static void work(void)
{
	STM_ATOMIC {
		cells = stm_zalloc(20 * PAGE * sizeof(*cells));
	}
	if (!cells)
		_exit(51);
	in_thread(add_in_thread, NULL);
	if (stm_thread_detach() || stm_thread_attach())
		_exit(52);
	STM_ATOMIC {
		if (STM_GET(cells[0]) != 100 || STM_GET(cells[10 * PAGE]) != 100)
			_exit(53);
	}
	in_thread(add_in_thread, NULL);
	STM_ATOMIC {
		if (STM_GET(cells[0]) != 200)
			_exit(54);
	}
}

/* ---- address space ---- */

static void limit(int which, rlim_t n)
{
	struct rlimit r;

	if (getrlimit(which, &r))
		_exit(60);
	r.rlim_cur = n;
	if (setrlimit(which, &r))
		_exit(60);
}

static void no_space_to_init(void *arg)
{
	int error;

	(void)arg;
	limit(RLIMIT_AS, 512 * MIB);
	error = init_heap(4 * GIB);
	limit(RLIMIT_AS, RLIM_INFINITY);
	if (init_heap(4 * GIB) || stm_thread_attach())
		_exit(61);
	work();
	_exit(stm_fini() ? 62 : -error);
}

static void no_space_to_attach(void *arg)
{
	int error;

	(void)arg;
	limit(RLIMIT_AS, GIB);
	if (init_heap(16 * MIB))
		_exit(61);
	error = stm_thread_attach();
	if (stm_in_transaction() || stm_thread_detach() != -EPERM)
		_exit(63);
	limit(RLIMIT_AS, RLIM_INFINITY);
	if (stm_thread_attach())
		_exit(61);
	work();
	_exit(stm_fini() ? 62 : -error);
}

TEST(address_space)
{
	struct ended e;

	if (WITH_ASAN)
		SKIP(return, "AddressSanitizer needs address space of its own");
	e = run_child(no_space_to_init, NULL);
	EXPECT_TRUE(exited_with(&e, ENOMEM) && said(&e, "mmap", "RLIMIT_AS")) {
		TH_LOG("init: %s", how(&e));
	}
	e = run_child(no_space_to_attach, NULL);
	EXPECT_TRUE(exited_with(&e, ENOMEM) && said(&e, "mmap", "RLIMIT_AS")) {
		TH_LOG("attach: %s", how(&e));
	}
}

/* RLIMIT_FSIZE holds for the memfd, too. */
static void no_file_size(void *arg)
{
	int error;

	(void)arg;
	limit(RLIMIT_FSIZE, MIB);
	error = init_heap(16 * MIB);
	limit(RLIMIT_FSIZE, RLIM_INFINITY);
	if (init_heap(16 * MIB) || stm_thread_attach())
		_exit(61);
	work();
	_exit(-error);
}

TEST(file_size)
{
	struct ended e = run_child(no_file_size, NULL);

	EXPECT_TRUE(exited_with(&e, EFBIG) && said(&e, "EFBIG", "RLIMIT_FSIZE")) {
		TH_LOG("%s", how(&e));
	}
}

/* ---- files ---- */

static int engine_files(void)
{
	if (engine_asked_is("thread")) /* epoll, eventfd, and /dev/userfaultfd if it may be opened */
		return 2 + !access("/dev/userfaultfd", R_OK | W_OK);
	return engine_asked_is("async"); /* /proc/self/pagemap */
}

static void no_files(void *arg)
{
	int lowest = open("/dev/null", O_RDONLY | O_CLOEXEC), error;

	close(lowest);
	/* None, one: for the memfd. Two: for one segment as well. And what an engine holds. */
	limit(RLIMIT_NOFILE, (rlim_t)(lowest + engine_files() + *(int *)arg));
	error = init_heap(16 * MIB);
	if (!error)
		error = stm_thread_attach();
	if (!error) {
		error = (int)(intptr_t)in_thread(attach_only, NULL);
		limit(RLIMIT_NOFILE, 1000);
	} else {
		limit(RLIMIT_NOFILE, 1000);
		if ((init_heap(16 * MIB) && stm_init(NULL) != -EALREADY) || stm_thread_attach())
			_exit(61);
	}
	work();
	_exit(stm_fini() ? 62 : -error);
}

TEST(open_files)
{
	for (int n = 0; n < 3; n++) {
		struct ended e = run_child(no_files, &n);

		EXPECT_TRUE(exited_with(&e, EMFILE) && said(&e, "EMFILE", "")) {
			TH_LOG("%d files: %s", n, how(&e));
		}
	}
}

/* ---- overcommit ---- */

static const char overcommit_path[] = "/proc/sys/vm/overcommit_memory";

static char overcommit(char set)
{
	int fd = open(overcommit_path, (set ? O_RDWR : O_RDONLY) | O_CLOEXEC);
	char now = 0;

	if (fd < 0 || pread(fd, &now, 1, 0) != 1 || (set && pwrite(fd, &set, 1, 0) != 1))
		now = 0;
	close(fd);
	return now;
}

static void work_from_scratch(void *arg)
{
	int error = init_heap(*(size_t *)arg);

	if (!error) {
		error = stm_thread_attach();
		if (!error) {
			work();
			/* More than there is: an error, and all goes on. */
			STM_ATOMIC {
				if (stm_alloc(2 * *(size_t *)arg))
					_exit(55);
			}
			work();
		}
	}
	_exit(-error);
}

/*
 * Mode 2 counts private writable mappings. It is a setting of the whole system: a guard, in a session of its
 * own, puts it back as soon as this process lets go of the pipe, however it ends.
 */
TEST(overcommit_mode_2)
{
	size_t sizes[] = { 16 * MIB, GIB, 100 * GIB };
	char old = overcommit(0), done;
	int hold[2], ready[2];
	pid_t guard;

	if (old != '0' && old != '1')
		SKIP(return, "vm.overcommit_memory is not 0 or 1");
	if (geteuid() || access(overcommit_path, W_OK))
		SKIP(return, "only root may set vm.overcommit_memory");
	ASSERT_EQ(0, pipe2(hold, O_CLOEXEC));
	ASSERT_EQ(0, pipe2(ready, O_CLOEXEC));
	guard = fork();
	if (guard == 0) {
		setsid();
		close(hold[1]);
		if (write(ready[1], "", 1) != 1 || read(hold[0], &done, 1) < 0)
			_exit(1);
		_exit(overcommit(old) ? 0 : 1);
	}
	ASSERT_LT(0, guard);
	ASSERT_EQ(1, read(ready[0], &done, 1));
	if (!overcommit('2'))
		SKIP(return, "vm.overcommit_memory cannot be set");
	for (int i = 0; i < 3; i++) {
		struct ended e = run_child(work_from_scratch, &sizes[i]);

		EXPECT_TRUE(exited_with(&e, 0) || (exited_with(&e, ENOMEM) && said(&e, "ENOMEM", ""))) {
			TH_LOG("heap of %zu: %s", sizes[i], how(&e));
		}
	}
	close(hold[1]);
	int status = -1;
	EXPECT_EQ(guard, waitpid(guard, &status, 0));
	EXPECT_EQ(0, status);
	EXPECT_EQ(old, overcommit(0));
}

/* ---- locked memory ---- */

enum lock_when { BEFORE_INIT = 1, AFTER_INIT = 2, AFTER_ATTACH = 4 };

static void work_locked(void *arg)
{
	int when = *(int *)arg;
	struct stm_stats stats;

	if (when & BEFORE_INIT && mlockall(MCL_CURRENT | MCL_FUTURE))
		_exit(KSFT_SKIP);
	if (init_heap(16 * MIB))
		_exit(61);
	if (when & AFTER_INIT && mlockall(MCL_CURRENT | MCL_FUTURE))
		_exit(KSFT_SKIP);
	if (stm_thread_attach())
		_exit(61);
	if (when & AFTER_ATTACH && mlockall(MCL_CURRENT | MCL_FUTURE))
		_exit(KSFT_SKIP);
	work();
	STM_ATOMIC {
		if (!stm_zalloc(8 * MIB)) /* grows */
			_exit(64);
	}
	work();
	if (stm_stats(&stats, sizeof(stats)))
		_exit(65);
	/* The kernel filled no page of a view by itself: they came by faults, and went. */
	if (!stats.faults[STM_FAULT_READ] || !stats.pages_dropped)
		_exit(66);
	_exit(stm_fini() ? 62 : 0);
}

static void ask_engine(void *arg)
{
	struct stm_stats stats;

	(void)arg;
	if (init_heap(16 * MIB) || stm_stats(&stats, sizeof(stats)))
		_exit(61);
	_exit((int)stats.engine_in_calls);
}

static bool takes_kernel_faults(void)
{
	struct ended e = run_child(ask_engine, NULL);

	return exited_with(&e, 1);
}

TEST(locked_memory)
{
	for (int when = 1; when < 8; when++) {
		struct ended e;

		if (WITH_ASAN)
			SKIP(return, "AddressSanitizer's shadow is too large to lock");
		e = run_child(work_locked, &when);
		if (exited_with(&e, KSFT_SKIP))
			SKIP(return, "RLIMIT_MEMLOCK does not allow mlockall");
		/* Where the kernel's own accesses are resolved, too, mlockall(2) is one like any other. */
		if (when & AFTER_ATTACH && takes_kernel_faults()) {
			EXPECT_TRUE(was_killed_by(&e, SIGABRT) && said(&e, "in system call", "outside a transaction")) {
				TH_LOG("%d: %s", when, how(&e));
			}
			continue;
		}
		EXPECT_TRUE(exited_with(&e, 0) && e.lines == 0) {
			TH_LOG("%d: %s", when, how(&e));
		}
	}
}

/* ---- security filters ---- */

struct filter {
	const char *name;
	int call, error;
};

static void deny(const struct filter *f)
{
	struct sock_filter code[] = {
		BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
		BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, (unsigned int)f->call, 0, 1),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | (unsigned int)f->error),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
	};
	struct sock_fprog program = { .len = sizeof(code) / sizeof(code[0]), .filter = code };

	if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) || prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program))
		_exit(KSFT_SKIP);
}

static void start_filtered(void *arg)
{
	int error;

	/* root has /dev/userfaultfd, too */
	if (geteuid() == 0 && (setgroups(0, NULL) || setresgid(65534, 65534, 65534) || setresuid(65534, 65534, 65534) ||
			       prctl(PR_SET_DUMPABLE, 1, 0, 0, 0)))
		_exit(67);
	deny(arg);
	error = init_heap(16 * MIB);
	if (error && init_heap(16 * MIB) != error) /* nothing is left of the first try */
		_exit(68);
	_exit(-error);
}

TEST(security_filters)
{
	static const struct filter filters[] = {
		{ "userfaultfd", SYS_userfaultfd, EPERM },   { "userfaultfd", SYS_userfaultfd, ENOSYS },
		{ "memfd_create", SYS_memfd_create, EPERM }, { "memfd_create", SYS_memfd_create, ENOSYS },
		{ "membarrier", SYS_membarrier, EPERM },     { "membarrier", SYS_membarrier, ENOSYS },
		{ "ftruncate", SYS_ftruncate, EPERM },
	};

	for (size_t i = 0; i < sizeof(filters) / sizeof(filters[0]); i++) {
		struct filter f = filters[i];
		struct ended e = run_child(start_filtered, &f);

		if (exited_with(&e, KSFT_SKIP))
			SKIP(return, "no seccomp filters");
		EXPECT_TRUE(exited_with(&e, f.error) && e.lines == 2 && strstr(e.text, f.name) &&
			    strstr(e.text, f.error == EPERM ? "EPERM" : "ENOSYS")) {
			TH_LOG("%s: %s", f.name, how(&e));
		}
	}
}

/* ---- a full heap ---- */

static void *count_blocks(void *arg)
{
	void STM *STM *first = (void STM *STM *)(uintptr_t)arg;
	static long n;

	if (stm_thread_attach())
		_exit(50);
	n = 0;
	STM_ATOMIC {
		for (void STM *p = STM_GET(*first); p; p = STM_GET(*(void STM *STM *)p))
			n++;
	}
	return &n;
}

TEST(full_heap)
{
	static const size_t sizes[] = { 16, 1000, 5000, 100000 };

	ASSERT_EQ(0, init_heap(MIB));
	ASSERT_EQ(0, stm_thread_attach());
	for (int round = 0; round < 8; round++) {
		size_t size = sizes[round % 4];
		volatile long n = 0;
		volatile bool full = false;

		while (!full) {
			STM_ATOMIC {
				void STM *STM *p = stm_alloc(size);

				if (!p) {
					full = errno == ENOMEM;
					stm_cancel(1);
				}
				STM_SET(*p, STM_GET(*stm_root(0)));
				STM_SET(*stm_root(0), (void STM *)p);
			}
			n += !full;
		}
		/* All that committed is there, for everybody. */
		EXPECT_LE((long)(MIB / 2 / size), n) {
			TH_LOG("round %d: %ld blocks of %zu", round, n, size);
		}
		EXPECT_EQ(n, *(long *)in_thread(count_blocks, (void *)(uintptr_t)stm_root(0)));
		STM_ATOMIC {
			EXPECT_TRUE(stm_zalloc(size) == NULL);
			EXPECT_TRUE(stm_realloc(NULL, size) == NULL);
			EXPECT_EQ(ENOMEM, errno);
		}
		STM_ATOMIC {
			void STM *p = STM_GET(*stm_root(0));

			while (p) {
				void STM *next = STM_GET(*(void STM *STM *)p);

				stm_free(p);
				p = next;
			}
			STM_SET(*stm_root(0), NULL);
		}
	}
	EXPECT_EQ(0, stm_fini());
}

/* ---- all segments ---- */

#define SEGMENTS 64

static pthread_barrier_t together;

static void *commit_together(void *arg)
{
	size_t own = 1000 * (1 + (size_t)(uintptr_t)arg);

	if (stm_thread_attach())
		abort();
	pthread_barrier_wait(&together); /* all are attached */
	pthread_barrier_wait(&together); /* one more could not */
	for (int i = 0; i < 100; i++) {
		STM_ATOMIC {
			STM_SET(cells[own], STM_GET(cells[own]) + 1);
		}
		if (i % 10 == 0)
			STM_ATOMIC {
				STM_SET(cells[0], STM_GET(cells[0]) + 1);
			}
	}
	pthread_barrier_wait(&together);
	return NULL;
}

TEST(all_segments)
{
	pthread_t threads[SEGMENTS];
	struct stm_stats stats;
	long sum = 0;

	ASSERT_EQ(0, init_heap(64 * MIB));
	ASSERT_EQ(0, stm_thread_attach());
	STM_ATOMIC {
		cells = stm_zalloc((SEGMENTS + 1) * 1000 * sizeof(*cells));
	}
	ASSERT_EQ(0, stm_thread_detach());
	pthread_barrier_init(&together, NULL, SEGMENTS + 1);
	for (size_t i = 0; i < SEGMENTS; i++)
		ASSERT_EQ(0, pthread_create(&threads[i], NULL, commit_together, (void *)i));
	pthread_barrier_wait(&together);
	EXPECT_EQ(-EAGAIN, stm_thread_attach());
	ASSERT_EQ(0, stm_stats(&stats, sizeof(stats)));
	EXPECT_EQ(SEGMENTS, stats.attached);
	pthread_barrier_wait(&together);
	pthread_barrier_wait(&together);
	for (size_t i = 0; i < SEGMENTS; i++)
		pthread_join(threads[i], NULL);
	ASSERT_EQ(0, stm_thread_attach());
	STM_ATOMIC {
		EXPECT_EQ(SEGMENTS * 10, +STM_GET(cells[0]));
		sum = 0;
		for (size_t i = 1; i <= SEGMENTS; i++)
			sum += STM_GET(cells[1000 * i]);
	}
	EXPECT_EQ(SEGMENTS * 100, sum);
	EXPECT_EQ(0, stm_fini());
}

/* ---- a very large heap ---- */

static size_t available_memory(void)
{
	char line[200];
	size_t kib = 0;
	FILE *f = fopen("/proc/meminfo", "re");

	while (f && fgets(line, sizeof(line), f) && sscanf(line, "MemAvailable: %zu", &kib) != 1)
		;
	if (f)
		fclose(f);
	return kib << 10;
}

static size_t memory_and_swap(void)
{
	struct sysinfo info;

	sysinfo(&info);
	return (info.totalram + info.totalswap) * info.mem_unit;
}

static void *read_blocks(void *arg)
{
	long STM *STM *blocks = (long STM *STM *)(uintptr_t)arg;
	static volatile long wrong;

	if (stm_thread_attach())
		abort();
	STM_ATOMIC {
		wrong = 0;
		for (long i = 0; i < 64; i++) {
			long STM *p = STM_GET(blocks[i]);

			for (size_t at = 0; at < 16 * MIB / sizeof(*p); at += 65536)
				wrong += STM_GET(p[at]) != i + (long)at;
		}
	}
	return wrong ? NULL : arg;
}

FIXTURE(large) {
};

FIXTURE_SETUP(large)
{
}

FIXTURE_TEARDOWN(large)
{
}

TEST_F_TIMEOUT(large, heap, 300)
{
	struct stm_stats stats;
	long STM *STM *blocks = NULL;

	if (STM_HEAP_LIMIT < 64 * GIB)
		SKIP(return, "a small layout");
	if (available_memory() < 6 * GIB)
		SKIP(return, "less than 6 GiB of memory available");
	ASSERT_EQ(0, init_heap(64 * GIB));
	ASSERT_EQ(0, stm_thread_attach());
	STM_ATOMIC {
		blocks = stm_zalloc(64 * sizeof(*blocks));
	}
	for (long i = 0; i < 64; i++)
		STM_ATOMIC {
			long STM *p = stm_alloc(16 * MIB);

			ASSERT_TRUE(p != NULL);
			for (size_t at = 0; at < 16 * MIB / sizeof(*p); at += 65536)
				STM_SET(p[at], i + (long)at);
			STM_SET(blocks[i], p);
		}
	ASSERT_EQ(0, stm_stats(&stats, sizeof(stats)));
	EXPECT_LE(GIB, stats.heap_bytes);
	EXPECT_GT(2 * GIB, stats.heap_bytes);
	EXPECT_TRUE(in_thread(read_blocks, (void *)(uintptr_t)blocks) != NULL);
	STM_ATOMIC {
		errno = 0;
		EXPECT_TRUE(stm_alloc(64 * GIB) == NULL);
		EXPECT_EQ(ENOMEM, errno);
	}
	/* More than the machine has, less than the heap's limit: refused, where touching it would kill the process. */
	if (memory_and_swap() < 56 * GIB)
		STM_ATOMIC {
			errno = 0;
			EXPECT_TRUE(stm_alloc(memory_and_swap() + 4 * GIB) == NULL);
			EXPECT_EQ(ENOMEM, errno);
			STM_SET(blocks[0], STM_GET(blocks[1]));
		}
	EXPECT_EQ(0, stm_fini());
}

TEST_HARNESS_MAIN
