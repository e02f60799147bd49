// SPDX-License-Identifier: MIT
/*
 * api_test.c - every public call in every state, with the results that the header promises: the library up and
 * down, attach and detach, options, figures, roots, memory in and out of the heap, system calls.
 *
 * Each test runs in a process of its own. Calls that stop the process are in mistakes_test.c,
 * what happens inside transactions in transaction_test.c.
 */
#include <dirent.h>
#include <errno.h>

#include <uffdstm.h>

#include "support.h"

#define PAGE 4096u

/* A block of the heap that root slot 0 leads to. */
static unsigned char STM *new_block(size_t size)
{
	unsigned char STM *p = NULL;

	STM_ATOMIC {
		p = stm_zalloc(size);
		STM_SET(*stm_root(0), p);
	}
	return p;
}

/* ---- states ---- */

TEST(before_init)
{
	struct stm_stats stats;
	char byte = 1;
	void *p;

	EXPECT_EQ(-ENXIO, stm_fini());
	EXPECT_EQ(-ENXIO, stm_thread_attach());
	EXPECT_EQ(-ENXIO, stm_thread_detach());
	EXPECT_EQ(-ENXIO, stm_stats(&stats, sizeof(stats)));
	errno = 0;
	EXPECT_TRUE(stm_root(0) == NULL);
	EXPECT_EQ(ENXIO, errno);
	EXPECT_FALSE(stm_in_transaction());
	EXPECT_EQ(0, stm_outcome());
	EXPECT_EQ(-EPERM, stm_cancel(1));
	EXPECT_EQ(-EPERM, stm_restart());
	EXPECT_EQ(-EPERM, stm_validate());
	EXPECT_EQ(-EPERM, stm_become_inevitable("test"));
	EXPECT_EQ(-EPERM, stm_on_commit(free, NULL));
	EXPECT_EQ(-EPERM, stm_on_abort(free, NULL));
	EXPECT_EQ(-EPERM, stm_save(&byte, 1));
	EXPECT_EQ(-EPERM, stm_prefault((void STM *)STM_HEAP, 1));
	EXPECT_EQ(-EPERM, stm_pread(0, (void STM *)STM_HEAP, 1, 0));
	EXPECT_EQ(-EPERM, stm_pwrite(1, (void STM *)STM_HEAP, 1, 0));
	EXPECT_EQ(0, stm_usable_size(NULL));
	p = stm_malloc(10);
	EXPECT_NE(NULL, p);
	stm_mfree(p);
	stm_mfree(NULL);
}

TEST(init_and_fini)
{
	EXPECT_EQ(0, stm_init(NULL));
	EXPECT_EQ(-EALREADY, stm_init(NULL));
	EXPECT_EQ(0, stm_fini());
	EXPECT_EQ(-ENXIO, stm_fini());
	EXPECT_EQ(-ENXIO, stm_thread_attach());
	EXPECT_EQ(0, stm_init(NULL));
	EXPECT_EQ(0, stm_thread_attach());
	EXPECT_EQ(0, stm_fini()); /* detaches its caller */
	EXPECT_EQ(-ENXIO, stm_thread_detach());
}

TEST(attach_and_detach)
{
	ASSERT_EQ(0, stm_init(NULL));
	EXPECT_EQ(-EPERM, stm_thread_detach());
	EXPECT_EQ(0, stm_thread_attach());
	EXPECT_EQ(-EALREADY, stm_thread_attach());
	EXPECT_EQ(0, stm_thread_detach());
	EXPECT_EQ(-EPERM, stm_thread_detach());
	EXPECT_EQ(0, stm_thread_attach());
	STM_ATOMIC {
		EXPECT_EQ(-EBUSY, stm_thread_detach());
		EXPECT_EQ(-EALREADY, stm_thread_attach());
		EXPECT_EQ(-EBUSY, stm_fini());
		EXPECT_EQ(-EALREADY, stm_init(NULL));
	}
	EXPECT_EQ(0, stm_thread_detach());
	EXPECT_EQ(0, stm_fini());
}

static void *attach_only(void *arg)
{
	(void)arg;
	return (void *)(intptr_t)stm_thread_attach();
}

static void *attach_and_fini(void *arg)
{
	int attached = stm_thread_attach();

	(void)arg;
	return (void *)(intptr_t)(attached ? attached : stm_fini());
}

