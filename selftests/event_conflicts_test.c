// SPDX-License-Identifier: MIT
/*
 * event_conflicts_test.c - the event log names who wrote what somebody else had read: the lines, the transactions, the
 * threads, the object.
 */
#define _GNU_SOURCE
#include <stdatomic.h>

#include "event_support.h"

#define THIS "event_conflicts_test.c"

struct node {
	long words[2];
};

static struct node STM *nodes;          /* NODES of them, a granule each */
static int alloc_line;

#define NODES 512
#define SUM 7

FIXTURE(conflict) {
	struct event_log log;
	const struct event *abort;
	const struct stm_log_conflict *conflict;
};

FIXTURE_VARIANT(conflict) {
	const char *engine;
};

FIXTURE_VARIANT_ADD(conflict, sigbus) { "sigbus" };
FIXTURE_VARIANT_ADD(conflict, thread) { "thread" };
FIXTURE_VARIANT_ADD(conflict, async) { "async" };

FIXTURE_SETUP(conflict)
{
	struct stm_options options;
	int error;

	make_log_dir();
	options = options_for_log();
	options.engine = variant->engine;
	error = stm_init(&options);
	if (error == -EOPNOTSUPP)
		SKIP(return, "this kernel, or these rights, do not allow the engine");
	ASSERT_EQ(0, error);
	ASSERT_EQ(0, stm_thread_attach());
	STM_ATOMIC {
		nodes = stm_alloc(NODES * sizeof(*nodes)), NOTE(alloc_line);
		stm_memset(nodes, 0, NODES * sizeof(*nodes));
		elsewhere = stm_zalloc(sizeof(*elsewhere));
	}
}

FIXTURE_TEARDOWN(conflict)
{
	event_log_close(&self->log);
	remove_log_dir();
}

/* End it, and look at the only abort. */
static void end(struct __test_metadata *_metadata, FIXTURE_DATA(conflict) *self)
{
	ASSERT_EQ(0, stm_fini());
	ASSERT_TRUE(event_log_open(&self->log, log_path));
	ASSERT_TRUE(self->log.whole);
	self->abort = event_first(&self->log, STM_EVENT_ABORT);
	ASSERT_NE(NULL, self->abort);
	self->conflict = event_conflict(self->abort);
}

#define LINE_OF(code) event_line(&self->log, (code), THIS)
#define EXPECT_LINE(line, code)                         \
	do {                                            \
		if (event_has_lines())                  \
			EXPECT_EQ(line, LINE_OF(code)); \
	} while (0)

/* ---- one conflict, and all that is known of it ---- */

static int write_line;
static volatile long seen;              /* so that reads are not left out */

static void read_third(void)
{
	seen = STM_GET(nodes[3].words[1]);
}

static void write_third(void)
{
	STM_SET(nodes[3].words[0], 1), NOTE(write_line);
}

