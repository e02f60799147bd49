// SPDX-License-Identifier: MIT
/*
 * strict_test.c - UFFDSTM_STRICT: a store without stm_write() is reported once for each place, with the address, the
 * block, the source line and the transaction; right use is not reported.
 *
 * Each test runs children, which set the environment themselves.
 */
#include <errno.h>
#include <fcntl.h>
#include <sys/auxv.h>
#include <sys/mman.h>

#include <uffdstm.h>

#include "support.h"

#define PAGE ((size_t)4096)
#define PAGES 16

struct node {
	long words[8];
};

static unsigned char STM *block;        /* PAGES pages, zero */
static int *shared_line;                /* where the child made its mistake; shared with the parent */

/* The line of what is stored. */
#define HERE (*(volatile int *)shared_line = __LINE__)

#define STORE(p, value) (HERE, *(volatile long STM *)(p) = (value))

static void die(const char *what)
{
	fprintf(stderr, "# %s failed\n", what);
	_exit(100);
}

static void start(const char *mode)
{
	setenv("UFFDSTM_STRICT", mode, 1);
	if (stm_init(NULL) || stm_thread_attach())
		die("stm_init");
	STM_ATOMIC {
		block = stm_zalloc(PAGES * PAGE);
	}
}

static struct stm_stats stats(void)
{
	struct stm_stats s;

	if (stm_stats(&s, sizeof(s)))
		die("stm_stats");
	return s;
}

/* An empty view of a heap whose pages can be shared. */
static void empty_view(void)
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

/* ---- mistakes, each at `block + at` ---- */

struct mistake {
	const char *name;
	int (*make)(void *arg);
	size_t at;              /* the byte that is reported */
	void (*prepare)(void);
	bool no_place;          /* it cannot be told */
	bool in_c_library;
};

static int plain(void *arg)
{
	(void)arg;
	STORE(block + 24, 1);
	return 0;
}

/* One place, whatever the compiler inlines or clones. */
static int (*volatile plainly)(void *arg) = plain;

static int beside_a_write(void *arg)
{
	(void)arg;
	STM_SET(*(long STM *)(block + 2048), 1);
	STORE(block + 24, 1);
	return 0;
}

static int next_granule(void *arg)
{
	(void)arg;
	stm_write_range(block + 32, 16);
	*(volatile long STM *)(block + 40) = 1;
	STORE(block + 48, 1);
	return 0;
}

static int granule_before(void *arg)
{
	(void)arg;
	stm_write_range(block + 32, 16);
	*(volatile long STM *)(block + 32) = 1;
	HERE, *(volatile unsigned char STM *)(block + 31) = 1;
	return 0;
}

static int half_of_a_store(void *arg)
{
	struct { long value; } __attribute__((__packed__)) volatile STM *p = (void STM *)(block + 60);

	(void)arg;
	stm_write_range(block + 48, 16);
	HERE, p->value = -1;
	return 0;
}

static int half_of_a_store_next_page(void *arg)
{
	struct { long value; } __attribute__((__packed__)) volatile STM *p = (void STM *)(block + PAGE - 4);

	(void)arg;
	stm_write_range(block + PAGE - 16, 16);
	HERE, p->value = -1;
	return 0;
}

static int too_early(void *arg)
{
	(void)arg;
	STM_SET(*(long STM *)(block + 2048), 1);
	STORE(block + 24, 1);
	stm_write_range(block + 24, 8);
	return 0;
}

static int too_early_first(void *arg)
{
	(void)arg;
	STORE(block + 24, 1);
	stm_write_range(block + 24, 8);
	return 0;
}

static int by_read_only(void *arg)
{
	(void)arg;
	STORE(block + 24, STM_GET(*(long STM *)(block + 24)) + 1);
	return 0;
}

static int through_local(void *arg)
{
	(void)arg;
	stm_read_range(block, 100);
	HERE, *(volatile long *)stm_local(block + 24) = 1;
	return 0;
}

static volatile size_t some = 24;       /* a length that the compiler does not know */

static int by_memset(void *arg)
{
	(void)arg;
	stm_read_range(block + 16, some);
	HERE, memset(stm_local(block + 16), 1, some);
	return 0;
}

static int by_memset_beside_a_write(void *arg)
{
	(void)arg;
	STM_SET(*(long STM *)(block + 2048), 1);
	stm_read_range(block + 16, some);
	HERE, memset(stm_local(block + 16), 1, some);
	return 0;
}

static int nested(void *arg)
{
	STM_ATOMIC {
		STM_SET(*(long STM *)(block + 2048), 1);
		STM_ATOMIC {
			plainly(arg);
		}
	}
	return 0;
}

