// SPDX-License-Identifier: MIT
/*
 * writer.c - writes to the event log's file, many at a time.
 *
 *   1. By io_uring all writes of a call are in flight at once, after one io_uring_enter(2), which waits for them, too.
 *      Buffers, the file and the ring itself are registered: the kernel need not look up and pin them each
 *      time, and it writes to our file even if the program closes all descriptors that it does not know.
 *   2. A write that follows another is linked to it: if that one is short or fails, it is cancelled.
 *   3. A short write goes on where it ended; EINTR, EAGAIN and ECANCELED are tried again. A disk's error is the
 *      caller's; any other that io_uring gives ends its use.
 *   4. By pwritev(2) as many writes as stand side by side in the file are one call.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <liburing.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/uio.h>
#include <time.h>
#include <unistd.h>

#include "message.h"
#include "writer.h"

#define WRITE_MAX ((size_t)1 << 30)     /* an unsigned int holds it; the kernel itself writes at most 2 GiB at once */
#define PATIENCE 100u                   /* times without progress, a millisecond each */

static const struct stm_event_file *file;
static enum stm_log_writer kind;
static char reason[96];                 /* whole units: it is zero behind the text */

static struct io_uring ring;
static struct stm_held_fd ring_fd = { .fd = -1 };

struct stm_writer_stats stm_writer_stats;

static void wait_a_moment(void)
{
	nanosleep(&(struct timespec){ .tv_nsec = 1000000 }, NULL);
}

/* What came of a write: 0, or the error that ends it. */
static int take_result(struct stm_write *write, ssize_t n)
{
	if (n > 0) {
		write->done += (size_t)n;
		stm_writer_stats.bytes += (size_t)n;
		return 0;
	}
	return n == -EINTR || n == -EAGAIN || n == -ECANCELED ? 0 : n ? (int)n : -EIO;
}

/* ---- pwritev(2) ---- */

/* The first write that is not done, and those behind it without a gap: how many. */
static int gather(struct stm_write *writes, unsigned int n, struct iovec *parts, struct stm_write **first)
{
	uint64_t end = 0;
	int parts_n = 0;

	for (struct stm_write *w = writes; w < writes + n; w++) {
		if (w->done == w->len)
			continue;
		if (parts_n && w->offset + w->done != end)
			break;
		if (!parts_n)
			*first = w;
		parts[parts_n++] = (struct iovec){ (void *)(w->bytes + w->done), w->len - w->done };
		end = w->offset + w->len;
	}
	return parts_n;
}

static int run_pwritev(struct stm_write *writes, unsigned int n)
{
	struct iovec parts[STM_WRITES_LIMIT];
	struct stm_write *w = NULL;
	unsigned int idle = 0;
	ssize_t written;
	int parts_n, error = 0;

	while ((parts_n = gather(writes, n, parts, &w))) {
		if (!stm_still_holds(&file->data))
			return -EBADF;
		written = pwritev(file->data.fd, parts, parts_n, (off_t)(w->offset + w->done));
		if (written < 0)
			written = -errno;
		stm_writer_stats.calls++;
		if (written <= 0) {
			error = take_result(w, written);
			if (error || ++idle == PATIENCE)
				return error ? error : (int)written;
			wait_a_moment();
			continue;
		}
		idle = 0;
		for (; written > 0; w++) {
			ssize_t rest = (ssize_t)(w->len - w->done), part = written < rest ? written : rest;

			take_result(w, part);
			stm_writer_stats.writes++;
			written -= part;
		}
	}
	return 0;
}

/* ---- io_uring ---- */

static void use_pwritev(const char *call, int error)
{
	const char *who = "";
	char level = '0';
	int fd;

	if (error == -EPERM) {
		fd = open("/proc/sys/kernel/io_uring_disabled", O_RDONLY | O_CLOEXEC);
		if (fd >= 0 && read(fd, &level, 1) == 1 && level != '0')
			who = level == '1' ? ": sysctl kernel.io_uring_disabled is 1" :
					     ": sysctl kernel.io_uring_disabled is 2";
		else
			who = ": a security filter refuses it";
		if (fd >= 0)
			close(fd);
	} else if (error == -ENOSYS) {
		who = ": the kernel has none, or a security filter hides it";
	}
	memset(reason, 0, sizeof(reason));
	snprintf(reason, sizeof(reason), "%s: %s%s", call, stm_errno_name(error), who);
	kind = STM_WRITER_PWRITE;
}

/* Close it with its descriptor, if that is ours still. */
static void close_ring(void)
{
	if (!stm_still_holds(&ring_fd))
		ring.ring_fd = -1;
	io_uring_queue_exit(&ring);
	ring_fd.fd = -1;
}

static int open_ring(unsigned int buffers, const char **call)
{
	struct io_uring_params params = { .flags = IORING_SETUP_SINGLE_ISSUER | IORING_SETUP_COOP_TASKRUN };
	int error = io_uring_queue_init_params(STM_WRITES_LIMIT, &ring, &params);

	*call = "io_uring_setup";
	if (error)
		return error;
	error = stm_hold_fd(&ring_fd, ring.ring_fd);
	if (!error) {
		*call = "io_uring_register";
		error = io_uring_register_files(&ring, &file->data.fd, 1);
	}
	if (!error)
		error = io_uring_register_buffers_sparse(&ring, buffers);
	if (!error && io_uring_register_ring_fd(&ring) != 1)
		error = -EINVAL;
	if (error)
		close_ring();
	return error;
}

