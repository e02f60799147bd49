// SPDX-License-Identifier: MIT
/*
 * strict_use_test.c - UFFDSTM_STRICT: right use is not reported; undone attempts, commits of others, calls, traps and
 * forks are as ever, whatever mistakes a program makes.
 */
#include <fcntl.h>

#include "strict_support.h"

static int plain(void *arg)
{
	(void)arg;
	STORE(block + 24, 1);
	return 0;
}

static void run_inside(int (*make)(void *arg))
{
	stm_atomic(make, NULL);
}

static int beside_a_write(void *arg)
{
	(void)arg;
	STM_SET(*(long STM *)(block + 2048), 1);
	STORE(block + 56, 1);
	return 0;
}

/* ---- what happens to the store ---- */

static int increment_raw(void *arg)
{
	int *attempts = arg;

	STM_SET(*(long STM *)(block + 2048), STM_GET(*(long STM *)(block + 2048)) + 1);
	HERE, ++*(volatile long STM *)(block + 24);
	if (++*attempts < 3)
		stm_restart();
	return 0;
}

/* An attempt that is undone leaves no trace of it; one that commits leaves it in this view. */
static void undo_raw(void *arg)
{
	int attempts = 0;

	(void)arg;
	start("1");
	stm_atomic(increment_raw, &attempts);
	STM_ATOMIC {
		if (STM_GET(*(long STM *)(block + 24)) != 1 || STM_GET(*(long STM *)(block + 2048)) != 1)
			die("the value");
	}
	if (attempts != 4) /* the fourth to find the place */
		die("the number of attempts");
}

TEST_F(strict, an_attempt_undone_takes_raw_stores_along)
{
	struct ended e = run_child(undo_raw, NULL);

	EXPECT_TRUE(exited_with(&e, 0) && e.lines == 1) {
		TH_LOG("%s", how(&e));
	}
}

/* ---- right use ---- */

static int two_tasks(void *arg)
{
	struct stm_queue *q = arg;

	STM_SET(*(long STM *)(block + 16), STM_GET(*(long STM *)(block + 16)) + 1);
	return q ? stm_queue_add(q, two_tasks, NULL) : 0;
}

static void store_in_hook(void *arg)
{
	(void)arg;
	STM_ATOMIC {
		STM_SET(*(long STM *)(block + 40), STM_GET(*(long STM *)(block + 40)) + 1);
	}
}

static void use_memory(int fd)
{
	static char bytes[3 * PAGE];
	struct node STM *node, *copy;

	STM_ATOMIC {
		node = stm_alloc(sizeof(*node));
		copy = stm_zalloc(sizeof(*copy));
		for (int i = 0; i < 8; i++)
			node->words[i] = i;
		stm_memcpy(copy, node, sizeof(*copy));
		node = stm_realloc(node, 100 * sizeof(*node));
		node = stm_realloc(node, 50 * PAGE);
		stm_memset((unsigned char STM *)node + PAGE - 8, 5, 16);
		stm_memcpy_in(block + PAGE - 100, bytes, 200);
		if (stm_pread(fd, block + 3 * PAGE - 10, 2 * PAGE, 0) != 2 * PAGE ||
		    stm_pwrite(fd, block + PAGE, PAGE, 0) != PAGE)
			die("stm_pread");
		stm_write(copy);
		for (int i = 0; i < 8; i++)
			copy->words[i] = ((struct node STM *)block)->words[i];
		stm_free(copy);
	}
	STM_ATOMIC {
		STM_SET(node->words[0], 1);
		stm_write_range(&node->words[2], 32);
		memset(stm_local(&node->words[2]), 7, 32);
		stm_free(node);
	}
	/* Needs no barriers. */
	STM_ATOMIC {
		node = stm_alloc_tracked(3 * PAGE);
		node->words[0] = 1;
	}
	STM_ATOMIC {
		node->words[0]++;
		STM_SET(*(long STM *)(block + 8), 1);
		*((unsigned char STM *)node + 2 * PAGE) = 1;
	}
}

static void use_transactions(void)
{
	for (volatile int i = 0; i < 100; i++) {
		volatile int attempts = 0;

		STM_ATOMIC {
			STM_SET(*(long STM *)block, i);
			stm_on_commit(store_in_hook, NULL);
			STM_ATOMIC {
				STM_SET(*(long STM *)(block + 8), i);
			}
			if (++attempts < i % 12)
				stm_restart();
			if (i % 5 == 0)
				stm_become_inevitable("test");
			STM_SET(*(long STM *)(block + PAGE), i);
			if (i % 7 == 0)
				stm_cancel(1);
		}
	}
}

