// SPDX-License-Identifier: MIT
/*
 * recorder.c - what happens in a thread becomes records in its ring.
 *
 *   begin    note the time and the site.
 *   write    note the code that wrote, if it is not the same as before, and from which run of the entry in the making
 *            on; commit appends these behind the entry, where only who conflicts with it looks. Begin takes for granted
 *            that what wrote last writes first, which is mostly so: then there is nothing to note.
 *   commit   one record for the whole transaction: when it began, how long it took.
 *   abort    likewise; with what was read and by whom it was overwritten, which is looked up now.
 *
 * A ring that is full loses the record; how many is told by the next one that finds room. Nothing here waits, but for
 * the first use of a site or a name, which is defined under the flusher's mutex.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/random.h>
#include <time.h>
#include <unistd.h>

#include "define.h"
#include "entry.h"
#include "label.h"
#include "recorder.h"
#include "watch.h"

#define RECORDERS (STM_SEGMENTS_LIMIT + 1)
#define HANDLER STM_SEGMENTS_LIMIT      /* the ring of the thread that resolves others' faults */
#define CODES_FIRST 64u                 /* room for the code of so many runs, to begin with */
#define BUFFER_DEFAULT ((uint64_t)1 << 20) /* 32,768 transactions of a microsecond: 33 ms */

static struct stm_recorder *recorders[RECORDERS];
static uint64_t ring_units, sample_of;
static bool all_by_tsc;                 /* no sampling, and the clock is the processor's counter */

/* ---- records into the ring ---- */

static bool has_room(struct stm_recorder *recorder, uint64_t head, uint64_t units)
{
	struct stm_ring *ring = &recorder->ring;

	if (likely(head + units <= recorder->room_until))
		return true;
	/* Pairs with the flusher's release: it has read what stood there. */
	recorder->room_until = atomic_load_explicit(&ring->tail, memory_order_acquire) + ring->units;
	if (recorder->room_until - head < ring->units / 2)
		stm_flush_hurry();
	return head + units <= recorder->room_until;
}

static inline void *unit_at(struct stm_ring *ring, uint64_t at)
{
	return ring->bytes + (at & (ring->units - 1)) * STM_LOG_UNIT;
}

static void put(struct stm_ring *ring, uint64_t at, const void *unit)
{
	memcpy(unit_at(ring, at), unit, STM_LOG_UNIT);
}

/* The record of those that were lost, which are told by it. */
static struct stm_record dropped_by(struct stm_recorder *recorder, uint64_t time)
{
	return (struct stm_record){ .time = time, .kind = STM_EVENT_DROPPED, .thread = recorder->thread,
				    .value = atomic_exchange_explicit(&recorder->lost, 0, memory_order_relaxed) };
}

/* Nothing more comes from it, so those that were lost last are told another way. */
static void tell_lost(struct stm_recorder *recorder)
{
	struct stm_record dropped;

	if (!recorder || !atomic_load_explicit(&recorder->lost, memory_order_relaxed))
		return;
	dropped = dropped_by(recorder, stm_ticks());
	stm_flush_define(&dropped, 1);
}

/* Also by exit(3): then before the flusher's, which was there before. */
static void tell_all_lost(void)
{
	for (unsigned int i = 0; i < RECORDERS; i++)
		tell_lost(recorders[i]);
}

/* @record and its further units, which are at @more. */
static void push(struct stm_recorder *recorder, const struct stm_record *record, const void *more)
{
	struct stm_ring *ring = &recorder->ring;
	uint64_t head = atomic_load_explicit(&ring->head, memory_order_relaxed); /* our own */
	uint64_t units = 1 + record->more;

	/* Relaxed: a number, and who else takes it at the end adds nothing to it. */
	uint64_t lost = atomic_load_explicit(&recorder->lost, memory_order_relaxed);

	if (unlikely(!has_room(recorder, head, units + !!lost))) {
		atomic_fetch_add_explicit(&recorder->lost, 1, memory_order_relaxed);
		recorder->room_until = 0; /* the next one comes here, too, and tells of it */
		return;
	}
	if (unlikely(lost)) {
		struct stm_record dropped = dropped_by(recorder, record->time);

		put(ring, head++, &dropped);
	}
	put(ring, head++, record);
	for (uint64_t i = 0; i < record->more; i++)
		put(ring, head++, (const unsigned char *)more + i * STM_LOG_UNIT);
	/* Pairs with the flusher's acquire. */
	atomic_store_explicit(&ring->head, head, memory_order_release);
}

