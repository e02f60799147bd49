// SPDX-License-Identifier: MIT
/*
 * policy.c - contention: what a transaction does between a failed attempt and the next.
 *
 *   1. If it lost to a commit, and is to wait for the committer: wait until the transaction that that thread runs by
 *      now has ended. Of the same kind, it is likely to want the same data, and would win or lose once more.
 *   2. Else back off: a random while, its bound twice as long each time, so that rivals drift apart.
 *   3. After so many failed attempts it gets right of way (tx.c): nobody commits before it does.
 *
 * Both waits have a bound, and are outside of transactions: they hold nothing up. Policies by name are a list to which
 * is only added; their figures are changed one by one, and who reads a mixture waits a little longer or shorter.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <sched.h>
#include <stdlib.h>
#include <string.h>

#include "clock.h"
#include "entry.h"
#include "policy.h"

#define NONE UINT32_MAX                 /* STM_POLICY_NONE, in 32 bits */
#define ATTEMPTS_MAX 1000u              /* of a policy by name: it must end */
#define ATTEMPTS_DEFAULT 8u
#define FIRST_DEFAULT 2560u             /* 64 pauses of 40 ns, where that was found to do */
#define MAX_DEFAULT 327680u             /* seven times twice as long */
#define YIELD_ATTEMPTS 5u               /* from here on the other may need our CPU */
#define SLEEP_NS 1000000u               /* a wait of so long is slept */

/* 0 in a figure: as the default has it. */
struct figures {
	_Atomic uint32_t attempts, backoff_first, backoff_max, wait_for_committer;
};

struct named {
	struct named *next;             /* set before it is in the list */
	struct figures figures;
	char name[];
};

static struct figures defaults;
static struct figures options;          /* what stm_init() was told, to which the defaults can go back */
static _Atomic(struct named *) list;
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER; /* who adds or changes */

/* ---- rules ---- */

static uint32_t get(const _Atomic uint32_t *figure)
{
	return atomic_load_explicit(figure, memory_order_relaxed); /* it stands alone */
}

static void set(_Atomic uint32_t *figure, uint64_t value)
{
	atomic_store_explicit(figure, value == STM_POLICY_NONE ? NONE : (uint32_t)value, memory_order_relaxed);
}

static void set_all(struct figures *figures, const struct stm_policy *p)
{
	set(&figures->attempts, p->attempts);
	set(&figures->backoff_first, p->backoff_first);
	set(&figures->backoff_max, p->backoff_max);
	set(&figures->wait_for_committer, p->wait_for_committer);
}

static uint32_t choose(const _Atomic uint32_t *own, const _Atomic uint32_t *common)
{
	uint32_t value = get(own);

	return value ? value : get(common);
}

static struct named *find(const char *name)
{
	/* Pairs with the release of who adds. */
	struct named *named = atomic_load_explicit(&list, memory_order_acquire);

	for (; named; named = named->next)
		if (!strcmp(named->name, name))
			return named;
	return NULL;
}

struct stm_rule stm_rule_for(const struct stm_site *site)
{
	const struct named *named = site && site->name ? find(site->name) : NULL;
	const struct figures *own = named ? &named->figures : &defaults;
	struct stm_rule rule = {
		.attempts = choose(&own->attempts, &defaults.attempts),
		.backoff_first = choose(&own->backoff_first, &defaults.backoff_first),
		.backoff_max = choose(&own->backoff_max, &defaults.backoff_max),
		.wait_for_committer = choose(&own->wait_for_committer, &defaults.wait_for_committer),
	};

	if (rule.backoff_first == NONE)
		rule.backoff_first = 0;
	/* One of them is given, the other is the default. */
	if (rule.backoff_max < rule.backoff_first && get(&own->backoff_max))
		rule.backoff_first = rule.backoff_max;
	else if (rule.backoff_max < rule.backoff_first)
		rule.backoff_max = rule.backoff_first;
	if (rule.wait_for_committer == NONE)
		rule.wait_for_committer = 0;
	return rule;
}

