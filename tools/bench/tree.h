/* SPDX-License-Identifier: MIT */
/*
 * tree.h - a set of integers as a red-black tree: rbtree.h
 *
 * Included once for each implementation: see impl.h for the words.
 */
#include "rbtree.h"

OPERATION bool tree_contains(struct tree SHARED *tree, long key)
{
	ATOMIC {
		struct tree_node SHARED *parent;
		int side;

		return tree_find(tree, key, &parent, &side) != NULL;
	}
	return false;
}

OPERATION bool tree_insert(struct tree SHARED *tree, long key)
{
	ATOMIC {
		struct tree_node SHARED *parent;
		int side;

		if (tree_find(tree, key, &parent, &side))
			return false;
		tree_add(tree, key, key, parent, side);
		return true;
	}
	return false;
}

OPERATION bool tree_remove(struct tree SHARED *tree, long key)
{
	ATOMIC {
		struct tree_node SHARED *parent, *n;
		int side;

		n = tree_find(tree, key, &parent, &side);
		if (!n)
			return false;
		tree_unlink(tree, n);
		return true;
	}
	return false;
}

static uintptr_t tree_make(void)
{
	ATOMIC
		return (uintptr_t)tree_new();
	return 0;
}

OPERATION const char *tree_check(struct tree SHARED *tree, uint64_t *size)
{
	const char *volatile wrong = NULL;

	ATOMIC {
		wrong = tree_wrong(tree, size);
		for (struct tree_node SHARED *n = tree_first(tree); n && !wrong; n = tree_next(n))
			if (GET(n->s.value) != GET(n->s.key))
				wrong = "a node has lost its value";
	}
	return wrong;
}
