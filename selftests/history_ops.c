// SPDX-License-Identifier: MIT
/*
 * history_ops.c - what the transactions of history_test do: words and sets of keys.
 */
#include <string.h>

#include "history.h"

/* Tracked memory is read and written without barriers. */
#define GET(tracked, x) ((tracked) ? (x) : STM_GET(x))
#define SET(tracked, x, v) ((tracked) ? (void)((x) = (v)) : STM_SET(x, v))

static void STM *allocate(bool tracked, bool zeroed, size_t size)
{
	void STM *p = tracked ? stm_alloc_tracked(size) : zeroed ? stm_zalloc(size) : stm_alloc(size);

	if (p && tracked && zeroed)
		memset(stm_local(p), 0, size);
	return p;
}

/* ---- words ---- */

/* The first granule of each page is nobody's: see raw_store(). */
uint64_t STM *history_word(const struct history_world *world, size_t i)
{
	const struct history_config *c = &world->config;
	uintptr_t page = (uintptr_t)world->words + i % c->pages * c->stride;

	return (uint64_t STM *)(page + STM_GRANULE + i / c->pages * sizeof(uint64_t));
}

static uint64_t unique_value(struct history_thread *t)
{
	return (uint64_t)(t->id + 1) << 48 | ++t->written;
}

/* Some words are visited much more than others. */
static size_t random_word(struct history_thread *t)
{
	size_t n = t->world->config.words, i = history_random(t, n);

	return history_random(t, 3) ? i * i / n : i;
}

static uint64_t read_word(struct history_thread *t, size_t i)
{
	uint64_t STM *word = history_word(t->world, i);
	uint64_t value;

	if (history_random(t, 8)) {
		value = GET(t->world->config.tracked_words, *word);
	} else {
		stm_memcpy_out(&value, word, sizeof(value));
	}
	history_event(&t->history, HISTORY_READ, i, value);
	return value;
}

/*
 * A store without barrier makes a page private by a fault. It goes where no transaction reads or
 * writes, so it has no other effect.
 */
static void raw_store(struct history_thread *t, size_t i)
{
	uintptr_t page = (uintptr_t)history_word(t->world, i) & ~(uintptr_t)(STM_PAGE - 1);

	*(volatile uint64_t STM *)page = t->random;
}

static void write_word(struct history_thread *t, size_t i)
{
	uint64_t STM *word = history_word(t->world, i);
	uint64_t value = unique_value(t);
	size_t byte;

	if (history_chance(t, t->world->config.raw))
		raw_store(t, i);
	switch (history_random(t, 6)) {
	case 0: /* part of the word: the rest is kept */
		byte = history_random(t, 4);
		value = read_word(t, i);
		if (!t->world->config.tracked_words)
			stm_write((uint32_t STM *)((uintptr_t)word + byte));
		*(volatile uint32_t STM *)((uintptr_t)word + byte) = (uint32_t)t->random;
		value &= ~((uint64_t)0xffffffff << byte * 8);
		value |= (uint64_t)(uint32_t)t->random << byte * 8;
		break;
	case 1:
		stm_memcpy_in(word, &value, sizeof(value));
		break;
	default:
		SET(t->world->config.tracked_words, *word, value);
	}
	history_event(&t->history, HISTORY_WRITE, i, value);
}

/* A range of words of one page, or of some pages in a row if these follow one another. */
void history_wide_op(struct history_thread *t, bool update)
{
	const struct history_config *c = &t->world->config;
	size_t page = history_random(t, c->pages), pages = 1, per_page = c->words / c->pages;
	uintptr_t first, end;

	if (c->stride == STM_PAGE)
		pages += history_random(t, 3);
	if (page + pages > c->pages)
		pages = c->pages - page;
	first = (uintptr_t)history_word(t->world, page);
	end = (uintptr_t)(history_word(t->world, page + pages - 1 + (per_page - 1) * c->pages) + 1);
	if (c->tracked_words)
		;
	else if (update)
		stm_write_range((void STM *)first, end - first);
	else
		stm_read_range((void STM *)first, end - first);
	for (size_t p = page; p < page + pages; p++) {
		for (size_t k = 0; k < per_page; k++) {
			size_t i = p + k * c->pages;
			volatile uint64_t STM *word = history_word(t->world, i);

			if (!update || history_random(t, 4) == 0)
				history_event(&t->history, HISTORY_READ, i, *word);
			if (update && history_random(t, 4)) {
				*word = unique_value(t);
				history_event(&t->history, HISTORY_WRITE, i, t->written |
					      (uint64_t)(t->id + 1) << 48);
			}
		}
	}
}