static int after_restarts(void *arg)
{
	static volatile int attempts;

	STM_SET(*(long STM *)(block + 2048), 1);
	if (++attempts < 20) /* past the right of way */
		stm_restart();
	plainly(arg);
	return 0;
}

static int before_restarts(void *arg)
{
	static volatile int attempts;

	plainly(arg);
	if (++attempts < 4)
		stm_restart();
	return 0;
}

static int before_cancel(void *arg)
{
	plainly(arg);
	return 1;
}

static int inevitable(void *arg)
{
	stm_become_inevitable("test");
	STM_SET(*(long STM *)(block + 2 * PAGE), 1);
	plainly(arg);
	return 0;
}

static int before_inevitable(void *arg)
{
	beside_a_write(arg);
	stm_become_inevitable("test");
	return 0;
}

static int inevitable_beside_a_write(void *arg)
{
	stm_become_inevitable("test");
	beside_a_write(arg);
	return 0;
}

static int beside_fresh_memory(void *arg)
{
	(void)arg;
	for (int i = 0; i < 100; i++) {
		struct node STM *node = stm_alloc(sizeof(*node));

		for (int word = 0; word < 8; word++)
			node->words[word] = i;
	}
	STORE(block + 24, 1);
	return 0;
}

static int beside_many_writes(void *arg)
{
	(void)arg;
	for (size_t page = 0; page < PAGES; page++)
		STM_SET(*(long STM *)(block + page * PAGE + 8), 1);
	STORE(block + 24, 1);
	return 0;
}

/* Mistakes are made again and again: each is reported once. */
static int often(void *arg)
{
	STM_SET(*(long STM *)(block + 2048), 1);
	for (volatile int i = 0; i < 50; i++)
		plainly(arg);
	return 0;
}

static int unmapped(void *arg)
{
	(void)arg;
	STORE(block + 5 * PAGE + 24, 1);
	return 0;
}

static int shared(void *arg)
{
	(void)arg;
	if (STM_GET(*(long STM *)(block + 5 * PAGE)) || !stats().pages_mapped)
		die("sharing");
	STORE(block + 5 * PAGE + 24, 1);
	return 0;
}

static const struct mistake mistakes[] = {
	{ .name = "plain", .make = plain, .at = 24 },
	{ .name = "beside a write", .make = beside_a_write, .at = 24 },
	{ .name = "next granule", .make = next_granule, .at = 48 },
	{ .name = "granule before", .make = granule_before, .at = 31 },
	{ .name = "half of a store", .make = half_of_a_store, .at = 64 },
	{ .name = "half of a store, next page", .make = half_of_a_store_next_page, .at = PAGE },
	{ .name = "too early", .make = too_early, .at = 24 },
	{ .name = "too early, first store", .make = too_early_first, .at = 24 },
	{ .name = "by read only", .make = by_read_only, .at = 24 },
	{ .name = "through stm_local", .make = through_local, .at = 24 },
	{ .name = "by memset", .make = by_memset, .at = 16, .in_c_library = true },
	{ .name = "by memset beside a write", .make = by_memset_beside_a_write, .at = 16, .in_c_library = true },
	{ .name = "nested", .make = nested, .at = 24 },
	{ .name = "after restarts", .make = after_restarts, .at = 24 },
	{ .name = "before restarts", .make = before_restarts, .at = 24 },
	{ .name = "before cancel", .make = before_cancel, .at = 24 },
	{ .name = "inevitable", .make = inevitable, .at = 24 },
	{ .name = "before inevitable", .make = before_inevitable, .at = 24 },
	{ .name = "inevitable, beside a write", .make = inevitable_beside_a_write, .at = 16, .no_place = true },
	{ .name = "beside fresh memory", .make = beside_fresh_memory, .at = 24 },
	{ .name = "beside many writes", .make = beside_many_writes, .at = 24 },
	{ .name = "often", .make = often, .at = 24 },
	{ .name = "unmapped", .make = unmapped, .at = 5 * PAGE + 24, .prepare = empty_view },
	{ .name = "shared", .make = shared, .at = 5 * PAGE + 24, .prepare = empty_view },
};

enum { SITE_LINE = __LINE__ + 4 };

static void run_inside(int (*make)(void *arg))
{
	stm_atomic(make, NULL);
}

static void make_mistake(const struct mistake *m, const char *mode)
{
	start(mode);
	if (m->prepare)
		m->prepare();
	for (int i = 0; i < 3; i++)
		run_inside(m->make);
	if (stats().strict_reports != 1)
		die("the count of reports");
	if (stm_fini())
		die("stm_fini");
}

