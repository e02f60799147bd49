/* SPDX-License-Identifier: MIT */
/*
 * set.h - a set of integers as sorted chains: the list (one chain) and the hash set
 *
 * Included once for each implementation: see impl.h for the words.
 */
struct chain_node {
	_Alignas(16) struct chain_node SHARED *next;
	long key;
	long value;
	long unused;            /* 32 bytes: two granules, one marker store */
};

/* Ordinary memory: where the buckets are and how many never changes, and needs no barrier. */
struct chains {
	unsigned long mask;
	struct chain_node SHARED *SHARED *bucket;
};

/* The link to the first node of at least @key; *@node is that node, already READ. */
static inline struct chain_node SHARED *SHARED *
chain_find(struct chain_node SHARED *SHARED *link, long key, struct chain_node SHARED **node)
{
	struct chain_node SHARED *n = GET(*link);

	while (n) {
		READ(n);
		if (n->key >= key)
			break;
		link = &n->next;
		n = n->next;
	}
	*node = n;
	return link;
}

static inline struct chain_node SHARED *SHARED *chain_of(const struct chains *set, long key)
{
	return &set->bucket[(unsigned long)key & set->mask];
}

OPERATION bool chain_contains(const struct chains *set, long key)
{
	ATOMIC {
		struct chain_node SHARED *n;

		chain_find(chain_of(set, key), key, &n);
		return n && n->key == key;
	}
	return false;
}

OPERATION bool chain_insert(const struct chains *set, long key)
{
	ATOMIC {
		struct chain_node SHARED *n, *new;
		struct chain_node SHARED *SHARED *link = chain_find(chain_of(set, key), key, &n);

		if (n && n->key == key)
			return false;
		new = ALLOC(struct chain_node);
		new->next = n;
		new->key = key;
		new->value = key;
		WRITE(link);
		*link = new;
		return true;
	}
	return false;
}

OPERATION bool chain_remove(const struct chains *set, long key)
{
	ATOMIC {
		struct chain_node SHARED *n;
		struct chain_node SHARED *SHARED *link = chain_find(chain_of(set, key), key, &n);

		if (!n || n->key != key)
			return false;
		WRITE(link);
		*link = n->next;
		FREE(n);
		return true;
	}
	return false;
}

static uintptr_t chain_make(unsigned long buckets)
{
	struct chains *set = malloc(sizeof(*set)); /* 16 bytes a round, left to the end of the process */

	if (!set)
		die("no memory");
	set->mask = buckets - 1;
	ATOMIC
		set->bucket = ALLOC_ZERO(buckets * sizeof(*set->bucket));
	return (uintptr_t)set;
}

OPERATION const char *chain_check(const struct chains *set, uint64_t *size)
{
	const char *volatile wrong = NULL;

	ATOMIC {
		struct chain_node SHARED *SHARED *bucket;
		uint64_t nodes = 0;

		bucket = set->bucket;
		for (unsigned long i = 0; i <= set->mask; i++) {
			struct chain_node SHARED *n = GET(bucket[i]);
			long last = -1;

			for (; n; n = n->next) {
				READ(n);
				if (n->key <= last)
					wrong = "a chain is not sorted";
				if (((unsigned long)n->key & set->mask) != i)
					wrong = "a node is in another's chain";
				if (n->value != n->key)
					wrong = "a node has lost its value";
				last = n->key;
				nodes++;
			}
		}
		*size = nodes;
	}
	return wrong;
}
