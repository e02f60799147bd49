// SPDX-License-Identifier: MIT
/*
 * uffdstm/ordered.hpp - uffdstm/ordered.h in C++: a map in the heap whose keys are sorted
 *
 *	auto prices = stm::ordered<std::uint64_t, price>::make();
 *
 *	prices.put(17, { ... });
 *	for (auto [key, value] : prices.from(17))
 *		...
 */
#ifndef UFFDSTM_ORDERED_HPP
#define UFFDSTM_ORDERED_HPP

#include <functional>

#include <uffdstm.hpp>
#include <uffdstm/ordered.h>

namespace stm
{

namespace detail
{
// enum stm_ordered_place and struct stm_ordered_cursor of C
enum class place : unsigned int { first, last, lower, floor, ceiling, higher };

struct ordered_cursor {
	std::uintptr_t map;
	const stm_ordered_type *type;
	std::uintptr_t leaf;
	unsigned int position;
};

extern "C" {
std::uintptr_t stm_ordered_new(const stm_ordered_type *type);
void stm_ordered_free(std::uintptr_t map, const stm_ordered_type *type);
bool stm_ordered_get(std::uintptr_t map, const stm_ordered_type *type, const void *key, void *value);
std::uintptr_t stm_ordered_find(std::uintptr_t map, const stm_ordered_type *type, const void *key);
int stm_ordered_put(std::uintptr_t map, const stm_ordered_type *type, const void *key, const void *value);
bool stm_ordered_remove(std::uintptr_t map, const stm_ordered_type *type, const void *key, void *value);
std::uint64_t stm_ordered_count(std::uintptr_t map, const stm_ordered_type *type);
bool stm_ordered_seek(ordered_cursor *cursor, std::uintptr_t map, const stm_ordered_type *type, place where,
		      const void *key, void *found, void *value);
bool stm_ordered_next(ordered_cursor *cursor, void *found, void *value);
bool stm_ordered_previous(ordered_cursor *cursor, void *found, void *value);
std::uintptr_t stm_ordered_value(const ordered_cursor *cursor);
}
} // namespace detail

/*
 * The value of C's pointer. For transactions. @Less is a function object without state, which must not throw nor use
 * the map. Keys of 8 bytes in their usual order are compared without a call, and as stm_compare_u64() and
 * stm_compare_i64() do.
 */
template <class K, class V, class Less = std::less<K>> class ordered : public detail::handle
{
	static_assert(std::is_trivially_copyable_v<K> && alignof(K) <= STM_GRANULE);
	static_assert(std::is_trivially_copyable_v<V> && alignof(V) <= STM_GRANULE);

	static int compare(const void *a, const void *b) noexcept
	{
		const K &x = *static_cast<const K *>(a), &y = *static_cast<const K *>(b);

		return Less()(x, y) ? -1 : Less()(y, x);
	}
	static constexpr auto compare_keys() -> int (*)(const void *, const void *)
	{
		if constexpr (!std::is_same_v<Less, std::less<K>> || !std::is_integral_v<K> || sizeof(K) != 8)
			return compare;
		else if constexpr (std::is_signed_v<K>)
			return stm_compare_i64;
		else
			return stm_compare_u64;
	}
	static constexpr stm_ordered_type type = { sizeof(K), sizeof(V), compare_keys() };

public:
	using handle::handle;

	// A copy.
	struct entry {
		K key;
		V value;
	};

	/*
	 * An entry of the map: of use in the transaction that found it, until one is put or removed. After the last,
	 * and before the first one, it is at no entry: false.
	 */
	class cursor
	{
		friend class ordered;
		detail::ordered_cursor at;
		detail::room<K> key_at;
		detail::room<V> value_at;
		bool is;

		cursor(std::uintptr_t map, detail::place where, const K *key)
		{
			is = detail::stm_ordered_seek(&at, map, &type, where, key, &key_at, &value_at);
		}

	public:
		explicit operator bool() const noexcept
		{
			return is;
		}
		const K &key() const noexcept
		{
			return key_at.value;
		}
		const V &value() const noexcept
		{
			return value_at.value;
		}
		// The value in the heap.
		ptr<V> in_heap() const
		{
			return ptr<V>(detail::stm_ordered_value(&at));
		}
		void next()
		{
			is = detail::stm_ordered_next(&at, &key_at, &value_at);
		}
		void previous()
		{
			is = detail::stm_ordered_previous(&at, &key_at, &value_at);
		}

		// For range-based loops, from here on to the last one.
		struct last {
		};
		cursor begin() const
		{
			return *this;
		}
		last end() const
		{
			return {};
		}
		entry operator*() const
		{
			return { key(), value() };
		}
		cursor &operator++()
		{
			next();
			return *this;
		}
		bool operator!=(last) const
		{
			return is;
		}
	};

	// std::bad_alloc. std::system_error: EINVAL, keys or values are too large.
	static ordered make()
	{
		return ordered(detail::made(detail::stm_ordered_new(&type), "stm_ordered_new"));
	}
	void free() const
	{
		detail::stm_ordered_free(address, &type);
	}
	std::optional<V> get(const K &key) const
	{
		detail::room<V> value;

		return detail::taken(value, detail::stm_ordered_get(address, &type, &key, &value));
	}
	// The value in the heap, until an entry is put or removed; null: the key is not there.
	ptr<V> find(const K &key) const
	{
		return ptr<V>(detail::stm_ordered_find(address, &type, &key));
	}
	// True: the key is new. std::bad_alloc: the map is as it was.
	bool put(const K &key, const V &value) const
	{
		int result = detail::stm_ordered_put(address, &type, &key, &value);

		if (result < 0)
			detail::stored(result, "stm_ordered_put");
		return result;
	}
	bool remove(const K &key) const
	{
		return detail::stm_ordered_remove(address, &type, &key, nullptr);
	}
	// The value that it had; nothing: it was not there.
	std::optional<V> take(const K &key) const
	{
		detail::room<V> value;

		return detail::taken(value, detail::stm_ordered_remove(address, &type, &key, &value));
	}
	std::uint64_t count() const
	{
		return detail::stm_ordered_count(address, &type);
	}

	cursor first() const
	{
		return cursor(address, detail::place::first, nullptr);
	}
	cursor last() const
	{
		return cursor(address, detail::place::last, nullptr);
	}
	cursor lower(const K &key) const
	{
		return cursor(address, detail::place::lower, &key);
	}
	cursor floor(const K &key) const
	{
		return cursor(address, detail::place::floor, &key);
	}
	cursor ceiling(const K &key) const
	{
		return cursor(address, detail::place::ceiling, &key);
	}
	cursor higher(const K &key) const
	{
		return cursor(address, detail::place::higher, &key);
	}

	// for (auto [key, value] : map), or : map.from(key)
	cursor from(const K &key) const
	{
		return ceiling(key);
	}
	cursor begin() const
	{
		return first();
	}
	typename cursor::last end() const
	{
		return {};
	}
};

} // namespace stm

#endif