void stm_record(struct stm_recorder *recorder, enum stm_event_kind kind, uint64_t since, uint32_t site, uint64_t value)
{
	uint64_t now = stm_ticks();

	push(recorder, &(struct stm_record){ .time = since ? since : now, .kind = (uint8_t)kind, .thread = recorder->thread,
					     .site = site, .duration = since ? now - since : 0, .value = value }, NULL);
}

/* ---- transactions ---- */

/* Commits to leave out before the next: sample_of - 1 on the average; random, since work often comes round. */
static uint32_t draw(struct stm_recorder *recorder)
{
	recorder->random = recorder->random * 1664525u + 1013904223u; /* Knuth, vol. 2, 3.3.4 */
	return (uint32_t)((uint64_t)recorder->random * (2 * sample_of - 1) >> 32);
}

/* Is this attempt to be logged if it commits? Only then its beginning is timed. */
static bool is_sampled(struct stm_seg *seg)
{
	struct stm_recorder *recorder = seg->recorder;

	if (likely(sample_of == 1) || seg->attempt)
		return true;
	if (recorder->until--)
		return false;
	recorder->until = draw(recorder);
	return true;
}

static __attribute__((__noinline__)) int begin_otherwise(struct stm_seg *seg)
{
	struct stm_recorder *recorder = seg->recorder;
	const struct stm_site *site = stm_site_of(seg);
	uint32_t n = recorder->codes_n;

	recorder->begun = is_sampled(seg) ? stm_ticks() : 0;
	if (recorder->begun_at != site) {
		recorder->begun_at = site;
		recorder->site = stm_define_site(site);
	}
	recorder->codes[0] = (struct stm_code){ .address = recorder->codes[n - 1].address };
	recorder->codes_n = 1;
	return 1;
}

/* Tests first, so that what is usual needs no registers to be saved, nor has calls. */
int stm_record_begin(struct stm_seg *seg)
{
	struct stm_recorder *recorder = seg->recorder;
	/* In a transaction, so it is the site. */
	uint64_t site = atomic_load_explicit(&seg->state, memory_order_relaxed);

	seg->attention |= STM_ATTEND_EVENTS;
	recorder->granules = 0;
	if (unlikely(!all_by_tsc || (uintptr_t)recorder->begun_at != site || recorder->codes_n > 1))
		return begin_otherwise(seg);
	recorder->begun = __rdtsc();
	return 1;
}

static __attribute__((__noinline__)) void commit_otherwise(struct stm_seg *seg)
{
	struct stm_recorder *recorder = seg->recorder;
	enum stm_event_kind kind = recorder->granules ? STM_EVENT_COMMIT : STM_EVENT_READ_ONLY;
	uint64_t weight = seg->attempt ? 1 : sample_of;

	if (recorder->watch.state)
		stm_watch_end(seg);
	if (recorder->begun)
		stm_record(recorder, kind, recorder->begun, recorder->site, STM_COMMIT_VALUE(recorder->granules, weight));
}

void stm_record_commit(struct stm_seg *seg)
{
	struct stm_recorder *recorder = seg->recorder;
	struct stm_ring *ring = &recorder->ring;
	uint64_t head = atomic_load_explicit(&ring->head, memory_order_relaxed);
	struct stm_record *record = unit_at(ring, head);

	if (unlikely(!all_by_tsc || head >= recorder->room_until || recorder->watch.state)) {
		commit_otherwise(seg);
		return;
	}
	/* Field by field, where it is to stand. */
	record->time = recorder->begun;
	record->kind = recorder->granules ? STM_EVENT_COMMIT : STM_EVENT_READ_ONLY;
	record->more = 0;
	record->thread = recorder->thread;
	record->site = recorder->site;
	record->value = STM_COMMIT_VALUE(recorder->granules, 1);
	record->duration = __rdtsc() - recorder->begun;
	/* As in push(). */
	atomic_store_explicit(&ring->head, head + 1, memory_order_release);
}

/* The code that wrote the run with number @run of a published entry; 0: not known. *@fresh: it allocated it. */
static uint64_t code_of(const struct stm_entry *entry, uint32_t run, bool *fresh)
{
	const uint8_t *end = (const uint8_t *)(entry + 1);
	const struct stm_code *codes;
	uint64_t address = 0;

	for (uint32_t i = 0; i < entry->runs; i++) {
		const struct stm_run *at = (const struct stm_run *)end;

		if (i == run)
			*fresh = at->fresh;
		end = (const uint8_t *)(at + 1) + at->count * STM_GRANULE;
	}
	codes = (const struct stm_code *)(const void *)end;
	/* Only with the flag their number is one: small commits leave it as it was. */
	if (entry->origin & STM_ORIGIN_CODES && !*fresh)
		for (uint32_t i = 0; i < entry->codes && codes[i].run <= run; i++)
			address = codes[i].address;
	return address;
}