TEST_F(conflict, is_described)
{
	struct duel duel = { .read = read_third, .write = write_third };
	const struct event *e;
	uint64_t position;
	struct stm_stats s;
	size_t usable;

	ASSERT_EQ(0, stm_label(nodes + 2, 4 * sizeof(*nodes), "some nodes"));
	usable = stm_usable_size(nodes);
	position = stats().committed;
	fight(&duel);
	s = stats();
	end(_metadata, self);

	EXPECT_EQ(STM_ABORT_CONFLICT, STM_ABORT_REASON(self->abort->r.value));
	EXPECT_EQ(0, STM_ABORT_ATTEMPT(self->abort->r.value));
	EXPECT_EQ(0, STM_ABORT_UNTIMED(self->abort->r.value));
	EXPECT_EQ(duel.victim_line, event_site_line(&self->log, self->abort->r.site));
	EXPECT_LT(0, self->abort->r.duration);
	ASSERT_NE(NULL, self->conflict);
	EXPECT_EQ((uintptr_t)&nodes[3], self->conflict->address);
	EXPECT_EQ(position, self->conflict->position);
	EXPECT_LINE(write_line, self->conflict->writer_code);
	EXPECT_EQ(duel.rival_line, event_site_line(&self->log, self->conflict->writer_site));
	EXPECT_STREQ("be_rival", event_text(event_site(&self->log, self->conflict->writer_site)) +
				 strlen(event_text(event_site(&self->log, self->conflict->writer_site))) + 1);
	EXPECT_EQ((uintptr_t)nodes, self->conflict->block);
	EXPECT_EQ(usable, self->conflict->block_bytes);
	EXPECT_LINE(alloc_line, self->conflict->alloc_code);
	EXPECT_STREQ("some nodes", event_name(&self->log, self->conflict->label));
	EXPECT_EQ(sizeof(*nodes), self->conflict->label_offset);

	/* Its writer is a thread with a name, which began before and ended after it. */
	EXPECT_NE(self->abort->r.thread, self->conflict->writer_thread);
	e = NULL;
	while ((e = event_next(&self->log, STM_EVENT_THREAD, e)))
		if (e->r.thread == self->conflict->writer_thread)
			break;
	ASSERT_NE(NULL, e);
	EXPECT_STREQ("rival", event_text(e));
	EXPECT_EQ((uint64_t)duel.rival, e->r.value);
	e = NULL;
	while ((e = event_next(&self->log, STM_EVENT_DETACH, e)))
		if (e->r.thread == self->conflict->writer_thread)
			break;
	ASSERT_NE(NULL, e);

	/* And nothing else happened. */
	EXPECT_EQ(1, event_count(&self->log, STM_EVENT_ABORT));
	EXPECT_EQ(1, event_waits(&self->log, STM_WAIT_BACK_OFF));
	EXPECT_EQ(s.commits, event_commits(&self->log, STM_EVENT_COMMIT));
	EXPECT_EQ(s.commits_read_only, event_commits(&self->log, STM_EVENT_READ_ONLY));
	EXPECT_EQ(0, event_count(&self->log, STM_EVENT_DROPPED));
	for (unsigned int i = 0; i < STM_FAULT_KINDS; i++)
		EXPECT_EQ(s.faults[i], event_faults(&self->log, i));
}

/* ---- whatever writes, it is the line that did ---- */

static size_t target;                   /* node that is read, and whose writer is to be named */

static void read_target(void)
{
	seen = STM_GET(nodes[target].words[0]);
}

static NOINLINE void touch(struct node STM *n, int *line)
{
	stm_write(n), NOTE(*line);
	n->words[0] = 2;
}

static inline __attribute__((__always_inline__)) void touch_inlined(struct node STM *n, int *line)
{
	STM_SET(n->words[1], 3), NOTE(*line);
}

static void in_a_function(void)
{
	target = 9;
	touch(&nodes[9], &write_line);
}

static void inlined(void)
{
	int other;

	target = 9;
	touch(&nodes[8], &other);
	touch_inlined(&nodes[9], &write_line);
}

/* The neighbours are in the same run, but for the line. */
static void between_neighbours(void)
{
	target = 9;
	STM_SET(nodes[8].words[0], 1);
	STM_SET(nodes[9].words[0], 1), NOTE(write_line);
	STM_SET(nodes[10].words[0], 1);
}

/* The first store found the granule unwritten. */
static void first_of_two(void)
{
	target = 9;
	STM_SET(nodes[9].words[0], 1), NOTE(write_line);
	STM_SET(nodes[9].words[1], 1);
}

static void in_a_loop(void)
{
	target = 77;
	for (size_t i = 60; i < 90; i++)
		STM_SET(nodes[i].words[0], 1), NOTE(write_line);
}

static void after_the_loop(void)
{
	target = 90;
	for (size_t i = 60; i < 90; i++)
		STM_SET(nodes[i].words[0], 1);
	STM_SET(nodes[90].words[0], 1), NOTE(write_line);
}

static void by_range(void)
{
	volatile size_t n = 40;

	target = 30;
	stm_write_range(&nodes[10], n * sizeof(*nodes)), NOTE(write_line);
}

/* Of which the middle is written already. */
static void around(void)
{
	target = 30;
	STM_SET(nodes[20].words[0], 1);
	stm_write_range(&nodes[10], 40 * sizeof(*nodes)), NOTE(write_line);
}