TEST(all_segments_taken)
{
	struct stm_options options = STM_OPTIONS_INIT;

	options.segments = 1;
	ASSERT_EQ(0, stm_init(&options));
	ASSERT_EQ(0, stm_thread_attach());
	EXPECT_EQ(-EAGAIN, (intptr_t)in_thread(attach_only, NULL));
	EXPECT_EQ(-EAGAIN, (intptr_t)in_thread(attach_only, NULL));
	ASSERT_EQ(0, stm_thread_detach());
	/* Twice: it ends attached, and must give the segment back. */
	EXPECT_EQ(0, (intptr_t)in_thread(attach_only, NULL));
	EXPECT_EQ(0, (intptr_t)in_thread(attach_only, NULL));
	EXPECT_EQ(0, stm_thread_attach());
}

TEST(fini_while_others_are_attached)
{
	ASSERT_EQ(0, stm_init(NULL));
	ASSERT_EQ(0, stm_thread_attach());
	EXPECT_EQ(-EBUSY, (intptr_t)in_thread(attach_and_fini, NULL));
	STM_ATOMIC {
		STM_SET(*stm_root(1), (void STM *)STM_HEAP); /* nothing was taken down */
	}
	EXPECT_EQ(0, stm_outcome());
	EXPECT_EQ(0, stm_fini());
}

static unsigned int count_lines(const char *path)
{
	unsigned int lines = 0;
	FILE *f = fopen(path, "r");
	int c;

	while (f && (c = getc(f)) != EOF)
		lines += c == '\n';
	if (f)
		fclose(f);
	return lines;
}

static int count_descriptors(void)
{
	DIR *dir = opendir("/proc/self/fd");
	int n = 0;

	while (dir && readdir(dir))
		n++;
	if (dir)
		closedir(dir);
	return n;
}

/* Mappings of this process that stm_fini() must have taken away. */
static size_t address_space(void)
{
	size_t pages = 0;
	FILE *f = fopen("/proc/self/statm", "r");

	if (!f || fscanf(f, "%zu", &pages) != 1)
		pages = 0;
	if (f)
		fclose(f);
	return pages;
}

TEST(again_and_again)
{
	size_t space = 0;
	unsigned int maps = 0;
	int files = 0;

	for (int i = 0; i < 40; i++) {
		struct stm_options options = STM_OPTIONS_INIT;
		struct stm_stats stats;

		options.heap_size = (size_t)(1 + i % 4) << 24;
		options.cluster = 1u << i % 10;
		ASSERT_EQ(0, stm_init(&options));
		ASSERT_EQ(0, stm_thread_attach());
		EXPECT_EQ(0, (intptr_t)in_thread(attach_only, NULL));
		STM_ATOMIC {
			EXPECT_TRUE(STM_GET(*stm_root(0)) == NULL); /* a new heap */
			EXPECT_TRUE(STM_GET(*stm_root(STM_ROOTS - 1)) == NULL);
			STM_SET(*stm_root(STM_ROOTS - 1), stm_alloc(100));
		}
		EXPECT_TRUE(new_block(PAGE) != NULL);
		ASSERT_EQ(0, stm_stats(&stats, sizeof(stats)));
		EXPECT_EQ(2, stats.commits);
		EXPECT_EQ(2, stats.committed);
		EXPECT_EQ(1, stats.attached);
		ASSERT_EQ(0, stm_fini());
		EXPECT_EQ(0, __lsan_do_recoverable_leak_check());
		/* The C library keeps some memory of its own after the first times. */
		if (i == 4) {
			files = count_descriptors();
			maps = count_lines("/proc/self/maps");
			space = address_space();
		} else if (i > 4) {
			EXPECT_EQ(files, count_descriptors());
			if (!WITH_ASAN) {
				EXPECT_GE(maps + 4, count_lines("/proc/self/maps"));
				EXPECT_GE(space + 8192, address_space());
			}
		}
	}
}

/* ---- options ---- */

static void init_with(void *arg)
{
	_exit(-stm_init(arg));
}

