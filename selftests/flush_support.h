/* SPDX-License-Identifier: MIT */
/*
 * flush_support.h - for tests of the event log's file: a producer, a reader that checks each byte, and mistakes put
 * into the writes of either kind.
 *
 * A record of a ring says whose it is (thread) and its number (value); its length and further units follow from that.
 */
#ifndef STM_SELFTESTS_FLUSH_SUPPORT_H
#define STM_SELFTESTS_FLUSH_SUPPORT_H

#include <errno.h>
#include <fcntl.h>
#include <liburing.h>
#include <limits.h>
#include <linux/futex.h>
#include <sched.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/uio.h>

#include "flush.h"
#include "internal.h"
#include "support.h"
#include "writer.h"

/* ---- a place ---- */

static char dir[64], path[96];

UNUSED static bool make_place(void)
{
	strcpy(dir, "/tmp/uffdstm-flush-XXXXXX");
	if (!mkdtemp(dir))
		return false;
	chmod(dir, 0777);
	snprintf(path, sizeof(path), "%s/log", dir);
	return true;
}

UNUSED static void remove_place(void)
{
	char command[128];

	snprintf(command, sizeof(command), "rm -rf %s", dir);
	if (system(command))
		fprintf(stderr, "# %s stays\n", dir);
}

/* ---- producers ---- */

