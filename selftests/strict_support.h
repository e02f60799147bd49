/* SPDX-License-Identifier: MIT */
/*
 * strict_support.h - children in strict mode, and what their reports say. To be included by one file of a test.
 */
#ifndef STM_SELFTESTS_STRICT_SUPPORT_H
#define STM_SELFTESTS_STRICT_SUPPORT_H

#include <errno.h>
#include <sys/mman.h>

#include <uffdstm.h>

#include "support.h"

#define PAGE ((size_t)4096)
#define PAGES 16

#define EACH(i, array) (size_t i = 0; i < sizeof(array) / sizeof((array)[0]); i++)

struct node {
	long words[8];
};

static unsigned char STM *block;        /* PAGES pages, zero */
static int *shared_line;                /* where the child made its mistake; shared with the parent */

/* The line of what is stored. */
#define HERE (*(volatile int *)shared_line = __LINE__)

#define STORE(p, value) (HERE, *(volatile long STM *)(p) = (value))

UNUSED static void die(const char *what)
{
	fprintf(stderr, "# %s failed\n", what);
	_exit(100);
}

UNUSED static void start(const char *mode)
{
	setenv("UFFDSTM_STRICT", mode, 1);
	if (stm_init(NULL) || stm_thread_attach())
		die("stm_init");
	STM_ATOMIC {
		block = stm_zalloc(PAGES * PAGE);
	}
}

UNUSED static struct stm_stats stats(void)
{
	struct stm_stats s;

	if (stm_stats(&s, sizeof(s)))
		die("stm_stats");
	return s;
}

/* An empty view of a heap whose pages can be shared. */
UNUSED static void empty_view(void)
{
	uint64_t position = stats().committed;
	long STM *root = (long STM *)stm_root(0);

	while (stats().folded < position)
		for (int i = 0; i < 1000; i++)
			STM_ATOMIC {
				STM_SET(*root, i);
			}
	if (stm_thread_detach() || stm_thread_attach())
		die("stm_thread_attach");
}

/* ---- reports ---- */

UNUSED static bool has_addr2line(void)
{
	return system("addr2line --version > /dev/null 2>&1") == 0;
}

/* The source line, in a strict test, that addr2line finds for the "at MODULE(+0xOFFSET):" of a line; 0: none. */
UNUSED static int line_of(const char *text)
{
	char command[512], answer[512] = "", module[256];
	unsigned long offset;
	const char *colon, *at = strstr(text, " at /");
	FILE *pipe;

	if (!at || sscanf(at, " at %255[^(](+%lx)", module, &offset) != 2)
		return 0;
	snprintf(command, sizeof(command), "addr2line -e %s %#lx", module, offset);
	pipe = popen(command, "r");
	if (!pipe || !fgets(answer, sizeof(answer), pipe))
		answer[0] = '\0';
	if (pipe)
		pclose(pipe);
	colon = strrchr(answer, ':');
	return strstr(answer, "/strict_") && colon ? atoi(colon + 1) : 0;
}

UNUSED static bool is_outside(const struct ended *e)
{
	return strstr(e->text, "write of heap address") && strstr(e->text, " outside a transaction at ") &&
	       strstr(e->text, "use STM_ATOMIC") && (!has_addr2line() || line_of(e->text) == *shared_line);
}

UNUSED static void set_up(void)
{
	unsetenv("UFFDSTM_ENGINE"); /* it would say that it runs with sigbus */
	shared_line = mmap(NULL, PAGE, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	if (shared_line == MAP_FAILED)
		die("mmap");
}

FIXTURE(strict) {
	int unused;
};

FIXTURE_SETUP(strict)
{
	set_up();
}

FIXTURE_TEARDOWN(strict)
{
	munmap(shared_line, PAGE);
}

#endif