static void by_memset(void)
{
	target = 300;
	stm_memset(&nodes[100], SUM, 300 * sizeof(*nodes)), NOTE(write_line);
}

static void by_memcpy(void)
{
	target = 5;
	stm_memcpy(&nodes[5], &nodes[50], sizeof(*nodes)), NOTE(write_line);
}

static void by_memcpy_in(void)
{
	static const struct node node = { { 1, 2 } };

	target = 5;
	stm_memcpy_in(&nodes[5], &node, sizeof(node)), NOTE(write_line);
}

/* The line changes more often than there is room for to begin with; the granules are neighbours. */
static void in_turn(void)
{
	target = 151;
	for (size_t i = 0; i < 300; i += 2) {
		STM_SET(nodes[i].words[0], 1);
		STM_SET(nodes[i + 1].words[0], 1), NOTE(write_line);
	}
}

/* That line wrote nothing: all was written already. */
static void in_vain(void)
{
	target = 9;
	STM_SET(nodes[8].words[0], 1);
	stm_memset(&nodes[8], 0, sizeof(*nodes));
	STM_SET(nodes[9].words[0], 1), NOTE(write_line);
}

/* Each second granule, so that none joins another. */
static void last_of_many(void)
{
	target = NODES - 1;
	for (size_t i = 0; i < NODES - 2; i += 2)
		STM_SET(nodes[i].words[0], 1);
	STM_SET(nodes[NODES - 1].words[0], 1), NOTE(write_line);
}

/* Fresh memory is in runs, too, which have no code. */
static void behind_fresh_memory(void)
{
	static const size_t sizes[] = { 16, 48, 200, 1000 };

	target = 9;
	for (int i = 0; i < 4000; i++)
		if (!stm_alloc(sizes[i % 4]))
			abort();
	STM_SET(nodes[9].words[0], 1), NOTE(write_line);
}

static void before_fresh_memory(void)
{
	static const size_t sizes[] = { 16, 48, 200, 1000 };

	target = 9;
	STM_SET(nodes[9].words[0], 1), NOTE(write_line);
	for (int i = 0; i < 4000; i++)
		if (!stm_alloc(sizes[i % 4]))
			abort();
}

/* The entry moves to a larger block in between. */
static void in_a_large_entry(void)
{
	void STM *large = stm_alloc((size_t)1 << 20);

	target = 9;
	STM_SET(nodes[9].words[0], 1), NOTE(write_line);
	for (size_t i = 0; i < ((size_t)1 << 20); i += 4096)
		STM_SET(*(char STM *)((uintptr_t)large + i), 1);
}

static const struct writer {
	const char *name;
	void (*write)(void);
} writers[] = {
	{ "in a function", in_a_function },
	{ "inlined", inlined },
	{ "between neighbours", between_neighbours },
	{ "first of two", first_of_two },
	{ "in a loop", in_a_loop },
	{ "after the loop", after_the_loop },
	{ "by range", by_range },
	{ "around", around },
	{ "by memset", by_memset },
	{ "by memcpy", by_memcpy },
	{ "by memcpy_in", by_memcpy_in },
	{ "in turn", in_turn },
	{ "in vain", in_vain },
	{ "last of many", last_of_many },
	{ "behind fresh memory", behind_fresh_memory },
	{ "before fresh memory", before_fresh_memory },
	{ "in a large entry", in_a_large_entry },
};

/* What the victim is to read is known when the rival has run once: so it begins anew, and is overwritten again. */
static void find_target(void (*write)(void))
{
	STM_ATOMIC {
		write();
	}
}

/* ---- whatever else the thread writes, in other transactions ---- */

#define OTHER 400                       /* a node that is nobody's target */

static void nothing(void)
{
}

static void by_that_line(void)
{
	touch(&nodes[OTHER], &write_line);
}

static void by_that_line_last(void)
{
	STM_SET(nodes[OTHER + 2].words[0], 1);
	touch(&nodes[OTHER], &write_line);
}