/* ---- sets ---- */

#define NODE_DEAD 0xdeaddeaddeaddeadu

static uint64_t magic_of(uint64_t key, uint64_t size)
{
	return key * 0x9e3779b97f4a7c15u ^ size << 32 ^ 0x5ca1ab1e;
}

/* A node reached by pointers is what it was made as, whatever others do: opacity. */
static bool look_at(struct history_thread *t, struct history_node STM *node)
{
	size_t n;

	if (((uintptr_t)node - STM_HEAP) % STM_GRANULE ||
	    (uintptr_t)node - STM_HEAP >= t->world->config.options.heap_size) {
		schedule_fail("opacity: thread %u at snapshot %llu follows a pointer %#lx", t->id,
			      (unsigned long long)stm__self->snapshot, (unsigned long)node);
		return false;
	}
	if (!t->world->config.tracked_nodes)
		stm_read(node);
	if (node->magic != magic_of(node->key, node->size)) {
		schedule_fail(
			"opacity: thread %u at snapshot %llu: node %#lx has key %llu, magic %#llx%s",
			t->id, (unsigned long long)stm__self->snapshot, (unsigned long)node,
			(unsigned long long)node->key, (unsigned long long)node->magic,
			node->magic == NODE_DEAD ? ": it was freed" : "");
		return false;
	}
	n = (node->size - sizeof(*node)) / sizeof(uint64_t);
	if (n) {
		size_t i = history_random(t, n);

		if (GET(t->world->config.tracked_nodes, node->payload[i]) != node->magic + i) {
			schedule_fail("opacity: thread %u: node %#lx, payload %zu is %#llx", t->id,
				      (unsigned long)node, i, (unsigned long long)node->payload[i]);
			return false;
		}
	}
	return true;
}

static struct history_node STM *new_node(struct history_thread *t, uint64_t key)
{
	bool big = history_chance(t, t->world->config.big); /* more than a page; the heap grows */
	size_t n = big ? 1000 + history_random(t, 10000) :
		   history_random(t, 4) ? 0 : history_random(t, 24);
	size_t size = sizeof(struct history_node) + n * sizeof(uint64_t);
	struct history_node STM *node = allocate(t->world->config.tracked_nodes, history_random(t, 2), size);

	if (!node) {
		schedule_fail("stm_alloc(%zu): no memory in a small heap", size);
		stm_cancel(1);
	}
	node->key = key;
	node->size = size;
	node->magic = magic_of(key, size);
	node->left = node->right = NULL;
	for (size_t i = 0; i < n; i++)
		((volatile struct history_node STM *)node)->payload[i] = node->magic + i;
	return node;
}

static void kill_node(const struct history_thread *t, struct history_node STM *node)
{
	SET(t->world->config.tracked_nodes, node->magic, NODE_DEAD);
	stm_free(node);
}

/*
 * A list or tree has no more nodes than there are keys, whatever the snapshot: else it runs in
 * circles.
 */
static bool goes_on(struct history_thread *t, unsigned int *steps)
{
	if (++*steps <= t->world->config.keys)
		return true;
	schedule_fail("opacity: thread %u at snapshot %llu follows pointers without end", t->id,
		      (unsigned long long)stm__self->snapshot);
	return false;
}

/* The place that points to the key's node, or to where it belongs, in a sorted list. */
static struct history_node STM *STM *find_in_list(struct history_thread *t,
						  struct history_node STM *STM *at, uint64_t key)
{
	struct history_node STM *node;
	unsigned int steps = 0;

	while ((node = GET(t->world->config.tracked_nodes, *at)) && look_at(t, node) && node->key < key && goes_on(t, &steps))
		at = &node->left;
	return at;
}

static struct history_node STM *STM *find_in_tree(struct history_thread *t,
						  struct history_node STM *STM *at, uint64_t key)
{
	struct history_node STM *node;
	unsigned int steps = 0;

	while ((node = GET(t->world->config.tracked_nodes, *at)) && look_at(t, node) && node->key != key && goes_on(t, &steps))
		at = key < node->key ? &node->left : &node->right;
	return at;
}

