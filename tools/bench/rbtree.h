/* SPDX-License-Identifier: MIT */
/*
 * rbtree.h - red-black trees, from integers to integers: what is done to them inside ATOMIC
 *
 * Included once for each implementation: see words.h for the words. The tree of
 * Guibas and Sedgewick (1978) with parent pointers: a red node has a black
 * parent; all paths from a node down to NULL pass as many black nodes.
 */
struct tree_node {
	/* What a look-up reads: apart, so that rebalancing above does not disturb it. */
	struct tree_search {
		_Alignas(16) long key;
		long value;
		struct tree_node SHARED *child[2];      /* smaller keys, larger keys */
	} s;
	struct tree_node SHARED *parent;
	long red;
};

struct tree {
	_Alignas(16) struct tree_node SHARED *root;
	long unused;
};

/* The child link of @parent that leads to @old now leads to @new. */
static void tree_replace(struct tree SHARED *tree, struct tree_node SHARED *parent,
			 struct tree_node SHARED *old, struct tree_node SHARED *new)
{
	if (!parent)
		SET(tree->root, new);
	else
		SET(parent->s.child[GET(parent->s.child[1]) == old], new);
}

/* @n moves down towards @side, its other child up to its place. */
static void tree_rotate(struct tree SHARED *tree, struct tree_node SHARED *n, int side)
{
	struct tree_node SHARED *up = GET(n->s.child[!side]);
	struct tree_node SHARED *inner = GET(up->s.child[side]);
	struct tree_node SHARED *parent = GET(n->parent);

	SET(n->s.child[!side], inner);
	if (inner)
		SET(inner->parent, n);
	tree_replace(tree, parent, n, up);
	SET(up->parent, parent);
	SET(up->s.child[side], n);
	SET(n->parent, up);
}

/* @n is red and new in its place: no red node may have a red parent. */
static void tree_inserted(struct tree SHARED *tree, struct tree_node SHARED *n)
{
	for (;;) {
		struct tree_node SHARED *parent = GET(n->parent), *top, *uncle;
		int side;

		if (!parent) {
			SET(n->red, 0);
			return;
		}
		if (!GET(parent->red))
			return;
		top = GET(parent->parent);              /* red is never the root */
		side = GET(top->s.child[1]) == parent;
		uncle = GET(top->s.child[!side]);
		if (uncle && GET(uncle->red)) {
			SET(parent->red, 0);
			SET(uncle->red, 0);
			SET(top->red, 1);
			n = top;
			continue;
		}
		if (GET(parent->s.child[!side]) == n) {
			tree_rotate(tree, parent, side);
			parent = n;
		}
		SET(parent->red, 0);
		SET(top->red, 1);
		tree_rotate(tree, top, !side);
		return;
	}
}

/* Paths through @parent's child on @side lack one black node. */
static void tree_removed(struct tree SHARED *tree, struct tree_node SHARED *parent, int side)
{
	while (parent) {
		struct tree_node SHARED *other = GET(parent->s.child[!side]), *near, *far, *n;
		bool far_red;

		if (GET(other->red)) {
			SET(other->red, 0);
			SET(parent->red, 1);
			tree_rotate(tree, parent, side);
			other = GET(parent->s.child[!side]);
		}
		near = GET(other->s.child[side]);
		far = GET(other->s.child[!side]);
		far_red = far && GET(far->red);
		if (!far_red && !(near && GET(near->red))) {
			SET(other->red, 1);
			if (GET(parent->red)) {
				SET(parent->red, 0);
				return;
			}
			n = parent;
			parent = GET(n->parent);
			if (parent)
				side = GET(parent->s.child[1]) == n;
			continue;
		}
		if (!far_red) {
			SET(near->red, 0);
			SET(other->red, 1);
			tree_rotate(tree, other, !side);
			far = other;
			other = near;
		}
		SET(other->red, GET(parent->red));
		SET(parent->red, 0);
		SET(far->red, 0);
		tree_rotate(tree, parent, side);
		return;
	}
}

/* The node of @key, or NULL; then *@parent and *@side tell where it belongs. */
static inline struct tree_node SHARED *tree_find(struct tree SHARED *tree, long key,
						 struct tree_node SHARED **parent, int *side)
{
	struct tree_node SHARED *n = GET(tree->root), *above = NULL;
	int last = 0;

