// SPDX-License-Identifier: MIT
/*
 * uffdstm/queue.hpp - queues and loops of transactions in C++: lambdas as tasks
 *
 *	stm::queue queue;
 *
 *	for (auto &file : files)
 *		queue.add([&queue, &file] { ...; queue.add([...] { ... }); });
 *	queue.run();                            throws what a task threw
 *
 *	stm::parallel_for(0, n, [&](std::size_t i) { ... });
 *	long sum = stm::parallel_reduce(0, n, 0L, [&](std::size_t i, long &sum) { sum += ...; });
 *
 * Included by uffdstm.hpp. A task or a piece of a loop is a transaction, with all rules of stm::atomic(): an
 * exception, or stm_cancel(), undoes it and stops the run, which throws it again, once all workers have ended.
 */
#ifndef UFFDSTM_QUEUE_HPP
#define UFFDSTM_QUEUE_HPP

#include <atomic>
#include <climits>
#include <functional>
#include <mutex>
#include <vector>

#include <uffdstm.hpp>

namespace stm
{

// What a task returns if it has steps: STM_QUEUE_AGAIN of stm_queue(3).
enum class step { done, again };

namespace detail
{

// What tasks threw in a run, each under a code of its own, so that the run tells by its code which one stopped it.
class failures
{
	static constexpr int first = INT_MIN + 1; // INT_MIN is STM_QUEUE_AGAIN

	struct failure {
		std::uintptr_t task;
		std::exception_ptr thrown;
	};

	std::mutex lock;
	std::vector<failure> all;

public:
	// Of this attempt of @task; an earlier one's is of no interest any more. The code to return.
	int keep(std::uintptr_t task, std::exception_ptr thrown)
	{
		std::lock_guard<std::mutex> locked(lock);
		std::size_t i = 0;

		while (i < all.size() && all[i].task != task)
			i++;
		if (i == all.size())
			all.push_back({ task, nullptr });
		all[i].thrown = std::move(thrown);
		return first + static_cast<int>(i);
	}

	// The run is over: throw what stopped it. What does not, and is no error, is returned.
	int end(int code, const char *call)
	{
		std::exception_ptr thrown;
		const unsigned int i = static_cast<unsigned int>(code) - static_cast<unsigned int>(first);

		if (i < all.size())
			thrown = std::move(all[i].thrown);
		all.clear();
		if (thrown)
			std::rethrow_exception(std::move(thrown));
		if (code < 0 && code != -ECANCELED && code != -ETIMEDOUT)
			fail(code, call);
		return code;
	}
};

/*
 * An attempt of @task, called by C code that began the transaction. No object of this frame has a destructor: where
 * it is undone to run again it is left by a jump.
 */
template <class F> int attempt(failures &failed, std::uintptr_t task, F &&f) noexcept
{
	int code = 0;

	stm__unwind(unwind);
	try {
		code = f();
	} catch (const unwinding &) {
	} catch (...) {
		code = failed.keep(task, std::current_exception());
	}
	stm__unwind(nullptr);
	if (__builtin_expect(due.to != nullptr, 0)) {
		jump to = due;

		due.to = nullptr;
		if (!to.code || to.code == STM_QUEUE_AGAIN)
			to.to(to.arg);
		code = failed.keep(task, std::make_exception_ptr(cancelled(to.code)));
	}
	return code;
}

// A task's function object, in ordinary memory, until the task is gone.
struct closure {
	void (*drop)(closure *);
	failures *failed;
	std::uintptr_t task;    // its number in the queue, from 1 on
};

template <class F> struct closure_of : closure {
	F f;

	explicit closure_of(F &&g) : f(std::move(g))
	{
		drop = [](closure *c) { delete static_cast<closure_of *>(c); };
	}
	static int run(void *arg) noexcept
	{
		closure_of *c = static_cast<closure_of *>(static_cast<closure *>(arg));

		return attempt(*c->failed, c->task, [c] {
			if constexpr (std::is_same_v<std::invoke_result_t<F &>, step>)
				return c->f() == step::again ? STM_QUEUE_AGAIN : 0;
			else
				return c->f(), 0;
		});
	}
};

} // namespace detail

/*
 * stm_queue(3), with function objects as tasks. In C++20: stm::queue q({ .ordered = true }). C code may run it, too,
 * cancel it and ask for its figures, but not add to it: get().
 */
class queue
{
	stm_queue *q;
	detail::failures failed;
	std::atomic<std::uintptr_t> added{ 0 };

public:
	// std::bad_alloc. std::system_error: ENXIO, EINVAL.
	explicit queue(stm_queue_options options = {})
	{
		options.size = sizeof(options);
		options.gone = [](stm_fn *, void *arg) {
			detail::closure *c = static_cast<detail::closure *>(arg);

			c->drop(c);
		};
		q = stm_queue_new(&options);
		detail::made(reinterpret_cast<std::uintptr_t>(q), "stm_queue_new");
	}
	// Not while it runs, nor in a transaction. What is left in it is dropped.
	~queue()
	{
		if (stm_queue_free(q))
			std::terminate();
	}
	queue(const queue &) = delete;
	queue &operator=(const queue &) = delete;

	stm_queue *get() const noexcept
	{
		return q;
	}

