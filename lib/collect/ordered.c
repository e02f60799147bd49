// SPDX-License-Identifier: MIT
/*
 * ordered.c - ordered maps: a B+-tree whose nodes have 512 bytes, where entries are small.
 *
 *  1. A node's header is a granule that every change of the node's keys or children writes. So to read a node it is
 *     enough to read its header: one marker, however many keys a search looks at. Values have granules of their own.
 *  2. A leaf's entries stay in the slots where they were put; the header tells their order: order[0 .. count) are the
 *     slots in use, sorted by key, the rest are the free ones. To put one in or take it out writes the header, and the
 *     slot, and moves nothing, however large keys and values are.
 *  3. An inner node has its keys in a row. Child i holds the keys from key i - 1 on, up to but without key i.
 *  4. A leaf is divided when it is full, and given up when it is empty: never joined with another, so that entries
 *     which come and go write no node above it. Only a map's only leaf may be empty. An inner node has at least one
 *     child, the root two.
 *  5. All memory that a put needs is there before it changes anything.
 *
 * Nodes are used by ordinary pointers into the thread's view, which do not outlive the call. Addresses that stand in
 * the heap, or in a cursor, are those of STM pointers, as integers.
 */
#include <errno.h>
#include <string.h>

#include <uffdstm/ordered.h>

#include "../internal.h"

#define NODE_BYTES ((size_t)512)        /* 1,024 for inner nodes was no faster */
#define LEAF_SLOTS 31u                  /* at most: the header is two granules */
#define LEAF_SLOTS_MIN 8u
#define INNER_KEYS 62u                  /* at most */
#define INNER_KEYS_MIN 8u
#define HEIGHT_MAX 20u                  /* a node is full before it is divided: 4^20 puts come first */

/* What the map itself is: one granule, read by all, written when the root changes. */
struct stm_ordered {
	uintptr_t root;                 /* a leaf if @height is 0 */
	uint8_t height, slots, keys;    /* inner levels; slots of a leaf, keys of an inner node */
	uint8_t unused;
	uint16_t key_size, value_size;
} __attribute__((__aligned__(16)));

_Static_assert(sizeof(struct stm_ordered) == STM_GRANULE, "one marker");

struct leaf {
	uint8_t count;
	uint8_t order[LEAF_SLOTS];
	uint8_t bytes[];                /* keys, from the next granule on values */
} __attribute__((__aligned__(16)));

_Static_assert(offsetof(struct leaf, bytes) == 2 * STM_GRANULE, "keys are aligned");

struct inner {
	uint64_t count;                 /* of keys; there is one more child */
	uint64_t unused;
	uint8_t bytes[];                /* keys, from the next granule on children */
} __attribute__((__aligned__(16)));

/* What is marked to read a node, and to change an inner one; and to change a leaf. */
struct granule {
	uint64_t words[2];
} __attribute__((__aligned__(16)));

struct granules {
	struct granule granules[2];
};

/* How keys compare: with constants of it the functions below are made once for each. */
enum order { BY_U64, BY_I64, BY_BYTES, BY_CALL };

/* The map at hand: its header, and the type that the caller gives. */
struct at {
	struct stm_ordered STM *map;
	uintptr_t root;
	unsigned int height, slots, keys;
	size_t key_size, value_size;
	int (*compare)(const void *a, const void *b);
};

struct step {
	uintptr_t node;
	unsigned int child;
};

#define INLINE static inline __attribute__((__always_inline__))

int stm_compare_u64(const void *a, const void *b)
{
	const uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;

	return (x > y) - (x < y);
}

int stm_compare_i64(const void *a, const void *b)
{
	const int64_t x = *(const int64_t *)a, y = *(const int64_t *)b;

	return (x > y) - (x < y);
}

/* ---- nodes ---- */

INLINE size_t round_up(size_t n)
{
	return (n + STM_GRANULE - 1) & ~(STM_GRANULE - 1);
}

INLINE void *local(uintptr_t p)
{
	return stm_local((void STM *)p);
}

INLINE void mark(uintptr_t node)
{
	stm_read((struct granule STM *)node);
}

INLINE struct leaf *read_leaf(uintptr_t node)
{
	mark(node);
	return local(node);
}

INLINE struct inner *read_inner(uintptr_t node)
{
	mark(node);
	return local(node);
}