static void remove_from_tree(struct history_thread *t, struct history_node STM *STM *at)
{
	struct history_node STM *node = GET(t->world->config.tracked_nodes, *at), *last;
	struct history_node STM *STM *from;
	unsigned int steps = 0;

	if (!node->left || !node->right) {
		SET(t->world->config.tracked_nodes, *at, node->left ? node->left : node->right);
		return;
	}
	/* Its place goes to the smallest one of the right subtree. */
	from = &node->right;
	while ((last = GET(t->world->config.tracked_nodes, *from)) && look_at(t, last) && last->left && goes_on(t, &steps))
		from = &last->left;
	SET(t->world->config.tracked_nodes, *from, last->right);
	SET(t->world->config.tracked_nodes, last->left, node->left);
	SET(t->world->config.tracked_nodes, last->right, GET(t->world->config.tracked_nodes, node->right));
	SET(t->world->config.tracked_nodes, *at, last);
}

static void set_op(struct history_thread *t, bool update)
{
	struct history_roots STM *roots = t->world->roots;
	uint64_t key = history_random(t, t->world->config.keys);
	enum history_set what = update ? history_random(t, 3) : HISTORY_HAS;
	struct history_node STM *STM *at;
	struct history_node STM *node;
	bool tree = key % 3 == 1, found;

	if (tree)
		at = find_in_tree(t, &roots->tree, key);
	else if (key % 3 == 0)
		at = find_in_list(t, &roots->list, key);
	else
		at = find_in_list(t, &roots->buckets[key / 3 % HISTORY_BUCKETS], key);
	node = GET(t->world->config.tracked_nodes, *at);
	found = node && node->key == key;
	if (what == HISTORY_INSERT && !found) {
		struct history_node STM *made = new_node(t, key);

		if (!tree)
			made->left = node;
		SET(t->world->config.tracked_nodes, *at, made);
	} else if (what == HISTORY_REMOVE && found) {
		if (tree)
			remove_from_tree(t, at);
		else
			SET(t->world->config.tracked_nodes, *at, node->left);
		kill_node(t, node);
	}
	history_event(&t->history, HISTORY_SET, key, (uint64_t)what << 1 | found);
}

void history_op(struct history_thread *t, bool update)
{
	size_t i;

	if (history_random(t, 3) == 0) {
		set_op(t, update);
		return;
	}
	i = random_word(t);
	if (!update || history_random(t, 3))
		read_word(t, i);
	if (update && history_random(t, 2))
		write_word(t, i);
}

/* ---- the end ---- */

static void compare_nodes(const struct history_world *world, struct history_node STM *node,
			  uint8_t *keys, unsigned int depth)
{
	for (; node; node = STM_GET(node->right)) {
		stm_read(node);
		if (node->magic != magic_of(node->key, node->size) ||
		    node->key >= world->config.keys) {
			schedule_fail("at the end: node %#lx is damaged", (unsigned long)node);
			return;
		}
		if (!keys[node->key])
			schedule_fail("at the end: key %llu is there, or twice",
				      (unsigned long long)node->key);
		keys[node->key] = 0;
		if (depth > 100000) {
			schedule_fail("at the end: a list or tree without end");
			return;
		}
		compare_nodes(world, STM_GET(node->left), keys, depth + 1);
	}
}

void history_compare(const struct history_world *world, const struct checker_model *model)
{
	for (size_t i = 0; i < model->words_n; i++) {
		uint64_t value = STM_GET(*history_word(world, i));

		if (value != model->words[i])
			schedule_fail("at the end: word %zu is %#llx, not %#llx", i,
				      (unsigned long long)value,
				      (unsigned long long)model->words[i]);
	}
	compare_nodes(world, STM_GET(world->roots->list), model->keys, 0);
	compare_nodes(world, STM_GET(world->roots->tree), model->keys, 0);
	for (unsigned int i = 0; i < HISTORY_BUCKETS; i++)
		compare_nodes(world, STM_GET(world->roots->buckets[i]), model->keys, 0);
	for (size_t key = 0; key < model->keys_n; key++)
		if (model->keys[key])
			schedule_fail("at the end: key %zu is missing", key);
}

int history_make(struct history_world *world, size_t bytes)
{
	world->words = allocate(world->config.tracked_words, true, bytes);
	world->roots = allocate(world->config.tracked_nodes, true, sizeof(*world->roots));
	return world->words && world->roots ? 0 : 1;
}
