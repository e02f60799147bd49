// SPDX-License-Identifier: MIT
/*
 * strict_test.c - UFFDSTM_STRICT: a store without stm_write() is reported once for each place, with the address, the
 * block, the source line and the transaction.
 *
 * Each test runs children, which set the environment themselves.
 */
#include <sys/auxv.h>

#include "strict_support.h"

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

/* Linked statically, a program has its C library's stores as its own: one for each store that memset makes. */
static bool is_static(void)
{
	return !getauxval(AT_BASE); /* no dynamic linker */
}

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

TEST_HARNESS_MAIN
