// SPDX-License-Identifier: MIT
/*
 * policy_test.c - what a transaction does after a failed attempt: when it gets right of way, how long it backs off, and
 * that it waits for the one that it lost to; by default and by name.
 */
#include <errno.h>
#include <sched.h>
#include <string.h>
#include <time.h>

#include "steps.h"
#include "support.h"

#define MS 1000000u
#define WORDS 512u              /* a page */

/* ---- the library's sleeps ---- */

/*
 * The linker leads its calls of nanosleep(2) through here (--wrap). A wait of a millisecond or more is slept, so what
 * is asked for is seen; and need not be waited for.
 */
static struct {
	_Atomic(struct stm_seg *) of;   /* whose */
	_Atomic bool skip;
	_Atomic uint64_t n, last, most;
	struct stop *release, *await;   /* at the first one */
} sleeps;

int __real_nanosleep(const struct timespec *time, struct timespec *left);
int __wrap_nanosleep(const struct timespec *time, struct timespec *left);

int __wrap_nanosleep(const struct timespec *time, struct timespec *left)
{
	static __thread bool awaits;
	uint64_t ns = (uint64_t)time->tv_sec * 1000 * MS + (uint64_t)time->tv_nsec;

	/* Stops and actors sleep, too, but not between attempts; and who awaits a stop below does. */
	if (awaits || !stm__self || stm__self != atomic_load(&sleeps.of) || stm_in_tx(stm__self) || !stm__self->attempt)
		return __real_nanosleep(time, left);
	atomic_store(&sleeps.last, ns);
	if (ns > atomic_load(&sleeps.most))
		atomic_store(&sleeps.most, ns);
	if (!atomic_fetch_add(&sleeps.n, 1) && sleeps.release) {
		awaits = true;
		stop_release(sleeps.release);
		stop_await(sleeps.await);
		awaits = false;
	}
	return atomic_load(&sleeps.skip) ? 0 : __real_nanosleep(time, left);
}

static void watch_sleeps(struct actor *actor, bool skip)
{
	atomic_store(&sleeps.n, 0);
	atomic_store(&sleeps.last, 0);
	atomic_store(&sleeps.most, 0);
	atomic_store(&sleeps.skip, skip);
	sleeps.release = sleeps.await = NULL;
	atomic_store(&sleeps.of, actor->seg);
}

/* ---- */

FIXTURE(policy) {
	struct actor a, b;
	word_t words;
};

FIXTURE_SETUP(policy)
{
	ASSERT_EQ(0, stm_init(NULL));
	self->words = words_new(8);
	actor_start(&self->a);
	actor_start(&self->b);
}

FIXTURE_TEARDOWN(policy)
{
	atomic_store(&sleeps.of, NULL);
	actor_end(&self->a);
	actor_end(&self->b);
	EXPECT_EQ(0, schedule_failures());
	EXPECT_EQ(0, stm_fini());
	EXPECT_EQ(0, __lsan_do_recoverable_leak_check());
}

static struct stm_policy policy_of(unsigned int attempts, uint64_t first, uint64_t max, uint64_t wait)
{
	struct stm_policy policy = STM_POLICY_INIT;

	policy.attempts = attempts;
	policy.backoff_first = first;
	policy.backoff_max = max;
	policy.wait_for_committer = wait;
	return policy;
}

/* ---- attempts ---- */

enum name { NO_NAME, EAGER, PATIENT };

/* A transaction that fails until it has right of way. */
struct stubborn {
	enum name name;
	unsigned int failed;
};

static int be_stubborn(void *arg)
{
	struct stubborn *stubborn = arg;

	if (stm__self->inevitable == STM_RIGHT_OF_WAY)
		return 0;
	stubborn->failed++;
	return stm_restart();
}

static void stubborn_job(void *arg)
{
	struct stubborn *stubborn = arg;

	switch (stubborn->name) {
	case NO_NAME:
		stm_atomic(be_stubborn, arg);
		break;
	case EAGER:
		stm_atomic_named(be_stubborn, arg, "eager");
		break;
	case PATIENT:
		stm_atomic_named(be_stubborn, arg, "patient");
		break;
	}
}

