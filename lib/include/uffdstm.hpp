// SPDX-License-Identifier: MIT
/*
 * uffdstm.hpp - libuffdstm for C++17, with g++ or clang++
 *
 *	struct account { long balance; };
 *
 *	stm::ptr<account> a = ..., b = ...;
 *
 *	long left = stm::atomic([&] {
 *		if (a->balance < 10)
 *			throw std::runtime_error("no money");   // undone; the caller gets it
 *		a.write().balance -= 10;
 *		b.write().balance += 10;
 *		return a->balance;
 *	});
 *
 * The caveats of uffdstm.h hold. A heap may be shared with C code: stm::ptr<T> is the 64-bit value that C's
 * "T STM *" is. No special compiler flags are needed for what uses this header only.
 *
 * References    What read() and write(), * and -> and [] give are ordinary references into the running thread's
 *               view: of use until its transaction ends, in this thread. What a reference that was read refers to changes
 *               with later writes of the same transaction. Savepoints, and what is nested as they are, need a new write().
 * Exceptions    One that leaves stm::atomic's function undoes the transaction and passes on; from an inevitable one it
 *               passes on, but the transaction commits.
 * Destructors   They run whenever the transaction's code is left, also to run it again. The calls of uffdstm.h that C leaves
 *               by a jump (stm_restart, stm_cancel, stm_validate, stm_become_inevitable, ...), and those here that allocate or free,
 *               leave by an exception of the library's own: "catch (...)" must rethrow it, and destructors and noexcept
 *               functions must not call them. Barriers never throw. In a transaction that C code began (STM_ATOMIC),
 *               or an stm_or_else() of C, all is as in C: the jump runs no destructor, and no exception may leave it.
 * stm_cancel    stm::atomic then throws stm::cancelled.
 */
#ifndef UFFDSTM_HPP
#define UFFDSTM_HPP

#include <cerrno>
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <ctime>
#include <exception>
#include <new>
#include <optional>
#include <system_error>
#include <type_traits>
#include <utility>

#include <uffdstm.h>
#include <uffdstm/barrier.hpp>