UNUSED static void ring_make(struct stm_ring *ring, uint64_t units)
{
	memset(ring, 0, sizeof(*ring));
	ring->units = units;
	ring->bytes = mmap(NULL, (units * STM_LOG_UNIT + 4095) & ~4095ul, PROT_READ | PROT_WRITE,
			   MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	if (ring->bytes == MAP_FAILED)
		abort();
}

static unsigned int more_of(uint64_t number)
{
	return (unsigned int)(number * 0x9e3779b97f4a7c15 >> 60) % 6;
}

static uint64_t word_of(unsigned int thread, uint64_t number, unsigned int i)
{
	return (number << 16 | thread) * 0x9e3779b97f4a7c15 + i;
}

/* Put record @number into @ring; false: it is full. */
UNUSED static bool put(struct stm_ring *ring, unsigned int thread, uint64_t number, uint32_t site)
{
	uint64_t head = atomic_load_explicit(&ring->head, memory_order_relaxed);
	unsigned int more = more_of(number);
	struct stm_record r = { .time = number, .kind = STM_EVENT_ABORT, .more = (uint8_t)more,
				.thread = (uint16_t)thread, .site = site, .value = number };

	if (head + 1 + more - atomic_load_explicit(&ring->tail, memory_order_acquire) > ring->units)
		return false;
	memcpy(ring->bytes + (head & (ring->units - 1)) * STM_LOG_UNIT, &r, sizeof(r));
	for (unsigned int i = 0; i < more; i++) {
		uint64_t words[4];

		for (unsigned int k = 0; k < 4; k++)
			words[k] = word_of(thread, number, i * 4 + k);
		memcpy(ring->bytes + ((head + 1 + i) & (ring->units - 1)) * STM_LOG_UNIT, words, sizeof(words));
	}
	atomic_store_explicit(&ring->head, head + 1 + more, memory_order_release);
	return true;
}

UNUSED static void put_all(struct stm_ring *ring, unsigned int thread, uint64_t first, uint64_t end)
{
	for (; first < end; first++)
		while (!put(ring, thread, first, 0))
			sched_yield();
}

UNUSED static void define_site(uint32_t site)
{
	struct {
		struct stm_record r;
		char text[STM_LOG_UNIT];
	} d = { { .kind = STM_EVENT_SITE, .more = 1, .thread = STM_NO_THREAD, .site = site, .value = site }, "" };

	snprintf(d.text, sizeof(d.text), "site %u", site);
	stm_flush_define(&d, 2);
}

UNUSED static int open_log(void)
{
	struct stm_log_header header = { .magic = STM_LOG_MAGIC, .version = STM_LOG_VERSION,
					 .header_bytes = sizeof(header), .unit_bytes = STM_LOG_UNIT,
					 .clock = STM_CLOCK_MONOTONIC, .pid = (uint32_t)getpid() };

	return stm_flush_open(path, &header);
}

/* All that is in @ring has its place in the file. */
UNUSED static void wait_until_flushed(struct stm_ring *ring)
{
	while (atomic_load(&ring->tail) != atomic_load(&ring->head))
		sched_yield();
}

/* ---- the reader ---- */

#define SITES 4096u

struct reading {
	bool good;                      /* else @what, at @at */
	const char *what;
	size_t at, size;                /* bytes */
	uint64_t records[STM_RINGS_LIMIT]; /* of each thread: all from 0 on */
	unsigned int holes, clocks, writers, last_writer, ends;
	char reason[128];               /* of the last writer */
	char magic[8];
};

UNUSED static struct reading bad_at(struct reading reading, size_t at, const char *what)
{
	reading.good = false;
	reading.at = at;
	reading.what = what;
	fprintf(stderr, "# byte %zu of %zu: %s\n", at, reading.size, what);
	return reading;
}

static bool is_zero(const unsigned char *unit)
{
	static const unsigned char zero[STM_LOG_UNIT];

	return !memcmp(unit, zero, sizeof(zero));
}

/* @torn: the program was killed, or the disk full: there may be holes, and the end may be missing. */
UNUSED static struct reading read_log(const char *from, bool torn)
{
	static bool defined[SITES];
	struct reading reading = { .good = true, .what = "" };
	int fd = open(from, O_RDONLY | O_CLOEXEC);
	unsigned char *bytes;
	struct stat s;
	size_t at = sizeof(struct stm_log_header);

	memset(defined, 0, sizeof(defined));
	if (fd < 0 || fstat(fd, &s))
		return bad_at(reading, 0, "cannot be opened");
	reading.size = (size_t)s.st_size;
	bytes = malloc(reading.size + 1);
	if (!bytes || read(fd, bytes, reading.size) != (ssize_t)reading.size)
		abort();
	close(fd);
	if (reading.size < at || memcmp(bytes, STM_LOG_MAGIC, 8)) {
		free(bytes);
		return bad_at(reading, 0, "no header");
	}
	if (reading.size % STM_LOG_UNIT && !torn)
		reading = bad_at(reading, reading.size, "no whole units");
	while (reading.good && at + STM_LOG_UNIT <= reading.size) {
		struct stm_record r;
		size_t len;

		memcpy(&r, bytes + at, sizeof(r));
		len = (1u + r.more) * STM_LOG_UNIT;
		if (is_zero(bytes + at)) {
			reading.holes++;
			at += STM_LOG_UNIT;
			if (!torn)
				reading = bad_at(reading, at, "a hole");
			continue;
		}
		if (at + len > reading.size) {
			if (!torn)
				reading = bad_at(reading, at, "the last record is not whole");
			break;
		}
		if (reading.ends)
			reading = bad_at(reading, at, "something after the end");
		switch (r.kind) {
		case STM_EVENT_SITE:
			if (r.site < SITES)
				defined[r.site] = true;
			break;
		case STM_EVENT_WRITER:
			reading.writers++;
			reading.last_writer = (unsigned int)r.value;
			memset(reading.reason, 0, sizeof(reading.reason));
			memcpy(reading.reason, bytes + at + sizeof(r), len - sizeof(r));
			break;
		case STM_EVENT_CLOCK:
			reading.clocks++;
			break;
		case STM_EVENT_END:
			reading.ends++;
			if (r.value != at)
				reading = bad_at(reading, at, "the end says another size");
			break;
		case STM_EVENT_ABORT:
			if (r.thread >= STM_RINGS_LIMIT || r.more != more_of(r.value) ||
			    r.value != reading.records[r.thread]) {
				reading = bad_at(reading, at, "not the record that comes next");
				break;
			}
			if (r.site && (r.site >= SITES || !defined[r.site]))
				reading = bad_at(reading, at, "a site that is not defined yet");
			for (unsigned int i = 0; i < r.more * 4u; i++) {
				uint64_t word;

				memcpy(&word, bytes + at + sizeof(r) + i * 8, 8);
				/* What was written when the program was killed ends somewhere. */
				if (word != word_of(r.thread, r.value, i) && !(torn && !word))
					reading = bad_at(reading, at, "not its bytes");
			}
			reading.records[r.thread]++;
			break;
		default:
			reading = bad_at(reading, at, "no kind that was written");
		}
		at += len;
	}
	if (reading.good && !torn && (!reading.ends || reading.clocks < 2))
		reading = bad_at(reading, at, "no end, or no clock");
	free(bytes);
	return reading;
}

/* ---- mistakes ---- */

static _Atomic int ring_refused;        /* an error: of io_uring_setup */
static _Atomic int broken_after;        /* calls of io_uring_enter; then each is EPERM; 0: none is */
static _Atomic int failing;             /* an error: of each write */
static _Atomic int failures;            /* of writes: so many, by themselves or not */
static _Atomic bool stuttering;         /* writes are short, interrupted, told to try again */
static _Atomic bool endless;            /* the flusher sleeps until it is woken */
static _Atomic(struct stm_ring *) half_failing; /* where this one goes on at its start, the part before fails */
static _Atomic int halves_failed, halves_alone; /* how often; how often the second part was in the file then */
static uint64_t chance = 1;             /* the flusher's */

int __real_io_uring_queue_init_params(unsigned int n, struct io_uring *ring, struct io_uring_params *params);
int __wrap_io_uring_queue_init_params(unsigned int n, struct io_uring *ring, struct io_uring_params *params);
int __wrap_io_uring_queue_init_params(unsigned int n, struct io_uring *ring, struct io_uring_params *params)
{
	int error = atomic_load(&ring_refused);

	return error ? -error : __real_io_uring_queue_init_params(n, ring, params);
}

/* A negative offset is refused on every file system; what the flusher sees is another error. */
#define NOWHERE (1ull << 63)

static struct io_uring_sqe *to_submit(struct io_uring *ring, unsigned int i)
{
	return &ring->sq.sqes[i & *ring->sq.kring_mask];
}

static bool is_in_file(uint64_t offset, size_t len)
{
	unsigned char *bytes = calloc(1, len);
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	bool found = false;

	if (!bytes || fd < 0 || pread(fd, bytes, len, (off_t)offset) < 0)
		abort();
	for (size_t i = 0; i < len; i++)
		found |= bytes[i];
	close(fd);
	free(bytes);
	return found;
}

int __real_io_uring_submit_and_wait(struct io_uring *ring, unsigned int n);
int __wrap_io_uring_submit_and_wait(struct io_uring *ring, unsigned int n);
int __wrap_io_uring_submit_and_wait(struct io_uring *ring, unsigned int n)
{
	struct stm_ring *half = atomic_load(&half_failing);
	const struct io_uring_sqe *second = NULL;
	struct io_uring_sqe copy;
	int result;

	if (atomic_load(&broken_after) && atomic_fetch_sub(&broken_after, 1) == 1) {
		atomic_store(&broken_after, 1);
		return -EPERM;
	}
	for (unsigned int i = ring->sq.sqe_head; i != ring->sq.sqe_tail; i++) {
		struct io_uring_sqe *sqe = to_submit(ring, i);

		if (atomic_load(&failing))
			sqe->off = NOWHERE;
		else if (atomic_load(&stuttering))
			sqe->len = 1 + (unsigned int)random_below(&chance, sqe->len);
		if (half && sqe->addr == (uintptr_t)half->bytes && i != ring->sq.sqe_head) {
			struct io_uring_sqe *first = to_submit(ring, i - 1);

			if (first->addr > sqe->addr &&
			    first->addr + first->len == sqe->addr + half->units * STM_LOG_UNIT) {
				first->off = NOWHERE;
				copy = *sqe;
				second = &copy;
			}
		}
	}
	result = __real_io_uring_submit_and_wait(ring, n);
	if (second) {
		halves_failed++;
		if (is_in_file(second->off, second->len))
			halves_alone++;
	}
	return result;
}

unsigned int __real_io_uring_peek_batch_cqe(struct io_uring *ring, struct io_uring_cqe **cqes, unsigned int n);
unsigned int __wrap_io_uring_peek_batch_cqe(struct io_uring *ring, struct io_uring_cqe **cqes, unsigned int n);
unsigned int __wrap_io_uring_peek_batch_cqe(struct io_uring *ring, struct io_uring_cqe **cqes, unsigned int n)
{
	unsigned int got = __real_io_uring_peek_batch_cqe(ring, cqes, n);

	for (unsigned int i = 0; i < got; i++)
		if (cqes[i]->res < 0 && cqes[i]->res != -ECANCELED) {
			if (atomic_load(&failing))
				cqes[i]->res = -atomic_load(&failing);
			else if (atomic_load(&half_failing))
				cqes[i]->res = -EFBIG;
			failures++;
		} else if (cqes[i]->res > 0 && atomic_load(&stuttering) && !random_below(&chance, 4)) {
			cqes[i]->res = random_below(&chance, 2) ? -EINTR : -EAGAIN;
		}
	return got;
}

ssize_t __real_pwritev(int fd, const struct iovec *parts, int n, off_t offset);
ssize_t __wrap_pwritev(int fd, const struct iovec *parts, int n, off_t offset);
ssize_t __wrap_pwritev(int fd, const struct iovec *parts, int n, off_t offset)
{
	struct iovec less = parts[0];

	errno = atomic_load(&failing);
	if (errno) {
		failures++;
		return -1;
	}
	if (!atomic_load(&stuttering)) {
		ssize_t written = __real_pwritev(fd, parts, n, offset);

		failures += written < 0;
		return written;
	}
	errno = random_below(&chance, 2) ? EINTR : EAGAIN;
	if (!random_below(&chance, 4))
		return -1;
	/* Somewhere in the first part, or behind some of them. */
	if (random_below(&chance, 2))
		return __real_pwritev(fd, parts, 1 + (int)random_below(&chance, (uint64_t)n), offset);
	less.iov_len = 1 + random_below(&chance, less.iov_len);
	return __real_pwritev(fd, &less, 1, offset);
}

long __real_syscall(long number, long a, long b, long c, long d, long e, long f);
long __wrap_syscall(long number, long a, long b, long c, long d, long e, long f);
long __wrap_syscall(long number, long a, long b, long c, long d, long e, long f)
{
	if (number == SYS_futex && b == FUTEX_WAIT_BITSET_PRIVATE && atomic_load(&endless))
		d = 0;
	return __real_syscall(number, a, b, c, d, e, f);
}

#endif