	/*
	 * Have run() call @f as one transaction; or, if it returns stm::step, as one for each step. In a transaction
	 * the task appears when it commits. @f is destroyed when the task is gone, by any thread, outside transactions
	 * but where the addition is undone: its destructor may use nothing of the library. Any thread, any time.
	 * std::bad_alloc. std::system_error: EINVAL, @priority.
	 */
	template <class F> void add(F f, int priority = 0)
	{
		using closure = detail::closure_of<F>;
		using R = std::invoke_result_t<F &>;
		static_assert(std::is_void_v<R> || std::is_same_v<R, step>, "a task returns nothing, or stm::step");

		stm_task_options options = {};
		closure *c = new closure(std::move(f));

		c->failed = &failed;
		c->task = added.fetch_add(1, std::memory_order_relaxed) + 1;
		options.size = sizeof(options);
		options.priority = priority;
		int error = stm_queue_add_with(q, closure::run, static_cast<detail::closure *>(c), &options);
		if (error)
			delete c;
		detail::stored(error, "stm_queue_add");
	}

	/*
	 * Run all tasks. Throws what the first failed task threw, or stm::cancelled if it called stm_cancel(). 0:
	 * nothing is left; -ECANCELED, -ETIMEDOUT, or a positive number of the progress function's: stopped by that;
	 * what is left stays. std::system_error: EAGAIN, EBUSY, EINVAL, ENXIO: nothing was run.
	 */
	int run(unsigned int threads = 0)
	{
		stm_run_options options = {};

		options.threads = threads;
		return run(options);
	}
	int run(stm_run_options options)
	{
		options.size = sizeof(options);
		return failed.end(stm_queue_run_with(q, &options), "stm_queue_run");
	}
	// Any thread, any time, a task as well. False: it does not run, or stops already.
	bool cancel() noexcept
	{
		return !stm_queue_cancel(q);
	}
	bool stopping() const noexcept
	{
		return stm_queue_stopping(q);
	}
	struct stm_queue_counts counts() const noexcept
	{
		struct stm_queue_counts c = {};

		stm_queue_counts(q, &c);
		return c;
	}
};

// ---- loops ----

namespace detail
{

// Call @f for an index, or for the indices from one to another.
template <class F, class... More> void each(F &f, std::size_t begin, std::size_t end, More &...more)
{
	if constexpr (std::is_invocable_v<F &, std::size_t, std::size_t, More &...>)
		f(begin, end, more...);
	else
		for (std::size_t i = begin; i < end; i++)
			f(i, more...);
}

template <class F> struct loop {
	F &f;
	failures failed;

	static int piece(std::size_t begin, std::size_t end, void *arg) noexcept
	{
		loop *l = static_cast<loop *>(arg);

		return attempt(l->failed, begin, [=] {
			each(l->f, begin, end);
			return 0;
		});
	}
};

template <class T, class F, class G> struct reduction {
	F &f;
	G &g;
	failures failed;
	std::exception_ptr thrown;

	static int piece(std::size_t begin, std::size_t end, void *value, void *arg) noexcept
	{
		reduction *r = static_cast<reduction *>(arg);

		return attempt(r->failed, begin, [=] {
			each(r->f, begin, end, *static_cast<T *>(value));
			return 0;
		});
	}
	static void combine(void *value, const void *next, void *arg) noexcept
	{
		reduction *r = static_cast<reduction *>(arg);
		T &sum = *static_cast<T *>(value);

		try {
			if (!r->thrown)
				sum = r->g(sum, *static_cast<const T *>(next));
		} catch (...) {
			r->thrown = std::current_exception();
		}
	}
};

} // namespace detail

/*
 * Call @f(i) for all i from @begin to @end - 1, or @f(from, to) for the indices from @from to @to - 1: in pieces,
 * each a transaction, by many threads, as stm_parallel_for_with(). Throws, and returns, as stm::queue::run().
 */
template <class F> int parallel_for(std::size_t begin, std::size_t end, F &&f, stm_loop_options options = {})
{
	using loop = detail::loop<std::remove_reference_t<F>>;
	loop l = { f, {} };

	options.size = sizeof(options);
	return l.failed.end(stm_parallel_for_with(begin, end, loop::piece, &l, &options), "stm_parallel_for");
}

// The same, and pieces commit in order: the outcome is that of the sequential loop.
template <class F> int parallel_for_ordered(std::size_t begin, std::size_t end, F &&f, stm_loop_options options = {})
{
	options.ordered = true;
	return parallel_for(begin, end, f, options);
}

/*
 * Make one value of all indices: @f(i, value), or @f(from, to, value), adds them to the value of a piece, which
 * begins as @identity; @g(value, next) combines two, in the order of their indices. As stm_parallel_reduce(). Throws
 * as parallel_for() does; and std::system_error with ETIMEDOUT, or stm::cancelled by the progress function: there is
 * no result.
 */
template <class T, class F, class G = std::plus<T>>
T parallel_reduce(std::size_t begin, std::size_t end, T identity, F &&f, G &&g = G(), stm_loop_options options = {})
{
	static_assert(std::is_trivially_copyable_v<T> && alignof(T) <= 64, "values are copied as bytes");
	using reduction = detail::reduction<T, std::remove_reference_t<F>, std::remove_reference_t<G>>;
	reduction r = { f, g, {}, nullptr };
	stm_reduction how = { sizeof(how), sizeof(T), &identity, reduction::piece, reduction::combine };
	T result = identity;

	options.size = sizeof(options);
	int code = r.failed.end(stm_parallel_reduce(begin, end, &how, &result, &r, &options), "stm_parallel_reduce");
	if (r.thrown)
		std::rethrow_exception(std::move(r.thrown));
	if (code < 0)
		detail::fail(code, "stm_parallel_reduce");
	if (code)
		throw cancelled(code);
	return result;
}

} // namespace stm

#endif