namespace stm
{

namespace detail
{

// STM pointers are plain numbers here.
extern "C" {
std::uintptr_t stm_root(unsigned int index);
std::uintptr_t stm_alloc(std::size_t size);
std::uintptr_t stm_zalloc(std::size_t size);
void stm_free(std::uintptr_t p);
int stm_label(std::uintptr_t p, std::size_t len, const char *name);
}

[[noreturn]] inline void fail(int error, const char *what)
{
	throw std::system_error(error < 0 ? -error : error, std::generic_category(), what);
}

inline void check(int result, const char *what)
{
	if (result)
		fail(result, what);
}

} // namespace detail

// ---- pointers ----

/*
 * A pointer into the heap. T is trivially copyable, aligned to 16 bytes at most; it may be incomplete where
 * only the pointer is used. Operators read; to write, say write().
 */
template <class T> class ptr
{
	std::uintptr_t address;

	template <class U> static constexpr void check_type()
	{
		static_assert(std::is_trivially_copyable_v<U>, "the heap holds trivially copyable types");
		static_assert(alignof(U) <= STM_GRANULE, "the heap's blocks are aligned to 16 bytes");
	}

public:
	constexpr ptr(std::nullptr_t = nullptr) noexcept : address(0)
	{
	}
	// From and to the value of C's pointer.
	constexpr explicit ptr(std::uintptr_t value) noexcept : address(value)
	{
	}
	constexpr std::uintptr_t value() const noexcept
	{
		return address;
	}
	constexpr explicit operator bool() const noexcept
	{
		return address != 0;
	}
	// As static_cast does it from void *: the caller knows what is there.
	template <class U> constexpr explicit operator ptr<U>() const noexcept
	{
		return ptr<U>(address);
	}

	// An ordinary pointer to it in the calling thread's view, without a barrier.
	STM__INLINE T *local() const noexcept
	{
		return reinterpret_cast<T *>(detail::segment() + address);
	}

	// The whole object, after its barrier; or the i-th of an array.
	STM__INLINE const T &read() const noexcept
	{
		check_type<T>();
		detail::read_barrier<sizeof(T), alignof(T)>(address);
		return *local();
	}
	STM__INLINE T &write() const noexcept
	{
		check_type<T>();
		static_assert(!std::is_const_v<T>, "to const");
		detail::write_barrier<sizeof(T), alignof(T)>(address);
		return *local();
	}
	STM__INLINE const T &read(std::ptrdiff_t i) const noexcept
	{
		return (*this + i).read();
	}
	STM__INLINE T &write(std::ptrdiff_t i) const noexcept
	{
		return (*this + i).write();
	}

	// One member: p.write(&account::balance) += 10. Others' writes to other members are no conflict, but by granule.
	template <class M, class C> STM__INLINE const M &read(M C::*member) const noexcept
	{
		return at(member).read();
	}
	template <class M, class C> STM__INLINE M &write(M C::*member) const noexcept
	{
		return at(member).write();
	}
	template <class M, class C> STM__INLINE ptr<M> at(M C::*member) const noexcept
	{
		check_type<T>();
		return ptr<M>(address + (reinterpret_cast<char *>(&(local()->*member)) - reinterpret_cast<char *>(local())));
	}

	// @n objects from here on; n may be 0.
	STM__INLINE const T *read_array(std::size_t n) const noexcept
	{
		check_type<T>();
		if (n)
			detail::stm__read_range(address, n * sizeof(T));
		return local();
	}
	STM__INLINE T *write_array(std::size_t n) const noexcept
	{
		check_type<T>();
		static_assert(!std::is_const_v<T>, "to const");
		if (n)
			detail::stm__write_range(address, n * sizeof(T));
		return local();
	}

	STM__INLINE const T &operator*() const noexcept
	{
		return read();
	}
	STM__INLINE const T *operator->() const noexcept
	{
		return &read();
	}
	STM__INLINE const T &operator[](std::ptrdiff_t i) const noexcept
	{
		return read(i);
	}

	constexpr ptr operator+(std::ptrdiff_t n) const noexcept
	{
		return ptr(address + n * sizeof(T));
	}
	constexpr ptr operator-(std::ptrdiff_t n) const noexcept
	{
		return *this + -n;
	}
	constexpr std::ptrdiff_t operator-(ptr other) const noexcept
	{
		return static_cast<std::ptrdiff_t>(address - other.address) / static_cast<std::ptrdiff_t>(sizeof(T));
	}
	constexpr ptr &operator++() noexcept
	{
		return *this = *this + 1;
	}
	friend constexpr bool operator==(ptr a, ptr b) noexcept
	{
		return a.address == b.address;
	}
	friend constexpr bool operator!=(ptr a, ptr b) noexcept
	{
		return a.address != b.address;
	}
	friend constexpr bool operator<(ptr a, ptr b) noexcept
	{
		return a.address < b.address;
	}
};

// ---- heap memory: in a transaction only, but for root() ----

// A new object, made of @args. std::bad_alloc: the heap is full.
template <class T, class... Args> ptr<T> alloc(Args &&...args)
{
	auto make = [&]() -> T {
		if constexpr (std::is_constructible_v<T, Args...>)
			return T(std::forward<Args>(args)...);
		else
			return T{ std::forward<Args>(args)... };
	};
	const T object = make(); // may throw
	ptr<T> p(detail::stm_alloc(sizeof(T)));

	if (!p)
		throw std::bad_alloc();
	::new (static_cast<void *>(&p.write())) T(object);
	return p;
}

// @n objects of zero bytes. std::bad_alloc: the heap is full.
template <class T> ptr<T> alloc_array(std::size_t n)
{
	static_assert(std::is_trivially_copyable_v<T> && alignof(T) <= STM_GRANULE);
	std::size_t size;
	ptr<T> p;

	if (!__builtin_mul_overflow(n, sizeof(T), &size))
		p = ptr<T>(detail::stm_zalloc(size));
	if (!p)
		throw std::bad_alloc();
	return p;
}

// When this transaction commits. A null pointer is fine.
template <class T> void free(ptr<T> p)
{
	detail::stm_free(p.value());
}

// Root slot @index, where C code finds the same pointer. std::system_error: EINVAL, ENXIO, as stm_root().
template <class T> ptr<ptr<T>> root(unsigned int index)
{
	std::uintptr_t slot = detail::stm_root(index);

	if (!slot)
		detail::fail(errno, "stm_root");
	return ptr<ptr<T>>(slot);
}

namespace detail
{

// What stands for a collection: the value of C's pointer to it. It may itself stand in the heap.
class handle
{
protected:
	std::uintptr_t address;

public:
	constexpr handle() noexcept : address(0)
	{
	}
	constexpr explicit handle(std::uintptr_t value) noexcept : address(value)
	{
	}
	constexpr std::uintptr_t value() const noexcept
	{
		return address;
	}
	constexpr explicit operator bool() const noexcept
	{
		return address != 0;
	}
	friend constexpr bool operator==(handle a, handle b) noexcept
	{
		return a.address == b.address;
	}
	friend constexpr bool operator!=(handle a, handle b) noexcept
	{
		return a.address != b.address;
	}
};

// What is copied out by the library.
template <class T> union room {
	static_assert(std::is_trivially_copyable_v<T> && alignof(T) <= STM_GRANULE, "the heap cannot hold it");
	char nothing;
	T value;

	room() noexcept : nothing(0)
	{
	}
};

template <class T> std::optional<T> taken(const room<T> &item, bool is)
{
	return is ? std::optional<T>(item.value) : std::nullopt;
}

inline std::uintptr_t made(std::uintptr_t p, const char *call)
{
	if (!p && errno == ENOMEM)
		throw std::bad_alloc();
	if (!p)
		fail(errno, call);
	return p;
}

inline void stored(int error, const char *call)
{
	if (error == -ENOMEM)
		throw std::bad_alloc();
	check(error, call);
}

} // namespace detail

// The same for a collection, such as stm::map<K, V>.
template <class H> ptr<H> root_of(unsigned int index)
{
	static_assert(std::is_base_of_v<detail::handle, H> && sizeof(H) == sizeof(detail::handle));
	return static_cast<ptr<H>>(root<char>(index));
}

// stm_label() of @n objects.
template <class T> int label(ptr<T> p, std::size_t n, const char *name)
{
	return detail::stm_label(p.value(), n * sizeof(T), name);
}

// ---- transactions ----

// What stm::atomic throws after stm_cancel(@code).
struct cancelled : std::exception {
	int code;

