// SPDX-License-Identifier: MIT
/*
 * uffdstm/vector.hpp - uffdstm/vector.h in C++: arrays in the heap that grow and shrink at their end
 *
 *	auto points = stm::vector<point>::make();
 *
 *	points.push({ 1, 2 });
 *	points.at(0).write().x = 3;
 */
#ifndef UFFDSTM_VECTOR_HPP
#define UFFDSTM_VECTOR_HPP

#include <uffdstm.hpp>
#include <uffdstm/vector.h>

namespace stm
{

namespace detail
{
extern "C" {
std::uintptr_t stm_vector_new(std::size_t element);
void stm_vector_free(std::uintptr_t vector);
std::size_t stm_vector_size(std::uintptr_t vector);
std::uintptr_t stm_vector_at(std::uintptr_t vector, std::size_t i);
int stm_vector_push(std::uintptr_t vector, const void *element);
bool stm_vector_pop(std::uintptr_t vector, void *element);
int stm_vector_resize(std::uintptr_t vector, std::size_t size);
}
} // namespace detail

// The value of C's pointer. For transactions. Calls that need memory throw std::bad_alloc, and have changed nothing
// then.
template <class T> class vector : public detail::handle
{
	static_assert(std::is_trivially_copyable_v<T> && alignof(T) <= STM_GRANULE);

public:
	using handle::handle;

	static vector make()
	{
		return vector(detail::made(detail::stm_vector_new(sizeof(T)), "stm_vector_new"));
	}
	void free() const
	{
		detail::stm_vector_free(address);
	}
	std::size_t size() const
	{
		return detail::stm_vector_size(address);
	}
	// Element @i, while it is in the vector; null: there is none.
	ptr<T> at(std::size_t i) const
	{
		return ptr<T>(detail::stm_vector_at(address, i));
	}
	std::optional<T> get(std::size_t i) const
	{
		ptr<T> p = at(i);

		return p ? std::optional<T>(*p) : std::nullopt;
	}
	// False: there is none.
	bool set(std::size_t i, const T &element) const
	{
		ptr<T> p = at(i);

		if (p)
			p.write() = element;
		return static_cast<bool>(p);
	}
	void push(const T &element) const
	{
		detail::stored(detail::stm_vector_push(address, &element), "stm_vector_push");
	}
	std::optional<T> pop() const
	{
		detail::room<T> r;

		return detail::stm_vector_pop(address, &r) ? std::optional<T>(r.value) : std::nullopt;
	}
	// New elements are zero bytes.
	void resize(std::size_t n) const
	{
		detail::stored(detail::stm_vector_resize(address, n), "stm_vector_resize");
	}
};

} // namespace stm

#endif