static void by_that_line_first(void)
{
	touch(&nodes[OTHER], &write_line);
	STM_SET(nodes[OTHER + 2].words[0], 1);
}

static void by_fresh_memory_and_that_line(void)
{
	for (int i = 0; i < 3; i++)
		if (!stm_alloc(200))
			abort();
	touch(&nodes[OTHER], &write_line);
}

static void by_many_lines(void)
{
	for (size_t i = 0; i < 80; i += 2) {
		STM_SET(nodes[OTHER + i].words[0], 1);
		touch(&nodes[OTHER + i + 1], &write_line);
	}
}

static void cancelled(void)
{
	by_that_line_last();
	stm_cancel(1);
}

static const struct writer others[] = {
	{ "nothing", nothing },
	{ "by that line", by_that_line },
	{ "by that line last", by_that_line_last },
	{ "by that line first", by_that_line_first },
	{ "by fresh memory and that line", by_fresh_memory_and_that_line },
	{ "by many lines", by_many_lines },
	{ "cancelled", cancelled },
};

TEST_F(conflict, writer_is_the_line_that_wrote)
{
	int lines[COUNT(others)][COUNT(writers)];
	const struct event *e = NULL;

	for (size_t k = 0; k < COUNT(others); k++)
		for (size_t i = 0; i < COUNT(writers); i++) {
			struct duel duel = { .read = read_target, .write = writers[i].write, .around = others[k].write };

			find_target(writers[i].write);
			lines[k][i] = write_line;
			fight(&duel);
		}
	end(_metadata, self);
	for (size_t k = 0; k < COUNT(others); k++)
		for (size_t i = 0; i < COUNT(writers); i++) {
			do
				e = event_next(&self->log, STM_EVENT_ABORT, e);
			while (e && STM_ABORT_REASON(e->r.value) == STM_ABORT_CANCEL);
			ASSERT_NE(NULL, e);
			self->conflict = event_conflict(e);
			ASSERT_NE(NULL, self->conflict);
			if (event_has_lines() && LINE_OF(self->conflict->writer_code) != lines[k][i]) {
				printf("# %s, around it %s: line %d, not %d\n", writers[i].name, others[k].name,
				       LINE_OF(self->conflict->writer_code), lines[k][i]);
				EXPECT_EQ(lines[k][i], LINE_OF(self->conflict->writer_code));
			}
		}
	EXPECT_EQ(COUNT(others) * COUNT(writers) + 2 * COUNT(writers), event_count(&self->log, STM_EVENT_ABORT));
}

/* ---- how it was found ---- */

static int validate(void *arg)
{
	(void)arg;
	stm_validate();
	return 0;
}

static int become_inevitable(void *arg)
{
	(void)arg;
	stm_become_inevitable("to see");
	return 0;
}

TEST_F(conflict, is_found_by_validate_or_when_becoming_inevitable)
{
	struct duel validating = { .read = read_third, .write = write_third, .after = validate };
	struct duel becoming = { .read = read_third, .write = write_third, .after = become_inevitable };
	const struct event *e;

	fight(&validating);
	fight(&becoming);
	end(_metadata, self);
	EXPECT_EQ(STM_ABORT_VALIDATE, STM_ABORT_REASON(self->abort->r.value));
	EXPECT_NE(NULL, self->conflict);
	e = event_next(&self->log, STM_EVENT_ABORT, self->abort);
	ASSERT_NE(NULL, e);
	EXPECT_EQ(STM_ABORT_INEVITABLE, STM_ABORT_REASON(e->r.value));
	EXPECT_NE(NULL, event_conflict(e));
	e = event_first(&self->log, STM_EVENT_INEVITABLE);
	ASSERT_NE(NULL, e);
	EXPECT_STREQ("to see", event_name(&self->log, (uint32_t)e->r.value));
	EXPECT_EQ(becoming.victim_line, event_site_line(&self->log, e->r.site));
	EXPECT_EQ(1, event_count(&self->log, STM_EVENT_INEVITABLE));
}