TEST(bad_options)
{
	const struct {
		struct stm_options options;
		const char *word;
	} bad[] = {
		{ { .size = 0 }, "options.size" },
		{ { .size = sizeof(size_t) - 1 }, "options.size" },
		{ { .size = sizeof(struct stm_options), .heap_size = 1 }, "heap_size" },
		{ { .size = sizeof(struct stm_options), .heap_size = (1 << 20) - 1 }, "heap_size" },
		{ { .size = sizeof(struct stm_options), .heap_size = STM_HEAP_LIMIT + 1 }, "heap_size" },
		{ { .size = sizeof(struct stm_options), .heap_size = SIZE_MAX }, "heap_size" },
		{ { .size = sizeof(struct stm_options), .segments = 65 }, "segments" },
		{ { .size = sizeof(struct stm_options), .segments = ~0u }, "segments" },
		{ { .size = sizeof(struct stm_options), .cluster = 3 }, "cluster" },
		{ { .size = sizeof(struct stm_options), .cluster = 1024 }, "cluster" },
		{ { .size = sizeof(struct stm_options), .cluster_max = 24 }, "cluster_max" },
		{ { .size = sizeof(struct stm_options), .cluster_max = 1024 }, "cluster_max" },
		{ { .size = sizeof(struct stm_options), .cluster = 32, .cluster_max = 16 }, "cluster_max" },
		{ { .size = sizeof(struct stm_options), .log_limit = 4096 }, "log_limit" },
		{ { .size = sizeof(struct stm_options), .trim_age = 86400001 }, "trim_age" },
		{ { .size = sizeof(struct stm_options), .trim_age = STM_TRIM_NEVER - 1 }, "trim_age" },
		{ { .size = sizeof(struct stm_options), .trim_share = 101 }, "trim_share" },
	};

	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		struct stm_options options = bad[i].options;
		struct ended e = run_child(init_with, &options);

		EXPECT_TRUE(exited_with(&e, EINVAL) && said(&e, bad[i].word, "EINVAL")) {
			TH_LOG("options %zu: %s", i, how(&e));
		}
	}
}

TEST(good_options)
{
	const struct stm_options good[] = {
		STM_OPTIONS_INIT,
		{ .size = sizeof(struct stm_options), .heap_size = 1 << 20 },
		{ .size = sizeof(struct stm_options), .heap_size = (1 << 20) + 1 },
		{ .size = sizeof(struct stm_options), .segments = 1 },
		{ .size = sizeof(struct stm_options), .cluster = 4, .cluster_max = 64 },
		{ .size = sizeof(struct stm_options), .cluster_max = 2 },
		{ .size = sizeof(struct stm_options), .segments = 64 },
		{ .size = sizeof(struct stm_options), .cluster = 1, .attempts = 1 },
		{ .size = sizeof(struct stm_options), .cluster = 512, .attempts = ~0u },
		{ .size = sizeof(struct stm_options), .log_limit = SIZE_MAX },
		{ .size = sizeof(struct stm_options), .trim_age = STM_TRIM_NEVER, .trim_share = 100, .trim_pages = 1 },
		{ .size = sizeof(struct stm_options), .trim_age = 86400000, .trim_share = 1, .trim_pages = UINT64_MAX },
	};

	for (size_t i = 0; i < sizeof(good) / sizeof(good[0]); i++) {
		struct stm_options options = good[i];
		struct ended e = run_child(init_with, &options);

		EXPECT_TRUE(exited_with(&e, 0) && e.lines == 0) {
			TH_LOG("options %zu: %s", i, how(&e));
		}
	}
}

/* A program built for a later version: more fields. One built for an earlier one: fewer. */
TEST(options_of_other_versions)
{
	struct {
		struct stm_options options;
		uint64_t later;
	} o = { STM_OPTIONS_INIT, 0 };
	struct ended e;

	o.options.size = sizeof(o);
	e = run_child(init_with, &o);
	EXPECT_TRUE(exited_with(&e, 0)) {
		TH_LOG("a later field of 0: %s", how(&e));
	}
	o.later = 1;
	e = run_child(init_with, &o);
	EXPECT_TRUE(exited_with(&e, EINVAL) && said(&e, "options.size", "EINVAL")) {
		TH_LOG("a later field that asks for something: %s", how(&e));
	}
	o.options.segments = 1000; /* not looked at: the caller does not know it */
	o.options.size = offsetof(struct stm_options, segments);
	e = run_child(init_with, &o);
	EXPECT_TRUE(exited_with(&e, 0)) {
		TH_LOG("an earlier size: %s", how(&e));
	}
	/* Nor what stands where a structure had padding, and where later fields stand now. */
	o.options = (struct stm_options)STM_OPTIONS_INIT;
	o.options.size = offsetof(struct stm_options, engine);
	memset(&o.options.cluster_max + 1, 0xff,
	       sizeof(o.options) - offsetof(struct stm_options, cluster_max) - sizeof(o.options.cluster_max));
	e = run_child(init_with, &o);
	EXPECT_TRUE(exited_with(&e, 0)) {
		TH_LOG("before engines and trim: %s", how(&e));
	}
}