/* What the attempt read, and which commit overwrote it. False: nothing is found. */
static bool find_conflict(struct stm_seg *seg, struct stm_log_conflict *conflict)
{
	struct stm_clash clash;
	const struct stm_entry *entry;
	bool fresh = false;

	if (!stm_find_clash(seg, &clash))
		return false;
	/* Its position is not below our published snapshot, so the entry is still there. */
	entry = stm_entry_of(atomic_load_explicit(&clash.slot->entry, memory_order_relaxed));
	*conflict = (struct stm_log_conflict){
		.address = STM_HEAP + clash.granule * STM_GRANULE,
		.position = clash.position,
		.writer_code = code_of(entry, clash.run, &fresh),
		.writer_site = stm_define_site((const struct stm_site *)(uintptr_t)(entry->origin >> STM_ORIGIN_SITE)),
		.writer_thread = (uint16_t)(entry->origin & (STM_ORIGIN_CODES - 1)),
	};
	stm_label_describe(conflict);
	if (fresh)
		conflict->writer_code = conflict->alloc_code;
	stm_define_modules();
	stm_watch_want(seg, clash.granule, seg->recorder->site);
	return true;
}

void stm_record_abort(struct stm_seg *seg, enum stm_abort_reason reason)
{
	struct stm_recorder *recorder = seg->recorder;
	uint64_t now = stm_ticks(), begun = recorder->begun;
	struct stm_log_conflict conflict;
	bool found;

	if (unlikely(recorder->watch.state))
		stm_watch_end(seg);
	found = reason <= STM_ABORT_INEVITABLE && find_conflict(seg, &conflict);
	push(recorder, &(struct stm_record){ .time = begun ? begun : now, .kind = STM_EVENT_ABORT, .thread = recorder->thread,
					     .site = recorder->site, .duration = begun ? now - begun : 0,
					     .value = STM_ABORT_VALUE(reason, seg->attempt, !begun), .more = found ? 2 : 0 },
	     &conflict);
}

void stm_record_inevitable(struct stm_seg *seg, const char *why, uint64_t since)
{
	stm_record(seg->recorder, STM_EVENT_INEVITABLE, since, seg->recorder->site, stm_define_name(why));
}

void stm_record_log_wait(struct stm_seg *seg, uint64_t since)
{
	const struct stm_site *holder = atomic_load_explicit(&stm_global.log_held_by, memory_order_relaxed);

	stm_record(seg->recorder, STM_EVENT_WAIT, since, stm_define_site(holder), STM_WAIT_LOG);
}

void stm_record_log_bytes(struct stm_seg *seg, uint64_t bytes)
{
	if (bytes <= seg->recorder->log_bytes)
		return;
	seg->recorder->log_bytes = bytes;
	stm_record_since(seg, STM_EVENT_LOG_GROWTH, 0, bytes);
}

void stm_record_reader(struct stm_seg *seg, size_t granule, const uint64_t *code, unsigned int n)
{
	uint64_t units[STM_READER_FRAMES] = { 0 };
	unsigned int more = (n + STM_FRAMES_A_UNIT - 1) / STM_FRAMES_A_UNIT;

	memcpy(units, code, n * sizeof(*code));
	push(seg->recorder, &(struct stm_record){ .time = stm_ticks(), .kind = STM_EVENT_READER, .more = (uint8_t)more,
						  .thread = seg->recorder->thread, .site = seg->recorder->site,
						  .value = STM_HEAP + granule * STM_GRANULE }, units);
}

/* ---- code that writes ---- */

static bool make_room(struct stm_recorder *recorder, uint32_t n)
{
	uint32_t cap = recorder->codes_cap * 2;
	struct stm_code *more;

	if (n < recorder->codes_cap)
		return true;
	more = realloc(recorder->codes, cap * sizeof(*more));
	if (!more)
		return false;
	recorder->codes = more;
	recorder->codes_cap = cap;
	return true;
}