/* The eighth attempt would have right of way, in which its rival would wait for ever. */
TEST_F(conflict, attempts_are_counted)
{
	struct duel duel = { .read = read_third, .write = write_third, .times = 5 };
	const struct event *e = NULL;

	fight(&duel);
	end(_metadata, self);
	for (unsigned int i = 0; i < 5; i++) {
		e = event_next(&self->log, STM_EVENT_ABORT, e);
		ASSERT_NE(NULL, e);
		EXPECT_EQ(i, STM_ABORT_ATTEMPT(e->r.value));
		self->conflict = event_conflict(e);
		ASSERT_NE(NULL, self->conflict);
		EXPECT_LINE(write_line, self->conflict->writer_code); /* the same in each transaction */
	}
	EXPECT_EQ(NULL, event_next(&self->log, STM_EVENT_ABORT, e));
	EXPECT_EQ(5, event_waits(&self->log, STM_WAIT_BACK_OFF));
}

/* Far behind, whole groups of commits are skipped, when one is looked for that conflicts. */
static void write_much(void)
{
	target = 9;
	STM_SET(nodes[9].words[0], 1), NOTE(write_line);
}

/* In a region of the heap that the victim has nothing of. */
static void *commit_often(void *arg)
{
	const size_t len = (size_t)8 << 20;
	static long STM *far;

	if (stm_thread_attach())
		abort();
	STM_ATOMIC {
		far = stm_alloc(len);
	}
	for (int i = 1; i < 2000; i++)
		STM_ATOMIC {
			STM_SET(far[len / 2 / sizeof(*far)], i);
		}
	stm_thread_detach();
	return arg;
}

static void read_target_and_wait(void)
{
	static unsigned int n;

	read_target();
	if (!n++)
		in_thread(commit_often, NULL);
}

TEST_F(conflict, is_found_far_behind)
{
	struct duel duel = { .read = read_target_and_wait, .write = write_much };
	uint64_t position;

	target = 9;
	position = stats().committed;
	fight(&duel);
	end(_metadata, self);
	ASSERT_NE(NULL, self->conflict);
	EXPECT_EQ(position + 2000, self->conflict->position);
	EXPECT_EQ((uintptr_t)&nodes[9], self->conflict->address);
	EXPECT_LINE(write_line, self->conflict->writer_code);
}

/* ---- tracked memory ---- */

static long STM *tracked;

static void read_tracked(void)
{
	seen = tracked[100];
}

/* Its line is not that of another write. */
static void write_tracked(void)
{
	STM_SET(nodes[100].words[0], 1);
	((volatile long STM *)tracked)[101] = ((volatile long STM *)tracked)[101] + 1;
}

TEST_F(conflict, in_tracked_memory_has_no_line)
{
	struct duel duel = { .read = read_tracked, .write = write_tracked };

	STM_ATOMIC {
		tracked = stm_alloc_tracked(8192), NOTE(alloc_line);
	}
	fight(&duel);
	end(_metadata, self);
	ASSERT_NE(NULL, self->conflict);
	EXPECT_EQ((uintptr_t)&tracked[100], self->conflict->address & ~(uintptr_t)15);
	EXPECT_EQ(0, self->conflict->writer_code);
	EXPECT_EQ(duel.rival_line, event_site_line(&self->log, self->conflict->writer_site));
	EXPECT_LINE(alloc_line, self->conflict->alloc_code);
}

/* ---- labels ---- */

static const char *label_at(struct __test_metadata *_metadata, FIXTURE_DATA(conflict) *self, size_t n, uint32_t *offset)
{
	const struct event *e = NULL;

	for (size_t i = 0; i <= n; i++)
		e = event_next(&self->log, STM_EVENT_ABORT, e);
	*offset = event_conflict(e)->label_offset;
	return event_name(&self->log, event_conflict(e)->label);
}

static void write_target(void)
{
	STM_SET(nodes[target].words[0], 1);
}

static void ask(size_t node)
{
	struct duel duel = { .read = read_target, .write = write_target };

	target = node;
	fight(&duel);
}

static int label(size_t first, size_t n, const char *name)
{
	return stm_label(nodes + first, n * sizeof(*nodes), name);
}