INLINE struct leaf *write_leaf(uintptr_t node)
{
	stm_write((struct granules STM *)node);
	return local(node);
}

INLINE size_t leaf_values(const struct at *at)
{
	return offsetof(struct leaf, bytes) + round_up(at->slots * at->key_size);
}

INLINE size_t leaf_bytes(const struct at *at)
{
	return leaf_values(at) + at->slots * at->value_size;
}

INLINE size_t inner_children(const struct at *at)
{
	return offsetof(struct inner, bytes) + round_up(at->keys * at->key_size);
}

INLINE size_t inner_bytes(const struct at *at)
{
	return inner_children(at) + (at->keys + 1) * sizeof(uintptr_t);
}

INLINE uint8_t *slot_key(const struct at *at, struct leaf *leaf, unsigned int slot)
{
	return leaf->bytes + slot * at->key_size;
}

INLINE uintptr_t slot_value(const struct at *at, uintptr_t leaf, unsigned int slot)
{
	return leaf + leaf_values(at) + slot * at->value_size;
}

INLINE uintptr_t *children(const struct at *at, struct inner *inner)
{
	return (uintptr_t *)((uint8_t *)inner + inner_children(at));
}

/* Memory with barriers; with constant sizes where they are the usual ones. */
INLINE void get_bytes(void *to, uintptr_t from, size_t size)
{
	if (size == sizeof(uint64_t)) {
		stm_read((uint64_t STM *)from);
		__builtin_memcpy(to, local(from), sizeof(uint64_t));
	} else if (size) {
		stm_read_range((void STM *)from, size);
		__builtin_memcpy(to, local(from), size);
	}
}

INLINE void set_bytes(uintptr_t to, const void *from, size_t size)
{
	if (size == sizeof(uint64_t)) {
		stm_write((uint64_t STM *)to);
		__builtin_memcpy(local(to), from, sizeof(uint64_t));
	} else {
		stm_write_range((void STM *)to, size);
		__builtin_memcpy(local(to), from, size);
	}
}

/* ---- searching ---- */

/* @key for the comparisons below, which look at either @wanted or @key. */
INLINE uint64_t number(const void *key, enum order order)
{
	uint64_t n;

	if (order == BY_BYTES || order == BY_CALL)
		return 0;
	__builtin_memcpy(&n, key, sizeof(n));
	return n ^ (order == BY_I64 ? (uint64_t)1 << 63 : 0);
}

INLINE bool is_less(const struct at *at, enum order order, const void *probe, const void *key, uint64_t wanted)
{
	if (order == BY_CALL)
		return at->compare(probe, key) < 0;
	if (order == BY_BYTES)
		return memcmp(probe, key, at->key_size) < 0;
	return number(probe, order) < wanted;
}

INLINE bool is_greater(const struct at *at, enum order order, const void *probe, const void *key, uint64_t wanted)
{
	if (order == BY_CALL)
		return at->compare(probe, key) > 0;
	if (order == BY_BYTES)
		return memcmp(probe, key, at->key_size) > 0;
	return number(probe, order) > wanted;
}

INLINE size_t key_bytes(const struct at *at, enum order order)
{
	return order == BY_BYTES || order == BY_CALL ? at->key_size : sizeof(uint64_t);
}

/* Of an inner node's keys, how many are not greater than @key: the child where it belongs. */
INLINE unsigned int child_of(const struct at *at, enum order order, struct inner *inner, const void *key)
{
	const uint64_t wanted = number(key, order);
	const size_t size = key_bytes(at, order);
	const uint8_t *low = inner->bytes;
	unsigned int count = (unsigned int)inner->count;

	while (count) {
		const unsigned int half = (count + 1) / 2;

		/* Without a branch, which would be mispredicted every other time. */
		low += is_greater(at, order, low + (half - 1) * size, key, wanted) ? 0 : half * size;
		count -= half;
	}
	return (unsigned int)((size_t)(low - inner->bytes) / size);
}