static void *contend(void *arg)
{
	if (stm_thread_attach())
		die("stm_thread_attach");
	for (volatile int i = 0; i < 3000; i++)
		STM_ATOMIC {
			long STM *count = (long STM *)(block + (i % 5) * PAGE + (i % 3) * 24);

			if (i % 100 == 0)
				stm_become_inevitable("test");
			STM_SET(*count, STM_GET(*count) + 1);
		}
	if (arg)
		stm_thread_detach();
	return NULL;
}

static void use_rightly(void *arg)
{
	pthread_t threads[3];
	struct stm_queue *q;
	int fd = memfd_create("file", 0);

	start(arg);
	if (fd < 0 || ftruncate(fd, 4 * PAGE))
		die("memfd_create");
	for (int i = 0; i < 3; i++) {
		use_memory(fd);
		use_transactions();
		empty_view();
	}
	for (int i = 0; i < 3; i++)
		if (pthread_create(&threads[i], NULL, contend, i ? arg : NULL))
			die("pthread_create");
	use_transactions();
	for (int i = 0; i < 3; i++)
		pthread_join(threads[i], NULL);
	q = stm_queue_new(NULL);
	for (int i = 0; i < 100; i++)
		stm_queue_add(q, two_tasks, q);
	if (stm_queue_run(q, 3) || stm_queue_free(q))
		die("stm_queue_run");
	STM_ATOMIC {
		long sum = 0;

		for (int page = 0; page < 5; page++)
			for (int word = 0; word < 3; word++)
				sum += page > 1 || word ? STM_GET(*(long STM *)(block + page * PAGE + word * 24)) : 0;
		/* Of 15 counters all but the two that use_transactions() writes to. */
		if (STM_GET(*(long STM *)(block + 16)) != 200 || sum != 3 * 3000 / 15 * 13)
			die("the sums");
	}
	if (stm_fini())
		die("stm_fini");
}

TEST_F(strict, right_use_is_not_reported)
{
	struct ended e = run_child(use_rightly, "1");

	EXPECT_TRUE(exited_with(&e, 0) && !e.lines) {
		TH_LOG("%s", how(&e));
	}
}

/* ---- commits of others ---- */

static void *write_beside(void *arg)
{
	if (stm_thread_attach())
		die("stm_thread_attach");
	for (volatile int i = 0; i < *(int *)arg; i++)
		STM_ATOMIC {
			STM_SET(*(long STM *)(block + 48), i + 1);
		}
	if (stm_thread_detach())
		die("stm_thread_detach");
	return NULL;
}

/* While a transaction has the page open, another one commits to it, and this becomes inevitable: the page changes. */
static void become_inevitable_late(void *arg)
{
	volatile bool helped = false;
	int once = 1;

	start(arg);
	STM_ATOMIC {
		STM_SET(*(long STM *)block, 1);
		if (!helped) {
			helped = true;
			in_thread(write_beside, &once);
		}
		stm_become_inevitable("test");
		if (STM_GET(*(long STM *)(block + 48)) != 1)
			die("the snapshot");
	}
	STM_ATOMIC {
		STM_SET(*(long STM *)block, 2);
	}
	if (stm_fini())
		die("stm_fini");
}

/* A helper has brought a sleeping segment up to date: its pages are guarded again. */
static void sleep_long(void *arg)
{
	uint64_t position;
	int some_commits = 1000;

	start(arg);
	position = stats().committed;
	while (stats().folded <= position)
		in_thread(write_beside, &some_commits);
	STORE(block + 24, 1);
	_exit((int)stats().strict_reports);
}

TEST_F(strict, commits_of_others_are_no_stores)
{
	struct ended e = run_child(become_inevitable_late, "1");

	EXPECT_TRUE(exited_with(&e, 0) && !e.lines) {
		TH_LOG("inevitable: %s", how(&e));
	}
	e = run_child(sleep_long, "1");
	EXPECT_TRUE(exited_with(&e, 1) && e.lines == 1 && is_outside(&e)) {
		TH_LOG("asleep: %s", how(&e));
	}
}

/* While a transaction runs again, watched, everything else in it works as ever. */
static int mistake_amid_all(void *arg)
{
	int fd = *(int *)arg;
	char bytes[PAGE + 8], seen[PAGE + 8];

	memset(bytes, 'x', sizeof(bytes));
	stm_memcpy_in(block + PAGE / 2, bytes, sizeof(bytes));
	if (stm_pread(fd, block + 2 * PAGE - 8, PAGE + 16, 0) != PAGE + 16)
		die("stm_pread");
	STORE(block + 24, 1);
	stm_memcpy(block + 4 * PAGE + 8, block + PAGE / 2, PAGE + 8);
	stm_memcpy_out(seen, block + 4 * PAGE + 8, sizeof(seen));
	if (memcmp(seen, bytes, PAGE + 8) || stm_memcmp(block + 2 * PAGE - 8, block + 3 * PAGE, 8))
		die("the bytes");
	return 0;
}