static void init_other_layout(void *arg)
{
	(void)arg;
	_exit(-stm__init(NULL, STM_LAYOUT + 1));
}

TEST(other_layout)
{
	struct ended e = run_child(init_other_layout, NULL);

	EXPECT_TRUE(exited_with(&e, EINVAL) && said(&e, "layout", "EINVAL")) {
		TH_LOG("%s", how(&e));
	}
}

TEST(options_take_effect)
{
	struct stm_options options = STM_OPTIONS_INIT;
	struct stm_stats stats;
	void STM *p = NULL;

	options.heap_size = 1 << 20;
	ASSERT_EQ(0, stm_init(&options));
	ASSERT_EQ(0, stm_thread_attach());
	ASSERT_EQ(0, stm_stats(&stats, sizeof(stats)));
	EXPECT_LE(stats.heap_bytes, 1 << 20);
	STM_ATOMIC {
		errno = 0;
		p = stm_alloc(1 << 20);
	}
	EXPECT_TRUE(p == NULL);
	EXPECT_EQ(ENOMEM, errno);
	STM_ATOMIC {
		p = stm_alloc(1 << 19);
	}
	EXPECT_TRUE(p != NULL);
}

/* ---- figures ---- */

static int write_root(void *arg)
{
	(void)arg;
	STM_SET(*stm_root(2), (void STM *)STM_HEAP);
	return 0;
}

static int read_root(void *arg)
{
	(void)arg;
	(void)STM_GET(*stm_root(2));
	return 0;
}

static int give_code(void *arg)
{
	(void)arg;
	return 5;
}

static int restart_once(void *arg)
{
	int *left = arg;

	return (*left)-- ? stm_restart() : 0;
}

static int inevitable(void *arg)
{
	(void)arg;
	return stm_become_inevitable("test");
}

TEST(figures)
{
	struct stm_stats s;
	int once = 1;

	ASSERT_EQ(0, stm_init(NULL));
	ASSERT_EQ(0, stm_thread_attach());
	EXPECT_EQ(0, stm_atomic(write_root, NULL));
	EXPECT_EQ(0, stm_atomic(write_root, NULL));
	EXPECT_EQ(0, stm_atomic(read_root, NULL));
	EXPECT_EQ(5, stm_atomic(give_code, NULL));
	EXPECT_EQ(0, stm_atomic(restart_once, &once));
	EXPECT_EQ(0, stm_atomic(inevitable, NULL));
	ASSERT_EQ(0, stm_stats(&s, sizeof(s)));
	EXPECT_EQ(2, s.commits);
	EXPECT_EQ(2, s.committed);
	EXPECT_LE(s.folded, 2);
	EXPECT_EQ(3, s.commits_read_only);
	EXPECT_EQ(1, s.aborts[STM_ABORT_CANCEL]);
	EXPECT_EQ(1, s.aborts[STM_ABORT_RESTART]);
	EXPECT_EQ(0, s.aborts[STM_ABORT_CONFLICT]);
	EXPECT_EQ(0, s.aborts[STM_ABORT_VALIDATE]);
	EXPECT_EQ(0, s.aborts[STM_ABORT_INEVITABLE]);
	EXPECT_EQ(0, s.aborts[STM_ABORT_EXIT]);
	EXPECT_EQ(1, s.inevitable);
	EXPECT_EQ(1, s.attached);
	EXPECT_EQ(0, s.parked);
	EXPECT_EQ(0, s.log_waits);
	EXPECT_TRUE(s.log_held_by == NULL);
	EXPECT_LT(0, s.log_bytes);
	EXPECT_LE(PAGE, s.heap_bytes);
	EXPECT_EQ(s.pages_shared + s.pages_private + s.pages_dropped, s.pages_mapped + s.pages_copied);
	EXPECT_LT(0, s.system_calls);
}