TEST_F(conflict, labels_cover_what_they_were_put_over_last)
{
	static const struct {
		size_t node;
		const char *name;
		uint32_t offset;
	} expected[] = {
		{ 9, "", 0 }, { 10, "first", 0 }, { 19, "first", 9 }, { 20, "inner", 0 }, { 24, "inner", 4 },
		{ 25, "first", 0 }, { 29, "first", 4 }, { 30, "over", 0 }, { 49, "over", 19 }, { 50, "third", 0 },
		{ 59, "third", 9 }, { 60, "", 0 }, { 64, "", 0 }, { 65, "third", 0 }, { 69, "third", 4 }, { 70, "", 0 },
	};

	EXPECT_EQ(0, label(10, 22, "first"));   /* 10 .. 31 */
	EXPECT_EQ(0, label(45, 25, "third"));   /* 45 .. 69 */
	EXPECT_EQ(0, label(32, 3, "gone"));     /* wholly under the next but one */
	EXPECT_EQ(0, label(36, 2, "gone, too"));
	EXPECT_EQ(0, label(20, 5, "inner"));    /* in the middle of one */
	EXPECT_EQ(0, label(30, 20, "over"));    /* the end of one, two whole ones, the start of one */
	EXPECT_EQ(0, label(60, 5, NULL));       /* a hole */
	for (size_t i = 0; i < COUNT(expected); i++)
		ask(expected[i].node);
	end(_metadata, self);
	for (size_t i = 0; i < COUNT(expected); i++) {
		uint32_t offset = 0;

		EXPECT_STREQ(expected[i].name, label_at(_metadata, self, i, &offset));
		EXPECT_EQ(expected[i].offset * sizeof(*nodes), offset);
	}
}

/* Of 1,000 objects each has its name, which is defined once. */
TEST_F(conflict, many_labels)
{
	char name[32];
	uint32_t offset;

	for (int round = 0; round < 2; round++)
		for (size_t i = 0; i < NODES; i++) {
			snprintf(name, sizeof(name), "node %zu", i * 7 % NODES);
			ASSERT_EQ(0, label(i * 7 % NODES, 1, name));
		}
	ask(NODES / 2);
	end(_metadata, self);
	snprintf(name, sizeof(name), "node %u", NODES / 2);
	EXPECT_STREQ(name, label_at(_metadata, self, 0, &offset));
	EXPECT_EQ(NODES, event_count(&self->log, STM_EVENT_NAME));
}

/* A block that is freed and allocated again has lost its label, and has a new line. */
TEST_F(conflict, labels_end_with_the_block)
{
	static struct node STM *old;
	const struct event *e;

	STM_ATOMIC {
		old = stm_zalloc(sizeof(*old));
	}
	EXPECT_EQ(0, stm_label(old, sizeof(*old), "old"));
	STM_ATOMIC {
		stm_free(old);
	}
	for (int i = 0; i < 100000; i++) {
		static struct node STM *again;

		STM_ATOMIC {
			again = stm_zalloc(sizeof(*again)), NOTE(alloc_line);
		}
		if (again == old)
			break;
		again = NULL;
		ASSERT_GT(99999, i);
	}
	nodes = old;
	ask(0);
	end(_metadata, self);
	e = self->abort;
	EXPECT_EQ(0, event_conflict(e)->label);
	EXPECT_EQ((uintptr_t)old, event_conflict(e)->block);
	EXPECT_LINE(alloc_line, event_conflict(e)->alloc_code);
}

TEST_F(conflict, bad_labels)
{
	EXPECT_EQ(-EINVAL, stm_label(NULL, 16, "null"));
	EXPECT_EQ(-EINVAL, stm_label(nodes, 0, "empty"));
	EXPECT_EQ(-EINVAL, stm_label(nodes, SIZE_MAX, "too long"));
	EXPECT_EQ(-EINVAL, stm_label((char STM *)(STM_HEAP + STM_HEAP_LIMIT), 16, "behind"));
	ASSERT_EQ(0, stm_fini());
	EXPECT_EQ(-ENXIO, stm_label(nodes, 16, "too late"));
}

TEST_HARNESS_MAIN
