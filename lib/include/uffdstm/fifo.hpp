// SPDX-License-Identifier: MIT
/*
 * uffdstm/fifo.hpp - uffdstm/fifo.h in C++: FIFO and priority queues in the heap
 *
 *	auto jobs = stm::fifo<job>::make(100);  at most 100 of them
 *
 *	jobs.put(j);                            waits while it is full
 *	job next = jobs.get();                  waits while it is empty
 *
 * Who waits does so by stm_retry(): the transaction is undone, and runs again. Deadlines are times of
 * std::chrono::steady_clock.
 */
#ifndef UFFDSTM_FIFO_HPP
#define UFFDSTM_FIFO_HPP

#include <uffdstm.hpp>
#include <uffdstm/fifo.h>

namespace stm
{

namespace detail
{
extern "C" {
std::uintptr_t stm_fifo_new(std::size_t item_size, std::uint64_t limit);
void stm_fifo_free(std::uintptr_t fifo);
int stm_fifo_put(std::uintptr_t fifo, const void *item);
int stm_fifo_put_until(std::uintptr_t fifo, const void *item, const std::timespec *deadline);
int stm_fifo_try_put(std::uintptr_t fifo, const void *item);
int stm_fifo_get(std::uintptr_t fifo, void *item);
int stm_fifo_get_until(std::uintptr_t fifo, void *item, const std::timespec *deadline);
int stm_fifo_try_get(std::uintptr_t fifo, void *item);
int stm_fifo_peek(std::uintptr_t fifo, void *item);
std::uint64_t stm_fifo_length(std::uintptr_t fifo);
std::uintptr_t stm_priority_new(std::size_t item_size, unsigned int levels, std::uint64_t limit);
void stm_priority_free(std::uintptr_t priority);
int stm_priority_put(std::uintptr_t priority, unsigned int level, const void *item);
int stm_priority_put_until(std::uintptr_t priority, unsigned int level, const void *item,
			   const std::timespec *deadline);
int stm_priority_try_put(std::uintptr_t priority, unsigned int level, const void *item);
int stm_priority_get(std::uintptr_t priority, unsigned int *level, void *item);
int stm_priority_get_until(std::uintptr_t priority, unsigned int *level, void *item, const std::timespec *deadline);
int stm_priority_try_get(std::uintptr_t priority, unsigned int *level, void *item);
std::uint64_t stm_priority_length(std::uintptr_t priority);
}

// Whether it was possible; @not_yet: the error that says that it was not.
inline bool possible(int error, int not_yet, const char *call)
{
	if (error && error != not_yet)
		stored(error, call);
	return !error;
}
} // namespace detail

// The value of C's pointer. For transactions. std::bad_alloc; std::system_error: EPERM, inevitable, so it cannot wait.
template <class T> class fifo : public detail::handle
{
	static_assert(std::is_trivially_copyable_v<T>);

public:
	using handle::handle;

	// @limit 0: none
	static fifo make(std::uint64_t limit = 0)
	{
		return fifo(detail::made(detail::stm_fifo_new(sizeof(T), limit), "stm_fifo_new"));
	}
	void free() const
	{
		detail::stm_fifo_free(address);
	}
	void put(const T &item) const
	{
		detail::stored(detail::stm_fifo_put(address, &item), "stm_fifo_put");
	}
	// False: no room at @deadline.
	template <class Time> bool put_until(const T &item, const Time &deadline) const
	{
		const std::timespec at = detail::timespec_of(deadline);

		return detail::possible(detail::stm_fifo_put_until(address, &item, &at), -ETIMEDOUT,
					"stm_fifo_put_until");
	}
	bool try_put(const T &item) const
	{
		return detail::possible(detail::stm_fifo_try_put(address, &item), -EAGAIN, "stm_fifo_try_put");
	}
	T get() const
	{
		detail::room<T> item;

		detail::check(detail::stm_fifo_get(address, &item), "stm_fifo_get");
		return item.value;
	}
	// Nothing: there is none at @deadline.
	template <class Time> std::optional<T> get_until(const Time &deadline) const
	{
		const std::timespec at = detail::timespec_of(deadline);
		detail::room<T> item;

		return taken(item, detail::possible(detail::stm_fifo_get_until(address, &item, &at), -ETIMEDOUT,
						    "stm_fifo_get_until"));
	}
	std::optional<T> try_get() const
	{
		detail::room<T> item;

		return taken(item, detail::possible(detail::stm_fifo_try_get(address, &item), -EAGAIN,
						    "stm_fifo_try_get"));
	}
	std::optional<T> peek() const
	{
		detail::room<T> item;

		return taken(item, detail::possible(detail::stm_fifo_peek(address, &item), -EAGAIN, "stm_fifo_peek"));
	}
	std::uint64_t length() const
	{
		return detail::stm_fifo_length(address);
	}
};

// So many FIFO queues in a row: a get takes from the first one that is not empty. std::system_error: EINVAL, no such
// level.
template <class T> class priority : public detail::handle
{
	static_assert(std::is_trivially_copyable_v<T>);

public:
	using handle::handle;

	// @limit of each level
	static priority make(unsigned int levels, std::uint64_t limit = 0)
	{
		return priority(detail::made(detail::stm_priority_new(sizeof(T), levels, limit), "stm_priority_new"));
	}
	void free() const
	{
		detail::stm_priority_free(address);
	}
	void put(unsigned int level, const T &item) const
	{
		detail::stored(detail::stm_priority_put(address, level, &item), "stm_priority_put");
	}
	template <class Time> bool put_until(unsigned int level, const T &item, const Time &deadline) const
	{
		const std::timespec at = detail::timespec_of(deadline);

		return detail::possible(detail::stm_priority_put_until(address, level, &item, &at), -ETIMEDOUT,
					"stm_priority_put_until");
	}
	bool try_put(unsigned int level, const T &item) const
	{
		return detail::possible(detail::stm_priority_try_put(address, level, &item), -EAGAIN,
					"stm_priority_try_put");
	}
	// @level: where it was
	T get(unsigned int *level = nullptr) const
	{
		detail::room<T> item;

		detail::check(detail::stm_priority_get(address, level, &item), "stm_priority_get");
		return item.value;
	}
	template <class Time> std::optional<T> get_until(const Time &deadline, unsigned int *level = nullptr) const
	{
		const std::timespec at = detail::timespec_of(deadline);
		detail::room<T> item;

		return taken(item, detail::possible(detail::stm_priority_get_until(address, level, &item, &at),
						    -ETIMEDOUT, "stm_priority_get_until"));
	}
	std::optional<T> try_get(unsigned int *level = nullptr) const
	{
		detail::room<T> item;

		return taken(item, detail::possible(detail::stm_priority_try_get(address, level, &item), -EAGAIN,
						    "stm_priority_try_get"));
	}
	std::uint64_t length() const
	{
		return detail::stm_priority_length(address);
	}
};

} // namespace stm

#endif
