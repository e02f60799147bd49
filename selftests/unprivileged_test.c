// SPDX-License-Identifier: MIT
/*
 * unprivileged_test.c - a user without capabilities, with vm.unprivileged_userfaultfd=0: UFFD_USER_MODE_ONLY is all
 * that is needed. Run as root, the children below become nobody first; run as anybody else, they stay so.
 */
#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <linux/capability.h>

#include <uffdstm.h>

#include "support.h"

#define PAGE ((size_t)4096)
#define NOBODY 65534

static bool has_capabilities(void)
{
	struct __user_cap_header_struct header = { .version = _LINUX_CAPABILITY_VERSION_3 };
	struct __user_cap_data_struct data[2] = { { 0, 0, 0 }, { 0, 0, 0 } };

	if (syscall(SYS_capget, &header, data))
		abort();
	return data[0].effective | data[0].permitted | data[1].effective | data[1].permitted;
}

static void become_nobody(void)
{
	if (geteuid() == 0 && (setgroups(0, NULL) || setresgid(NOBODY, NOBODY, NOBODY) ||
			       setresuid(NOBODY, NOBODY, NOBODY)))
		_exit(100);
	/* As in any program of that user, but not after a change of users: then /proc/self is root's. */
	if (prctl(PR_SET_DUMPABLE, 1, 0, 0, 0))
		_exit(100);
	if (has_capabilities() || geteuid() == 0)
		_exit(101);
}

static long STM *cells;

static int add(void *arg)
{
	STM_SET(cells[0], STM_GET(cells[0]) + 1);
	(void)arg;
	return 0;
}

static void *add_often(void *arg)
{
	if (stm_thread_attach())
		_exit(102);
	for (int i = 0; i < 2000; i++)
		if (stm_atomic(add, NULL))
			_exit(103);
	return arg;
}

static void work(void)
{
	struct stm_stats stats;
	pthread_t threads[3];
	int error = stm_init(NULL);

	if (error)
		_exit(-error);
	error = stm_thread_attach();
	if (error)
		_exit(-error);
	STM_ATOMIC {
		cells = stm_zalloc(100 * PAGE);
	}
	for (int i = 0; i < 3; i++)
		if (pthread_create(&threads[i], NULL, add_often, NULL))
			_exit(104);
	for (int i = 0; i < 3; i++)
		pthread_join(threads[i], NULL);
	/* Faults of each kind that a program can cause. */
	if (stm_thread_detach() || stm_thread_attach())
		_exit(105);
	STM_ATOMIC {
		if (STM_GET(cells[0]) != 6000)
			_exit(106);
		*(volatile long STM *)&cells[50 * PAGE / sizeof(long)] = 1; /* not mapped */
		*(volatile long STM *)&cells[1] = 1;                        /* shared, or private by now */
		STM_SET(cells[90 * PAGE / sizeof(long)], 5);
		if (stm_prefault(cells, 100 * PAGE))
			_exit(107);
	}
	if (stm_stats(&stats, sizeof(stats)) || !stats.faults[STM_FAULT_READ] || !stats.faults[STM_FAULT_WRITE])
		_exit(108);
	if (stm_fini())
		_exit(109);
}

static void work_as_nobody(void *arg)
{
	(void)arg;
	become_nobody();
	work();
}

/* The kernel's setting must be the strict one, or this shows nothing. */
static bool is_strict(void)
{
	char text[2] = "";
	int fd = open("/proc/sys/vm/unprivileged_userfaultfd", O_RDONLY | O_CLOEXEC);

	if (fd < 0 || read(fd, text, 1) != 1)
		text[0] = '0'; /* older kernels had no setting, and no user mode */
	close(fd);
	return text[0] == '0';
}

TEST(nobody)
{
	struct ended e;

	if (!is_strict())
		SKIP(return, "vm.unprivileged_userfaultfd is not 0");
	e = run_child(work_as_nobody, NULL);
	EXPECT_TRUE(exited_with(&e, 0) && e.lines == 0) {
		TH_LOG("%s", how(&e));
	}
}

static void work_without_new_rights(void *arg)
{
	(void)arg;
	become_nobody();
	if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) || prctl(PR_SET_DUMPABLE, 0, 0, 0, 0))
		_exit(110);
	work();
}

TEST(nobody_without_new_rights)
{
	struct ended e = run_child(work_without_new_rights, NULL);

	/* /proc/self/pagemap is out of reach for such a process, so that another engine steps in. */
	EXPECT_TRUE(exited_with(&e, 0) && (engine_asked_is("async") ? said(&e, "engine async", "EACCES") : e.lines == 0)) {
		TH_LOG("%s", how(&e));
	}
}

/* Many programs drop their rights late: what was made with them goes on. */
static void drop_rights_and_go_on(void *arg)
{
	(void)arg;
	if (stm_init(NULL) || stm_thread_attach())
		_exit(100);
	STM_ATOMIC {
		cells = stm_zalloc(100 * PAGE);
	}
	become_nobody();
	for (int i = 0; i < 10; i++)
		in_thread(add_often, NULL);
	STM_ATOMIC {
		if (STM_GET(cells[0]) != 20000)
			_exit(106);
		/* The heap can still grow. */
		if (!stm_zalloc((size_t)64 << 20))
			_exit(107);
	}
	_exit(stm_fini());
}

TEST(rights_dropped_after_init)
{
	struct ended e = run_child(drop_rights_and_go_on, NULL);

	EXPECT_TRUE(exited_with(&e, 0) && e.lines == 0) {
		TH_LOG("%s", how(&e));
	}
}

TEST_HARNESS_MAIN