static void report_mistake(void *arg)
{
	make_mistake(arg, "1");
}

static void stop_at_mistake(void *arg)
{
	make_mistake(arg, "2");
}

static void no_strict(void *arg)
{
	const struct mistake *m = arg;

	start("0");
	if (m->prepare)
		m->prepare();
	run_inside(m->make);
	_exit(stats().strict_reports ? 100 : 0);
}

/* ---- what the report says ---- */

/* The source line that addr2line finds for the "at MODULE(+0xOFFSET):" of a line; 0: none. */
static int line_of(const char *text)
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
	return strstr(answer, "strict_test.c:") && colon ? atoi(colon + 1) : 0;
}

static bool has_addr2line(void)
{
	return system("addr2line --version > /dev/null 2>&1") == 0;
}

/* The line says it all, but for the source. */
static bool describes(const struct ended *e, const struct mistake *m)
{
	char address[64], object[64], site[64];

	/* The heap's first span begins behind the chunk of the roots. */
	uintptr_t start = STM_HEAP + ((size_t)64 << 10);

	snprintf(address, sizeof(address), "write of heap address %#zx without stm_write", (size_t)(start + m->at));
	snprintf(object, sizeof(object), ": byte %zu of the block of %zu at %#zx", m->at, PAGES * PAGE, (size_t)start);
	snprintf(site, sizeof(site), "in the transaction at strict_test.c:%d", SITE_LINE);
	return said(e, address, object) && strstr(e->text, site) && strstr(e->text, "call stm_write()");
}

static bool is_placed(const struct ended *e, const struct mistake *m)
{
	static int addr2line = -1;

	if (m->no_place)
		return strstr(e->text, "somewhere in the transaction") && !strstr(e->text, " at /");
	if (addr2line < 0)
		addr2line = has_addr2line();
	/* A sanitizer has a memset of its own, in the program. */
	return !addr2line || (WITH_ASAN && m->in_c_library) || line_of(e->text) == *shared_line;
}

FIXTURE(strict) {
	int unused;
};

