/* SPDX-License-Identifier: MIT */
/*
 * uffdstm/map.h - hash maps in the heap
 *
 *	STM_MAP(ages, uint64_t, int)            defines struct ages and its calls
 *
 *	struct ages STM *ages = ages_new();
 *	int age;
 *
 *	ages_put(ages, 17, 42);                 0 or -ENOMEM
 *	if (ages_get(ages, 17, &age))
 *		...
 *	ages_remove(ages, 17);                  true: it was there
 *
 * Transactions that use different keys do not conflict, except where keys share a granule: see
 * uffdstm-collections(7). That holds while the map grows, too: an insertion splits the bucket it goes to, and
 * touches no other.
 *
 * All calls are for transactions; what they do is undone with these. Outside a transaction those that change
 * something stop the process with a line; look-ups are inlined and check no more than barriers do.
 */
#ifndef UFFDSTM_MAP_H
#define UFFDSTM_MAP_H

#include <errno.h>

#include <uffdstm.h>
#include <uffdstm/array.h>
#include <uffdstm/counter.h>

/* ---- how it is made ---- */

/*
 * A bucket is a chain of nodes, by a word: the first node, and above it 1 + the depth, the number of low hash bits
 * that all in it agree on with the bucket's number. 0: not split off yet, its entries are in the bucket without the
 * highest bit. So those buckets that are not 0 share out all hashes, in each snapshot.
 *
 * @mask says how deep buckets may be by now. It and the array's pointers are read without barriers: a value
 * that has become old leads to the same bucket, by a detour, and the bucket's own word is read with one.
 */
struct stm_map {
	uint64_t seed;                  /* constant; so are the sizes */
	uint32_t key_size, entry_size;
	uint64_t mask;                  /* 2^n - 1 */
	uint64_t unused;
	struct stm_array buckets;
	struct stm_counter size;
} __attribute__((__aligned__(16)));

/*
 * Who has read the bucket's word need not read these: key and hash are constant, and who changes a link writes the
 * word, too. So a look-up that finds nothing reads one granule, whatever the chain's length.
 */
struct stm_map_link {
	uint64_t next;
	uint64_t hash;
} __attribute__((__aligned__(16)));

#define STM__MAP_NODE (((uint64_t)1 << 56) - 1)
#define STM__MAP_CHUNK 9u               /* 2^9 words: chunks of a page */

/* What a map holds: a constant. */
struct stm_map_type {
	uint32_t key_size, entry_size, value_offset, value_size; /* bytes; an entry is the key, and behind it the value */
	uint64_t (*hash)(const void *key, uint64_t seed);       /* NULL: of the key's bytes */
	bool (*equal)(const void *a, const void *b);            /* NULL: the same bytes */
};

/* Both halves of the product, folded: each bit of the result depends on all bits of @a and @b. */
static inline __attribute__((__always_inline__)) uint64_t stm__mix(uint64_t a, uint64_t b)
{
	__extension__ const unsigned __int128 product = (unsigned __int128)a * b;

	return (uint64_t)product ^ (uint64_t)(product >> 64);
}

#define STM__HASH_FIRST 0x9e3779b97f4a7c15u     /* 2^64 by the golden ratio, and by pi, both odd */
#define STM__HASH_SECOND 0x517cc1b727220a95u

/* stm_hash - a hash of @len bytes at @p, ordinary memory, for hash functions of your own. */
static inline __attribute__((__always_inline__)) uint64_t stm_hash(const void *p, size_t len, uint64_t seed)
{
	const unsigned char *bytes = (const unsigned char *)p;
	uint64_t word, hash = seed ^ (len + 1) * STM__HASH_FIRST;
	size_t left = len;

	for (; left >= 8; left -= 8, bytes += 8) {
		__builtin_memcpy(&word, bytes, 8);
		hash = stm__mix(hash ^ word, STM__HASH_SECOND);
	}
	if (left) {
		word = 0;
		__builtin_memcpy(&word, bytes, left);
		hash = stm__mix(hash ^ word, STM__HASH_SECOND);
	}
	return stm__mix(hash, STM__HASH_FIRST); /* one product alone leaves patterns of keys that differ in few bits */
}

#ifndef __cplusplus

struct stm_map_node {
	struct stm_map_link link;
	unsigned char entry[];          /* key, value */
};

#define STM__MAP_SHAPE ((struct stm_array_shape){ sizeof(uint64_t), STM__MAP_CHUNK })

static inline __attribute__((__always_inline__)) uint64_t
stm__map_hash(const struct stm_map STM *map, const struct stm_map_type *type, const void *key)
{
	return type->hash ? type->hash(key, map->seed) : stm_hash(key, type->key_size, map->seed);
}

static inline __attribute__((__always_inline__)) bool
stm__map_equal(const struct stm_map_type *type, const struct stm_map_node STM *node, const void *key)
{
	const void *other = stm_local(node->entry);

	return type->equal ? type->equal(other, key) : !__builtin_memcmp(other, key, type->key_size);
}

