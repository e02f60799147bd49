// SPDX-License-Identifier: MIT
/*
 * uffdstm/barrier.hpp - barriers in C++: those of uffdstm/barrier.h, for addresses that are plain numbers. For
 * uffdstm.hpp.
 */
#ifndef UFFDSTM_BARRIER_HPP
#define UFFDSTM_BARRIER_HPP

#include <cstddef>
#include <cstdint>

#include <uffdstm/layout.h>

namespace stm
{

namespace detail
{

extern "C" {
void stm__read_range(std::uintptr_t a, std::size_t len) noexcept;
void stm__write_range(std::uintptr_t a, std::size_t len) noexcept;
void stm__check_read(std::uintptr_t a, std::size_t len) noexcept;
void stm__check_write(std::uintptr_t a, std::size_t len) noexcept;
}

#define STM__INLINE [[gnu::always_inline]] inline

struct marker1 {
	std::uint32_t version;
};
struct [[gnu::packed, gnu::aligned(4)]] marker2 {
	std::uint64_t version;
};

/*
 * The start of the running segment. g++ moves what it believes cannot fault out of loops, ahead of the condition that
 * it depends on, where the thread may not be attached: an operand in memory keeps it where it is.
 */
STM__INLINE char *segment() noexcept
{
	char *start;

#ifdef __clang__
	__asm__("movq %%gs:%c1, %0" : "=r"(start) : "i"(STM_HOT + offsetof(stm_hot, segment)));
#else
	__asm__("movq %%gs:%c1, %0"
		: "=r"(start)
		: "i"(STM_HOT + offsetof(stm_hot, segment)), "m"(reinterpret_cast<const stm_hot *>(STM_HOT)->segment));
#endif
	return start;
}

STM__INLINE std::uint64_t version(const char *start) noexcept
{
	return reinterpret_cast<const stm_hot *>(start + STM_HOT)->version;
}

constexpr std::uintptr_t marker(std::uintptr_t a)
{
	return a >> 4 << 2;
}

STM__INLINE void set1(char *start, std::uintptr_t m) noexcept
{
	reinterpret_cast<marker1 *>(start + m)->version = static_cast<std::uint32_t>(version(start));
}

STM__INLINE void set2(char *start, std::uintptr_t m) noexcept
{
	reinterpret_cast<marker2 *>(start + m)->version = version(start);
}

STM__INLINE bool is1(const char *start, std::uintptr_t m) noexcept
{
	return reinterpret_cast<const marker1 *>(start + STM_WRITE_MARKERS + m)->version ==
	       static_cast<std::uint32_t>(version(start));
}

STM__INLINE bool is2(const char *start, std::uintptr_t m) noexcept
{
	return reinterpret_cast<const marker2 *>(start + STM_WRITE_MARKERS + m)->version == version(start);
}

template <std::size_t len, std::size_t align> STM__INLINE void read_barrier(std::uintptr_t a) noexcept
{
#ifdef STM_DEBUG
	stm__check_read(a, len);
#endif
	char *start = segment();
	const std::uintptr_t m = marker(a);

	if (reinterpret_cast<const stm_hot *>(start + STM_HOT)->unmarked)
		return;
	if constexpr (len <= align && len <= STM_GRANULE) {
		set1(start, m);
	} else if constexpr (align >= STM_GRANULE && len <= 64) {
		if constexpr (len > 16)
			set2(start, m);
		else
			set1(start, m);
		if constexpr (len > 48)
			set2(start, m + 8);
		else if constexpr (len > 32)
			set1(start, m + 8);
	} else if constexpr (len <= 17) {
		set1(start, m);
		set1(start, marker(a + len - 1));
	} else {
		stm__read_range(a, len);
	}
}

template <std::size_t len, std::size_t align> STM__INLINE void write_barrier(std::uintptr_t a) noexcept
{
#ifdef STM_DEBUG
	stm__check_write(a, len);
#endif
	const char *start = segment();
	const std::uintptr_t m = marker(a);
	bool logged;

	if constexpr (len > (align >= STM_GRANULE ? 64 : 17)) {
		stm__write_range(a, len);
		return;
	}
	if constexpr (len <= STM_GRANULE && (len <= align || align >= STM_GRANULE))
		logged = is1(start, m);
	else if constexpr (align >= STM_GRANULE && len <= 32)
		logged = is2(start, m);
	else if constexpr (align >= STM_GRANULE)
		logged = is2(start, m) && (len > 48 ? is2(start, m + 8) : is1(start, m + 8));
	else
		logged = is1(start, m) && is1(start, marker(a + len - 1));
	if (__builtin_expect(!logged, 0)) {
		using slow = void(std::uintptr_t, std::size_t) noexcept;

		reinterpret_cast<slow *>(reinterpret_cast<const stm_hot *>(start + STM_HOT)->write)(a, len);
	}
}

} // namespace detail

} // namespace stm

#endif
