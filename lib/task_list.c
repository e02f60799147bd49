// SPDX-License-Identifier: MIT
/*
 * task_list.c - lists of tasks, each under a lock of its own: a chain for each priority, first in, first out.
 */
#include "queue.h"

#define RANK(priority) ((uint32_t)1 << ((priority) - STM_PRIORITY_MIN))

_Static_assert(STM_PRIORITY_MAX - STM_PRIORITY_MIN + 1 == STM_PRIORITIES, "a chain for each priority");
_Static_assert(offsetof(struct stm_task_list, chains) + sizeof(struct stm_chain) <= 64, "in the first line");

void stm_list_open(struct stm_task_list *list)
{
	pthread_mutex_init(&list->lock, NULL);
}

void stm_list_close(struct stm_task_list *list)
{
	pthread_mutex_destroy(&list->lock);
}

/* Priority 0 has the first one, in the same line as the lock. */
static struct stm_chain *chain_of(struct stm_task_list *list, int priority)
{
	return &list->chains[(unsigned int)priority % STM_PRIORITIES];
}

static void set_ranks(struct stm_task_list *list, uint32_t ranks)
{
	atomic_store_explicit(&list->ranks, ranks, memory_order_relaxed);
}

static uint32_t ranks_of(const struct stm_task_list *list)
{
	return atomic_load_explicit(&list->ranks, memory_order_relaxed);
}

/* The lock is held. */
static inline __attribute__((__always_inline__)) void append(struct stm_task_list *list, struct stm_chain chain,
							      uint32_t n)
{
	struct stm_chain *to = chain_of(list, chain.first->priority);

	chain.last->next = NULL;
	if (to->first)
		to->last->next = chain.first;
	else
		to->first = chain.first;
	to->last = chain.last;
	list->n += n;
	set_ranks(list, ranks_of(list) | RANK(chain.first->priority));
}

void stm_list_push(struct stm_task_list *list, struct stm_chain chain, uint32_t n)
{
	pthread_mutex_lock(&list->lock);
	append(list, chain, n);
	pthread_mutex_unlock(&list->lock);
}

/* The same, and give them the next sequence numbers. */
void stm_list_push_numbered(struct stm_task_list *list, struct stm_chain chain, uint32_t n, uint64_t *sequence)
{
	chain.last->next = NULL;
	pthread_mutex_lock(&list->lock);
	for (struct stm_task *task = chain.first; task; task = task->next)
		task->sequence = (*sequence)++;
	append(list, chain, n);
	pthread_mutex_unlock(&list->lock);
}

/* The lock is held. */
static void insert(struct stm_task_list *list, struct stm_task **at, struct stm_task *task)
{
	struct stm_chain *chain = chain_of(list, task->priority);

	task->next = *at;
	*at = task;
	if (!task->next)
		chain->last = task;
	list->n++;
	set_ranks(list, ranks_of(list) | RANK(task->priority));
}

void stm_list_return(struct stm_task_list *list, struct stm_task *task)
{
	pthread_mutex_lock(&list->lock);
	insert(list, &chain_of(list, task->priority)->first, task);
	pthread_mutex_unlock(&list->lock);
}

/* Others that were taken before it, and came back, may be in front of it: a few. */
void stm_list_return_numbered(struct stm_task_list *list, struct stm_task *task)
{
	struct stm_task **at;

	pthread_mutex_lock(&list->lock);
	at = &chain_of(list, task->priority)->first;
	while (*at && (*at)->sequence < task->sequence)
		at = &(*at)->next;
	insert(list, at, task);
	pthread_mutex_unlock(&list->lock);
}

void stm_list_return_all(struct stm_task_list *list, struct stm_task_list *from)
{
	pthread_mutex_lock(&list->lock);
	for (unsigned int i = 0; i < STM_PRIORITIES; i++) {
		struct stm_chain *to = &list->chains[i], *chain = &from->chains[i];

		if (!chain->first)
			continue;
		chain->last->next = to->first;
		if (!to->first)
			to->last = chain->last;
		to->first = chain->first;
		chain->first = NULL;
	}
	list->n += from->n;
	set_ranks(list, ranks_of(list) | ranks_of(from));
	from->n = 0;
	set_ranks(from, 0);
	pthread_mutex_unlock(&list->lock);
}

struct stm_task *stm_list_take_one(struct stm_task_list *list)
{
	struct stm_task *task = NULL;
	uint32_t ranks;

	if (!ranks_of(list))
		return NULL;
	pthread_mutex_lock(&list->lock);
	ranks = ranks_of(list);
	if (ranks) {
		int priority = stm_list_highest(list);
		struct stm_chain *from = chain_of(list, priority);

		task = from->first;
		from->first = task->next;
		if (!task->next)
			set_ranks(list, ranks & ~RANK(priority));
		list->n--;
	}
	pthread_mutex_unlock(&list->lock);
	return task;
}

struct stm_task *stm_list_take(struct stm_task_list *list, uint32_t max, uint32_t among, struct stm_chain *chain,
			       uint32_t *n)
{
	struct stm_task *first = NULL, *last;
	int priority;

	if (!ranks_of(list))
		return NULL;
	pthread_mutex_lock(&list->lock);
	priority = stm_list_highest(list);
	if (priority != INT_MIN) {
		struct stm_chain *from = chain_of(list, priority);
		uint32_t wanted = list->n / among;

		wanted = wanted > max ? max : wanted ? wanted : 1;
		first = last = from->first;
		for (*n = 1; *n < wanted && last->next; ++*n)
			last = last->next;
		from->first = last->next;
		if (!last->next)
			set_ranks(list, ranks_of(list) & ~RANK(priority));
		last->next = NULL;
		list->n -= *n;
		*chain = (struct stm_chain){ first, last };
	}
	pthread_mutex_unlock(&list->lock);
	return first;
}