/* ---- waiting ---- */

#define PAUSE_DEFAULT (40 << 16)        /* ns, 16 binary places: on the machine where the library was made */

static uint64_t pause_ns = PAUSE_DEFAULT;

/* A pause takes 4 to 140 cycles, by processor; more in a machine that is emulated. */
static void measure_pause(void)
{
	uint64_t shortest = UINT64_MAX;

	for (int round = 0; round < 4; round++) {
		uint64_t began = stm_clock_ns(CLOCK_MONOTONIC), ns;

		for (int i = 0; i < 64; i++)
			__builtin_ia32_pause();
		ns = stm_clock_ns(CLOCK_MONOTONIC) - began;
		shortest = ns < shortest ? ns : shortest;
	}
	pause_ns = shortest && shortest < STM_POLICY_NS_MAX ? (shortest << 16) / 64 : PAUSE_DEFAULT;
}

static void pause_for(uint64_t ns)
{
	for (uint64_t n = (ns << 16) / pause_ns; n; n--)
		__builtin_ia32_pause();
}

static uint32_t draw(struct stm_seg *seg, uint32_t below)
{
	uint32_t random = seg->random;

	random ^= random << 13, random ^= random >> 17, random ^= random << 5; /* Marsaglia, 2003 */
	seg->random = random;
	return below ? random % below : 0;
}

static void wait_a_while(struct stm_seg *seg, const struct stm_rule *rule)
{
	unsigned int doublings = seg->attempt - 1 < 31 ? seg->attempt - 1 : 31;
	uint64_t bound = (uint64_t)rule->backoff_first << doublings;
	uint32_t ns = draw(seg, (uint32_t)(bound < rule->backoff_max ? bound : rule->backoff_max));

	if (ns < SLEEP_NS) {
		pause_for(ns);
		return;
	}
	seg->calls++;
	nanosleep(&(struct timespec){ .tv_sec = ns / STM_POLICY_NS_MAX, .tv_nsec = ns % STM_POLICY_NS_MAX }, NULL);
}

struct stm_seg *stm_find_committer(const struct stm_seg *seg)
{
	struct stm_walk w = stm_walk_from(seg);
	const struct stm_entry *entry;

	if (!stm_find_conflict(seg, &w))
		return NULL;
	/* Its position is not below our published snapshot, so the entry is still there. */
	entry = stm_entry_of(atomic_load_explicit(&w.slot->entry, memory_order_relaxed));
	return stm_global.segments[entry->origin & (STM_ORIGIN_CODES - 1)];
}

#define LOOKS_APART 400u                /* ns: each look takes a line away that the other writes all the time */

/*
 * Until the transaction that it runs now has ended. It is another thread's segment: what is read here is a hint, and
 * the bound is ours alone. False: it runs none.
 */
static bool wait_for_end(struct stm_seg *seg, const struct stm_seg *committer, uint32_t ns_max)
{
	/* Relaxed: of both, any value that was there lately will do. */
	uint32_t version = __atomic_load_n(&committer->version, __ATOMIC_RELAXED);
	uint32_t waited = 0;

	if (atomic_load_explicit(&committer->state, memory_order_relaxed) == STM_IDLE)
		return false;
	while (waited < ns_max && atomic_load_explicit(&committer->state, memory_order_relaxed) != STM_IDLE &&
	       __atomic_load_n(&committer->version, __ATOMIC_RELAXED) == version) {
		if (waited < SLEEP_NS / 20) {
			pause_for(LOOKS_APART);
			waited += LOOKS_APART;
			continue;
		}
		/* It may need our CPU. */
		uint64_t began = stm_clock_ns(CLOCK_MONOTONIC);

		seg->calls++;
		nanosleep(&(struct timespec){ .tv_nsec = SLEEP_NS / 20 }, NULL);
		began = stm_clock_ns(CLOCK_MONOTONIC) - began;
		waited += began > SLEEP_NS / 20 && began < STM_POLICY_NS_MAX ? (uint32_t)began : SLEEP_NS / 20;
	}
	return true;
}