static unsigned int failures_of(struct actor *actor, enum name name)
{
	struct stubborn stubborn = { .name = name };

	actor_run(actor, stubborn_job, &stubborn);
	return stubborn.failed;
}

TEST_F(policy, right_of_way_after_so_many_attempts)
{
	struct stm_policy one = policy_of(1, 0, 0, 0), twenty = policy_of(20, 0, 0, 0), three = policy_of(3, 0, 0, 0);

	EXPECT_EQ(8, failures_of(&self->a, NO_NAME));
	EXPECT_EQ(8, failures_of(&self->a, EAGER));
	EXPECT_EQ(0, stm_policy("eager", &one));
	EXPECT_EQ(0, stm_policy("patient", &twenty));
	EXPECT_EQ(1, failures_of(&self->a, EAGER));
	EXPECT_EQ(20, failures_of(&self->a, PATIENT));
	EXPECT_EQ(8, failures_of(&self->a, NO_NAME));
	/* For all threads, and for who is attached already. */
	EXPECT_EQ(1, failures_of(&self->b, EAGER));

	/* Another default is for those that have none of their own. */
	EXPECT_EQ(0, stm_policy(NULL, &three));
	EXPECT_EQ(3, failures_of(&self->a, NO_NAME));
	EXPECT_EQ(1, failures_of(&self->a, EAGER));
	EXPECT_EQ(0, stm_policy("eager", NULL));
	EXPECT_EQ(3, failures_of(&self->a, EAGER));
	EXPECT_EQ(20, failures_of(&self->a, PATIENT));
	EXPECT_EQ(0, stm_policy(NULL, NULL));
	EXPECT_EQ(8, failures_of(&self->a, NO_NAME));
	EXPECT_EQ(0, stm_policy("patient", &one));
	EXPECT_EQ(1, failures_of(&self->a, PATIENT));
}

/* With tracked memory, whose pages are marked as read at begin. */
TEST_F(policy, right_of_way_with_tracked_pages)
{
	struct stm_policy one = policy_of(1, 0, 0, 0);
	word_t tracked = tracked_words_new(2);

	EXPECT_EQ(0, stm_policy(NULL, &one));
	for (unsigned int round = 1; round <= 3; round++) {
		struct stop stop = { .reached = 0 };
		struct script victim = SCRIPT(LOAD(tracked), STOP(&stop), STORE(word_at(tracked, 1, 0), round));
		struct script writes = SCRIPT(STORE(tracked, round));
		struct stm_stats stats;

		script_start(&self->a, &victim);
		stop_await(&stop);
		script_run(&self->b, &writes);
		stop_release(&stop);
		actor_wait(&self->a);
		EXPECT_EQ(2, victim.attempts);
		EXPECT_EQ(round, victim.steps[0].value);
		EXPECT_EQ(0, stm_stats(&stats, sizeof(stats)));
		EXPECT_EQ(round, stats.inevitable);
	}
}

/* ---- back-off ---- */

#define ROUNDS 300u
#define FAILURES 7u

struct failing {
	bool named;
	unsigned int failed;
	uint64_t asked[FAILURES];       /* most, after each failure; 0: not slept */
};

static int fail(void *arg)
{
	struct failing *failing = arg;
	unsigned int n = failing->failed;

	if (n && atomic_load(&sleeps.last) > failing->asked[n - 1])
		failing->asked[n - 1] = atomic_load(&sleeps.last);
	atomic_store(&sleeps.last, 0);
	if (n == FAILURES)
		return 0;
	failing->failed++;
	return stm_restart();
}

static void fail_job(void *arg)
{
	struct failing *failing = arg;

	for (unsigned int i = 0; i < ROUNDS; i++) {
		failing->failed = 0;
		atomic_store(&sleeps.last, 0);
		if (failing->named)
			stm_atomic_named(fail, arg, "failing");
		else
			stm_atomic(fail, arg);
	}
}