/* Of a leaf's keys, how many are less than @key. *@found: whether the next one is it. */
INLINE unsigned int position_of(const struct at *at, enum order order, struct leaf *leaf, const void *key, bool *found)
{
	const uint64_t wanted = number(key, order);
	const size_t size = key_bytes(at, order);
	const uint8_t *low = leaf->order;
	unsigned int count = leaf->count, position;

	while (count) {
		const unsigned int half = (count + 1) / 2;

		low += is_less(at, order, leaf->bytes + low[half - 1] * size, key, wanted) ? half : 0;
		count -= half;
	}
	position = (unsigned int)(low - leaf->order);
	*found = position < leaf->count && !is_greater(at, order, leaf->bytes + *low * size, key, wanted);
	return position;
}

/* The leaf where @key belongs. @path, if it is not NULL: the way down to it. */
INLINE uintptr_t descend(const struct at *at, enum order order, const void *key, struct step *path)
{
	uintptr_t node = at->root;

	for (unsigned int level = 0; level < at->height; level++) {
		struct inner *inner = read_inner(node);
		const unsigned int child = child_of(at, order, inner, key);

		if (path)
			path[level] = (struct step){ node, child };
		node = children(at, inner)[child];
	}
	return node;
}

static void __attribute__((__noreturn__, __cold__)) not_a_map(const char *call, const struct stm_ordered STM *map)
{
	stm_die("%s: %#lx: not a map of this type", call, (unsigned long)map);
}

INLINE struct at open_map(const char *call, struct stm_ordered STM *map, const struct stm_ordered_type *type)
{
	struct stm_ordered *header;

	stm_tx_self(call);
	stm_read(map);
	header = local((uintptr_t)map);
	if (unlikely(header->key_size != type->key_size || header->value_size != type->value_size))
		not_a_map(call, map);
	return (struct at){ map, header->root, header->height, header->slots, header->keys,
			    type->key_size, type->value_size, type->compare };
}

INLINE enum order order_of(const struct at *at)
{
	if (at->compare == stm_compare_u64)
		return BY_U64;
	if (at->compare == stm_compare_i64)
		return BY_I64;
	return at->compare ? BY_CALL : BY_BYTES;
}

/* @function(@at, order, ...), made for each order. */
#define BY_ORDER(function, at, ...)                                             \
	(order_of(at) == BY_U64 ? function(at, BY_U64, __VA_ARGS__) :           \
	 order_of(at) == BY_I64 ? function(at, BY_I64, __VA_ARGS__) :           \
	 order_of(at) == BY_BYTES ? function(at, BY_BYTES, __VA_ARGS__) :       \
				    function(at, BY_CALL, __VA_ARGS__))

/* ---- one entry ---- */

/* The value of @key, or 0. */
INLINE uintptr_t find(const struct at *at, enum order order, const void *key)
{
	const uintptr_t node = descend(at, order, key, NULL);
	struct leaf *leaf = read_leaf(node);
	bool found;
	const unsigned int position = position_of(at, order, leaf, key, &found);

	return found ? slot_value(at, node, leaf->order[position]) : 0;
}

bool stm_ordered_get(struct stm_ordered STM *map, const struct stm_ordered_type *type, const void *key, void *value)
{
	const struct at at = open_map("stm_ordered_get", map, type);
	const uintptr_t from = BY_ORDER(find, &at, key);

	if (from && value)
		get_bytes(value, from, at.value_size);
	return from;
}

void STM *stm_ordered_find(struct stm_ordered STM *map, const struct stm_ordered_type *type, const void *key)
{
	const struct at at = open_map("stm_ordered_find", map, type);

	return (void STM *)BY_ORDER(find, &at, key);
}

/* The leaf where a key belongs, and the position of it there, or of what comes next. */
struct spot {
	struct step path[HEIGHT_MAX];
	uintptr_t leaf;
	unsigned int position;
};

INLINE bool locate(const struct at *at, enum order order, const void *key, struct spot *spot)
{
	bool found;

	spot->leaf = descend(at, order, key, spot->path);
	spot->position = position_of(at, order, read_leaf(spot->leaf), key, &found);
	return found;
}

/* Put an entry into a leaf that has room. */
INLINE void leaf_insert(const struct at *at, uintptr_t node, unsigned int position, const void *key, const void *value)
{
	struct leaf *leaf = write_leaf(node);
	const unsigned int count = leaf->count;
	const uint8_t slot = leaf->order[count];

	memmove(leaf->order + position + 1, leaf->order + position, count - position);
	leaf->order[position] = slot;
	leaf->count = (uint8_t)(count + 1);
	set_bytes(node + offsetof(struct leaf, bytes) + slot * at->key_size, key, at->key_size);
	if (at->value_size)
		set_bytes(slot_value(at, node, slot), value, at->value_size);
}