/* What comes is not part of the last run. */
void stm_record_new_code(struct stm_seg *seg, const void *behind)
{
	struct stm_recorder *recorder = seg->recorder;
	uint32_t n = recorder->codes_n;

	seg->behind = behind;
	seg->extends = STM_NOTHING;
	if (recorder->codes[n - 1].run == seg->runs) /* all that it wrote was written already */
		n--;
	if (!make_room(recorder, n)) {
		recorder->codes[0].address = 0; /* those before are not known, then */
		n = 1;
	}
	recorder->codes[n] = (struct stm_code){ .address = behind ? (uintptr_t)behind - 1 : 0, /* in the call */
						.run = seg->runs };
	recorder->codes_n = n + 1;
}

/* There is always one, from run 0 on: at first not known which. */
static void forget_codes(struct stm_seg *seg)
{
	struct stm_recorder *recorder = seg->recorder;

	recorder->codes[0] = (struct stm_code){ .address = 0 };
	recorder->codes_n = 1;
	seg->behind = STM_NO_CODE;
}

/* Runs from seg->runs on are forgotten. */
void stm_record_rolled_back(struct stm_seg *seg)
{
	struct stm_recorder *recorder = seg->recorder;

	while (recorder->codes_n > 1 && recorder->codes[recorder->codes_n - 1].run >= seg->runs)
		recorder->codes_n--;
	seg->behind = STM_NO_CODE;
}

size_t stm_record_codes(struct stm_seg *seg)
{
	struct stm_recorder *recorder = seg->recorder;
	size_t all = (size_t)(seg->tail - (uint8_t *)(seg->entry + 1));
	size_t bytes = recorder->codes_n * sizeof(*recorder->codes);

	recorder->granules = (uint32_t)((all - seg->runs * sizeof(struct stm_run)) / STM_GRANULE);
	if ((size_t)(seg->limit - seg->tail) < bytes && !stm_entry_reserve(seg, bytes))
		return 0;
	for (uint32_t i = 0; i < recorder->codes_n; i++)
		((struct stm_code *)(void *)seg->tail)[i] = recorder->codes[i];
	return bytes;
}

/* ---- making and closing ---- */

static struct stm_recorder *new_recorder(uint16_t thread)
{
	struct stm_recorder *recorder = aligned_alloc(64, (sizeof(*recorder) + 63) / 64 * 64);
	struct stm_code *codes = malloc(CODES_FIRST * sizeof(*codes));
	size_t bytes = ring_units * STM_LOG_UNIT;
	void *ring = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	if (recorder && codes && ring != MAP_FAILED) {
		memset(recorder, 0, sizeof(*recorder));
		madvise(ring, bytes, MADV_DONTFORK);
		recorder->ring.bytes = ring;
		recorder->ring.units = ring_units;
		recorder->thread = thread;
		recorder->codes = codes;
		recorder->codes_cap = CODES_FIRST;
		recorder->random = thread * 2654435761u;
		recorder->until = draw(recorder) / 2;
		if (!stm_flush_add(&recorder->ring))
			return recorder;
	}
	if (ring != MAP_FAILED)
		munmap(ring, bytes);
	free(codes);
	free(recorder);
	stm_complain("event log: ENOMEM: no memory for one more thread, which is left out: lower UFFDSTM_LOG_BUFFER");
	return NULL;
}

static void delete_recorder(struct stm_recorder *recorder)
{
	if (!recorder)
		return;
	munmap(recorder->ring.bytes, recorder->ring.units * STM_LOG_UNIT);
	free(recorder->codes);
	free(recorder);
}

/* A number from the environment; 0: nothing there. False: it is none, or out of bounds. */
static bool read_number(const char *name, uint64_t low, uint64_t high, uint64_t *value)
{
	const char *text = secure_getenv(name);
	char *end;

	*value = 0;
	if (!text || !*text)
		return true;
	errno = 0;
	*value = strtoull(text, &end, 10);
	if (*text >= '0' && *text <= '9' && !*end && !errno && *value >= low && *value <= high)
		return true;
	stm_complain("%s=%s (EINVAL): a number, %llu to %llu", name, text, (unsigned long long)low, (unsigned long long)high);
	return false;
}

static int read_numbers(uint64_t *sample, uint64_t *buffer, uint64_t *readers)
{
	*sample = stm_global.event_sample;
	*buffer = stm_global.event_buffer;
	*readers = stm_global.event_readers;
	if ((!*readers && !read_number("UFFDSTM_LOG_READERS", 0, 1, readers)) ||
	    (!*sample && !read_number("UFFDSTM_LOG_SAMPLE", 1, STM_SAMPLE_MAX, sample)) ||
	    (!*buffer && !read_number("UFFDSTM_LOG_BUFFER", STM_BUFFER_MIN, STM_BUFFER_MAX, buffer)))
		return -EINVAL;
	if (!*sample)
		*sample = 1;
	if (!*buffer)
		*buffer = stm_global.event_buffer_profile ? stm_global.event_buffer_profile : BUFFER_DEFAULT;
	return 0;
}

