/* SPDX-License-Identifier: MIT */
/*
 * uffdstm/ordered.h - an ordered map in the heap: keys and values of fixed sizes, sorted by key
 *
 *	STM_ORDERED_TYPE(prices, uint64_t, struct price, stm_compare_u64)
 *
 *	struct stm_ordered STM *map = prices_new();
 *	uint64_t key = 17;
 *	struct price p;
 *
 *	prices_put(map, 17, &(struct price){ ... });
 *	if (prices_ceiling(map, &key, &p))      the first one at or behind 17
 *		...
 *
 * All calls are for transactions: outside one they stop the process with one line. A map is heap memory: what a
 * transaction that aborts did to it is undone, and a pointer to it may stand in a root slot or in other objects.
 *
 * A B+-tree. Operations in different leaves, of some 30 small entries, do not conflict, unless one of them divides a
 * leaf, or takes the last entry out of it: that conflicts with what passes through the node above. See
 * uffdstm-collections(7).
 */
#ifndef UFFDSTM_ORDERED_H
#define UFFDSTM_ORDERED_H

#include <uffdstm.h>

#ifdef __cplusplus
extern "C" {
#endif

#define STM_ORDERED_KEY_MAX 1024u       /* bytes */
#define STM_ORDERED_VALUE_MAX 4096u     /* bytes */

/*
 * What stands in a map. Given to each call, so that no pointer to code stands in the heap: the same one for
 * all calls on a map, or one that is equal.
 */
struct stm_ordered_type {
	size_t key_size;        /* bytes: 1 .. STM_ORDERED_KEY_MAX */
	size_t value_size;      /* bytes: 0 .. STM_ORDERED_VALUE_MAX; 0: a set */
	/*
	 * The order: less than, equal to or greater than 0, as for qsort(3). NULL: as memcmp(3). Keys may be in
	 * any thread's view; they are aligned to 16 bytes, or as in an array of keys. May not use the map.
	 */
	int (*compare)(const void *a, const void *b);
};

/* Orders of keys of 8 bytes that the library compares without a call. */
int stm_compare_u64(const void *a, const void *b);
int stm_compare_i64(const void *a, const void *b);

#ifndef __cplusplus

struct stm_ordered;

/* stm_ordered_new - an empty map. NULL with errno EINVAL: a bad type. ENOMEM. */
struct stm_ordered STM *stm_ordered_new(const struct stm_ordered_type *type);

/* stm_ordered_free - free the map, and all that is in it, when this transaction commits. NULL is fine. */
void stm_ordered_free(struct stm_ordered STM *map, const struct stm_ordered_type *type);

/* stm_ordered_get - whether @key is there; then *@value is a copy of its value. @value may be NULL. */
bool stm_ordered_get(struct stm_ordered STM *map, const struct stm_ordered_type *type, const void *key, void *value);

/*
 * stm_ordered_find - the value of @key in the heap, or NULL: to be read and written with barriers. Valid until an
 * entry is put into the map or removed.
 */
void STM *stm_ordered_find(struct stm_ordered STM *map, const struct stm_ordered_type *type, const void *key);

/*
 * stm_ordered_put - @key has @value from now on. 1: it is new; 0: it had another one.
 * -ENOMEM: the heap is full, and the map as it was.
 */
int stm_ordered_put(struct stm_ordered STM *map, const struct stm_ordered_type *type, const void *key,
		    const void *value);

/* stm_ordered_remove - take @key out. Whether it was there; then *@value is a copy of its value. @value may be NULL. */
bool stm_ordered_remove(struct stm_ordered STM *map, const struct stm_ordered_type *type, const void *key, void *value);

/* stm_ordered_count - how many entries there are. Looks at every leaf, and so conflicts with every new entry. */
uint64_t stm_ordered_count(struct stm_ordered STM *map, const struct stm_ordered_type *type);

/* Which entry to look for. */
enum stm_ordered_place {
	STM_ORDERED_FIRST,
	STM_ORDERED_LAST,
	STM_ORDERED_LOWER,      /* the last one before the key */
	STM_ORDERED_FLOOR,      /* the last one at or before it */
	STM_ORDERED_CEILING,    /* the first one at or behind it */
	STM_ORDERED_HIGHER      /* the first one behind it */
};

/*
 * An entry of a map: of use in the transaction that found it, until an entry is put or removed. Who goes on after
 * that looks for STM_ORDERED_HIGHER (or LOWER) than the last key.
 */
struct stm_ordered_cursor {
	struct stm_ordered STM *map;
	const struct stm_ordered_type *type;
	uintptr_t leaf;         /* 0: at no entry */
	unsigned int position;
};

/*
 * stm_ordered_seek - point @cursor to an entry. @key is not looked at for FIRST and LAST.
 * Whether there is one; then *@found is a copy of its key, *@value of its value. Both may be NULL; @found may be @key.
 */
bool stm_ordered_seek(struct stm_ordered_cursor *cursor, struct stm_ordered STM *map,
		      const struct stm_ordered_type *type, enum stm_ordered_place place, const void *key,
		      void *found, void *value);

/* stm_ordered_next, stm_ordered_previous - the same for the entry behind, or before, that of @cursor. */
bool stm_ordered_next(struct stm_ordered_cursor *cursor, void *found, void *value);
bool stm_ordered_previous(struct stm_ordered_cursor *cursor, void *found, void *value);

/* stm_ordered_value - the value at @cursor in the heap, as by stm_ordered_find(); NULL at no entry. */
void STM *stm_ordered_value(const struct stm_ordered_cursor *cursor);

/*
 * STM_ORDERED_TYPE(name, key type, value type, compare) - the calls above for these types, as name_new(),
 * name_put(map, key, &value) and so on. Keys are passed by value; name_first(map, &key, &value) and name_last() fill in
 * what they find, name_lower(), name_floor(), name_ceiling() and name_higher() look from *key on and replace it.
 */
#define STM_ORDERED_TYPE(name, key_type, value_type, compare_keys)                                                     \
	static const struct stm_ordered_type name##_type = { sizeof(key_type), sizeof(value_type), compare_keys };    \
	STM__ORDERED struct stm_ordered STM *name##_new(void)                                                          \
	{                                                                                                              \
		return stm_ordered_new(&name##_type);                                                                  \
	}                                                                                                              \
	STM__ORDERED void name##_free(struct stm_ordered STM *map)                                                     \
	{                                                                                                              \
		stm_ordered_free(map, &name##_type);                                                                   \
	}                                                                                                              \
	STM__ORDERED bool name##_get(struct stm_ordered STM *map, key_type key, value_type *value)                     \
	{                                                                                                              \
		return stm_ordered_get(map, &name##_type, &key, value);                                                \
	}                                                                                                              \
	STM__ORDERED value_type STM *name##_find(struct stm_ordered STM *map, key_type key)                            \
	{                                                                                                              \
		return (value_type STM *)stm_ordered_find(map, &name##_type, &key);                                    \
	}                                                                                                              \
	STM__ORDERED int name##_put(struct stm_ordered STM *map, key_type key, const value_type *value)                \
	{                                                                                                              \
		return stm_ordered_put(map, &name##_type, &key, value);                                                \
	}                                                                                                              \
	STM__ORDERED bool name##_remove(struct stm_ordered STM *map, key_type key, value_type *value)                  \
	{                                                                                                              \
		return stm_ordered_remove(map, &name##_type, &key, value);                                             \
	}                                                                                                              \
	STM__ORDERED uint64_t name##_count(struct stm_ordered STM *map)                                                \
	{                                                                                                              \
		return stm_ordered_count(map, &name##_type);                                                           \
	}                                                                                                              \
	STM__ORDERED bool name##_seek(struct stm_ordered_cursor *cursor, struct stm_ordered STM *map,                  \
				      enum stm_ordered_place place, key_type *key, value_type *value)                  \
	{                                                                                                              \
		return stm_ordered_seek(cursor, map, &name##_type, place, key, key, value);                            \
	}                                                                                                              \
	STM__ORDERED bool name##_next(struct stm_ordered_cursor *cursor, key_type *key, value_type *value)             \
	{                                                                                                              \
		return stm_ordered_next(cursor, key, value);                                                           \
	}                                                                                                              \
	STM__ORDERED bool name##_previous(struct stm_ordered_cursor *cursor, key_type *key, value_type *value)         \
	{                                                                                                              \
		return stm_ordered_previous(cursor, key, value);                                                       \
	}                                                                                                              \
	STM__ORDERED_AT(name, first, FIRST, key_type, value_type)                                                      \
	STM__ORDERED_AT(name, last, LAST, key_type, value_type)                                                        \
	STM__ORDERED_AT(name, lower, LOWER, key_type, value_type)                                                      \
	STM__ORDERED_AT(name, floor, FLOOR, key_type, value_type)                                                      \
	STM__ORDERED_AT(name, ceiling, CEILING, key_type, value_type)                                                  \
	STM__ORDERED_AT(name, higher, HIGHER, key_type, value_type)

#define STM__ORDERED __attribute__((__unused__)) static inline
#define STM__ORDERED_AT(name, verb, place, key_type, value_type)                                                       \
	STM__ORDERED bool name##_##verb(struct stm_ordered STM *map, key_type *key, value_type *value)                 \
	{                                                                                                              \
		struct stm_ordered_cursor cursor;                                                                      \
														       \
		return name##_seek(&cursor, map, STM_ORDERED_##place, key, value);                                     \
	}

#endif

#ifdef __cplusplus
}
#endif

#endif
