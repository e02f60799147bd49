// SPDX-License-Identifier: MIT
/*
 * order.c - turns: the transactions of an ordered queue commit in the order of their sequence numbers.
 *
 *   1. A task runs whenever a worker takes it. At its end, and before it cancels or becomes inevitable, it waits
 *      until all tasks before it are done, then validates: what it has read is what they left.
 *   2. While it waits it follows the log: what others commit is validated, and applied to its view, as for a
 *      transaction that becomes inevitable. So it holds back fold no longer than one nap, and finds out early that
 *      it is doomed.
 *   3. Nobody may put PENDING into the log before its turn has come: the task whose turn it is could not commit.
 *      So a task that has failed too often waits for its turn before it runs again, and gets right of way then.
 *   4. The turn passes when a task has ended, its commit hooks and what it added included.
 *   5. A sleeper announces itself, then looks at the turn and at `stop`; who changes these looks for sleepers
 *      afterwards. All four are seq_cst.
 */
#include <linux/futex.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include "queue.h"
#include "recorder.h"
#include "strict.h"

#define SPINS 200u                      /* pauses before a nap: a few microseconds */
#define NAP_MIN_NS 500000u              /* the first nap; each is twice as long as the one before it */
#define NAP_MAX_NS 16000000u            /* so long fold may be held back by one that waits */

static bool turn_has_come(const struct stm_turn *turn)
{
	/* Pairs with stm_turn_pass(): whoever passed it has committed. */
	return atomic_load(&turn->order->turn) >= turn->sequence;
}

bool stm_turn_has_come(const struct stm_seg *seg)
{
	return !seg->turn || turn_has_come(seg->turn);
}

static void nap(const struct stm_turn *turn, uint32_t ns)
{
	struct stm_order *order = turn->order;
	_Atomic uint32_t *sleeping = &order->sleeping[turn->sequence % STM_TURNS];

	atomic_store(sleeping, 1);
	if (!turn_has_come(turn) && !atomic_load(order->stop))
		syscall(SYS_futex, sleeping, FUTEX_WAIT_PRIVATE, 1, &(struct timespec){ .tv_nsec = ns }, NULL, 0);
	atomic_store(sleeping, 0);
}

static void wake(_Atomic uint32_t *sleeping)
{
	if (atomic_load(sleeping) && atomic_exchange(sleeping, 0))
		syscall(SYS_futex, sleeping, FUTEX_WAKE_PRIVATE, 1, NULL, NULL, 0);
}

/* Be up to date, as if the transaction had begun just now. False: it is doomed. */
static bool follow(struct stm_seg *seg)
{
	struct stm_walk w = stm_walk_from(seg);

	if (stm_find_conflict(seg, &w))
		return false;
	if (w.position == seg->snapshot || STM_MUTATED(TURN_STAYS))
		return true;
	if (seg->attention & STM_ATTEND_STRICT)
		stm_strict_check(seg);
	stm_follow(seg, &w);
	if (unlikely(seg->strict))
		stm_strict_applied(seg);
	return true;
}

/*
 * In a transaction: wait until nobody is before it, and see that it holds. May restart it; or leave it, if the
 * queue stops.
 */
void stm_turn_wait(struct stm_seg *seg)
{
	struct stm_turn *turn = seg->turn;
	uint32_t ns = NAP_MIN_NS;
	uint64_t since = 0;

	for (unsigned int spins = 0;; spins++) {
		bool come = turn_has_come(turn), doomed;

		/* After the look: what those before it committed is seen. */
		doomed = !follow(seg);
		if (spins && (doomed || come))
			stm_record_since(seg, STM_EVENT_WAIT, since, STM_WAIT_TURN);
		if (doomed)
			stm_tx_restart(seg, STM_ABORT_VALIDATE);
		if (come)
			return;
		if (atomic_load_explicit(turn->order->stop, memory_order_relaxed)) {
			turn->given_up = true;
			stm_tx_leave(seg, STM_QUEUE_AGAIN);
		}
		if (!spins)
			since = stm_record_start(seg);
		if (spins < SPINS) {
			__builtin_ia32_pause();
			continue;
		}
		seg->calls++;
		nap(turn, ns);
		ns = ns < NAP_MAX_NS ? ns * 2 : ns;
	}
}

void stm_turn_begin(struct stm_seg *seg)
{
	if (likely(seg->attempt < seg->attempts_limit) || seg->inevitable)
		return;
	stm_turn_wait(seg);
	stm_tx_right_of_way(seg);
}

void stm_turn_end(struct stm_seg *seg)
{
	struct stm_turn *turn = seg->turn;

	stm_turn_wait(seg);
	if (STM_MUTATED(TURN_EARLY) && atomic_load(&turn->order->turn) == turn->sequence)
		stm_turn_pass(turn->order);
}

void stm_turn_pass(struct stm_order *order)
{
	/* The task's own worker is the only one that writes it. */
	uint64_t next = atomic_load_explicit(&order->turn, memory_order_relaxed) + 1;

	atomic_store(&order->turn, next);
	wake(&order->sleeping[next % STM_TURNS]);
}

void stm_turns_stop(struct stm_order *order)
{
	for (unsigned int i = 0; i < STM_TURNS; i++)
		wake(&order->sleeping[i]);
}
