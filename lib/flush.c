// SPDX-License-Identifier: MIT
/*
 * flush.c - the flusher: a thread that empties the rings of the event log into its file.
 *
 *   1. It looks at the heads of all rings, then takes the definitions that are there. So these include all that a
 *      record before those heads may refer to; they are written first, and only once they are in the file come
 *      the rings, all at the same time. Each write has its place in the file before it starts.
 *   2. Then it moves the tails, and sleeps until the fullest ring, at the pace seen, is a quarter full: 1 to 200 ms,
 *      and no longer than an idle ring takes to be half full of the shortest transactions. When nothing happened
 *      for a second it sleeps 200 ms. What fills less than an eighth of a ring may wait for 200 ms.
 *   3. When the disk refuses, the batch stays as it is, and is tried again each 200 ms. Meanwhile rings get full,
 *      and their producers drop and count; what was in the rings is lost only if it cannot be written at
 *      the end either. There is one line on stderr, and another at the end if something was lost then.
 *   4. Locks: @closing, then @lock. A producer takes none.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <linux/futex.h>
#include <semaphore.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "clock.h"
#include "flush.h"
#include "internal.h"
#include "writer.h"

#define MS ((uint64_t)1000000)          /* ns */
#define LOOK_MIN (1 * MS)
#define LOOK_MAX (200 * MS)
#define IDLE_AFTER (1000 * MS)
#define CLOCK_EVERY (1000 * MS)
#define UNIT_NS 500u                    /* a record each half microsecond: the shortest transactions */
#define STACK_BYTES ((size_t)256 << 10) /* a message on stderr is the deepest */

/* Definitions, and other records that are in no ring. Not from malloc: the program's may be what is running. */
struct text {
	unsigned char *bytes;
	size_t used, size;
};

/* What of a ring the flusher has seen. */
struct look {
	struct stm_ring *ring;
	uint64_t head;                  /* at the last look */
	bool registered;
};

static pthread_mutex_t closing = PTHREAD_MUTEX_INITIALIZER;
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;

/* Under @lock. */
static bool is_open;
static struct text waiting;             /* to be in the next batch */
static struct stm_ring *rings[STM_RINGS_LIMIT];
static unsigned int rings_n;
static size_t undefined_bytes;          /* definitions for which there was no memory */

/* Constant from open to close. */
static pid_t opener;
static pthread_t thread;
static struct stm_event_file file = { .data.fd = -1, .lock.fd = -1 };
static sem_t started;

/* The flusher's. */
static struct look looks[STM_RINGS_LIMIT];
static unsigned int looks_n;
static struct text out;                 /* definitions of the batch */
static struct stm_write writes[1 + 2 * STM_RINGS_LIMIT]; /* the batch: definitions, then rings, each in order */
static uint64_t targets[1 + 2 * STM_RINGS_LIMIT]; /* the tail of write's ring, once it is done */
static struct stm_ring *owners[1 + 2 * STM_RINGS_LIMIT]; /* the ring of a write; NULL: definitions */
static unsigned int writes_n;
static uint64_t offset;                 /* the end of the file, the batch included */
static uint64_t looked, flushed, clocked; /* ns of CLOCK_MONOTONIC: when that was last done */
static uint64_t moved;                  /* likewise: when a look found something new */
static uint64_t interval;               /* ns from a look to the next one */
static bool complained;
static enum stm_log_writer told;        /* STM_EVENT_WRITER */

_Static_assert(1 + 2 * STM_RINGS_LIMIT <= STM_WRITES_LIMIT, "a batch is one run");

/* ---- sleeping ---- */

#define WAKE_LOOK 1u
#define WAKE_CLOSE 2u

static _Atomic uint32_t wake;

static void ring_bell(uint32_t why)
{
	/* Relaxed: the flusher then looks at all there is; a head that it does not see yet is seen at the next look. */
	if (atomic_load_explicit(&wake, memory_order_relaxed) & why)
		return;
	if (!(atomic_fetch_or(&wake, why) & why))
		syscall(SYS_futex, &wake, FUTEX_WAKE_PRIVATE, 1, NULL, NULL, 0);
}

/* Until @when, CLOCK_MONOTONIC; @heed: what ends it before. */
static void sleep_until(uint64_t when, uint32_t heed)
{
	struct timespec t = { .tv_sec = (time_t)(when / (1000 * MS)), .tv_nsec = (long)(when % (1000 * MS)) };
	uint32_t seen;

	while (!((seen = atomic_load(&wake)) & heed))
		if (syscall(SYS_futex, &wake, FUTEX_WAIT_BITSET_PRIVATE, seen, &t, NULL, FUTEX_BITSET_MATCH_ANY) &&
		    errno == ETIMEDOUT)
			break;
}