/* The word of the bucket that has the entries of this hash. */
static inline __attribute__((__always_inline__)) uint64_t STM *
stm__map_bucket(const struct stm_map STM *map, uint64_t hash)
{
	uint64_t bucket = hash & map->mask;

	for (;;) {
		uint64_t STM *word = (uint64_t STM *)stm__array_at(&map->buckets, bucket, STM__MAP_SHAPE);

		if (word && *word)
			return word;
		bucket ^= (uint64_t)1 << (63 - __builtin_clzll(bucket)); /* bucket 0 is always there */
	}
}

/* Where a key is. */
struct stm__map_place {
	uint64_t hash;
	uint64_t STM *bucket;           /* its word */
	uint64_t STM *link;             /* what points to the node: that, or a link.next */
	struct stm_map_node STM *node;  /* NULL: not there */
	unsigned int passed;            /* nodes of other keys */
};

static inline __attribute__((__always_inline__)) struct stm__map_place
stm__map_find(const struct stm_map STM *map, const struct stm_map_type *type, const void *key)
{
	struct stm__map_place at = { .hash = stm__map_hash(map, type, key) };

	at.bucket = at.link = stm__map_bucket(map, at.hash);
	at.node = (struct stm_map_node STM *)(STM_GET(*at.bucket) & STM__MAP_NODE);
	while (at.node) {
		if (at.node->link.hash == at.hash && stm__map_equal(type, at.node, key))
			break;
		at.passed++;
		at.link = &at.node->link.next;
		at.node = (struct stm_map_node STM *)at.node->link.next;
	}
	return at;
}

/* What the value's address is known to be a multiple of. */
#define STM__MAP_ALIGN(type) (((type)->value_offset | STM_GRANULE) & -((type)->value_offset | STM_GRANULE))

static inline __attribute__((__always_inline__)) void
stm__map_store(const struct stm_map_type *type, struct stm_map_node STM *node, const void *value)
{
	unsigned char STM *to = node->entry + type->value_offset;

	stm__write((uintptr_t)to, type->value_size, STM__MAP_ALIGN(type));
	__builtin_memcpy(stm_local(to), value, type->value_size);
}

/* In the library: a node for a key that is not there, with anything in its entry; NULL: no memory. Take one out. */
struct stm_map_node STM *stm__map_add(struct stm_map STM *map, const struct stm_map_type *type, uint64_t hash,
				      unsigned int passed);
void stm__map_take_out(struct stm_map STM *map, const struct stm__map_place *at);

static inline __attribute__((__always_inline__)) int
stm__map_insert(struct stm_map STM *map, const struct stm_map_type *type, const struct stm__map_place *at,
		const void *key, const void *value)
{
	struct stm_map_node STM *node = stm__map_add(map, type, at->hash, at->passed);

	if (!node)
		return -ENOMEM;
	__builtin_memcpy(stm_local(node->entry), key, type->key_size);
	__builtin_memcpy(stm_local(node->entry + type->value_offset), value, type->value_size);
	return 0;
}

/* ---- calls with a type, which those that STM_MAP() defines are made of ---- */

/* stm_map_new - an empty map. NULL with errno ENOMEM. */
struct stm_map STM *stm_map_new(const struct stm_map_type *type);

/* stm_map_free - give back the map and all entries. NULL is fine. */
void stm_map_free(struct stm_map STM *map);

/* stm_map_size - the number of entries, exactly. Conflicts with each insertion and removal. */
size_t stm_map_size(const struct stm_map STM *map);

/* stm_map_find - the value of a key, or NULL: for barriers of the caller's, until the entry is removed. */
static inline __attribute__((__always_inline__)) void STM *
stm_map_find(const struct stm_map STM *map, const struct stm_map_type *type, const void *key)
{
	struct stm_map_node STM *node = stm__map_find(map, type, key).node;

	return node ? node->entry + type->value_offset : NULL;
}

/* stm_map_get - copy the value of a key to *@value. False: there is none. */
static inline __attribute__((__always_inline__)) bool
stm_map_get(const struct stm_map STM *map, const struct stm_map_type *type, const void *key, void *value)
{
	struct stm_map_node STM *node = stm__map_find(map, type, key).node;

	if (!node)
		return false;
	stm__read((uintptr_t)(node->entry + type->value_offset), type->value_size, STM__MAP_ALIGN(type));
	__builtin_memcpy(value, stm_local(node->entry + type->value_offset), type->value_size);
	return true;
}

/* stm_map_put - let the key have this value. 0; -ENOMEM: nothing has changed. */
static inline __attribute__((__always_inline__)) int
stm_map_put(struct stm_map STM *map, const struct stm_map_type *type, const void *key, const void *value)
{
	const struct stm__map_place at = stm__map_find(map, type, key);

	if (!at.node)
		return stm__map_insert(map, type, &at, key, value);
	stm__map_store(type, at.node, value);
	return 0;
}

