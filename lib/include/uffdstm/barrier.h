/* SPDX-License-Identifier: MIT */
/*
 * Barriers: what a transaction does before it touches the heap.
 *
 * Read: store the transaction's version into the read marker of each granule; while no other thread runs
 * transactions, nothing.
 * Write: compare the version with the write markers; unless all are equal, call
 * the slow path, which makes the page private, saves the old bytes and marks. The hot
 * page says which: a thread of which the event log wants to know what code writes has its own.
 * Neither holds a lock, a fence or an atomic operation: markers belong to the thread.
 */
#ifndef UFFDSTM_BARRIER_H
#define UFFDSTM_BARRIER_H

#include <uffdstm/layout.h>

/* Out of line, in the library. All take the address of any byte, and a length in bytes. */
void stm__read_range(uintptr_t a, size_t len);
void stm__write_range(uintptr_t a, size_t len);
void stm__check_read(uintptr_t a, size_t len);
void stm__check_write(uintptr_t a, size_t len);

/* Types of their own, so that a marker store does not make the compiler load the version again. */
struct stm__marker1 { uint32_t version; };
struct stm__marker2 { uint64_t version; } __attribute__((__packed__, __aligned__(4)));

#define STM__ALWAYS_INLINE static inline __attribute__((__always_inline__))
#define STM__MARKER(a) (((uintptr_t)(a) >> 4) << 2)
#define STM__SET1(m) (((struct stm__marker1 STM *)(m))->version = (uint32_t)STM_HOT_FIELD(version))
#define STM__SET2(m) (((struct stm__marker2 STM *)(m))->version = STM_HOT_FIELD(version))
#define STM__NOT1(m)                                                    \
	(((struct stm__marker1 STM *)(STM_WRITE_MARKERS + (m)))->version != (uint32_t)STM_HOT_FIELD(version))
#define STM__NOT2(m) \
	(((struct stm__marker2 STM *)(STM_WRITE_MARKERS + (m)))->version != STM_HOT_FIELD(version))

/* @align: what the address is known to be a multiple of. Constant lengths fold all branches away. */
STM__ALWAYS_INLINE void stm__read(uintptr_t a, size_t len, size_t align)
{
#ifdef STM_DEBUG
	stm__check_read(a, len);
#endif
	const uintptr_t m = STM__MARKER(a);

	if (!__builtin_constant_p(len)) {
		stm__read_range(a, len);
	} else if (STM_HOT_FIELD(unmarked)) {
		;
	} else if (len <= align && len <= STM_GRANULE) {
		STM__SET1(m);
	} else if (align >= STM_GRANULE && len <= 64) {
		if (len > 48)
			STM__SET2(m), STM__SET2(m + 8);
		else if (len > 32)
			STM__SET2(m), STM__SET1(m + 8);
		else if (len > 16)
			STM__SET2(m);
		else
			STM__SET1(m);
	} else if (len <= 17) {                 /* two granules at most: the first and the last byte's */
		STM__SET1(m);
		STM__SET1(STM__MARKER(a + len - 1));
	} else {
		stm__read_range(a, len);
	}
}

STM__ALWAYS_INLINE void stm__write(uintptr_t a, size_t len, size_t align)
{
#ifdef STM_DEBUG
	stm__check_write(a, len);
#endif
	const uintptr_t m = STM__MARKER(a);
	_Bool logged;

	if (!__builtin_constant_p(len) || len > (align >= STM_GRANULE ? 64 : 17)) {
		stm__write_range(a, len);
		return;
	}
	if (len <= STM_GRANULE && (len <= align || align >= STM_GRANULE))
		logged = !STM__NOT1(m);
	else if (align >= STM_GRANULE && len <= 32)
		logged = !STM__NOT2(m);
	else if (align >= STM_GRANULE)
		logged = !STM__NOT2(m) && !(len > 48 ? STM__NOT2(m + 8) : STM__NOT1(m + 8));
	else
		logged = !STM__NOT1(m) && !STM__NOT1(STM__MARKER(a + len - 1));
	if (__builtin_expect(!logged, 0))
		STM_HOT_FIELD(write)(a, len);
}

#define STM__ALIGN(p) __alignof__(__typeof__(*(p)))

/* Before reading, or before writing, the whole object that @p points to. */
#define stm_read(p) stm__read((uintptr_t)(p), sizeof(*(p)), STM__ALIGN(p))
#define stm_write(p) stm__write((uintptr_t)(p), sizeof(*(p)), STM__ALIGN(p))

/* The same for @len bytes from @p on; @len may be 0. */
STM__ALWAYS_INLINE void stm_read_range(const volatile void STM *p, size_t len)
{
	if (len)
		stm__read((uintptr_t)p, len, 1);
}

STM__ALWAYS_INLINE void stm_write_range(volatile void STM *p, size_t len)
{
	if (len)
		stm__write((uintptr_t)p, len, 1);
}

/* One object, barrier and access together: STM_SET(n->count, STM_GET(n->count) + 1). */
#define STM_GET(x)                                              \
	(__extension__({                                        \
		__typeof__(&(x)) stm__p = &(x);                 \
		stm_read(stm__p);                               \
		*stm__p;                                        \
	}))
#define STM_SET(x, v)                                           \
	((void)__extension__({                                  \
		__typeof__(&(x)) stm__to = &(x);                \
		stm_write(stm__to);                             \
		*stm__to = (v);                                 \
	}))

#endif