static void prepare(struct stm_write *w, bool linked)
{
	struct io_uring_sqe *sqe = io_uring_get_sqe(&ring); /* there are as many as writes */
	size_t rest = w->len - w->done;
	unsigned int len = (unsigned int)(rest < WRITE_MAX ? rest : WRITE_MAX);

	if (w->buffer == STM_NO_BUFFER)
		io_uring_prep_write(sqe, 0, w->bytes + w->done, len, w->offset + w->done);
	else
		io_uring_prep_write_fixed(sqe, 0, w->bytes + w->done, len, w->offset + w->done, w->buffer);
	sqe->flags |= IOSQE_FIXED_FILE | (linked ? IOSQE_IO_LINK : 0);
	io_uring_sqe_set_data(sqe, w);
}

/* What has come: how many, and the first error in @error. */
static unsigned int reap(int *error)
{
	struct io_uring_cqe *cqes[STM_WRITES_LIMIT];
	unsigned int n = io_uring_peek_batch_cqe(&ring, cqes, STM_WRITES_LIMIT);

	for (unsigned int i = 0; i < n; i++) {
		int result = take_result(io_uring_cqe_get_data(cqes[i]), cqes[i]->res);

		if (result && !*error)
			*error = result;
	}
	io_uring_cq_advance(&ring, n);
	stm_writer_stats.writes += n;
	return n;
}

/* One turn: each write that is not done, once. 0 or the first error of one; @broken: io_uring's own. */
static int submit_all(struct stm_write *writes, unsigned int n, int *broken)
{
	unsigned int in_flight = 0, idle = 0;
	int error = 0;

	for (struct stm_write *w = writes, *next; w < writes + n; w++) {
		next = w + 1;
		if (w->done < w->len) {
			prepare(w, next < writes + n && next->follows && next->done < next->len);
			in_flight++;
		}
	}
	while (in_flight) {
		int result = io_uring_submit_and_wait(&ring, in_flight);
		unsigned int got = reap(&error);

		stm_writer_stats.calls++;
		in_flight -= got;
		if (result >= 0 || result == -EINTR || got)
			continue;
		if ((result != -EAGAIN && result != -EBUSY && result != -ENOMEM) || ++idle == PATIENCE) {
			*broken = result;
			break;
		}
		wait_a_moment();
	}
	/* What the kernel has taken still reads our memory, and ends by itself. The rest is forgotten with the ring. */
	for (in_flight -= *broken ? io_uring_sq_ready(&ring) : 0; in_flight; in_flight -= reap(&error))
		wait_a_moment();
	return error;
}

static bool is_of_a_disk(int error)
{
	return error == -ENOSPC || error == -EDQUOT || error == -EFBIG || error == -EIO;
}

static size_t left_of(const struct stm_write *writes, unsigned int n)
{
	size_t left = 0;

	for (unsigned int i = 0; i < n; i++)
		left += writes[i].len - writes[i].done;
	return left;
}

/* 0 or -errno; not done and 0: not by io_uring any more. */
static int run_ring(struct stm_write *writes, unsigned int n)
{
	size_t left = left_of(writes, n), before;
	unsigned int idle = 0;

	while (left) {
		int broken = 0, error = submit_all(writes, n, &broken);

		if (broken || (error && !is_of_a_disk(error))) {
			close_ring();
			use_pwritev(broken ? "io_uring_enter" : "a write by io_uring", broken ? broken : error);
			return 0;
		}
		if (error)
			return error;
		before = left;
		left = left_of(writes, n);
		if (left < before) {
			idle = 0;
			continue;
		}
		if (++idle == PATIENCE)
			return -EAGAIN;
		wait_a_moment();
	}
	return 0;
}

/* ---- either ---- */

void stm_writer_open(const struct stm_event_file *to, unsigned int buffers)
{
	const char *call;
	int error;

	file = to;
	stm_writer_stats = (struct stm_writer_stats){ .bytes = 0 };
	memset(reason, 0, sizeof(reason));
	kind = STM_WRITER_IO_URING;
	error = open_ring(buffers, &call);
	if (error)
		use_pwritev(call, error);
}

void stm_writer_close(void)
{
	if (ring_fd.fd >= 0)
		close_ring();
	kind = 0;
}

void stm_writer_forked(void)
{
	stm_writer_close();
}

enum stm_log_writer stm_writer_kind(void)
{
	return kind;
}

const char *stm_writer_reason(void)
{
	return reason;
}

bool stm_writer_register(unsigned int number, void *bytes, size_t len)
{
	struct iovec memory = { bytes, len };
	__u64 tag = 0;

	if (kind != STM_WRITER_IO_URING || !stm_still_holds(&ring_fd) ||
	    io_uring_register_buffers_update_tag(&ring, number, &memory, &tag, 1) != 1)
		return false;
	stm_writer_stats.buffers++;
	return true;
}

int stm_writer_run(struct stm_write *writes, unsigned int n)
{
	int error = kind == STM_WRITER_IO_URING ? run_ring(writes, n) : 0;

	return !error && kind == STM_WRITER_PWRITE ? run_pwritev(writes, n) : error;
}