static void watch_all(void *arg)
{
	int fd = memfd_create("file", 0);

	start(arg);
	if (fd < 0 || ftruncate(fd, 4 * PAGE))
		die("memfd_create");
	stm_atomic(mistake_amid_all, &fd);
	if (stats().strict_reports != 1 || stm_fini())
		die("the count of reports");
}

TEST_F(strict, calls_work_while_watched)
{
	struct ended e = run_child(watch_all, "1");

	EXPECT_TRUE(exited_with(&e, 0) && e.lines == 1) {
		TH_LOG("%s", how(&e));
	}
}

/* ---- SIGTRAP, fork, the environment ---- */

static volatile sig_atomic_t traps;

static void on_trap(int signum)
{
	(void)signum;
	traps++;
}

static void program_traps(void *arg)
{
	struct sigaction act;

	(void)arg;
	signal(SIGTRAP, on_trap);
	start("1");
	run_inside(beside_a_write);
	raise(SIGTRAP);
	__asm__ volatile("int3");
	if (traps != 2 || stm_fini() || sigaction(SIGTRAP, NULL, &act) || act.sa_handler != on_trap)
		die("SIGTRAP");
}

static void blocked_trap(void *arg)
{
	sigset_t set, now;

	(void)arg;
	start("1");
	sigemptyset(&set);
	sigaddset(&set, SIGTRAP);
	pthread_sigmask(SIG_BLOCK, &set, NULL);
	run_inside(beside_a_write);
	pthread_sigmask(SIG_BLOCK, NULL, &now);
	if (!sigismember(&now, SIGTRAP))
		die("the signal mask");
}

static void default_trap(void *arg)
{
	(void)arg;
	start("1");
	run_inside(beside_a_write);
	__asm__ volatile("int3");
}

/* A program that takes SIGTRAP over is not told the places in pages that it also writes rightly. */
static void trap_taken_over(void *arg)
{
	(void)arg;
	start("1");
	signal(SIGTRAP, on_trap);
	run_inside(plain);
	STORE(block + 3 * PAGE, 5);
	if (*(volatile long STM *)(block + 3 * PAGE) != 5 || stats().strict_reports != 2)
		die("a store outside");
	STM_ATOMIC {
		STM_SET(*(long STM *)(block + 3 * PAGE + 64), 1);
	}
	run_inside(beside_a_write);
	if (traps || stats().strict_reports != 3 || stm_fini())
		die("a store beside a write");
}

static void fork_a_child(void *arg)
{
	int status;
	pid_t pid;

	(void)arg;
	start("1");
	pid = fork();
	if (pid == 0)
		_exit(7);
	if (waitpid(pid, &status, 0) != pid || !WIFEXITED(status) || WEXITSTATUS(status) != 7)
		die("fork");
	run_inside(plain);
}

TEST_F(strict, traps_and_forks)
{
	static const struct {
		const char *name;
		void (*run)(void *arg);
		int signum;
		unsigned int lines;
	} cases[] = {
		{ "the program's traps", program_traps, 0, 1 },
		{ "blocked", blocked_trap, 0, 1 },
		{ "default action", default_trap, SIGTRAP, 1 },
		{ "taken over", trap_taken_over, 0, 3 },
		{ "fork", fork_a_child, 0, 1 },
	};

	for EACH(i, cases) {
		struct ended e = run_child(cases[i].run, NULL);

		EXPECT_TRUE((cases[i].signum ? was_killed_by(&e, cases[i].signum) : exited_with(&e, 0)) &&
			    e.lines == cases[i].lines) {
			TH_LOG("%s: %s", cases[i].name, how(&e));
		}
	}
}

static void init_with(void *arg)
{
	setenv("UFFDSTM_STRICT", arg, 1);
	_exit(-stm_init(NULL));
}

TEST_F(strict, environment)
{
	static const char *const good[] = { "", "0", "1", "2" }, *const bad[] = { "3", "yes", "01", "1 ", "-1" };

	for EACH(i, good) {
		struct ended e = run_child(init_with, (void *)good[i]);

		EXPECT_TRUE(exited_with(&e, 0) && !e.lines) {
			TH_LOG("'%s': %s", good[i], how(&e));
		}
	}
	for EACH(i, bad) {
		struct ended e = run_child(init_with, (void *)bad[i]);

		EXPECT_TRUE(exited_with(&e, EINVAL) && said(&e, "UFFDSTM_STRICT=", "EINVAL")) {
			TH_LOG("'%s': %s", bad[i], how(&e));
		}
	}
}

TEST_HARNESS_MAIN
