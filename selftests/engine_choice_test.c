// SPDX-License-Identifier: MIT
/*
 * engine_choice_test.c - which engine runs, and how it opens userfaultfd: options, UFFDSTM_ENGINE, kernels and rights
 * that do not allow all of them; what is told about it.
 */
#include <errno.h>
#include <grp.h>
#include <stddef.h>
#include <sys/ioctl.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <linux/audit.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <linux/userfaultfd.h>

#include <uffdstm.h>

#include "support.h"

#define PAGE ((size_t)4096)
#define NOBODY 65534

/* What a child says on stdout's behalf: a line that starts with "facts", by its exit code's side. */
struct asked {
	const char *option, *environment;
	const char *verbose;
	void (*before)(void);   /* takes something away */
	void (*after)(void);    /* likewise, once the library runs */
};

/* ---- what is taken away ---- */

static void filter(struct sock_filter *code, unsigned short n)
{
	struct sock_fprog program = { .len = n, .filter = code };

	if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) || prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program))
		_exit(KSFT_SKIP);
}

#define LOAD(field) BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, field))
#define ANSWER(value) BPF_STMT(BPF_RET | BPF_K, (value))

static void deny_device(void)
{
	struct sock_filter code[] = {
		LOAD(nr),
		BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_ioctl, 0, 3),
		LOAD(args[1]),
		BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, USERFAULTFD_IOC_NEW, 0, 1),
		ANSWER(SECCOMP_RET_ERRNO | EACCES),
		ANSWER(SECCOMP_RET_ALLOW),
	};

	filter(code, sizeof(code) / sizeof(code[0]));
}

static void deny_kernel_mode(void)
{
	struct sock_filter code[] = {
		LOAD(nr),
		BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_userfaultfd, 0, 3),
		LOAD(args[0]),
		BPF_JUMP(BPF_JMP | BPF_JSET | BPF_K, UFFD_USER_MODE_ONLY, 1, 0),
		ANSWER(SECCOMP_RET_ERRNO | EPERM),
		ANSWER(SECCOMP_RET_ALLOW),
	};

	deny_device();
	filter(code, sizeof(code) / sizeof(code[0]));
}

static void become_nobody(void)
{
	if (geteuid() == 0 && (setgroups(0, NULL) || setresgid(NOBODY, NOBODY, NOBODY) ||
			       setresuid(NOBODY, NOBODY, NOBODY)))
		_exit(70);
}

/* ---- a child that tells what it got ---- */

static long STM *words;

static void *use_heap(void *arg)
{
	volatile bool wrote = false;
	int pair[2];

	if (stm_thread_attach() || socketpair(AF_UNIX, SOCK_STREAM, 0, pair))
		_exit(71);
	STM_ATOMIC {
		wrote = write(pair[0], stm_local(words), 8) == 8;
	}
	STM_ATOMIC {
		if (STM_GET(words[0]) != 5)
			_exit(72);
	}
	(void)arg;
	return (void *)(uintptr_t)wrote;
}

static void start(void *arg)
{
	const struct asked *a = arg;
	struct stm_options options = STM_OPTIONS_INIT;
	struct stm_stats stats;
	int error, wrote;

	unsetenv("UFFDSTM_ENGINE");
	unsetenv("UFFDSTM_VERBOSE");
	if (a->environment)
		setenv("UFFDSTM_ENGINE", a->environment, 1);
	if (a->verbose)
		setenv("UFFDSTM_VERBOSE", a->verbose, 1);
	if (a->before)
		a->before();
	options.engine = a->option;
	error = stm_init(&options);
	if (error)
		_exit(-error);
	if (a->after)
		a->after();
	if (stm_thread_attach())
		_exit(73);
	STM_ATOMIC {
		words = stm_zalloc(PAGE);
		STM_SET(words[0], 5);
	}
	wrote = in_thread(use_heap, NULL) != NULL;
	if (stm_stats(&stats, sizeof(stats)))
		_exit(74);
	if (wrote != (int)stats.engine_in_calls)
		_exit(75);
	dprintf(STDERR_FILENO, "[%s|%s|%s|%d]", stats.engine, stats.engine_why, stats.engine_opened,
		(int)stats.engine_in_calls);
	_exit(0);
}

/* It ran, said @lines lines, and tells all of these. */
static bool got(const struct ended *e, unsigned int lines, const char *engine, const char *why, const char *rest)
{
	char text[128];

	snprintf(text, sizeof(text), "[%s|", engine);
	return exited_with(e, 0) && e->lines == lines && strstr(e->text, text) && strstr(e->text, why) &&
	       strstr(e->text, rest);
}

#define EXPECT_GOT(asked_, lines, engine, why, rest)                    \
	do {                                                            \
		struct asked a_ = asked_;                               \
		struct ended e_ = run_child(start, &a_);                \
		if (exited_with(&e_, KSFT_SKIP))                        \
			SKIP(return, "no seccomp filters");             \
		EXPECT_TRUE(got(&e_, lines, engine, why, rest)) {       \
			TH_LOG("%s", how(&e_));                         \
		}                                                       \
	} while (0)

#define ASKED(...) ((struct asked){ __VA_ARGS__ })

TEST(default_is_the_best)
{
	EXPECT_GOT(ASKED(.option = NULL), 0, "sigbus", "the default", "|0]");
	EXPECT_GOT(ASKED(.environment = ""), 0, "sigbus", "the default", "|0]");
}