static void write_inner(const struct at *at, uintptr_t node, unsigned int first_key, unsigned int first_child,
			unsigned int count)
{
	stm_write((struct granule STM *)node);
	stm_write_range((void STM *)(node + offsetof(struct inner, bytes) + first_key * at->key_size),
			(count - first_key) * at->key_size);
	stm_write_range((void STM *)(node + inner_children(at) + first_child * sizeof(uintptr_t)),
			(count + 1 - first_child) * sizeof(uintptr_t));
}

/* Child @child of an inner node that has room was divided at @key; what came out of it is @right. */
static void inner_insert(const struct at *at, uintptr_t node, unsigned int child, const void *key, uintptr_t right)
{
	struct inner *inner = local(node);
	uintptr_t *links = children(at, inner);
	const unsigned int count = (unsigned int)inner->count;
	const size_t size = at->key_size;
	uint8_t *place = inner->bytes + child * size;

	write_inner(at, node, child, child + 1, count + 1);
	memmove(place + size, place, (count - child) * size);
	__builtin_memcpy(place, key, size);
	memmove(links + child + 2, links + child + 1, (count - child) * sizeof(*links));
	links[child + 1] = right;
	inner->count = count + 1;
}

static void new_leaf(const struct at *at, uintptr_t node)
{
	struct leaf *leaf = local(node);

	leaf->count = 0;
	for (unsigned int i = 0; i < LEAF_SLOTS; i++)
		leaf->order[i] = (uint8_t)(i < at->slots ? i : 0);
}

/* Move the entries from @keep on into a new leaf. */
static void divide_leaf(const struct at *at, uintptr_t from, uintptr_t to, unsigned int keep)
{
	struct leaf *leaf = write_leaf(from), *right = local(to);

	new_leaf(at, to);
	right->count = (uint8_t)(leaf->count - keep);
	for (unsigned int i = 0; i < right->count; i++) {
		const unsigned int slot = leaf->order[keep + i];

		__builtin_memcpy(slot_key(at, right, i), slot_key(at, leaf, slot), at->key_size);
		if (STM_MUTATED(ORDERED_DIVIDE))
			__builtin_memcpy((char *)right + (slot_value(at, to, i) - to),
					 (char *)leaf + (slot_value(at, from, slot) - from), at->value_size);
		else if (at->value_size)
			get_bytes(local(slot_value(at, to, i)), slot_value(at, from, slot), at->value_size);
	}
	leaf->count = (uint8_t)keep; /* the slots behind are free now, and stand where free ones do */
}

/* Move the keys behind key @keep, and their children, into a new node. Key @keep belongs above. */
static void divide_inner(const struct at *at, uintptr_t from, uintptr_t to, unsigned int keep)
{
	struct inner *inner = local(from), *right = local(to);
	const unsigned int moved = (unsigned int)inner->count - keep - 1;

	right->count = moved;
	right->unused = 0;
	__builtin_memcpy(right->bytes, inner->bytes + (keep + 1) * at->key_size, moved * at->key_size);
	__builtin_memcpy(children(at, right), children(at, inner) + keep + 1, (moved + 1) * sizeof(uintptr_t));
	stm_write((struct granule STM *)from);
	inner->count = keep;
}

static void set_root(const struct at *at, uintptr_t root, unsigned int height)
{
	struct stm_ordered *header = local((uintptr_t)at->map);

	stm_write(at->map);
	header->root = root;
	header->height = (uint8_t)height;
}

/* Take memory for @nodes nodes: a leaf, then inner ones. */
static int take_nodes(const struct at *at, uintptr_t *fresh, unsigned int nodes)
{
	for (unsigned int i = 0; i < nodes; i++) {
		fresh[i] = (uintptr_t)stm_alloc(i ? inner_bytes(at) : leaf_bytes(at));
		if (fresh[i])
			continue;
		while (i--)
			stm_free((void STM *)fresh[i]);
		return -ENOMEM;
	}
	return 0;
}