static int open_log(const char *path, uint64_t sample, uint64_t buffer)
{
	static bool tells_at_exit;
	struct stm_log_header header = {
		.version = STM_LOG_VERSION, .header_bytes = sizeof(header), .unit_bytes = STM_LOG_UNIT,
		.heap = STM_HEAP, .heap_limit = stm_global.heap_limit, .granule = STM_GRANULE,
		.pid = (uint32_t)getpid(), .sample = (uint32_t)sample,
	};
	int error;

	memcpy(header.magic, STM_LOG_MAGIC, sizeof(header.magic));
	strcpy(header.library, stm_version());
	header.clock = stm_clock_open();
	header.ticks_per_second = stm_clock_rate();
	header.start = stm_ticks();
	header.start_ns = stm_clock_ns(CLOCK_REALTIME);
	stm_define_open(&header);
	sample_of = sample;
	all_by_tsc = sample == 1 && stm_clock_is_tsc;
	for (ring_units = STM_BUFFER_MIN / STM_LOG_UNIT; ring_units * STM_LOG_UNIT < buffer; ring_units *= 2)
		;
	error = stm_flush_open(path, &header);
	if (error)
		return error;
	if (!tells_at_exit)
		tells_at_exit = !atexit(tell_all_lost);
	stm_labels_open();
	stm_define_modules();
	recorders[HANDLER] = new_recorder(STM_NO_THREAD);
	stm_global.recording = true;
	return 0;
}

int stm_recorder_open(void)
{
	const char *path = secure_getenv("UFFDSTM_LOG");
	uint64_t sample, buffer, readers;
	int error;

	if (!STM_EVENTS || (!stm_global.event_log && (!path || !*path)))
		return 0;
	error = read_numbers(&sample, &buffer, &readers);
	if (error)
		return error;
	if (stm_global.event_log) {
		error = open_log(stm_global.event_log, sample, buffer);
		if (error)
			return error;
	} else if (open_log(path, sample, buffer)) {
		return 0; /* It was said what is wrong. The program was not written to need a log, so it runs without. */
	}
	error = readers ? stm_watch_open() : 0;
	if (error)
		stm_recorder_close();
	return error;
}

void stm_recorder_close(void)
{
	if (!stm_global.recording)
		return;
	stm_global.recording = false;
	stm_watch_close();
	tell_all_lost();
	stm_flush_close();
	for (unsigned int i = 0; i < RECORDERS; i++) {
		delete_recorder(recorders[i]);
		recorders[i] = NULL;
	}
	stm_labels_close();
	stm_define_close();
}

void stm_recorder_forked(void)
{
	if (stm_global.recording)
		stm_flush_forked();
}

/* A recorder stays, like the segment, for the next thread. */
void stm_recorder_attach(struct stm_seg *seg)
{
	if (!stm_global.recording)
		return;
	if (!recorders[seg->id])
		recorders[seg->id] = new_recorder((uint16_t)seg->id);
	if (!recorders[seg->id])
		return;
	stm_define_thread((uint16_t)seg->id, stm_ticks());
	seg->recorder = recorders[seg->id];
	forget_codes(seg);
	seg->heed |= STM_HEED_EVENTS;
}

void stm_recorder_detach(struct stm_seg *seg)
{
	if (!stm_recording(seg))
		return;
	stm_record(seg->recorder, STM_EVENT_DETACH, 0, 0, 0);
	tell_lost(seg->recorder);
	seg->recorder = NULL;
	seg->heed &= ~STM_HEED_EVENTS;
}

void stm_record_fault(struct stm_recorder *recorder, struct stm_seg *seg, uint64_t since, uint64_t value)
{
	stm_record(recorder, STM_EVENT_FAULT, since, stm_define_site(stm_site_of(seg)), value);
}

/* Who resolves it: the thread itself, or one that does it for others. */
struct stm_recorder *stm_recorder_of(struct stm_seg *seg, const struct stm_fault *fault)
{
	struct stm_recorder *handler = recorders[HANDLER];

	if (!stm_recording(seg) || !fault->thread)
		return seg->recorder;
	if (handler)
		handler->thread = (uint16_t)seg->id;
	return handler;
}