TEST(figures_of_other_versions)
{
	struct {
		struct stm_stats stats;
		unsigned char later[64];
	} more;
	struct stm_stats s, first;
	const size_t part = offsetof(struct stm_stats, inevitable) + 4;

	memset(&s, 0, sizeof(s));
	EXPECT_EQ(-ENXIO, stm_stats(&s, sizeof(s)));
	ASSERT_EQ(0, stm_init(NULL));
	EXPECT_EQ(-EINVAL, stm_stats(NULL, sizeof(s)));
	EXPECT_EQ(-EINVAL, stm_stats(&s, 0));
	EXPECT_EQ(0, stm_stats(&s, sizeof(s))); /* not attached: allowed */
	EXPECT_EQ(0, s.attached);
	ASSERT_EQ(0, stm_thread_attach());
	EXPECT_EQ(0, stm_atomic(inevitable, NULL));

	memset(&first, 0xee, sizeof(first));
	EXPECT_EQ(0, stm_stats(&first, part));
	EXPECT_EQ(1, first.commits_read_only);
	for (size_t i = part; i < sizeof(first); i++)
		ASSERT_EQ(0xee, ((unsigned char *)&first)[i]);

	memset(&more, 0xee, sizeof(more));
	EXPECT_EQ(0, stm_stats(&more.stats, sizeof(more)));
	EXPECT_EQ(1, more.stats.attached);
	for (size_t i = 0; i < sizeof(more.later); i++)
		ASSERT_EQ(0, more.later[i]);
}

/* ---- heap memory ---- */

TEST(roots)
{
	ASSERT_EQ(0, stm_init(NULL));
	errno = 0;
	EXPECT_TRUE(stm_root(STM_ROOTS) == NULL);
	EXPECT_EQ(EINVAL, errno);
	errno = 0;
	EXPECT_TRUE(stm_root(~0u) == NULL);
	EXPECT_EQ(EINVAL, errno);
	ASSERT_EQ(0, stm_thread_attach());
	for (unsigned int i = 0; i < STM_ROOTS; i++) {
		EXPECT_TRUE(stm_root(i) != NULL);
		for (unsigned int j = 0; j < i; j++)
			EXPECT_TRUE(stm_root(i) != stm_root(j));
	}
	STM_ATOMIC {
		for (unsigned int i = 0; i < STM_ROOTS; i++)
			EXPECT_TRUE(STM_GET(*stm_root(i)) == NULL);
		for (unsigned int i = 0; i < STM_ROOTS; i++)
			STM_SET(*stm_root(i), (void STM *)(STM_HEAP + i));
	}
	STM_ATOMIC {
		for (unsigned int i = 0; i < STM_ROOTS; i++)
			EXPECT_TRUE(STM_GET(*stm_root(i)) == (void STM *)(STM_HEAP + i));
	}
}

TEST(alloc_and_free)
{
	static const size_t sizes[] = { 0, 1, 16, 17, 100, 4095, 4096, 4097, 40000, 1 << 20 };
	const size_t n = sizeof(sizes) / sizeof(sizes[0]);
	unsigned char STM *p[sizeof(sizes) / sizeof(sizes[0])];

	ASSERT_EQ(0, stm_init(NULL));
	ASSERT_EQ(0, stm_thread_attach());
	STM_ATOMIC {
		for (size_t i = 0; i < n; i++) {
			p[i] = stm_alloc(sizes[i]);
			ASSERT_TRUE(p[i] != NULL);
			EXPECT_EQ(0, (uintptr_t)p[i] % 16);
			EXPECT_LE(sizes[i], stm_usable_size(p[i]));
			for (size_t j = 0; j < i; j++)
				EXPECT_TRUE(p[i] + stm_usable_size(p[i]) <= p[j] ||
					    p[j] + stm_usable_size(p[j]) <= p[i]);
			stm_memset(p[i], 0xa5, stm_usable_size(p[i]));
		}
		stm_free(NULL);
	}
	for (size_t i = 0; i < n; i++)
		EXPECT_LE(sizes[i], stm_usable_size(p[i])); /* in any state */
	STM_ATOMIC {
		for (size_t i = 0; i < n; i++)
			stm_free(p[i]);
	}
	/* Memory that was used before is zeroed. */
	STM_ATOMIC {
		for (size_t i = 0; i < n; i++) {
			p[i] = stm_zalloc(sizes[i]);
			ASSERT_TRUE(p[i] != NULL);
			for (size_t j = 0; j < sizes[i]; j++)
				ASSERT_EQ(0, +STM_GET(p[i][j]));
		}
	}
	STM_ATOMIC {
		errno = 0;
		EXPECT_TRUE(stm_alloc(SIZE_MAX) == NULL);
		EXPECT_EQ(ENOMEM, errno);
		errno = 0;
		EXPECT_TRUE(stm_zalloc(SIZE_MAX - 15) == NULL);
		EXPECT_EQ(ENOMEM, errno);
		errno = 0;
		EXPECT_TRUE(stm_alloc((size_t)1 << 62) == NULL);
		EXPECT_EQ(ENOMEM, errno);
	}
}

