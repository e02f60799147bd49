// SPDX-License-Identifier: MIT
/*
 * A file is read in blocks, never mapped: a mapped file that shrinks under us gives SIGBUS. The
 * inode is looked at before the first byte and after the last; where anything differs, or the bytes
 * are not as many as the size says, the file changed and nothing of it is used.
 */
#include "scan.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <xxhash.h>

#include "chunker.h"

/* Fits into a second-level cache with room to spare: the bytes are touched three times. */
#define BLOCK (256 * 1024)

static pthread_mutex_t scans_lock = PTHREAD_MUTEX_INITIALIZER;
static struct scan *scans;      /* under scans_lock */

struct scan *scan_new(void)
{
	struct scan *scan = calloc(1, sizeof(*scan));

	if (!scan)
		return NULL;
	scan->buffer = malloc(BLOCK);
	if (!scan->buffer) {
		free(scan);
		return NULL;
	}
	pthread_mutex_lock(&scans_lock);
	scan->next = scans;
	scans = scan;
	pthread_mutex_unlock(&scans_lock);
	return scan;
}

void scan_free_all(void)
{
	while (scans) {
		struct scan *scan = scans;

		scans = scan->next;
		free(scan->spans);
		free(scan->buffer);
		free(scan);
	}
}

void scan_totals(uint64_t *files, uint64_t *bytes)
{
	*files = *bytes = 0;
	pthread_mutex_lock(&scans_lock);
	for (struct scan *scan = scans; scan; scan = scan->next) {
		*files += atomic_load_explicit(&scan->files, memory_order_relaxed);
		*bytes += atomic_load_explicit(&scan->bytes, memory_order_relaxed);
	}
	pthread_mutex_unlock(&scans_lock);
}

/* Relaxed: only a progress line reads them, and only the owner adds. */
static void count(_Atomic uint64_t *counter, uint64_t n)
{
	atomic_store_explicit(counter, atomic_load_explicit(counter, memory_order_relaxed) + n,
			      memory_order_relaxed);
}

void identity_of(struct identity *identity, const struct stat *st)
{
	identity->dev = st->st_dev;
	identity->ino = st->st_ino;
	identity->size = st->st_size;
	identity->modified = st->st_mtim;
	identity->changed = st->st_ctim;
}

bool identity_equal(const struct identity *a, const struct identity *b)
{
	return a->dev == b->dev && a->ino == b->ino && a->size == b->size &&
	       a->modified.tv_sec == b->modified.tv_sec &&
	       a->modified.tv_nsec == b->modified.tv_nsec &&
	       a->changed.tv_sec == b->changed.tv_sec &&
	       a->changed.tv_nsec == b->changed.tv_nsec;
}

static int add_span(struct scan *scan, const unsigned char *p, size_t size, uint64_t offset)
{
	XXH128_hash_t hash;
	struct span *span;

	if (scan->nr == scan->capacity) {
		size_t capacity = scan->capacity ? 2 * scan->capacity : 256;
		struct span *spans = reallocarray(scan->spans, capacity, sizeof(*spans));

		if (!spans)
			return -ENOMEM;
		scan->spans = spans;
		scan->capacity = capacity;
	}
	hash = XXH3_128bits(p, size);
	span = &scan->spans[scan->nr++];
	span->hash.low = hash.low64;
	span->hash.high = hash.high64;
	span->offset = offset;
	span->size = (uint32_t)size;
	return 0;
}

/*
 * The chunks of what @fd delivers. The bytes read, or -errno. Stops early once there are more than
 * @size: some files below /proc and /sys never end.
 */
static ssize_t read_spans(struct scan *scan, int fd, uint64_t size)
{
	size_t have = 0;        /* bytes in the buffer, not cut yet */
	uint64_t offset = 0;    /* of the first of them */
	bool ended = false;

	while (!ended && offset + have <= size) {
		size_t used = 0;

		while (have < BLOCK && !ended) {
			ssize_t n = read(fd, scan->buffer + have, BLOCK - have);

			if (n < 0 && errno == EINTR)
				continue;
			if (n < 0)
				return -errno;
			have += (size_t)n;
			ended = !n;
		}
		while (have - used >= CHUNK_MAX || (ended && used < have)) {
			const size_t n = chunk_cut(scan->buffer + used, have - used);

			if (add_span(scan, scan->buffer + used, n, offset + used))
				return -ENOMEM;
			used += n;
		}
		count(&scan->bytes, used);
		offset += used;
		have -= used;
		memmove(scan->buffer, scan->buffer + used, have);
	}
	return (ssize_t)(offset + have);
}

/*
 * Whether the inode's last change is as late as the clock that such changes are dated with (Linux
 * before 6.13 has no other; 4 ms a tick here): another one could then get the same date.
 */
static bool just_changed(const struct identity *identity)
{
	struct timespec clock;
	int64_t ns;

	clock_gettime(CLOCK_REALTIME_COARSE, &clock);
	ns = (int64_t)(identity->changed.tv_sec - clock.tv_sec) * 1000000000 +
	     identity->changed.tv_nsec - clock.tv_nsec;
	return ns >= 0 && ns < 1000000000;      /* further ahead: the clock was set back */
}

#define TICKS_WAITED 10         /* after them, the file is being written all the time */

/* The inode, once any later change will show. 1: it is written all the time; or -1 with errno. */
static int stat_settled(int fd, struct stat *st, struct identity *identity)
{
	struct timespec tick;

	for (int i = 0; i < TICKS_WAITED; i++) {
		if (fstat(fd, st))
			return -1;
		identity_of(identity, st);
		if (!just_changed(identity))
			return 0;
		clock_getres(CLOCK_REALTIME_COARSE, &tick);
		nanosleep(&tick, NULL);
	}
	return 1;
}

static enum file_state scan_open(struct scan *scan, const struct file *file, int fd,
				 struct identity *identity, int *error)
{
	struct identity after;
	struct stat st;
	ssize_t bytes;
	const int settled = stat_settled(fd, &st, identity);

	if (settled < 0)
		goto unreadable;
	if (settled || !S_ISREG(st.st_mode) || identity->dev != file->identity.dev ||
	    identity->ino != file->identity.ino)
		return FILE_CHANGED;
	bytes = read_spans(scan, fd, (uint64_t)identity->size);
	if (bytes < 0) {
		errno = (int)-bytes;
		goto unreadable;
	}
	if (fstat(fd, &st))
		goto unreadable;
	identity_of(&after, &st);
	if (bytes != identity->size || !identity_equal(identity, &after))
		return FILE_CHANGED;
	return FILE_READ;

unreadable:
	*error = errno;
	return FILE_UNREADABLE;
}

enum file_state scan_file(struct scan *scan, const struct file *file, struct identity *identity,
			  int *error)
{
	/* Not blocking: the name may be a FIFO by now. */
	const int flags = O_RDONLY | O_CLOEXEC | O_NOCTTY | O_NONBLOCK;
	enum file_state state;
	int fd;

	scan->nr = 0;
	scan->of = NULL;
	fd = open(file->path, file->follow ? flags : flags | O_NOFOLLOW);
	if (fd < 0) {
		*error = errno;
		state = errno == ENOENT || errno == ELOOP ? FILE_CHANGED : FILE_UNREADABLE;
	} else {
		state = scan_open(scan, file, fd, identity, error);
		close(fd);
	}
	count(&scan->files, 1);
	if (state == FILE_READ)
		scan->of = file;
	else
		scan->nr = 0;
	return state;
}