	explicit cancelled(int c) noexcept : code(c)
	{
	}
	const char *what() const noexcept override
	{
		return "transaction cancelled";
	}
};

namespace detail
{

// Thrown where C code would be left by a jump. Where it goes, stays here until it has been caught: if somebody keeps
// it, the transaction is left at its end.
struct unwinding {
};
struct jump {
	void (*to)(std::uint64_t arg);
	std::uint64_t arg;
	int code;               // what the transaction is cancelled with, or 0
	bool alternative;       // to the second function of the innermost or_else()
};
inline thread_local jump due = { nullptr, 0, 0, false };

inline void unwind(void (*to)(std::uint64_t arg), std::uint64_t arg, int code)
{
	due = { to, arg, code, false };
	throw unwinding();
}

inline void unwind_first(void (*to)(std::uint64_t arg), std::uint64_t arg, int code)
{
	due = { to, arg, code, true };
	throw unwinding();
}

// A lambda is one place of the program; other functions are known by who called first.
template <class F, stm_unwind_fn *unwinds = unwind>
const stm_site *site_of(const char *file, const char *function, unsigned int line, const char *name)
{
	static const stm_site site = { file, function, line, name, unwinds };

	return &site;
}

// What a function returns, until the transaction has committed.
template <class R> struct result {
	std::optional<R> value;

	template <class F> void run(F &f)
	{
		value.reset(); // of an attempt that failed
		value.emplace(f());
	}
	R take()
	{
		return std::move(*value);
	}
};
template <class R> struct result<R &> {
	R *value;

	template <class F> void run(F &f)
	{
		value = &f();
	}
	R &take()
	{
		return *value;
	}
};
template <> struct result<void> {
	template <class F> void run(F &f)
	{
		f();
	}
	void take()
	{
	}
};

// What calls a function of the program's: C code, which no exception may cross.
enum class part { outermost, nested, first };

template <class F, class R, part what> struct call {
	F &f;
	result<R> returned;
	std::exception_ptr thrown;
	bool done;

	// An attempt. No object of this frame has a destructor: commit leaves it by a jump.
	static int run(void *arg) noexcept
	{
		call *c = static_cast<call *>(arg);

		try {
			c->returned.run(c->f);
		} catch (const unwinding &) {
		} catch (...) {
			c->thrown = std::current_exception();
		}
		if (__builtin_expect(due.to != nullptr, 0)) {
			jump to = due;

			c->thrown = nullptr;
			if (what == part::nested || (what == part::first && !to.alternative))
				return -ECANCELED; // there are more frames to leave: see go_on()
			due.to = nullptr;
			to.to(to.arg);
		}
		c->done = !c->thrown;
		return c->thrown ? -ECANCELED : 0;
	}
};

// Behind the C code: what left a function passes on.
inline void go_on(int code, std::exception_ptr thrown, const char *call)
{
	if (__builtin_expect(!code, 1))
		return;
	if (due.to)
		throw unwinding();
	if (thrown)
		std::rethrow_exception(std::move(thrown));
	fail(code, call);
}

template <class F> std::invoke_result_t<F &> run(const stm_site *site, F &f)
{
	call<F, std::invoke_result_t<F &>, part::outermost> c = { f, {}, nullptr, false };
	int code = stm__atomic(site, c.run, &c);

	if (__builtin_expect(code, 0)) {
		if (c.thrown)
			std::rethrow_exception(std::move(c.thrown));
		throw cancelled(code);
	}
	return c.returned.take();
}

} // namespace detail

/*
 * Run @f as one transaction, again and again until it commits, and return what it returned. Inside a transaction it
 * is a plain call (flat nesting). The thread must be attached.
 */
template <class F>
std::invoke_result_t<F &> atomic(F &&f, const char *file = __builtin_FILE(), const char *function = __builtin_FUNCTION(),
				 unsigned int line = __builtin_LINE())
{
	if (stm_in_transaction())
		return f();
	return detail::run(detail::site_of<std::remove_reference_t<F>>(file, function, line, nullptr), f);
}

// The same, counted under @name, a constant string: see stm_atomic_named().
template <class F>
std::invoke_result_t<F &> atomic(const char *name, F &&f, const char *file = __builtin_FILE(),
				 const char *function = __builtin_FUNCTION(), unsigned int line = __builtin_LINE())
{
	if (stm_in_transaction())
		return f();
	return detail::run(stm__named(detail::site_of<std::remove_reference_t<F>>(file, function, line, name)), f);
}

// ---- parts of a transaction ----

/*
 * Run @f as a part of this transaction that may be undone alone: an exception that leaves it undoes what @f did, and
 * nothing else, and passes on. Outside a transaction it is stm::atomic(). As stm_atomic_nested(). std::system_error:
 * ENOMEM.
 */
template <class F>
std::invoke_result_t<F &> nested(F &&f, const char *file = __builtin_FILE(),
				 const char *function = __builtin_FUNCTION(), unsigned int line = __builtin_LINE())
{
	using G = std::remove_reference_t<F>;

	if (!stm_in_transaction())
		return atomic(f, file, function, line);
	detail::call<G, std::invoke_result_t<F &>, detail::part::nested> c = { f, {}, nullptr, false };
	int code = stm__atomic_nested(detail::site_of<G>(file, function, line, nullptr), c.run, &c);

	detail::go_on(code, std::move(c.thrown), "stm_atomic_nested");
	return c.returned.take();
}

/*
 * Run @f; if that calls stm_retry(), undo what it did and run @g instead: as stm_or_else(). What the one returned
 * that came to its end; @g's result becomes what @f returns. @g may be another or_else(). An exception of either
 * undoes what that one did, and passes on. Outside a transaction it is one of its own. std::system_error: ENOMEM.
 */
template <class F, class G>
std::invoke_result_t<F &> or_else(F &&f, G &&g, const char *file = __builtin_FILE(),
				  const char *function = __builtin_FUNCTION(), unsigned int line = __builtin_LINE())
{
	using R = std::invoke_result_t<F &>;
	using first = std::remove_reference_t<F>;
	using second = std::remove_reference_t<G>;

	if (!stm_in_transaction())
		return atomic([&]() -> R { return or_else(f, g, file, function, line); }, file, function, line);
	detail::call<first, R, detail::part::first> a = { f, {}, nullptr, false };
	detail::call<second, R, detail::part::nested> b = { g, {}, nullptr, false };
	const stm_site *site = detail::site_of<first, detail::unwind_first>(file, function, line, nullptr);
	int code = stm__or_else(site, a.run, &a, b.run, &b);

	detail::go_on(code, std::move(a.thrown ? a.thrown : b.thrown), "stm_or_else");
	return a.done ? a.returned.take() : b.returned.take();
}

// A place in this transaction to go back to, for as long as the object lives. std::system_error, as stm_savepoint().
class savepoint
{
	int number;

public:
	savepoint() : number(stm_savepoint())
	{
		if (number < 0)
			detail::fail(number, "stm_savepoint");
	}
	~savepoint()
	{
		stm_release(number);
	}
	savepoint(const savepoint &) = delete;
	savepoint &operator=(const savepoint &) = delete;