void stm_flush_hurry(void)
{
	int saved = errno;

	ring_bell(WAKE_LOOK);
	errno = saved;
}

/* ---- records that are in no ring ---- */

static bool text_reserve(struct text *text, size_t more)
{
	size_t size = text->size ? text->size : 64 << 10;
	void *bytes;

	while (size - text->used < more)
		size *= 2;
	if (size == text->size)
		return true;
	bytes = text->size ? mremap(text->bytes, text->size, size, MREMAP_MAYMOVE) :
			     mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	if (bytes == MAP_FAILED)
		return false;
	text->bytes = bytes;
	text->size = size;
	return true;
}

static void text_free(struct text *text)
{
	if (text->size)
		munmap(text->bytes, text->size);
	*text = (struct text){ .bytes = NULL };
}

static void define(const void *bytes, size_t len)
{
	if (!text_reserve(&waiting, len)) {
		if (!undefined_bytes)
			stm_complain("event log %.300s: mmap: ENOMEM: names of places will be missing", file.path);
		undefined_bytes += len;
		return;
	}
	memcpy(waiting.bytes + waiting.used, bytes, len);
	waiting.used += len;
}

void stm_flush_define(const void *units, size_t n)
{
	pthread_mutex_lock(&lock);
	if (is_open)
		define(units, n * STM_LOG_UNIT);
	pthread_mutex_unlock(&lock);
}

static void define_own(struct stm_record *record, const char *text)
{
	unsigned char units[sizeof(*record) + 4 * STM_LOG_UNIT] = { 0 };
	size_t len = strlen(text);

	record->thread = STM_NO_THREAD;
	record->more = (uint8_t)((len + STM_LOG_UNIT - 1) / STM_LOG_UNIT);
	memcpy(units, record, sizeof(*record));
	memcpy(units + sizeof(*record), text, len);
	pthread_mutex_lock(&lock);
	define(units, (1u + record->more) * STM_LOG_UNIT);
	pthread_mutex_unlock(&lock);
}

static void define_clock(uint64_t now)
{
	struct stm_record r = { .kind = STM_EVENT_CLOCK };

	stm_clock_pair(&r.time, &r.value);
	define_own(&r, "");
	clocked = now;
}

static void define_writer(void)
{
	struct stm_record r = { .time = stm_ticks(), .kind = STM_EVENT_WRITER, .value = stm_writer_kind() };

	define_own(&r, stm_writer_reason());
	told = stm_writer_kind();
}

/* ---- a batch ---- */

static void add_write(const unsigned char *bytes, uint64_t units, struct stm_ring *owner, int buffer, uint64_t target)
{
	size_t len = units * STM_LOG_UNIT;

	owners[writes_n] = owner;
	targets[writes_n] = target;
	/* The two parts of what goes on at the ring's start: a record may be in both. */
	writes[writes_n] = (struct stm_write){ .bytes = bytes, .len = len, .offset = offset, .buffer = buffer,
					       .follows = owner && owners[writes_n - 1] == owner };
	offset += len;
	writes_n++;
}

/* The heads of the last look stand; definitions are taken now. */
static void gather(void)
{
	struct text taken;

	STM_POINT(LOOKED);
	pthread_mutex_lock(&lock);
	taken = waiting;
	waiting = out; /* its memory: it is written */
	waiting.used = 0;
	pthread_mutex_unlock(&lock);
	out = taken;

	writes_n = 0;
	add_write(out.bytes, out.used / STM_LOG_UNIT, NULL, STM_NO_BUFFER, 0);
	for (unsigned int i = 0; i < looks_n; i++) {
		struct stm_ring *ring = looks[i].ring;
		/* Relaxed: only this thread stores it. */
		uint64_t tail = atomic_load_explicit(&ring->tail, memory_order_relaxed);

		while (tail != looks[i].head) {
			uint64_t at = tail & (ring->units - 1), n = looks[i].head - tail;

			if (n > ring->units - at)
				n = ring->units - at;
			tail += n;
			add_write(ring->bytes + at * STM_LOG_UNIT, n, ring,
				  looks[i].registered ? (int)i : STM_NO_BUFFER, tail);
		}
	}
}

static bool is_done(const struct stm_write *write)
{
	return write->done == write->len;
}

/* Give rings back what is in the file. */
static void release(void)
{
	for (unsigned int i = 1; i < writes_n; i++) {
		struct stm_ring *ring = owners[i];

		if (!is_done(&writes[i]) || (writes[i].follows && !is_done(&writes[i - 1])))
			continue;
		/* A batch may be run again, and the later part of a ring was there already. */
		if (targets[i] - atomic_load_explicit(&ring->tail, memory_order_relaxed) <= ring->units)
			/* Release, with the producer's acquire: it may write over what was read here. */
			atomic_store_explicit(&ring->tail, targets[i], memory_order_release);
	}
}