/* The leaf is full: divide it, and each node above that is full, too. */
static __attribute__((__noinline__)) int put_divided(const struct at *at, struct spot *spot, const void *key,
						     const void *value)
{
	uintptr_t fresh[HEIGHT_MAX + 2], right;
	unsigned int level = at->height, next = 0, keep;
	uint8_t divider[STM_ORDERED_KEY_MAX];
	bool last = spot->position == at->slots; /* of all entries: then leave full nodes behind */
	int error;

	while (level && ((struct inner *)local(spot->path[level - 1].node))->count == at->keys)
		level--;
	for (unsigned int i = 0; i < at->height; i++)
		last = last && spot->path[i].child == ((struct inner *)local(spot->path[i].node))->count;
	if (!level && at->height == HEIGHT_MAX)
		return -ENOMEM;
	error = take_nodes(at, fresh, 1 + at->height - level + !level);
	if (error)
		return error;

	keep = last ? at->slots : at->slots / 2;
	right = fresh[next++];
	divide_leaf(at, spot->leaf, right, keep);
	if (spot->position < keep || (spot->position == keep && !last))
		leaf_insert(at, spot->leaf, spot->position, key, value);
	else
		leaf_insert(at, right, spot->position - keep, key, value);
	__builtin_memcpy(divider, slot_key(at, local(right), ((struct leaf *)local(right))->order[0]), at->key_size);

	for (level = at->height; level--;) {
		const struct step *step = &spot->path[level];
		struct inner *inner = local(step->node);
		uint8_t up[STM_ORDERED_KEY_MAX];
		uintptr_t new;

		if (inner->count < at->keys) {
			inner_insert(at, step->node, step->child, divider, right);
			return 1;
		}
		new = fresh[next++];
		keep = last ? at->keys - 1 : at->keys / 2;
		__builtin_memcpy(up, inner->bytes + keep * at->key_size, at->key_size);
		divide_inner(at, step->node, new, keep);
		if (step->child <= keep)
			inner_insert(at, step->node, step->child, divider, right);
		else
			inner_insert(at, new, step->child - keep - 1, divider, right);
		__builtin_memcpy(divider, up, at->key_size);
		right = new;
	}

	struct inner *root = local(fresh[next]);

	root->count = 1;
	root->unused = 0;
	__builtin_memcpy(root->bytes, divider, at->key_size);
	children(at, root)[0] = at->root;
	children(at, root)[1] = right;
	set_root(at, fresh[next], at->height + 1);
	return 1;
}

int stm_ordered_put(struct stm_ordered STM *map, const struct stm_ordered_type *type, const void *key,
		    const void *value)
{
	const struct at at = open_map("stm_ordered_put", map, type);
	struct spot spot;
	struct leaf *leaf;

	if (BY_ORDER(locate, &at, key, &spot)) {
		leaf = local(spot.leaf);
		if (at.value_size)
			set_bytes(slot_value(&at, spot.leaf, leaf->order[spot.position]), value, at.value_size);
		return 0;
	}
	leaf = local(spot.leaf);
	if (unlikely(leaf->count == at.slots))
		return put_divided(&at, &spot, key, value);
	leaf_insert(&at, spot.leaf, spot.position, key, value);
	return 1;
}

/*
 * The leaf is empty: take it out of the node above, and that, too, if it was its only child. Who reads what is
 * freed has read the node above, which is written.
 */
static __attribute__((__noinline__)) void drop_leaf(const struct at *at, const struct spot *spot)
{
	unsigned int level = at->height, height = at->height;
	uintptr_t root = at->root;

	stm_free((void STM *)spot->leaf);
	while (level--) {
		const struct step *step = &spot->path[level];
		struct inner *inner = local(step->node);
		uintptr_t *links = children(at, inner);
		const unsigned int count = (unsigned int)inner->count, child = step->child;
		const unsigned int key = child ? child - 1 : 0;
		uint8_t *place = inner->bytes + key * at->key_size;

		if (!count) {
			stm_free((void STM *)step->node);
			continue;
		}
		write_inner(at, step->node, key, child, count);
		memmove(place, place + at->key_size, (count - key - 1) * at->key_size);
		memmove(links + child, links + child + 1, (count - child) * sizeof(*links));
		inner->count = count - 1;
		break;
	}
	/* A root with one child is none. */
	for (; height; height--) {
		struct inner *inner = read_inner(root);
		const uintptr_t only = children(at, inner)[0];

		if (inner->count)
			break;
		stm_free((void STM *)root);
		root = only;
	}
	if (root != at->root)
		set_root(at, root, height);
}