/* stm_map_insert - the same for a key that is not there. 0; -EEXIST: it is there; -ENOMEM. */
static inline __attribute__((__always_inline__)) int
stm_map_insert(struct stm_map STM *map, const struct stm_map_type *type, const void *key, const void *value)
{
	const struct stm__map_place at = stm__map_find(map, type, key);

	return at.node ? -EEXIST : stm__map_insert(map, type, &at, key, value);
}

/* stm_map_remove - whether the key was there. It is not any more. */
static inline __attribute__((__always_inline__)) bool
stm_map_remove(struct stm_map STM *map, const struct stm_map_type *type, const void *key)
{
	const struct stm__map_place at = stm__map_find(map, type, key);

	if (at.node)
		stm__map_take_out(map, &at);
	return at.node;
}

/* ---- all entries ---- */

/*
 * A walk over a map, in no order, within one transaction: a snapshot, which conflicts with all that changes an
 * entry meanwhile. The entry that the walk has come to may be removed. After other changes to
 * the map by the same transaction it may miss entries, or come to some twice.
 */
struct stm_map_cursor {
	const struct stm_map STM *map;
	uint64_t bucket, next;
};

#define STM_MAP_CURSOR(map) { (const struct stm_map STM *)(map), 0, 0 }

/* stm_map_next - the next entry, its key and behind it the value, already read; NULL: that was the last one. */
void STM *stm_map_next(struct stm_map_cursor *cursor);

/* ---- maps of a type ---- */

#define STM__MAP_CALL static inline __attribute__((__unused__))

/*
 * STM_MAP(name, key, value) - struct name, a map from keys to values of these types, which may be anything that can
 * be assigned, and its calls:
 *
 *	struct name STM *name_new(void)         name_free(map)          name_size(map)
 *	value STM *name_find(map, key)          bool name_get(map, key, &value)
 *	int name_put(map, key, value)           int name_insert(map, key, value)        bool name_remove(map, key)
 *	struct name_entry { key key; value value; } STM *name_next(&cursor)
 *
 * Keys are compared as bytes, so those with gaps in them are to be zeroed first. STM_MAP_BY() takes functions
 * instead, as in struct stm_map_type.
 */
#define STM_MAP(name, key_type, value_type) STM_MAP_BY(name, key_type, value_type, NULL, NULL)
#define STM_MAP_BY(name, key_type, value_type, hash_function, equal_function)                           \
	struct name {                                                                                   \
		struct stm_map map;                                                                     \
	};                                                                                              \
	struct name##_entry {                                                                           \
		key_type key;                                                                           \
		value_type value;                                                                       \
	};                                                                                              \
	static const struct stm_map_type name##_type = {                                                \
		sizeof(key_type), sizeof(struct name##_entry), offsetof(struct name##_entry, value),    \
		sizeof(value_type), hash_function, equal_function                                       \
	};                                                                                              \
	STM__MAP_CALL struct name STM *name##_new(void)                                                 \
	{                                                                                               \
		return (struct name STM *)stm_map_new(&name##_type);                                    \
	}                                                                                               \
	STM__MAP_CALL void name##_free(struct name STM *map)                                            \
	{                                                                                               \
		stm_map_free(&map->map);                                                                \
	}                                                                                               \
	STM__MAP_CALL size_t name##_size(const struct name STM *map)                                    \
	{                                                                                               \
		return stm_map_size(&map->map);                                                         \
	}                                                                                               \
	STM__MAP_CALL value_type STM *name##_find(const struct name STM *map, key_type key)             \
	{                                                                                               \
		return (value_type STM *)stm_map_find(&map->map, &name##_type, &key);                   \
	}                                                                                               \
	STM__MAP_CALL bool name##_get(const struct name STM *map, key_type key, value_type *value)      \
	{                                                                                               \
		return stm_map_get(&map->map, &name##_type, &key, value);                               \
	}                                                                                               \
	STM__MAP_CALL int name##_put(struct name STM *map, key_type key, value_type value)              \
	{                                                                                               \
		return stm_map_put(&map->map, &name##_type, &key, &value);                              \
	}                                                                                               \
	STM__MAP_CALL int name##_insert(struct name STM *map, key_type key, value_type value)           \
	{                                                                                               \
		return stm_map_insert(&map->map, &name##_type, &key, &value);                           \
	}                                                                                               \
	STM__MAP_CALL bool name##_remove(struct name STM *map, key_type key)                            \
	{                                                                                               \
		return stm_map_remove(&map->map, &name##_type, &key);                                   \
	}                                                                                               \
	STM__MAP_CALL struct name##_entry STM *name##_next(struct stm_map_cursor *cursor)               \
	{                                                                                               \
		return (struct name##_entry STM *)stm_map_next(cursor);                                 \
	}                                                                                               \
	struct name /* takes the semicolon, if there is one */

#endif
#endif