	while (n) {
		READ(&n->s);
		if (n->s.key == key)
			break;
		last = n->s.key < key;
		above = n;
		n = n->s.child[last];
	}
	*parent = above;
	*side = last;
	return n;
}

/* Unlink @n, and free a node: @n, or its successor whose key @n takes over. */
static void tree_unlink(struct tree SHARED *tree, struct tree_node SHARED *n)
{
	struct tree_node SHARED *parent, *child;
	int side;

	if (GET(n->s.child[0]) && GET(n->s.child[1])) {
		struct tree_node SHARED *next = GET(n->s.child[1]);

		while (GET(next->s.child[0]))
			next = GET(next->s.child[0]);
		READ(&next->s);
		WRITE(&n->s);
		n->s.key = next->s.key;
		n->s.value = next->s.value;
		n = next;
	}
	READ(n);
	parent = n->parent;
	child = n->s.child[0] ? n->s.child[0] : n->s.child[1];
	side = parent && GET(parent->s.child[1]) == n;
	tree_replace(tree, parent, n, child);
	if (child) {
		SET(child->parent, parent);
		SET(child->red, 0);             /* an only child is red, its parent black */
	} else if (!n->red) {
		tree_removed(tree, parent, side);
	}
	FREE(n);
}

/* A node for @key, which has none; @parent and @side as tree_find() found them. */
static inline void tree_add(struct tree SHARED *tree, long key, long value, struct tree_node SHARED *parent, int side)
{
	struct tree_node SHARED *new = ALLOC(struct tree_node);

	new->s.key = key;
	new->s.value = value;
	new->s.child[0] = NULL;
	new->s.child[1] = NULL;
	new->parent = parent;
	new->red = 1;
	if (parent)
		SET(parent->s.child[side], new);
	else
		SET(tree->root, new);
	tree_inserted(tree, new);
}

static inline struct tree SHARED *tree_new(void)
{
	struct tree SHARED *tree = ALLOC(struct tree);

	tree->root = NULL;
	return tree;
}

/* All nodes, by their keys: the first, and the next one of each. */
static inline struct tree_node SHARED *tree_leftmost(struct tree_node SHARED *n)
{
	while (n && GET(n->s.child[0]))
		n = GET(n->s.child[0]);
	return n;
}

static inline struct tree_node SHARED *tree_first(struct tree SHARED *tree)
{
	return tree_leftmost(GET(tree->root));
}

static inline struct tree_node SHARED *tree_next(struct tree_node SHARED *n)
{
	struct tree_node SHARED *parent;

	if (GET(n->s.child[1]))
		return tree_leftmost(GET(n->s.child[1]));
	for (parent = GET(n->parent); parent && GET(parent->s.child[1]) == n; parent = GET(n->parent))
		n = parent;
	return parent;
}

/* Black nodes on each path below @n, whose keys are in (@low, @high); -1 and *@wrong if broken. */
static int tree_check_below(struct tree_node SHARED *n, struct tree_node SHARED *parent, long low,
			    long high, uint64_t *size, const char **wrong)
{
	int left, right;

	if (!n)
		return 0;
	READ(n);
	++*size;
	if (n->parent != parent)
		*wrong = "a parent pointer is wrong";
	else if (n->s.key <= low || n->s.key >= high)
		*wrong = "keys are out of order";
	else if (n->red && (!parent || GET(parent->red)))
		*wrong = "a red node has no black parent";
	if (*wrong)
		return -1;
	left = tree_check_below(n->s.child[0], n, low, n->s.key, size, wrong);
	if (*wrong)
		return -1;
	right = tree_check_below(n->s.child[1], n, n->s.key, high, size, wrong);
	if (!*wrong && left != right)
		*wrong = "paths have different numbers of black nodes";
	return *wrong ? -1 : left + !n->red;
}

/* NULL, or what is wrong with it; *@size: its nodes. */
static inline const char *tree_wrong(struct tree SHARED *tree, uint64_t *size)
{
	const char *wrong = NULL;

	*size = 0;
	tree_check_below(GET(tree->root), NULL, -1, INT64_MAX, size, &wrong);
	return wrong;
}