bool stm_ordered_remove(struct stm_ordered STM *map, const struct stm_ordered_type *type, const void *key, void *value)
{
	const struct at at = open_map("stm_ordered_remove", map, type);
	struct spot spot;
	struct leaf *leaf;
	unsigned int count;
	uint8_t slot;

	if (!BY_ORDER(locate, &at, key, &spot))
		return false;
	leaf = write_leaf(spot.leaf);
	slot = leaf->order[spot.position];
	if (value)
		get_bytes(value, slot_value(&at, spot.leaf, slot), at.value_size);
	count = leaf->count - 1u;
	memmove(leaf->order + spot.position, leaf->order + spot.position + 1, count - spot.position);
	leaf->order[count] = slot; /* the free one that is taken next */
	leaf->count = (uint8_t)count;
	if (unlikely(!count) && at.height)
		drop_leaf(&at, &spot);
	return true;
}

/* ---- neighbours ---- */

/* The first leaf, or the last one, @levels below @node. */
static uintptr_t edge(const struct at *at, uintptr_t node, unsigned int levels, bool last)
{
	while (levels--) {
		struct inner *inner = read_inner(node);

		node = children(at, inner)[last ? inner->count : 0];
	}
	return node;
}

static bool arrive(struct stm_ordered_cursor *cursor, const struct at *at, uintptr_t node, unsigned int position,
		   void *found, void *value)
{
	struct leaf *leaf = local(node);
	const unsigned int slot = leaf->order[position];

	cursor->leaf = node;
	cursor->position = position;
	if (found)
		__builtin_memcpy(found, slot_key(at, leaf, slot), at->key_size);
	if (value)
		get_bytes(value, slot_value(at, node, slot), at->value_size);
	return true;
}

static bool seek(struct stm_ordered_cursor *cursor, const struct at *at, enum stm_ordered_place place, const void *key,
		 void *found, void *value)
{
	const bool back = place == STM_ORDERED_LAST || place == STM_ORDERED_LOWER || place == STM_ORDERED_FLOOR;
	struct spot spot;
	struct leaf *leaf;
	unsigned int level = at->height;

	cursor->leaf = 0;
	if (place == STM_ORDERED_FIRST || place == STM_ORDERED_LAST) {
		spot.leaf = edge(at, at->root, at->height, back);
		leaf = read_leaf(spot.leaf);
		return leaf->count && arrive(cursor, at, spot.leaf, back ? leaf->count - 1u : 0, found, value);
	}
	/* From here on @position counts the entries before the one that is wanted, or up to it. */
	if (BY_ORDER(locate, at, key, &spot) && (place == STM_ORDERED_HIGHER || place == STM_ORDERED_FLOOR))
		spot.position++;
	leaf = local(spot.leaf);
	if (back && spot.position)
		return arrive(cursor, at, spot.leaf, spot.position - 1, found, value);
	if (!back && spot.position < leaf->count)
		return arrive(cursor, at, spot.leaf, spot.position, found, value);

	/* It is at the edge of the leaf beside, which is not empty. */
	while (level--) {
		struct inner *inner = local(spot.path[level].node);
		const unsigned int child = spot.path[level].child;

		if (back ? child == 0 : child == inner->count)
			continue;
		spot.leaf = edge(at, children(at, inner)[back ? child - 1 : child + 1], at->height - level - 1, back);
		leaf = read_leaf(spot.leaf);
		return arrive(cursor, at, spot.leaf, back ? leaf->count - 1u : 0, found, value);
	}
	return false;
}

bool stm_ordered_seek(struct stm_ordered_cursor *cursor, struct stm_ordered STM *map,
		      const struct stm_ordered_type *type, enum stm_ordered_place place, const void *key,
		      void *found, void *value)
{
	const struct at at = open_map("stm_ordered_seek", map, type);

	cursor->map = map;
	cursor->type = type;
	return seek(cursor, &at, place, key, found, value);
}

