// SPDX-License-Identifier: MIT
/*
 * fork_test.c - fork(2), vfork(2) and posix_spawn(3), in a transaction or not: a child may exec, exit and start a library of its
 * own, and each other use of the parent's stops it with a line; the parent goes on as if nothing had happened.
 */
#include <spawn.h>

#include "cell_support.h"

extern char **environ;

enum call {
	CALL_INIT, CALL_FINI, CALL_ATTACH, CALL_DETACH, CALL_STATS, CALL_ROOT, CALL_BEGIN, CALL_ATOMIC, CALL_CANCEL,
	CALL_RESTART, CALL_VALIDATE, CALL_INEVITABLE, CALL_ON_COMMIT, CALL_ON_ABORT, CALL_SAVE, CALL_ALLOC, CALL_ZALLOC,
	CALL_REALLOC, CALL_FREE, CALL_USABLE_SIZE, CALL_MEMCPY, CALL_MEMSET, CALL_PREFAULT, CALL_PREAD, CALL_PWRITE, CALLS
};

static int nothing(void *arg)
{
	(void)arg;
	return 0;
}

static void hook(void *arg)
{
	(void)arg;
}

static void call_in_child(void *arg)
{
	struct stm_stats stats;
	char byte = 0;

	switch (*(enum call *)arg) {
	case CALL_INIT: stm_init(NULL); break;
	case CALL_FINI: stm_fini(); break;
	case CALL_ATTACH: stm_thread_attach(); break;
	case CALL_DETACH: stm_thread_detach(); break;
	case CALL_STATS: stm_stats(&stats, sizeof(stats)); break;
	case CALL_ROOT: stm_root(0); break;
	case CALL_BEGIN: STM_ATOMIC { byte = 1; } break;
	case CALL_ATOMIC: stm_atomic(nothing, NULL); break;
	case CALL_CANCEL: stm_cancel(1); break;
	case CALL_RESTART: stm_restart(); break;
	case CALL_VALIDATE: stm_validate(); break;
	case CALL_INEVITABLE: stm_become_inevitable("test"); break;
	case CALL_ON_COMMIT: stm_on_commit(hook, NULL); break;
	case CALL_ON_ABORT: stm_on_abort(hook, NULL); break;
	case CALL_SAVE: stm_save(&byte, 1); break;
	case CALL_ALLOC: stm_alloc(1); break;
	case CALL_ZALLOC: stm_zalloc(1); break;
	case CALL_REALLOC: stm_realloc(NULL, 1); break;
	case CALL_FREE: stm_free(cell); break;
	case CALL_USABLE_SIZE: stm_usable_size(cell); break;
	case CALL_MEMCPY: stm_memcpy_out(&byte, cell, 1); break;
	case CALL_MEMSET: stm_memset(cell, 0, 1); break;
	case CALL_PREFAULT: stm_prefault(cell, 1); break;
	case CALL_PREAD: stm_pread(0, cell, 1, 0); break;
	case CALL_PWRITE: stm_pwrite(1, cell, 1, 0); break;
	case CALLS: break;
	}
}

static void check_calls(struct __test_metadata *_metadata)
{
	for (enum call call = 0; call < CALLS; call++) {
		struct ended e = run_child(call_in_child, &call);

		EXPECT_TRUE(was_killed_by(&e, SIGABRT) && said(&e, "fork", "exec or _exit")) {
			TH_LOG("call %d: %s", call, how(&e));
		}
	}
}

TEST(calls_in_a_forked_child)
{
	start();
	check_calls(_metadata);
	EXPECT_TRUE(heap_works());
}

TEST(calls_in_a_child_forked_in_a_transaction)
{
	start();
	STM_ATOMIC {
		STM_SET(*cell, 43);
		check_calls(_metadata);
		EXPECT_EQ(43, +STM_GET(*cell));
		STM_SET(*cell, 42);
	}
	EXPECT_TRUE(heap_works());
}

/* A mapped page of the parent's view, by an ordinary address and by a barrier. */
static void load_view(void *arg)
{
	*(volatile long *)arg;
}

static void load_by_barrier(void *arg)
{
	(void)arg;
	(void)STM_GET(*cell);
}

TEST(views_are_not_in_a_child)
{
	if (WITH_ASAN)
		SKIP(return, "AddressSanitizer reports the signal in its own way");
	start();
	STM_ATOMIC {
		STM_SET(*cell, 42);
		struct ended e = run_child(load_view, stm_local(cell));
		EXPECT_TRUE(was_killed_by(&e, SIGSEGV) && said(&e, "fork", "")) {
			TH_LOG("address: %s", how(&e));
		}
		e = run_child(load_by_barrier, NULL);
		EXPECT_TRUE(was_killed_by(&e, SIGSEGV) && said(&e, "fork", "")) {
			TH_LOG("barrier: %s", how(&e));
		}
	}
	EXPECT_TRUE(heap_works());
}

static void exec_true(void *arg)
{
	(void)arg;
	execl("/bin/true", "true", NULL);
	_exit(1);
}

static void end_by_exit(void *arg)
{
	(void)arg;
	exit(0);
}

static void end_by_pthread_exit(void *arg)
{
	(void)arg;
	pthread_exit(NULL);
}

TEST(children_may_exec_and_exit)
{
	static void (*const ends[])(void *arg) = { exec_true, end_by_exit, end_by_pthread_exit };

	start();
	for (int i = 0; i < 3; i++) {
		struct ended e = run_child(ends[i], NULL);

		EXPECT_TRUE(exited_with(&e, 0)) {
			TH_LOG("%d: %s", i, how(&e));
		}
		STM_ATOMIC {
			e = run_child(ends[i], NULL);
			EXPECT_TRUE(exited_with(&e, 0)) {
				TH_LOG("in a transaction, %d: %s", i, how(&e));
			}
		}
	}
	EXPECT_TRUE(heap_works());
}

TEST(spawn_and_vfork)
{
	char *argv[] = { "true", NULL };
	int status = -1;
	pid_t pid;

	start();
	STM_ATOMIC {
		STM_SET(*cell, 43);
		ASSERT_EQ(0, posix_spawn(&pid, "/bin/true", NULL, NULL, argv, environ));
		EXPECT_EQ(pid, waitpid(pid, &status, 0));
		EXPECT_EQ(0, status);
		pid = vfork();
		if (!pid) {
			execv("/bin/true", argv);
			_exit(1);
		}
		EXPECT_EQ(pid, waitpid(pid, &status, 0));
		EXPECT_EQ(0, status);
		STM_SET(*cell, STM_GET(*cell) - 1);
	}
	EXPECT_EQ(0, stm_outcome());
	EXPECT_TRUE(heap_works());
}

/* A library that was not up when the child was made may be used there. */
static void start_and_work(void *arg)
{
	(void)arg;
	start();
	_exit(heap_works() ? stm_fini() : 1);
}

TEST(init_in_a_child)
{
	struct ended e = run_child(start_and_work, NULL);

	EXPECT_TRUE(exited_with(&e, 0)) {
		TH_LOG("%s", how(&e));
	}
	start();
	ASSERT_EQ(0, stm_fini());
	e = run_child(start_and_work, NULL); /* and after it went down */
	EXPECT_TRUE(exited_with(&e, 0)) {
		TH_LOG("%s", how(&e));
	}
}

TEST_HARNESS_MAIN