TEST(environment)
{
	EXPECT_GOT(ASKED(.environment = "sigbus"), 0, "sigbus", "by UFFDSTM_ENGINE", "|0]");
	EXPECT_GOT(ASKED(.environment = "thread"), 0, "thread", "by UFFDSTM_ENGINE", "");
	if (HAS_ASYNC)
		EXPECT_GOT(ASKED(.environment = "async"), 0, "async", "by UFFDSTM_ENGINE", "|0]");
	else
		EXPECT_GOT(ASKED(.environment = "async"), 1, "sigbus", "the default, since what UFFDSTM_ENGINE asks for cannot be had",
			   "lacks UFFD_FEATURE_WP_ASYNC");
}

/* The program knows what it needs. */
TEST(option_beats_environment)
{
	EXPECT_GOT(ASKED(.option = "thread", .environment = "sigbus"), 0, "thread", "by options.engine", "");
	EXPECT_GOT(ASKED(.option = "sigbus", .environment = "nonsense"), 0, "sigbus", "by options.engine", "");
}

TEST(unknown_names)
{
	static const char *const names[] = { "nonsense", "SIGBUS", "thread ", "sigbus,thread" };

	for (int i = 0; i < 8; i++) {
		struct asked a = { .option = i % 2 ? names[i / 2] : NULL, .environment = i % 2 ? NULL : names[i / 2] };
		struct ended e = run_child(start, &a);

		EXPECT_TRUE(exited_with(&e, EINVAL) && said(&e, i % 2 ? "options.engine" : "UFFDSTM_ENGINE",
							     "sigbus, thread or async") &&
			    strstr(e.text, names[i / 2])) {
			TH_LOG("%d: %s", i, how(&e));
		}
	}
}

/* Each way that is refused gives the next one; with the last, system calls are on their own. */
TEST(ways_to_open)
{
	static const char *const engines[] = { "sigbus", "thread", "async" };

	for (int i = 0; i < (HAS_ASYNC ? 3 : 2); i++) {
		bool thread = i == 1;

		if (geteuid() == 0 && !access("/dev/userfaultfd", R_OK | W_OK))
			EXPECT_GOT(ASKED(.option = engines[i]), 0, engines[i], "", thread ? "|/dev/userfaultfd|1]" : "|/dev/userfaultfd|0]");
		if (geteuid() == 0)
			EXPECT_GOT(ASKED(.option = engines[i], .before = deny_device), 0, engines[i], "",
				   thread ? "|userfaultfd(2)|1]" : "|userfaultfd(2)|0]");
		EXPECT_GOT(ASKED(.option = engines[i], .before = deny_kernel_mode), 0, engines[i], "",
			   "|userfaultfd(2) with UFFD_USER_MODE_ONLY|0]");
	}
}

/* Who drops rights later keeps what was got with them: segments made since are as good. */
TEST(rights_dropped_after_init)
{
	if (geteuid() || access("/dev/userfaultfd", R_OK | W_OK))
		SKIP(return, "only root may open /dev/userfaultfd");
	EXPECT_GOT(ASKED(.option = "thread", .after = become_nobody), 0, "thread", "", "|/dev/userfaultfd|1]");
	/* For the others it does not matter. */
	EXPECT_GOT(ASKED(.option = "sigbus", .after = become_nobody), 0, "sigbus", "", "|0]");
}

/* /proc/self is root's after a change of users: async cannot look at its pages. */
TEST(too_few_rights)
{
	struct asked a = { .option = "async", .before = become_nobody };
	struct ended e;

	if (geteuid())
		SKIP(return, "only root can change users");
	if (!HAS_ASYNC)
		SKIP(return, "no engine async: Linux before 6.7");
	EXPECT_GOT(ASKED(.environment = "async", .before = become_nobody), 1, "sigbus",
		   "the default, since what UFFDSTM_ENGINE asks for cannot be had", "engine async reads it");
	e = run_child(start, &a);
	EXPECT_TRUE(exited_with(&e, EOPNOTSUPP) && said(&e, "/proc/self/pagemap: EACCES", "another engine")) {
		TH_LOG("%s", how(&e));
	}
	EXPECT_TRUE(strstr(stm_strerror(-EOPNOTSUPP), "not enough") != NULL);
}

TEST(verbose)
{
	EXPECT_GOT(ASKED(.verbose = "0"), 0, "sigbus", "", "");
	EXPECT_GOT(ASKED(.verbose = ""), 0, "sigbus", "", "");
	EXPECT_GOT(ASKED(.verbose = "1"), 1, "sigbus", "libuffdstm: engine sigbus: the default; opened by ",
		   "page faults inside system calls are not resolved");
	EXPECT_GOT(ASKED(.verbose = "1", .environment = "thread", .before = deny_kernel_mode), 1, "thread",
		   "libuffdstm: engine thread: asked for by UFFDSTM_ENGINE; opened by userfaultfd(2) with UFFD_USER_MODE_ONLY (",
		   "userfaultfd(2): EPERM); page faults inside system calls are not resolved");
	if (geteuid() == 0 && !access("/dev/userfaultfd", R_OK | W_OK))
		EXPECT_GOT(ASKED(.verbose = "1", .option = "thread"), 1, "thread",
			   "engine thread: asked for by options.engine; opened by /dev/userfaultfd; ",
			   "page faults inside system calls are resolved\n");
}

TEST_HARNESS_MAIN