bool stm_ordered_next(struct stm_ordered_cursor *cursor, void *found, void *value)
{
	const struct at at = open_map("stm_ordered_next", cursor->map, cursor->type);
	struct leaf *leaf;

	if (!cursor->leaf)
		return false;
	leaf = read_leaf(cursor->leaf);
	if (cursor->position + 1 < leaf->count)
		return arrive(cursor, &at, cursor->leaf, cursor->position + 1, found, value);
	return seek(cursor, &at, STM_ORDERED_HIGHER, slot_key(&at, leaf, leaf->order[cursor->position]), found, value);
}

bool stm_ordered_previous(struct stm_ordered_cursor *cursor, void *found, void *value)
{
	const struct at at = open_map("stm_ordered_previous", cursor->map, cursor->type);
	struct leaf *leaf;

	if (!cursor->leaf)
		return false;
	leaf = read_leaf(cursor->leaf);
	if (cursor->position)
		return arrive(cursor, &at, cursor->leaf, cursor->position - 1, found, value);
	return seek(cursor, &at, STM_ORDERED_LOWER, slot_key(&at, leaf, leaf->order[0]), found, value);
}

void STM *stm_ordered_value(const struct stm_ordered_cursor *cursor)
{
	const struct at at = open_map("stm_ordered_value", cursor->map, cursor->type);
	struct leaf *leaf;

	if (!cursor->leaf)
		return NULL;
	leaf = read_leaf(cursor->leaf);
	return (void STM *)slot_value(&at, cursor->leaf, leaf->order[cursor->position]);
}

/* ---- all entries ---- */

static bool type_is_good(const struct stm_ordered_type *type)
{
	if (type->key_size < 1 || type->key_size > STM_ORDERED_KEY_MAX || type->value_size > STM_ORDERED_VALUE_MAX)
		return false;
	return (type->compare != stm_compare_u64 && type->compare != stm_compare_i64) ||
	       type->key_size == sizeof(uint64_t);
}

static unsigned int within(size_t n, unsigned int low, unsigned int high)
{
	return n < low ? low : n > high ? high : (unsigned int)n;
}

struct stm_ordered STM *stm_ordered_new(const struct stm_ordered_type *type)
{
	struct stm_ordered STM *map;
	struct stm_ordered *header;
	struct at at = { 0 };

	stm_tx_self("stm_ordered_new");
	if (!type_is_good(type)) {
		errno = EINVAL;
		return NULL;
	}
	at.key_size = type->key_size;
	at.value_size = type->value_size;
	at.slots = within((NODE_BYTES - offsetof(struct leaf, bytes)) / (at.key_size + at.value_size),
			  LEAF_SLOTS_MIN, LEAF_SLOTS);
	at.keys = within((NODE_BYTES - offsetof(struct inner, bytes) - sizeof(uintptr_t)) /
			 (at.key_size + sizeof(uintptr_t)), INNER_KEYS_MIN, INNER_KEYS);
	map = stm_alloc(sizeof(*map));
	if (!map || take_nodes(&at, &at.root, 1)) {
		stm_free(map);
		errno = ENOMEM;
		return NULL;
	}
	new_leaf(&at, at.root);
	header = local((uintptr_t)map);
	*header = (struct stm_ordered){ .root = at.root, .slots = (uint8_t)at.slots, .keys = (uint8_t)at.keys,
					.key_size = (uint16_t)at.key_size, .value_size = (uint16_t)at.value_size };
	return map;
}

/* The entries below @node; and free it, and what is below it, or not. */
static uint64_t visit(const struct at *at, uintptr_t node, unsigned int levels, bool drop)
{
	uint64_t entries = 0;

	if (levels) {
		struct inner *inner = read_inner(node);

		for (unsigned int i = 0; i <= inner->count; i++)
			entries += visit(at, children(at, inner)[i], levels - 1, drop);
	} else {
		entries = read_leaf(node)->count;
	}
	if (drop)
		stm_free((void STM *)node);
	return entries;
}

uint64_t stm_ordered_count(struct stm_ordered STM *map, const struct stm_ordered_type *type)
{
	const struct at at = open_map("stm_ordered_count", map, type);

	return visit(&at, at.root, at.height, false);
}

void stm_ordered_free(struct stm_ordered STM *map, const struct stm_ordered_type *type)
{
	if (!map)
		return;

	const struct at at = open_map("stm_ordered_free", map, type);

	visit(&at, at.root, at.height, true);
	stm_write(map); /* all calls read it */
	stm_free(map);
}