static void complain(int error)
{
	const char *what;

	if (complained)
		return;
	complained = true;
	switch (-error) {
	case ENOSPC:
	case EDQUOT:
		what = "events are dropped, and counted, until there is room";
		break;
	case EFBIG:
		what = "the file may not be larger (ulimit -f): events are dropped, and counted";
		break;
	case EBADF:
		what = "the program has closed its descriptor: nothing more is recorded";
		break;
	default:
		what = "events are dropped, and counted, until it can be written";
	}
	stm_complain("event log %.300s: write: %s: %s", file.path, stm_errno_name(error), what);
}

/* Write what of the batch is not in the file: 0, or -errno if something still is not. */
static int run_batch(void)
{
	int error = writes_n ? stm_writer_run(writes, 1) : 0;

	if (!error && writes_n)
		error = stm_writer_run(writes + 1, writes_n - 1);
	release();
	if (error)
		complain(error);
	else
		writes_n = 0;
	if (stm_writer_kind() != told)
		define_writer();
	return error;
}

/* ---- looking ---- */

static void see_new_rings(void)
{
	unsigned int n;

	pthread_mutex_lock(&lock);
	n = rings_n;
	pthread_mutex_unlock(&lock);
	for (; looks_n < n; looks_n++) {
		struct stm_ring *ring = rings[looks_n];

		looks[looks_n] = (struct look){
			.ring = ring,
			.head = atomic_load_explicit(&ring->tail, memory_order_relaxed),
			.registered = stm_writer_register(looks_n, ring->bytes, ring->units * STM_LOG_UNIT),
		};
	}
}

static bool is_something_defined(void)
{
	bool is;

	pthread_mutex_lock(&lock);
	is = waiting.used;
	pthread_mutex_unlock(&lock);
	return is;
}

/* Read all heads, and reckon when to look again. Whether to write what there is. */
static bool look(uint64_t now)
{
	uint64_t elapsed = now - looked, limit = LOOK_MAX;
	double filled = 0, full = 0;    /* the fullest rings: since the last look, and altogether */

	see_new_rings();
	for (unsigned int i = 0; i < looks_n; i++) {
		struct stm_ring *ring = looks[i].ring;
		double units = (double)ring->units;
		/* Acquire, with the producer's release: records before it are whole. */
		uint64_t head = atomic_load_explicit(&ring->head, memory_order_acquire);
		uint64_t half = ring->units / 2 * UNIT_NS;
		double new = (double)(head - looks[i].head) / units;
		double old = (double)(head - atomic_load_explicit(&ring->tail, memory_order_relaxed)) / units;

		looks[i].head = head;
		filled = new > filled ? new : filled;
		full = old > full ? old : full;
		limit = half < limit ? half : limit;
	}
	looked = now;
	if (filled > 0)
		moved = now;
	if (now - moved >= IDLE_AFTER)
		limit = LOOK_MAX;

	/* The pace may double without notice; it need not halve at once. */
	interval *= 2;
	if (filled > 0 && (double)elapsed / filled / 4 < (double)interval)
		interval = (uint64_t)((double)elapsed / filled / 4);
	if (interval > limit)
		interval = limit;
	if (interval < LOOK_MIN)
		interval = LOOK_MIN;
	return full >= 1.0 / 8 || ((full > 0 || is_something_defined()) && now - flushed >= LOOK_MAX);
}

/* ---- the thread ---- */

static int flush(uint64_t now)
{
	int error;

	if (now - clocked >= CLOCK_EVERY)
		define_clock(now);
	gather();
	error = run_batch();
	flushed = now;
	return error;
}

/* What was not written: bytes. */
static uint64_t left_over(void)
{
	uint64_t left = out.used && writes_n ? writes[0].len - writes[0].done : 0;

	for (unsigned int i = 0; i < looks_n; i++)
		left += (atomic_load(&looks[i].ring->head) - atomic_load(&looks[i].ring->tail)) * STM_LOG_UNIT;
	pthread_mutex_lock(&lock);
	left += waiting.used;
	pthread_mutex_unlock(&lock);
	return left;
}