TEST_F(policy, back_off_doubles_up_to_a_bound)
{
	struct stm_policy policy = policy_of(FAILURES + 1, 20 * MS, 100 * MS, 0);
	const uint64_t bounds[FAILURES] = { 20, 40, 80, 100, 100, 100, 100 };
	struct failing named = { .named = true }, unnamed = { .named = false };

	EXPECT_EQ(0, stm_policy("failing", &policy));
	watch_sleeps(&self->a, true);
	actor_run(&self->a, fail_job, &named);
	for (unsigned int i = 0; i < FAILURES; i++) {
		EXPECT_GT(bounds[i] * MS, named.asked[i]);
		/* By chance, ROUNDS times. */
		EXPECT_LT(bounds[i] * MS * 9 / 10, named.asked[i]);
	}
	/* By default it is too short to be slept. */
	watch_sleeps(&self->a, true);
	actor_run(&self->a, fail_job, &unnamed);
	EXPECT_EQ(0, atomic_load(&sleeps.n));
}

TEST_F(policy, one_bound_is_given)
{
	struct stm_policy first = policy_of(FAILURES + 1, 20 * MS, 0, 0), max = policy_of(FAILURES + 1, 0, 1000, 0),
			  none = policy_of(FAILURES + 1, STM_POLICY_NONE, 0, 0);
	struct failing failing = { .named = true };

	/* The first is more than the default's last. */
	EXPECT_EQ(0, stm_policy("failing", &first));
	watch_sleeps(&self->a, true);
	actor_run(&self->a, fail_job, &failing);
	for (unsigned int i = 0; i < FAILURES; i++) {
		EXPECT_GT(20 * MS, failing.asked[i]);
		EXPECT_LT(18 * MS, failing.asked[i]);
	}
	EXPECT_EQ(0, stm_policy("failing", &max));
	watch_sleeps(&self->a, true);
	actor_run(&self->a, fail_job, &failing);
	EXPECT_EQ(0, atomic_load(&sleeps.n));
	/* All have a wait of 20 ms, but for this one. */
	EXPECT_EQ(0, stm_policy(NULL, &first));
	actor_run(&self->a, fail_job, &failing);
	EXPECT_EQ(0, atomic_load(&sleeps.n));
	EXPECT_EQ(0, stm_policy("failing", &none));
	actor_run(&self->a, fail_job, &failing);
	EXPECT_EQ(0, atomic_load(&sleeps.n));
	EXPECT_EQ(0, stm_policy("failing", NULL));
	actor_run(&self->a, fail_job, &failing);
	EXPECT_LT(0, atomic_load(&sleeps.n));
}

/* ---- waiting for the committer ---- */

/* The first attempt of @victim, which stops once, loses to a commit of b, which is in its next transaction by then. */
static void lose(struct __test_metadata *_metadata, struct _test_data_policy *self, struct script *victim,
		 struct stop *stop, struct script *next, struct stop *in_next, bool skip)
{
	script_start(&self->a, victim);
	stop_await(stop);
	set_word(&self->b, self->words, 7);
	if (next) {
		script_start(&self->b, next);
		stop_await(in_next);
	}
	self->a.seg->random = 0x12345678; /* of a second it would sleep the more part */
	watch_sleeps(&self->a, skip);
	EXPECT_EQ(1, victim->attempts);
}

TEST_F(policy, waits_for_the_next_transaction_to_end)
{
	struct stm_policy wait = policy_of(0, 0, 0, 1000 * MS);
	struct stop stop = { .reached = 0 }, in_next = { .reached = 0 };
	struct script victim = SCRIPT(READ(self->words), STOP(&stop), WRITE(word_at(self->words, 1, 0), 1));
	struct script next = SCRIPT(READ(self->words), STOP(&in_next), WRITE(self->words, 8));

	EXPECT_EQ(0, stm_policy(NULL, &wait));
	lose(_metadata, self, &victim, &stop, &next, &in_next, false);
	stop_release(&stop);
	while (atomic_load(&sleeps.n) < 3)
		sched_yield();
	EXPECT_EQ(1, victim.attempts);
	EXPECT_EQ(STM_IDLE, atomic_load(&self->a.seg->state));
	stop_release(&in_next);
	actor_wait(&self->b);
	actor_wait(&self->a);
	EXPECT_EQ(2, victim.attempts);
	EXPECT_EQ(1, next.attempts);
	/* It came after that one. */
	EXPECT_EQ(8, victim.steps[0].value);
	/* It looked now and then, and did not back off. */
	EXPECT_GT(MS, atomic_load(&sleeps.most));
}

