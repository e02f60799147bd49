// SPDX-License-Identifier: MIT
/*
 * io.c - bytes in and out of the heap: roots, memcpy and its kin, system calls.
 *
 * Everything here is barriers first, then plain memory at stm_local()'s address.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <string.h>
#include <unistd.h>

#include "internal.h"
#include "strict.h"

#define PWRITE_TRIES 100u               /* a page reclaimed as often between two system calls is no accident */
#define CALLER __builtin_return_address(0)
#define LOCAL(seg, p) ((void *)((seg)->start + (uintptr_t)(p)))

void STM *STM *stm_root(unsigned int index)
{
	stm_stop_if_forked("stm_root");
	if (!stm_global.ready || index >= STM_ROOTS) {
		errno = stm_global.ready ? EINVAL : ENXIO;
		return NULL;
	}
	return (void STM *STM *)(STM_HEAP + index * STM_GRANULE);
}

/* Barriers for @len bytes, then their ordinary address. @behind: the caller's caller, for the event log. */
static void *to_read(const char *call, const volatile void STM *p, size_t len)
{
	struct stm_seg *seg = stm_tx_self(call);

	stm__read_range((uintptr_t)p, len);
	return LOCAL(seg, p);
}

static void *to_write(const char *call, volatile void STM *p, size_t len, const void *behind)
{
	struct stm_seg *seg = stm_tx_self(call);

	stm_write_from((uintptr_t)p, len, behind);
	return LOCAL(seg, p);
}

void stm_memcpy(volatile void STM *to, const volatile void STM *from, size_t len)
{
	if (len) {
		const void *source = to_read("stm_memcpy", from, len);

		memcpy(to_write("stm_memcpy", to, len, CALLER), source, len);
	}
}

void stm_memcpy_in(volatile void STM *to, const void *from, size_t len)
{
	if (len)
		memcpy(to_write("stm_memcpy_in", to, len, CALLER), from, len);
}

void stm_memcpy_out(void *to, const volatile void STM *from, size_t len)
{
	if (len)
		memcpy(to, to_read("stm_memcpy_out", from, len), len);
}

void stm_memset(volatile void STM *p, int byte, size_t len)
{
	if (len)
		memset(to_write("stm_memset", p, len, CALLER), byte, len);
}

int stm_memcmp(const volatile void STM *a, const volatile void STM *b, size_t len)
{
	if (!len)
		return 0;
	return memcmp(to_read("stm_memcmp", a, len), to_read("stm_memcmp", b, len), len);
}

int stm_memcmp_out(const volatile void STM *a, const void *b, size_t len)
{
	return len ? memcmp(to_read("stm_memcmp_out", a, len), b, len) : 0;
}

/* ---- system calls ---- */

static size_t first_page(const volatile void STM *p)
{
	return ((uintptr_t)p - STM_HEAP) / STM_PAGE;
}

static size_t end_page(const volatile void STM *p, size_t len)
{
	return len ? ((uintptr_t)p - STM_HEAP + len - 1) / STM_PAGE + 1 : first_page(p);
}

static int prefault(struct stm_seg *seg, const volatile void STM *p, size_t len)
{
	size_t offset = (uintptr_t)p - STM_HEAP, size = stm_view_pages(&seg->view) * STM_PAGE;

	if (!len)
		return 0;
	if (offset >= size || len > size - offset)
		return -EFAULT;
	return stm_pages_prefault(seg, first_page(p), end_page(p, len));
}

int stm_prefault(const volatile void STM *p, size_t len)
{
	struct stm_seg *seg = stm_tx_if_any("stm_prefault");

	return seg ? prefault(seg, p, len) : -EPERM;
}

ssize_t stm_pread(int fd, volatile void STM *p, size_t len, off_t offset)
{
	struct stm_seg *seg = stm_tx_if_any("stm_pread");
	ssize_t n;
	void *to;

	if (!seg)
		return -EPERM;
	/* Pages that were written are private, and nobody takes them while the transaction runs. */
	stm_write_from((uintptr_t)p, len, CALLER);
	to = LOCAL(seg, p);
	if (unlikely(seg->strict))
		stm_strict_let(seg, first_page(p), end_page(p, len));
	n = offset == -1 ? read(fd, to, len) : pread(fd, to, len, offset);
	n = n < 0 ? -errno : n;
	if (unlikely(seg->strict))
		stm_strict_let_no_more(seg, first_page(p), end_page(p, len));
	return n;
}

ssize_t stm_pwrite(int fd, const volatile void STM *p, size_t len, off_t offset)
{
	struct stm_seg *seg = stm_tx_if_any("stm_pwrite");
	const void *from;
	ssize_t n = -EFAULT;

	if (!seg)
		return -EPERM;
	stm__read_range((uintptr_t)p, len);
	from = LOCAL(seg, p);
	/* EFAULT: the kernel took a shared page back in between. Map it again, but not for ever. */
	for (unsigned int i = 0; i < PWRITE_TRIES && n == -EFAULT; i++) {
		int error = prefault(seg, p, len);

		if (error)
			return error;
		n = offset == -1 ? write(fd, from, len) : pwrite(fd, from, len, offset);
		if (n < 0)
			n = -errno;
	}
	return n;
}
