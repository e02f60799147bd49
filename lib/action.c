// SPDX-License-Identifier: MIT
/*
 * action.c - what a transaction does outside the heap, and how it is undone: hooks, saved
 * memory, malloc and free.
 *
 * One list in order of registration. At commit it is run forward, after an abort backward.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "internal.h"

enum kind { ON_COMMIT, ON_ABORT, SAVED, ALLOCATED, FREED };

struct stm_action {
	enum kind kind;
	void (*fn)(void *arg);
	void *p;                        /* argument, saved memory, or block */
	void *copy;                     /* of the saved memory */
	size_t len;
};

static struct stm_action *add(struct stm_seg *seg, enum kind kind)
{
	struct stm_action *action;

	if (seg->actions_n == seg->actions_cap) {
		size_t cap = seg->actions_cap ? seg->actions_cap * 2 : 16;
		struct stm_action *more = realloc(seg->actions, cap * sizeof(*more));

		if (!more)
			return NULL;
		seg->actions = more;
		seg->actions_cap = cap;
	}
	action = &seg->actions[seg->actions_n++];
	*action = (struct stm_action){ .kind = kind };
	seg->attention |= STM_ATTEND_ACTIONS;
	return action;
}

/*
 * Take the list out of the segment, since a hook may run transactions that make another; give its memory
 * back afterwards.
 */
static struct stm_action *detach_list(struct stm_seg *seg, size_t *n)
{
	struct stm_action *list = seg->actions;

	*n = seg->actions_n;
	seg->actions = NULL;
	seg->actions_n = seg->actions_cap = 0;
	return list;
}

static void return_list(struct stm_seg *seg, struct stm_action *list, size_t n)
{
	if (seg->actions) {
		free(list);
		return;
	}
	seg->actions = list;
	seg->actions_cap = n;
}

void stm_actions_committed(struct stm_seg *seg)
{
	size_t n;
	struct stm_action *list = detach_list(seg, &n);

	for (size_t i = 0; i < n; i++) {
		if (list[i].kind == FREED)
			free(list[i].p);
		else if (list[i].kind == SAVED)
			free(list[i].copy);
	}
	seg->hooks++;
	for (size_t i = 0; i < n; i++)
		if (list[i].kind == ON_COMMIT)
			list[i].fn(list[i].p);
	seg->hooks--;
	return_list(seg, list, n);
}

static void take_back(const struct stm_action *action)
{
	switch (action->kind) {
	case SAVED:
		memcpy(action->p, action->copy, action->len);
		free(action->copy);
		break;
	case ALLOCATED:
		free(action->p);
		break;
	case ON_ABORT:
		action->fn(action->p);
		break;
	case ON_COMMIT:
	case FREED:
		break;
	}
}

void stm_actions_aborted(struct stm_seg *seg)
{
	size_t n;
	struct stm_action *list = detach_list(seg, &n);

	seg->hooks++;
	seg->heed |= STM_HEED_HOOKS;
	for (size_t i = 0; i < n; i++)
		take_back(&list[STM_MUTATED(UNDO_ORDER) ? i : n - 1 - i]);
	seg->heed &= ~STM_HEED_HOOKS;
	seg->hooks--;
	return_list(seg, list, n);
}

void stm_actions_roll_back(struct stm_seg *seg, size_t n)
{
	while (seg->actions_n > n) {
		struct stm_action action = seg->actions[--seg->actions_n]; /* a hook may leave the transaction */

		take_back(&action);
	}
}

void stm_actions_close(struct stm_seg *seg)
{
	free(seg->actions);
	seg->actions = NULL;
	seg->actions_n = seg->actions_cap = 0;
}

/* ---- public ---- */

static int add_hook(const char *call, enum kind kind, void (*fn)(void *arg), void *arg)
{
	struct stm_action *action;

	if (!stm_tx_if_any(call))
		return -EPERM;
	if (!fn)
		return -EINVAL;
	action = add(stm__self, kind);
	if (!action)
		return -ENOMEM;
	action->fn = fn;
	action->p = arg;
	return 0;
}

int stm_on_commit(void (*fn)(void *arg), void *arg)
{
	return add_hook("stm_on_commit", ON_COMMIT, fn, arg);
}

int stm_on_abort(void (*fn)(void *arg), void *arg)
{
	return add_hook("stm_on_abort", ON_ABORT, fn, arg);
}

int stm_save(void *p, size_t len)
{
	struct stm_action *action;
	void *copy;

	if (!stm_tx_if_any("stm_save"))
		return -EPERM;
	if (!len)
		return 0;
	if (!p)
		return -EINVAL;
	copy = malloc(len);
	action = copy ? add(stm__self, SAVED) : NULL;
	if (!action) {
		free(copy);
		return -ENOMEM;
	}
	memcpy(copy, p, len);
	action->p = p;
	action->copy = copy;
	action->len = len;
	return 0;
}

void *stm_malloc(size_t size)
{
	struct stm_action *action;
	void *p = malloc(size);

	if (!p || !stm_in_transaction())
		return p;
	action = add(stm__self, ALLOCATED);
	if (!action) {
		free(p);
		errno = ENOMEM;
		return NULL;
	}
	action->p = p;
	return p;
}

void stm_mfree(void *p)
{
	struct stm_action *action;

	if (!p)
		return;
	if (!stm_in_transaction()) {
		free(p);
		return;
	}
	action = add(stm__self, FREED);
	if (!action)
		stm_die("stm_mfree: no memory to remember a block until commit (ENOMEM)");
	action->p = p;
}