TEST(realloc_blocks)
{
	unsigned char STM *p = NULL;
	unsigned char STM *q;

	ASSERT_EQ(0, stm_init(NULL));
	ASSERT_EQ(0, stm_thread_attach());
	STM_ATOMIC {
		p = stm_realloc(NULL, 10);
		ASSERT_TRUE(p != NULL);
		for (unsigned char i = 0; i < 10; i++)
			STM_SET(p[i], i);
	}
	STM_ATOMIC {
		p = stm_realloc(p, 100000);
		ASSERT_TRUE(p != NULL);
		EXPECT_LE(100000, stm_usable_size(p));
		for (unsigned char i = 0; i < 10; i++)
			EXPECT_EQ(i, +STM_GET(p[i]));
		stm_memset(p + 10, 7, 99990);
	}
	STM_ATOMIC {
		p = stm_realloc(p, 20);
		ASSERT_TRUE(p != NULL);
		EXPECT_GT(100000, stm_usable_size(p)); /* what it does not need is not kept */
		for (unsigned char i = 0; i < 10; i++)
			EXPECT_EQ(i, +STM_GET(p[i]));
		EXPECT_EQ(7, +STM_GET(p[19]));
		errno = 0;
		EXPECT_TRUE(stm_realloc(p, SIZE_MAX) == NULL);
		EXPECT_EQ(ENOMEM, errno);
		EXPECT_EQ(7, +STM_GET(p[19])); /* untouched */
	}
	/* An attempt that is undone leaves the old block as it was. */
	STM_ATOMIC {
		q = stm_realloc(p, 5000);
		ASSERT_TRUE(q != NULL);
		stm_memset(q, 0xff, 5000);
		stm_cancel(1);
	}
	STM_ATOMIC {
		for (unsigned char i = 0; i < 10; i++)
			EXPECT_EQ(i, +STM_GET(p[i]));
		EXPECT_EQ(7, +STM_GET(p[19]));
	}
}

/* ---- bytes in and out ---- */

/* Offsets and lengths around granules, pages and clusters. */
static const size_t offsets[] = { 0, 1, 15, 16, 4090, 4096, 65535 };
static const size_t lengths[] = { 0, 1, 2, 15, 16, 17, 100, 4096, 5000, 70000 };
#define EACH(i, array) (size_t i = 0; i < sizeof(array) / sizeof((array)[0]); i++)

#define BLOCK ((size_t)256 * 1024)

static unsigned char plain[BLOCK], other[BLOCK];

static void fill(unsigned char *p, size_t len, uint64_t seed)
{
	for (size_t i = 0; i < len; i++)
		p[i] = (unsigned char)random_next(&seed);
}

