// SPDX-License-Identifier: MIT
/*
 * uffdstm/counter.hpp - uffdstm/counter.h in C++: numbers that many transactions add to at once
 *
 *	stm::counter hits = stm::counter::make();
 *
 *	hits.add(1);
 */
#ifndef UFFDSTM_COUNTER_HPP
#define UFFDSTM_COUNTER_HPP

#include <uffdstm.hpp>
#include <uffdstm/counter.h>

namespace stm
{

namespace detail
{
extern "C" {
std::uintptr_t stm_counter_new(stm_counter_kind kind);
int stm_counter_init(std::uintptr_t counter, stm_counter_kind kind);
void stm_counter_free(std::uintptr_t counter);
void stm_counter_add(std::uintptr_t counter, long n);
long stm_counter_get(std::uintptr_t counter);
void stm_counter_set(std::uintptr_t counter, long n);
}
} // namespace detail

// The value of C's pointer. For transactions.
class counter : public detail::handle
{
public:
	using handle::handle;

	// std::bad_alloc
	static counter make(stm_counter_kind kind = STM_COUNTER_SUM)
	{
		return counter(detail::made(detail::stm_counter_new(kind), "stm_counter_new"));
	}
	// One that is a part of an object, a struct stm_counter.
	static counter init(ptr<stm_counter> p, stm_counter_kind kind = STM_COUNTER_SUM)
	{
		detail::check(detail::stm_counter_init(p.value(), kind), "stm_counter_init");
		return counter(p.value());
	}
	// What make() made.
	void free() const
	{
		detail::stm_counter_free(address);
	}
	void add(long n) const
	{
		detail::stm_counter_add(address, n);
	}
	long get() const
	{
		return detail::stm_counter_get(address);
	}
	void set(long n) const
	{
		detail::stm_counter_set(address, n);
	}
};

} // namespace stm

#endif