FIXTURE_SETUP(strict)
{
	unsetenv("UFFDSTM_ENGINE"); /* it would say that it runs with sigbus */
	shared_line = mmap(NULL, PAGE, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	ASSERT_NE(MAP_FAILED, (void *)shared_line);
}

FIXTURE_TEARDOWN(strict)
{
	munmap(shared_line, PAGE);
}

/* Linked statically, a program has its C library's stores as its own: one for each store that memset makes. */
static bool is_static(void)
{
	return !getauxval(AT_BASE); /* no dynamic linker */
}

#define EACH(i, array) (size_t i = 0; i < sizeof(array) / sizeof((array)[0]); i++)

TEST_F(strict, mistakes_are_reported_once)
{
	for EACH(i, mistakes) {
		struct mistake m = mistakes[i];
		struct ended e;

		if (m.in_c_library && is_static())
			continue;
		e = run_child(report_mistake, &m);
		EXPECT_TRUE(exited_with(&e, 0) && describes(&e, &m) && is_placed(&e, &m)) {
			TH_LOG("%s: line %d, not %d: %s", m.name, *shared_line, line_of(e.text), how(&e));
		}
	}
	if (!has_addr2line())
		TH_LOG("without addr2line source lines are not looked at");
}

TEST_F(strict, mode_2_stops_at_the_first)
{
	for EACH(i, mistakes) {
		struct mistake m = mistakes[i];
		struct ended e = run_child(stop_at_mistake, &m);

		EXPECT_TRUE(was_killed_by(&e, SIGABRT) && describes(&e, &m) && is_placed(&e, &m)) {
			TH_LOG("%s: line %d, not %d: %s", m.name, *shared_line, line_of(e.text), how(&e));
		}
	}
}

TEST_F(strict, mode_0_is_off)
{
	for EACH(i, mistakes) {
		struct mistake m = mistakes[i];
		struct ended e = run_child(no_strict, &m);

		EXPECT_TRUE(exited_with(&e, 0) && !e.lines) {
			TH_LOG("%s: %s", m.name, how(&e));
		}
	}
}

/* ---- outside of transactions ---- */

static void outside(void *arg)
{
	start(arg);
	for (volatile int i = 0; i < 3; i++)
		STORE(block + 24, 1);
	if (*(volatile long STM *)(block + 24) != 1) /* it happened, as ever */
		die("the store");
	_exit((int)stats().strict_reports);
}

static void in_commit_hook(void *arg)
{
	(void)arg;
	STORE(block + 24, 1);
}

static void outside_in_a_hook(void *arg)
{
	start(arg);
	STM_ATOMIC {
		stm_on_commit(in_commit_hook, NULL);
	}
	_exit((int)stats().strict_reports);
}

static void outside_over_two_pages(void *arg)
{
	struct { long value; } __attribute__((__packed__)) volatile STM *p;

	start(arg);
	p = (void STM *)(block + PAGE - 4);
	HERE, p->value = -1;
	if (p->value != -1)
		die("the store");
	p = (void STM *)(block + 20);
	p->value = -1;
	_exit((int)stats().strict_reports - 1);
}

static void outside_shared(void *arg)
{
	start(arg);
	empty_view();
	STORE(block + 24, 1);
}

static void outside_shared_again(void *arg)
{
	start(arg);
	for (volatile int i = 0; i < 2; i++) {
		STORE(block + 24, 1);
		empty_view();
	}
}

static bool is_outside(const struct ended *e)
{
	return strstr(e->text, "write of heap address") && strstr(e->text, " outside a transaction at ") &&
	       strstr(e->text, "use STM_ATOMIC") && (!has_addr2line() || line_of(e->text) == *shared_line);
}

TEST_F(strict, outside_of_transactions)
{
	static const struct {
		void (*make)(void *arg);
		unsigned int lines;
	} cases[] = { { outside, 1 }, { outside_in_a_hook, 1 }, { outside_over_two_pages, 2 } };
	struct ended e;

	for EACH(i, cases) {
		e = run_child(cases[i].make, "1");
		EXPECT_TRUE(exited_with(&e, 1) && e.lines == cases[i].lines && is_outside(&e)) {
			TH_LOG("%zu: line %d, not %d: %s", i, *shared_line, line_of(e.text), how(&e));
		}
		e = run_child(cases[i].make, "2");
		EXPECT_TRUE(was_killed_by(&e, SIGABRT) && e.lines == 1 && is_outside(&e)) {
			TH_LOG("%zu: %s", i, how(&e));
		}
	}
	/* Without strict mode this stops, too. */
	e = run_child(outside_shared, "1");
	EXPECT_TRUE(was_killed_by(&e, SIGABRT) && e.lines == 1 && is_outside(&e)) {
		TH_LOG("%s", how(&e));
	}
	e = run_child(outside_shared_again, "1");
	EXPECT_TRUE(was_killed_by(&e, SIGABRT) && e.lines == 2 && is_outside(&e)) {
		TH_LOG("again: %s", how(&e));
	}
}

/* ---- several places ---- */

static int second_line;

static int two_places(void *arg)
{
	STM_SET(*(long STM *)(block + 2048), 1);
	plainly(arg);
	if (arg)
		*(volatile long STM *)(block + 24) = 2, second_line = __LINE__;
	return 0;
}

static void report_two_places(void *arg)
{
	(void)arg;
	start("1");
	for (int i = 0; i < 10; i++)
		run_inside(two_places);
	for (int i = 0; i < 10; i++)
		stm_atomic(two_places, &second_line);
	_exit((int)stats().strict_reports);
}

static void *make_in_thread(void *arg)
{
	if (stm_thread_attach())
		die("stm_thread_attach");
	for (int i = 0; i < 100; i++)
		run_inside(arg ? two_places : plainly);
	if (stm_thread_detach())
		die("stm_thread_detach");
	return NULL;
}

static void report_in_threads(void *arg)
{
	pthread_t threads[3];

	(void)arg;
	start("1");
	for (int i = 0; i < 3; i++)
		if (pthread_create(&threads[i], NULL, make_in_thread, i ? &second_line : NULL))
			die("pthread_create");
	for (int i = 0; i < 3; i++)
		pthread_join(threads[i], NULL);
	_exit((int)stats().strict_reports);
}

static void report_after_fini(void *arg)
{
	(void)arg;
	for (int i = 0; i < 2; i++) {
		start("1");
		run_inside(plain);
		if (stats().strict_reports != 1 || stm_fini())
			die("the count of reports");
	}
}

TEST_F(strict, once_for_each_place)
{
	struct ended e = run_child(report_two_places, NULL);

	EXPECT_TRUE(exited_with(&e, 2) && e.lines == 2) {
		TH_LOG("two places: %s", how(&e));
	}
	/* All three threads have made the mistake in plain(). */
	e = run_child(report_in_threads, NULL);
	EXPECT_TRUE(exited_with(&e, 1) && e.lines == 1) {
		TH_LOG("three threads: %s", how(&e));
	}
	e = run_child(report_after_fini, NULL);
	EXPECT_TRUE(exited_with(&e, 0) && e.lines == 2) {
		TH_LOG("twice: %s", how(&e));
	}
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
	run_inside(half_of_a_store);
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