TEST(memory_in_and_out)
{
	unsigned char STM *p;

	ASSERT_EQ(0, stm_init(NULL));
	ASSERT_EQ(0, stm_thread_attach());
	p = new_block(BLOCK);
	ASSERT_TRUE(p != NULL);
	fill(plain, BLOCK, 1);
	STM_ATOMIC {
		stm_memcpy_in(p, plain, BLOCK);
	}
	for EACH(i, offsets)
		for EACH(j, lengths) {
			size_t at = offsets[i], len = lengths[j];

			/* From a detached state each time: pages come by faults. */
			ASSERT_EQ(0, stm_thread_detach());
			ASSERT_EQ(0, stm_thread_attach());
			fill(other, len, at + len);
			STM_ATOMIC {
				memset(other + len, 0, 16);
				stm_memcpy_out(other + len, p + at, len ? 1 : 0);
				EXPECT_EQ(len ? plain[at] : 0, other[len]);
				EXPECT_EQ(0, other[len + 1]);
				EXPECT_EQ(0, stm_memcmp_out(p + at, plain + at, len));
				stm_memcpy_in(p + at, other, len);
				EXPECT_EQ(0, stm_memcmp_out(p + at, other, len));
				stm_memcpy(p + 140000, p + at, len);
				EXPECT_EQ(0, stm_memcmp(p + 140000, p + at, len));
				stm_memset(p + at, (int)(at + 300), len); /* an int, used as a byte */
				if (len)
					EXPECT_EQ((unsigned char)(at + 300), +STM_GET(p[at + len - 1]));
			}
			memcpy(plain + 140000, other, len);
			memset(plain + at, (int)(at + 300), len);
			STM_ATOMIC {
				EXPECT_EQ(0, stm_memcmp_out(p, plain, BLOCK)) {
					TH_LOG("offset %zu, length %zu", at, len);
				}
			}
		}
}

TEST(memory_order)
{
	unsigned char STM *p;

	ASSERT_EQ(0, stm_init(NULL));
	ASSERT_EQ(0, stm_thread_attach());
	p = new_block(64);
	STM_ATOMIC {
		stm_memcpy_in(p, "abcdefgh", 8);
		stm_memcpy_in(p + 32, "abcdEfgh", 8);
		EXPECT_LT(0, stm_memcmp(p, p + 32, 8));
		EXPECT_GT(0, stm_memcmp(p + 32, p, 8));
		EXPECT_EQ(0, stm_memcmp(p, p + 32, 4));
		EXPECT_LT(0, stm_memcmp_out(p, "abcdefgg", 8));
		EXPECT_GT(0, stm_memcmp_out(p, "b", 1));
		EXPECT_EQ(0, stm_memcmp_out(NULL, NULL, 0));
		EXPECT_EQ(0, stm_memcmp(NULL, NULL, 0));
		stm_memcpy(NULL, NULL, 0);
		stm_memcpy_in(NULL, NULL, 0);
		stm_memcpy_out(NULL, NULL, 0);
		stm_memset(NULL, 0, 0);
		stm_read_range(NULL, 0);
		stm_write_range(NULL, 0);
	}
}

/* Undone like any write. */
TEST(memory_is_undone)
{
	unsigned char STM *p;

	ASSERT_EQ(0, stm_init(NULL));
	ASSERT_EQ(0, stm_thread_attach());
	p = new_block(BLOCK);
	fill(plain, BLOCK, 2);
	STM_ATOMIC {
		stm_memcpy_in(p, plain, BLOCK);
	}
	STM_ATOMIC {
		stm_memset(p + 100, 1, 50000);
		stm_memcpy(p + 60000, p + 100, 20000);
		stm_memcpy_in(p + 33, plain, 77);
		stm_cancel(1);
	}
	EXPECT_EQ(1, stm_outcome());
	STM_ATOMIC {
		EXPECT_EQ(0, stm_memcmp_out(p, plain, BLOCK));
	}
}

TEST(local_pointers)
{
	unsigned char STM *p;
	struct stm_hot STM *hot = (struct stm_hot STM *)STM_HOT;

	ASSERT_EQ(0, stm_init(NULL));
	ASSERT_EQ(0, stm_thread_attach());
	p = new_block(64);
	STM_ATOMIC {
		stm_write_range(p, 10);
		strcpy(stm_local(p), "ordinary");
		EXPECT_EQ('r', +STM_GET(p[1]));
		EXPECT_EQ(hot->segment + (uintptr_t)p, (uintptr_t)stm_local(p));
	}
	STM_ATOMIC {
		stm_read_range(p, 10);
		EXPECT_STREQ("ordinary", (char *)stm_local(p));
	}
}

TEST_HARNESS_MAIN