/* All that is there, and that it is all. Whoever records on meanwhile is late. */
static void finish(void)
{
	struct stm_record end = { .kind = STM_EVENT_END };
	uint64_t now = stm_clock_ns(CLOCK_MONOTONIC);
	int error = run_batch();

	if (!error) {
		look(now);
		define_clock(now);
		gather();
		error = run_batch();
	}
	if (!error) {
		/* Heads stay as they were looked at, and nothing is defined any more: what was before is all. */
		pthread_mutex_lock(&lock);
		is_open = false;
		end.value = offset + waiting.used;
		pthread_mutex_unlock(&lock);
		end.time = stm_ticks();
		define_own(&end, "");
		gather();
		error = run_batch();
	}
	if (error)
		stm_complain("event log %.300s: write: %s: %llu bytes of events at its end are lost", file.path,
			     stm_errno_name(error), (unsigned long long)left_over());
}

static void *run(void *arg)
{
	uint64_t now = stm_clock_ns(CLOCK_MONOTONIC);
	int error;

	stm_writer_open(&file, STM_RINGS_LIMIT);
	define_writer();
	looked = moved = flushed = now;
	interval = LOOK_MIN;
	define_clock(now);
	error = flush(now); /* the header: from here on the file can be read */
	sem_post(&started);
	while (!(atomic_load(&wake) & WAKE_CLOSE)) {
		if (error) {
			sleep_until(now + LOOK_MAX, WAKE_CLOSE);
			now = stm_clock_ns(CLOCK_MONOTONIC);
			error = run_batch();
			continue;
		}
		sleep_until(now + interval, WAKE_LOOK | WAKE_CLOSE);
		bool hurry = atomic_fetch_and(&wake, ~WAKE_LOOK) & WAKE_LOOK;

		now = stm_clock_ns(CLOCK_MONOTONIC);
		if (look(now) || hurry)
			error = flush(now);
	}
	finish();
	stm_writer_close();
	return arg;
}

/* ---- open and close ---- */

/* The flusher takes no signals, but for what a security filter makes of a system call. */
static int start(void)
{
	pthread_attr_t attr;
	sigset_t most, old;
	int error;

	sem_init(&started, 0, 0);
	atomic_store(&wake, 0);
	pthread_attr_init(&attr);
	pthread_attr_setstacksize(&attr, STACK_BYTES);
	sigfillset(&most);
	sigdelset(&most, SIGSYS);
	pthread_sigmask(SIG_SETMASK, &most, &old); /* inherited */
	error = -pthread_create(&thread, &attr, run, NULL);
	pthread_sigmask(SIG_SETMASK, &old, NULL);
	pthread_attr_destroy(&attr);
	if (error) {
		stm_complain("event log %.300s: pthread_create: %s: it takes a thread: raise RLIMIT_NPROC", file.path,
			     stm_errno_name(error));
		return error;
	}
	pthread_setname_np(thread, "uffdstm-log");
	while (sem_wait(&started))
		;
	return 0;
}

/* Under @closing. */
static void forget(void)
{
	text_free(&waiting);
	text_free(&out);
	rings_n = looks_n = writes_n = 0;
	stm_event_file_close(&file);
}

int stm_flush_open(const char *path, const struct stm_log_header *header)
{
	static bool ends_at_exit;
	int error;

	pthread_mutex_lock(&closing);
	error = stm_event_file_open(&file, path);
	if (error)
		goto out;
	offset = 0;
	told = 0;
	complained = false;
	undefined_bytes = 0;
	opener = getpid();
	define(header, sizeof(*header));
	error = start();
	if (!error) {
		pthread_mutex_lock(&lock);
		is_open = true;
		pthread_mutex_unlock(&lock);
	} else {
		forget();
	}
	if (!error && !ends_at_exit)
		ends_at_exit = !atexit(stm_flush_close);
out:
	pthread_mutex_unlock(&closing);
	return error;
}

int stm_flush_add(struct stm_ring *ring)
{
	int error = 0;

	pthread_mutex_lock(&lock);
	if (!is_open)
		error = -ENXIO;
	else if (rings_n == STM_RINGS_LIMIT)
		error = -ENOSPC;
	else
		rings[rings_n++] = ring;
	pthread_mutex_unlock(&lock);
	return error;
}

void stm_flush_close(void)
{
	bool was_open;

	pthread_mutex_lock(&closing);
	pthread_mutex_lock(&lock);
	was_open = is_open && opener == getpid();
	pthread_mutex_unlock(&lock);
	if (was_open) {
		/* Threads that record on may define what is in the last records, until the flusher has those. */
		ring_bell(WAKE_CLOSE);
		pthread_join(thread, NULL);
		pthread_mutex_lock(&lock);
		is_open = false;
		pthread_mutex_unlock(&lock);
		forget();
	}
	pthread_mutex_unlock(&closing);
}

void stm_flush_forked(void)
{
	pthread_mutex_init(&closing, NULL);
	pthread_mutex_init(&lock, NULL);
	is_open = false;
	stm_writer_forked();
	forget();
}