TEST_F(policy, but_not_for_ever)
{
	struct stm_policy wait = policy_of(0, 0, 0, 3 * MS);
	struct stop stop = { .reached = 0 }, in_next = { .reached = 0 };
	struct script victim = SCRIPT(READ(self->words), STOP(&stop), WRITE(word_at(self->words, 1, 0), 1));
	struct script next = SCRIPT(READ(self->words), STOP(&in_next));

	EXPECT_EQ(0, stm_policy(NULL, &wait));
	lose(_metadata, self, &victim, &stop, &next, &in_next, false);
	stop_release(&stop);
	actor_wait(&self->a);
	EXPECT_EQ(2, victim.attempts);
	EXPECT_EQ(7, victim.steps[0].value);
	EXPECT_LE(1, atomic_load(&sleeps.n));
	EXPECT_GE(3 * MS / 50000, atomic_load(&sleeps.n));
	stop_release(&in_next);
	actor_wait(&self->b);
}

struct named_victim {
	bool named;                     /* "waits"; else "does not" */
	struct script *script;
};

static int be_victim(void *arg)
{
	struct script *script = arg;

	__atomic_fetch_add(&script->attempts, 1, __ATOMIC_RELEASE);
	script->steps[0].value = STM_GET(*script->steps[0].word);
	stop_here(script->steps[1].stop);
	STM_SET(*script->steps[2].word, 1);
	return 0;
}

static void victim_job(void *arg)
{
	struct named_victim *victim = arg;

	if (victim->named)
		stm_atomic_named(be_victim, victim->script, "waits");
	else
		stm_atomic_named(be_victim, victim->script, "does not");
}

/* One name has it, another has not. */
TEST_F(policy, waits_by_name)
{
	struct stm_policy wait = policy_of(0, 0, 0, 1000 * MS);

	EXPECT_EQ(0, stm_policy("waits", &wait));
	for (int named = 0; named < 2; named++) {
		struct stop stop = { .reached = 0 }, in_next = { .reached = 0 };
		struct script script = SCRIPT(READ(self->words), STOP(&stop), WRITE(word_at(self->words, 1, 0), 1));
		struct script next = SCRIPT(READ(self->words), STOP(&in_next), WRITE(self->words, 8));
		struct named_victim victim = { named, &script };

		actor_do(&self->a, victim_job, &victim);
		stop_await(&stop);
		set_word(&self->b, self->words, 7);
		script_start(&self->b, &next);
		stop_await(&in_next);
		watch_sleeps(&self->a, false);
		stop_release(&stop);
		if (named) {
			while (atomic_load(&sleeps.n) < 3 && attempts_of(&script) < 2)
				sched_yield();
			EXPECT_EQ(1, attempts_of(&script));
			stop_release(&in_next);
		}
		actor_wait(&self->a);
		EXPECT_EQ(2, script.attempts);
		EXPECT_EQ(named ? 8 : 7, script.steps[0].value);
		EXPECT_TRUE(named || !atomic_load(&sleeps.n));
		stop_release(&in_next);
		actor_wait(&self->b);
	}
}

struct scripts {
	struct script *first, *second;
};

static int read_and_stop(void *arg)
{
	struct script *script = arg;

	(void)STM_GET(*script->steps[0].word);
	stop_here(script->steps[1].stop);
	return 0;
}

static void run_both(void *arg)
{
	struct scripts *scripts = arg;

	stm_atomic(read_and_stop, scripts->first);
	stm_atomic(read_and_stop, scripts->second);
}

