// SPDX-License-Identifier: MIT
/*
 * probe_io.c - io_uring by its system calls: a request that does nothing goes through, and a buffer is registered.
 */
#include <errno.h>
#include <linux/io_uring.h>
#include <stdatomic.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <unistd.h>

#include "check.h"

#define DISABLED "/proc/sys/kernel/io_uring_disabled"
#define BUFFER_BYTES ((size_t)64 << 10)
#define TAG 0x5eed

static void explain_refusal(struct finding *finding, int error)
{
	long long disabled = read_number(DISABLED);

	if (error == EPERM && disabled > 0) {
		finding->error = error;
		found(finding, FORBIDDEN, "io_uring_setup(2): EPERM, since kernel.io_uring_disabled=%lld", disabled);
		advise(finding, disabled == 1 ? "become a member of the group whose number is kernel.io_uring_group, or allow it for everybody" :
			       "allow it for everybody");
		as_root(finding, "sysctl kernel.io_uring_disabled=0");
		return;
	}
	refused(finding, error, "io_uring_setup(2)", "5.1");
	if (error == ENOMEM)
		advise(finding, "raise the limit of locked memory: see below");
	if (error == ENOSYS && disabled >= 0) {
		found(finding, FORBIDDEN, "io_uring_setup(2): ENOSYS, though this kernel has it");
		advise_seccomp(finding, "io_uring_setup(2), io_uring_enter(2) and io_uring_register(2)");
	}
}

static bool do_nothing(int ring, const struct io_uring_params *params)
{
	size_t sq_bytes = params->sq_off.array + params->sq_entries * sizeof(unsigned int);
	size_t cq_bytes = params->cq_off.cqes + params->cq_entries * sizeof(struct io_uring_cqe);
	size_t sqe_bytes = params->sq_entries * sizeof(struct io_uring_sqe);
	char *sq = mmap(NULL, sq_bytes, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_POPULATE, ring, IORING_OFF_SQ_RING);
	char *cq = mmap(NULL, cq_bytes, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_POPULATE, ring, IORING_OFF_CQ_RING);
	struct io_uring_sqe *sqe = mmap(NULL, sqe_bytes, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_POPULATE, ring,
					IORING_OFF_SQES);
	const struct io_uring_cqe *cqe;

	if (sq == MAP_FAILED || cq == MAP_FAILED || sqe == MAP_FAILED)
		return false;
	memset(sqe, 0, sizeof(*sqe));
	sqe->opcode = IORING_OP_NOP;
	sqe->user_data = TAG;
	*(unsigned int *)(sq + params->sq_off.array) = 0;
	/* The kernel reads the tail first, then what is before it. */
	atomic_store_explicit((_Atomic unsigned int *)(sq + params->sq_off.tail), 1, memory_order_release);
	if (syscall(SYS_io_uring_enter, ring, 1, 1, IORING_ENTER_GETEVENTS, NULL, 0) != 1)
		return false;
	cqe = (const struct io_uring_cqe *)(cq + params->cq_off.cqes);
	errno = EIO;
	return atomic_load_explicit((_Atomic unsigned int *)(cq + params->cq_off.tail), memory_order_acquire) == 1 &&
	       cqe->user_data == TAG;
}

static void probe_io_uring(struct finding *finding)
{
	struct io_uring_params params = { .flags = 0 };
	struct iovec buffer = { .iov_len = BUFFER_BYTES };
	int ring = (int)syscall(SYS_io_uring_setup, 4, &params);

	if (ring < 0) {
		explain_refusal(finding, errno);
		return;
	}
	if (!do_nothing(ring, &params)) {
		refused(finding, errno, "io_uring_enter(2)", "5.1");
		return;
	}
	buffer.iov_base = mmap(NULL, BUFFER_BYTES, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	if (syscall(SYS_io_uring_register, ring, IORING_REGISTER_BUFFERS, &buffer, 1) == 0)
		return;
	finding->error = errno;
	found(finding, LIMITED, "requests work, but a buffer cannot be registered: %s", errno_name(errno));
	if (errno == ENOMEM)
		advise(finding, "raise the limit of locked memory: see below");
	else
		advise_seccomp(finding, "io_uring_register(2)");
}

static void probe_memlock(struct finding *finding)
{
	void *at = mmap(NULL, BUFFER_BYTES, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	struct rlimit limit;

	if (at == MAP_FAILED || getrlimit(RLIMIT_MEMLOCK, &limit)) {
		found(finding, UNTESTED, "no memory to lock: %s", errno_name(errno));
		return;
	}
	if (mlock(at, BUFFER_BYTES) == 0) {
		if (limit.rlim_cur == RLIM_INFINITY)
			found(finding, WORKS, "RLIMIT_MEMLOCK is unlimited");
		else
			found(finding, WORKS, "RLIMIT_MEMLOCK is %llu KiB", (unsigned long long)limit.rlim_cur >> 10);
		return;
	}
	finding->error = errno;
	found(finding, FORBIDDEN, "mlock(2) of %zu KiB: %s; RLIMIT_MEMLOCK is %llu bytes", BUFFER_BYTES >> 10,
	      errno_name(errno), (unsigned long long)limit.rlim_cur);
	advise(finding, "raise it, for a shell, or for a systemd unit by LimitMEMLOCK=8M");
	if (limit.rlim_max >= (rlim_t)8 << 20)
		as_user(finding, "ulimit -l 8192");
	else
		as_setup(finding, " --memlock");
}

const struct probe probes_io[] = {
	{ "io-uring", "io_uring", INFORMATION, probe_io_uring },
	{ "memlock", "locked memory", INFORMATION, probe_memlock },
	{ NULL, NULL, INFORMATION, NULL },
};