void stm_back_off(struct stm_seg *seg, const struct stm_rule *rule, const struct stm_seg *committer)
{
	if (committer && wait_for_end(seg, committer, rule->wait_for_committer))
		return;
	wait_a_while(seg, rule);
	if (seg->attempt >= YIELD_ATTEMPTS) {
		seg->calls++;
		sched_yield();
	}
}

/* ---- the call ---- */

static bool is_time(uint64_t ns)
{
	return ns <= STM_POLICY_NS_MAX || ns == STM_POLICY_NONE;
}

/* What the caller knows of a policy. False: it asks for what this version does not know, or what cannot be. */
static bool read_policy(struct stm_policy *p, const struct stm_policy *given)
{
	*p = (struct stm_policy)STM_POLICY_INIT;
	if (stm_copy_options(p, sizeof(*p), given))
		return false;
	return p->attempts <= ATTEMPTS_MAX && is_time(p->backoff_first) && p->backoff_max <= STM_POLICY_NS_MAX &&
	       is_time(p->wait_for_committer) &&
	       (!p->backoff_max || p->backoff_first == STM_POLICY_NONE || p->backoff_first <= p->backoff_max);
}

/* Lock held. */
static struct named *find_or_add(const char *name)
{
	struct named *named = find(name);
	size_t len = strlen(name) + 1;

	if (named)
		return named;
	named = calloc(1, sizeof(*named) + len);
	if (!named)
		return NULL;
	memcpy(named->name, name, len);
	named->next = atomic_load_explicit(&list, memory_order_relaxed);
	atomic_store_explicit(&list, named, memory_order_release); /* pairs with find()'s acquire */
	return named;
}

/* What the policy leaves open is as stm_init() was told. */
static void set_defaults(const struct stm_policy *p)
{
	set(&defaults.attempts, p->attempts ? p->attempts : get(&options.attempts));
	set(&defaults.backoff_first, p->backoff_first ? p->backoff_first : get(&options.backoff_first));
	set(&defaults.backoff_max, p->backoff_max ? p->backoff_max : get(&options.backoff_max));
	set(&defaults.wait_for_committer,
	    p->wait_for_committer ? p->wait_for_committer : get(&options.wait_for_committer));
}

int stm_policy(const char *name, const struct stm_policy *policy)
{
	struct named *named;
	struct stm_policy p;
	int error = 0;

	stm_stop_if_forked("stm_policy");
	if (!stm_global.ready)
		return -ENXIO;
	if (!read_policy(&p, policy))
		return -EINVAL;
	pthread_mutex_lock(&lock);
	if (!name) {
		set_defaults(&p);
	} else {
		named = find_or_add(name);
		if (named)
			set_all(&named->figures, &p);
		else
			error = -ENOMEM;
	}
	pthread_mutex_unlock(&lock);
	return error;
}

void stm_policy_open(const struct stm_policy *policy)
{
	struct stm_policy p = *policy;

	if (!p.attempts)
		p.attempts = ATTEMPTS_DEFAULT;
	if (!p.backoff_first)
		p.backoff_first = p.backoff_max && p.backoff_max < FIRST_DEFAULT ? p.backoff_max : FIRST_DEFAULT;
	if (!p.backoff_max)
		p.backoff_max = MAX_DEFAULT;
	if (!p.wait_for_committer)
		p.wait_for_committer = STM_POLICY_NONE;
	set_all(&options, &p);
	set_all(&defaults, &p);
	measure_pause();
}

void stm_policy_close(void)
{
	for (struct named *named = atomic_exchange(&list, NULL), *next; named; named = next) {
		next = named->next;
		free(named);
	}
}