/* It waits for one transaction, not for those that follow. */
TEST_F(policy, waits_for_one_transaction)
{
	struct stm_policy wait = policy_of(0, 0, 0, 1000 * MS);
	struct stop stop = { .reached = 0 }, in_next = { .reached = 0 }, in_third = { .reached = 0 };
	struct script victim = SCRIPT(READ(self->words), STOP(&stop), WRITE(word_at(self->words, 1, 0), 1));
	struct script next = SCRIPT(READ(self->words), STOP(&in_next));
	struct script third = SCRIPT(READ(self->words), STOP(&in_third));
	struct scripts both = { &next, &third };

	EXPECT_EQ(0, stm_policy(NULL, &wait));
	script_start(&self->a, &victim);
	stop_await(&stop);
	set_word(&self->b, self->words, 7);
	actor_do(&self->b, run_both, &both);
	stop_await(&in_next);
	watch_sleeps(&self->a, true);
	sleeps.release = &in_next;
	sleeps.await = &in_third;
	stop_release(&stop);
	actor_wait(&self->a);
	EXPECT_EQ(2, victim.attempts);
	EXPECT_EQ(1, atomic_load(&sleeps.n));
	stop_release(&in_third);
	actor_wait(&self->b);
}

/* It runs no transaction: then there is nothing to wait for, but to back off. So does who was not told to wait. */
TEST_F(policy, not_for_who_is_idle)
{
	struct stm_policy wait = policy_of(0, 1000 * MS, 1000 * MS, 1000 * MS);
	struct stm_policy no_wait = policy_of(0, 1000 * MS, 1000 * MS, 0);
	struct stop stop = { .reached = 0 }, in_next = { .reached = 0 }, again = { .reached = 0 };
	struct script victim = SCRIPT(READ(self->words), STOP(&stop), WRITE(word_at(self->words, 1, 0), 1));
	struct script other = SCRIPT(READ(self->words), STOP(&again), WRITE(word_at(self->words, 1, 0), 1));
	struct script next = SCRIPT(READ(self->words), STOP(&in_next));

	EXPECT_EQ(0, stm_policy(NULL, &wait));
	lose(_metadata, self, &victim, &stop, NULL, NULL, true);
	stop_release(&stop);
	actor_wait(&self->a);
	EXPECT_EQ(2, victim.attempts);
	EXPECT_EQ(1, atomic_load(&sleeps.n));
	EXPECT_LT(MS, atomic_load(&sleeps.most));

	EXPECT_EQ(0, stm_policy(NULL, &no_wait));
	lose(_metadata, self, &other, &again, &next, &in_next, true);
	stop_release(&again);
	actor_wait(&self->a);
	EXPECT_EQ(2, other.attempts);
	EXPECT_EQ(1, atomic_load(&sleeps.n));
	EXPECT_LT(MS, atomic_load(&sleeps.most));
	stop_release(&in_next);
	actor_wait(&self->b);
}

/* ---- all end ---- */

struct rival {
	word_t word;
	unsigned int n;
};

static int add_one(void *arg)
{
	struct rival *rival = arg;
	uint64_t value = STM_GET(*rival->word);

	for (int i = 0; i < 20; i++)
		__builtin_ia32_pause();
	STM_SET(*rival->word, value + 1);
	return 0;
}

static void rival_job(void *arg)
{
	struct rival *rival = arg;

	for (unsigned int i = 0; i < rival->n; i++)
		stm_atomic_named(add_one, rival, "rival");
}

TEST_F(policy, nothing_is_lost_under_any)
{
	const struct stm_policy policies[] = {
		policy_of(1, STM_POLICY_NONE, 0, 0),
		policy_of(1000, STM_POLICY_NONE, 0, 0),
		policy_of(0, 0, 0, 1000 * MS),
		policy_of(2, 100, 100, 10000),
		policy_of(0, 0, 0, 0),
	};
	struct rival rival = { .word = self->words, .n = 4000 / strict_divisor() };
	uint64_t sum = 0;

	for (unsigned int i = 0; i < sizeof(policies) / sizeof(policies[0]); i++) {
		EXPECT_EQ(0, stm_policy("rival", &policies[i]));
		actor_do(&self->a, rival_job, &rival);
		actor_do(&self->b, rival_job, &rival);
		actor_wait(&self->a);
		actor_wait(&self->b);
		sum += 2 * rival.n;
		EXPECT_EQ(sum, get_word(&self->a, self->words));
	}
}

