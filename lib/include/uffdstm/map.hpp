// SPDX-License-Identifier: MIT
/*
 * uffdstm/map.hpp - uffdstm/map.h in C++: hash maps in the heap
 *
 *	auto ages = stm::map<std::uint64_t, int>::make();
 *
 *	ages.put(17, 42);
 *	if (auto age = ages.get(17))
 *		...
 *	for (auto &[key, value] : ages)
 *		...
 *
 * Look-ups are inlined, and do what those of map.h do: how a map is made is told there.
 */
#ifndef UFFDSTM_MAP_HPP
#define UFFDSTM_MAP_HPP

#include <uffdstm.hpp>
#include <uffdstm/map.h>

namespace stm
{

// How keys are told apart: by their bytes, as STM_MAP() of C does it. Those with gaps need functions of their own.
template <class K> struct by_bytes {
	static_assert(std::has_unique_object_representations_v<K>, "keys have gaps: give functions");

	static std::uint64_t hash(const K &key, std::uint64_t seed) noexcept
	{
		return stm_hash(&key, sizeof(K), seed);
	}
	static bool equal(const K &a, const K &b) noexcept
	{
		return !__builtin_memcmp(&a, &b, sizeof(K));
	}
};

namespace detail
{

// struct stm_map_cursor of C
struct map_cursor {
	std::uintptr_t map;
	std::uint64_t bucket, next;
};

extern "C" {
std::uintptr_t stm_map_new(const stm_map_type *type);
void stm_map_free(std::uintptr_t map);
std::size_t stm_map_size(std::uintptr_t map);
std::uintptr_t stm_map_next(map_cursor *cursor);
std::uintptr_t stm__map_add(std::uintptr_t map, const stm_map_type *type, std::uint64_t hash, unsigned int passed);
void stm__map_take_out(std::uintptr_t map, const void *place);
}

// The word of bucket @i, or null: stm__array_at().
STM__INLINE ptr<std::uint64_t> bucket_at(char *here, const stm_array &array, std::uint64_t i) noexcept
{
	const unsigned int level = stm__array_level(i);
	std::uint64_t k = i - stm__array_before(level);
	std::uintptr_t p = array.levels[level];

	if (stm__array_has_chunks(level, STM__MAP_CHUNK) && p) {
		p = reinterpret_cast<const std::uintptr_t *>(here + p)[k >> STM__MAP_CHUNK];
		k &= (std::uint64_t(1) << STM__MAP_CHUNK) - 1;
	}
	return ptr<std::uint64_t>(p ? p + k * sizeof(std::uint64_t) : 0);
}

} // namespace detail

/*
 * The value of C's pointer. For transactions. @By has functions hash(key, seed) and equal(key, key), which must not
 * throw. Calls that need memory throw std::bad_alloc, and have changed nothing then.
 */
template <class K, class V, class By = by_bytes<K>> class map : public detail::handle
{
	static_assert(std::is_trivially_copyable_v<K> && alignof(K) <= STM_GRANULE);
	static_assert(std::is_trivially_copyable_v<V> && alignof(V) <= STM_GRANULE);

public:
	struct entry {
		K key;
		V value;
	};

private:
	struct node {
		stm_map_link link;
		entry e;
	};
	static_assert(sizeof(stm_map_link) == offsetof(node, e), "as in C");

	// By functions: they are C's own business. The library asks for the sizes only.
	static constexpr stm_map_type type = { sizeof(K), sizeof(entry), offsetof(entry, value), sizeof(V), nullptr,
					       nullptr };

	// struct stm__map_place of C
	struct place {
		std::uint64_t hash;
		ptr<std::uint64_t> bucket, link;
		ptr<node> at;
		unsigned int passed;
	};

	STM__INLINE place look(const K &key) const noexcept
	{
		char *const here = detail::segment(); // once: g++ would ask for it each time
		const stm_map &m = *reinterpret_cast<const stm_map *>(here + address);
		place p = { By::hash(key, m.seed), {}, {}, {}, 0 };
		std::uint64_t i = p.hash & m.mask;

		while (!(p.bucket = detail::bucket_at(here, m.buckets, i)) ||
		       !*reinterpret_cast<const std::uint64_t *>(here + p.bucket.value()))
			i ^= std::uint64_t(1) << (63 - __builtin_clzll(i)); // bucket 0 is always there
		p.link = p.bucket;
		p.at = ptr<node>(*p.bucket & STM__MAP_NODE);
		for (; p.at; p.passed++) {
			// Who has read the bucket's word need not read this.
			const node *n = reinterpret_cast<const node *>(here + p.at.value());

			if (n->link.hash == p.hash && By::equal(n->e.key, key))
				break;
			p.link = ptr<std::uint64_t>(p.at.value());
			p.at = ptr<node>(n->link.next);
		}
		return p;
	}
	STM__INLINE static ptr<V> value_of(ptr<node> n) noexcept
	{
		return ptr<V>(n.value() + offsetof(node, e) + offsetof(entry, value));
	}
	STM__INLINE void add(const place &p, const K &key, const V &value) const
	{
		ptr<node> n(detail::stm__map_add(address, &type, p.hash, p.passed));

		if (!n)
			throw std::bad_alloc();
		__builtin_memcpy(static_cast<void *>(&n.local()->e.key), &key, sizeof(K));
		__builtin_memcpy(static_cast<void *>(&n.local()->e.value), &value, sizeof(V));
	}

public:
	using handle::handle;

	static map make()
	{
		return map(detail::made(detail::stm_map_new(&type), "stm_map_new"));
	}
	void free() const
	{
		detail::stm_map_free(address);
	}
	// Exact: conflicts with each insertion and removal.
	std::size_t size() const
	{
		return detail::stm_map_size(address);
	}
	// The value in the heap, until the entry is removed; null: the key is not there.
	STM__INLINE ptr<V> find(const K &key) const noexcept
	{
		ptr<node> n = look(key).at;

		return n ? value_of(n) : ptr<V>();
	}
	STM__INLINE std::optional<V> get(const K &key) const noexcept
	{
		ptr<node> n = look(key).at;

		return n ? std::optional<V>(value_of(n).read()) : std::nullopt;
	}
	STM__INLINE void put(const K &key, const V &value) const
	{
		const place p = look(key);

		if (p.at)
			value_of(p.at).write() = value;
		else
			add(p, key, value);
	}
	// False: it is there already, and stays as it is.
	STM__INLINE bool insert(const K &key, const V &value) const
	{
		const place p = look(key);

		if (!p.at)
			add(p, key, value);
		return !p.at;
	}
	STM__INLINE bool remove(const K &key) const
	{
		const place p = look(key);

		if (p.at)
			detail::stm__map_take_out(address, &p);
		return static_cast<bool>(p.at);
	}

	/*
	 * A walk over all entries, in no order: see struct stm_map_cursor in map.h for what may be changed then.
	 * Entries are in this thread's view, already read.
	 */
	class walk
	{
		friend class map;
		detail::map_cursor cursor;
		ptr<const entry> at;

		explicit walk(std::uintptr_t m) : cursor{ m, 0, 0 }, at(detail::stm_map_next(&cursor))
		{
		}

	public:
		struct last {
		};
		const entry &operator*() const noexcept
		{
			return *at.local();
		}
		const entry *operator->() const noexcept
		{
			return at.local();
		}
		walk &operator++()
		{
			at = ptr<const entry>(detail::stm_map_next(&cursor));
			return *this;
		}
		bool operator!=(last) const noexcept
		{
			return static_cast<bool>(at);
		}
	};
	walk begin() const
	{
		return walk(address);
	}
	typename walk::last end() const
	{
		return {};
	}
};

} // namespace stm

#endif