	// Undo all since then. The place stays; later ones are gone.
	void rollback()
	{
		detail::check(stm_rollback(number), "stm_rollback");
	}
};

// Undo the transaction, and run it again once a commit touches what it has read: stm_retry(). std::system_error: EPERM.
[[noreturn]] inline void retry()
{
	detail::fail(stm_retry(), "stm_retry");
}

// Or when @deadline, of CLOCK_MONOTONIC, passes: returns if it has passed. std::system_error: EPERM, EINVAL.
inline void retry_until(const std::timespec &deadline)
{
	int error = stm_retry_until(&deadline);

	if (error != -ETIMEDOUT)
		detail::fail(error, "stm_retry_until");
}

namespace detail
{

// A time of std::chrono::steady_clock, which is CLOCK_MONOTONIC. The header of these is left to who uses them.
template <class T> std::timespec timespec_of(const T &time)
{
	static_assert(T::clock::is_steady, "a time of std::chrono::steady_clock");
	using period = typename T::duration::period;
	const auto count = time.time_since_epoch().count();
	const auto seconds = static_cast<std::time_t>(count * period::num / period::den);
	const auto rest = count - seconds * period::den / period::num;

	return { seconds, static_cast<long>(rest * period::num * 1000000000 / period::den) };
}

} // namespace detail

template <class T> auto retry_until(const T &deadline) -> decltype(void(deadline.time_since_epoch()))
{
	retry_until(detail::timespec_of(deadline));
}

namespace detail
{

// A hook's function object, in memory from stm_malloc(): an abort frees it, after the hooks.
template <class F> struct hook {
	static void run(void *p) noexcept
	{
		(*static_cast<F *>(p))();
	}
	static void drop(void *p) noexcept
	{
		static_cast<F *>(p)->~F();
	}
	static void run_and_drop(void *p) noexcept
	{
		run(p);
		drop(p);
	}
	static void run_and_free(void *p) noexcept
	{
		run_and_drop(p);
		std::free(p);
	}
	static void drop_and_free(void *p) noexcept
	{
		drop(p);
		std::free(p);
	}

	static void add(F &&f, void (*committed)(void *p), void (*aborted)(void *p), const char *call)
	{
		static_assert(alignof(F) <= alignof(std::max_align_t));
		if (!stm_in_transaction())
			fail(EPERM, call);

		void *p = stm_malloc(sizeof(F));
		if (!p)
			throw std::bad_alloc();
		::new (p) F(std::move(f));
		check(stm_on_abort(aborted, p), call);
		check(stm_on_commit(committed, p), call);
	}
};

} // namespace detail

/*
 * Call @f once this transaction has committed; each time an attempt of it is undone: as stm_on_commit(),
 * stm_on_abort(). @f must not throw. std::system_error: EPERM, not in a transaction; ENOMEM. std::bad_alloc.
 */
template <class F> void on_commit(F f)
{
	using hook = detail::hook<F>;

	hook::add(std::move(f), hook::run_and_free, hook::drop, "stm_on_commit");
}
template <class F> void on_abort(F f)
{
	using hook = detail::hook<F>;

	hook::add(std::move(f), hook::drop_and_free, hook::run_and_drop, "stm_on_abort");
}

// Remember an ordinary variable, and put its value back if this attempt aborts. std::system_error, as stm_save().
template <class T> void save(T &variable)
{
	static_assert(std::is_trivially_copyable_v<T>);
	detail::check(stm_save(&variable, sizeof(variable)), "stm_save");
}

// ---- the library ----

// stm_init(); std::system_error if it fails.
inline void init(const stm_options *options = nullptr)
{
	detail::check(stm_init(options), "stm_init");
}

// Attaches the thread, if it is not; detaches it at the end of the scope, if so. std::system_error, as
// stm_thread_attach().
class thread_scope
{
	bool attached;

public:
	thread_scope()
	{
		int error = stm_thread_attach();

		attached = !error;
		if (error != -EALREADY)
			detail::check(error, "stm_thread_attach");
	}
	~thread_scope()
	{
		if (attached)
			stm_thread_detach();
	}
	thread_scope(const thread_scope &) = delete;
	thread_scope &operator=(const thread_scope &) = delete;
};

} // namespace stm

#include <uffdstm/queue.hpp>

#endif