/* ---- what cannot be ---- */

TEST(errors)
{
	static const struct stm_policy bad[] = {
		{ sizeof(bad[0]), 1001, 0, 0, 0 },
		{ sizeof(bad[0]), 0, 1000 * MS + 1, 0, 0 },
		{ sizeof(bad[0]), 0, 0, 1000 * MS + 1, 0 },
		{ sizeof(bad[0]), 0, 0, STM_POLICY_NONE, 0 },
		{ sizeof(bad[0]), 0, 2000, 1999, 0 },
		{ sizeof(bad[0]), 0, 0, 0, 1000 * MS + 1 },
		{ sizeof(size_t) - 1, 0, 0, 0, 0 },
	};
	struct {
		struct stm_policy known;
		uint64_t unknown;
	} larger = { { sizeof(larger), 5, 0, 0, 0 }, 0 };
	/* Fields behind the size are not looked at. */
	struct stm_policy smaller = { offsetof(struct stm_policy, backoff_first), 5, 1000 * MS + 1, 0, 0 };
	struct stm_options options;

	EXPECT_EQ(-ENXIO, stm_policy(NULL, NULL));
	for (unsigned int i = 1; i < sizeof(bad) / sizeof(bad[0]) - 1; i++) {
		options = (struct stm_options)STM_OPTIONS_INIT;
		options.backoff_first = bad[i].backoff_first;
		options.backoff_max = bad[i].backoff_max;
		options.wait_for_committer = bad[i].wait_for_committer;
		EXPECT_EQ(-EINVAL, stm_init(&options));
	}
	ASSERT_EQ(0, stm_init(NULL));
	for (unsigned int i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		EXPECT_EQ(-EINVAL, stm_policy("bad", &bad[i]));
		EXPECT_EQ(-EINVAL, stm_policy(NULL, &bad[i]));
	}
	EXPECT_EQ(0, stm_policy("larger", &larger.known));
	larger.unknown = 1;
	EXPECT_EQ(-EINVAL, stm_policy("larger", &larger.known));
	EXPECT_EQ(0, stm_policy("smaller", &smaller));
	EXPECT_EQ(0, stm_fini());
}

/* As options of stm_init(); what stm_policy() was told is gone with stm_fini(). */
TEST(options)
{
	struct stm_options options = STM_OPTIONS_INIT;
	struct stm_policy one = policy_of(1, 0, 0, 0);
	struct failing failing = { .named = false };
	struct actor a;

	options.attempts = 12;
	options.backoff_first = options.backoff_max = 20 * MS;
	ASSERT_EQ(0, stm_init(&options));
	actor_start(&a);
	EXPECT_EQ(12, failures_of(&a, NO_NAME));
	EXPECT_EQ(12, failures_of(&a, EAGER));
	EXPECT_EQ(0, stm_policy("eager", &one));
	EXPECT_EQ(1, failures_of(&a, EAGER));
	EXPECT_EQ(0, stm_policy(NULL, &one));
	EXPECT_EQ(0, stm_policy(NULL, NULL));
	EXPECT_EQ(12, failures_of(&a, NO_NAME));
	watch_sleeps(&a, true);
	actor_run(&a, fail_job, &failing);
	EXPECT_LT(0, atomic_load(&sleeps.n));
	EXPECT_GT(20 * MS, atomic_load(&sleeps.most));
	actor_end(&a);
	EXPECT_EQ(0, stm_fini());
	ASSERT_EQ(0, stm_init(NULL));
	actor_start(&a);
	EXPECT_EQ(8, failures_of(&a, EAGER));
	actor_end(&a);
	EXPECT_EQ(0, stm_fini());
}

TEST_HARNESS_MAIN
