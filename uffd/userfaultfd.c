// SPDX-License-Identifier: MIT
/*
 * userfaultfd.c - open, register, resolve.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <sys/ioctl.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "compat.h"
#include "message.h"
#include "userfaultfd.h"

#define FEATURES_ALWAYS (UFFD_FEATURE_MINOR_SHMEM | UFFD_FEATURE_PAGEFAULT_FLAG_WP | UFFD_FEATURE_WP_HUGETLBFS_SHMEM)

static const struct {
	uint64_t bit;
	const char *name;
	const char *since;
} features[] = {
	{ UFFD_FEATURE_SIGBUS, "SIGBUS", "4.14" },
	{ UFFD_FEATURE_MINOR_SHMEM, "MINOR_SHMEM", "5.14" },
	{ UFFD_FEATURE_PAGEFAULT_FLAG_WP, "PAGEFAULT_FLAG_WP", "5.7" },
	{ UFFD_FEATURE_WP_HUGETLBFS_SHMEM, "WP_HUGETLBFS_SHMEM", "5.19" },
};

#define FEATURES (sizeof(features) / sizeof(features[0]))

/*
 * Only faults of user code are ours to resolve, and USER_MODE_ONLY needs no privilege;
 * /dev/userfaultfd is for machines that forbid the system call.
 */
static int open_descriptor(void)
{
	int fd = (int)syscall(SYS_userfaultfd, O_CLOEXEC | O_NONBLOCK | UFFD_USER_MODE_ONLY);
	int error = errno;

	if (fd >= 0)
		return fd;

	int dev = open("/dev/userfaultfd", O_RDWR | O_CLOEXEC);

	if (dev >= 0) {
		fd = ioctl(dev, USERFAULTFD_IOC_NEW, O_CLOEXEC | O_NONBLOCK | UFFD_USER_MODE_ONLY);
		close(dev);
		if (fd >= 0)
			return fd;
	}
	return -error;
}

static const char *advice(int error)
{
	switch (-error) {
	case EPERM:
	case EACCES:
		return "a security filter forbids it: allow userfaultfd(2) or /dev/userfaultfd";
	case ENOSYS:
		return "this kernel is built without CONFIG_USERFAULTFD";
	case EMFILE:
	case ENFILE:
		return "raise the limit of open files: one for each segment";
	default:
		return "see userfaultfd(2)";
	}
}

int stm_uffd_open(uint64_t wanted)
{
	int fd = open_descriptor();

	if (fd < 0) {
		stm_complain("userfaultfd: %s: %s", stm_errno_name(fd), advice(fd));
		return fd;
	}

	struct uffdio_api api = { .api = UFFD_API, .features = wanted | FEATURES_ALWAYS };

	if (ioctl(fd, UFFDIO_API, &api) == 0)
		return fd;

	int error = -errno;

	close(fd);
	/* The kernel does not say which: ask once more on a fresh descriptor, for nothing. */
	fd = open_descriptor();
	api = (struct uffdio_api){ .api = UFFD_API };
	if (fd >= 0 && ioctl(fd, UFFDIO_API, &api) == 0) {
		for (size_t i = 0; i < FEATURES; i++)
			if ((wanted | FEATURES_ALWAYS) & ~api.features & features[i].bit)
				stm_complain("userfaultfd: this kernel lacks UFFD_FEATURE_%s: needs Linux %s or later",
					     features[i].name, features[i].since);
	}
	if (fd >= 0)
		close(fd);
	stm_complain("userfaultfd: UFFDIO_API: %s: run a kernel of 6.1 or later", stm_errno_name(error));
	return error;
}

int stm_uffd_register(int uffd, void *start, size_t len)
{
	struct uffdio_register reg = {
		.range = { (uintptr_t)start, len },
		.mode = UFFDIO_REGISTER_MODE_MINOR | UFFDIO_REGISTER_MODE_WP,
	};

	return ioctl(uffd, UFFDIO_REGISTER, &reg) ? -errno : 0;
}

int stm_uffd_copy(int uffd, void *to, const void *from, size_t len, uint64_t *calls)
{
	for (size_t done = 0; done < len;) {
		struct uffdio_copy copy = {
			.dst = (uintptr_t)to + done,
			.src = (uintptr_t)from + done,
			.len = len - done,
		};

		++*calls;
		if (ioctl(uffd, UFFDIO_COPY, &copy) == 0)
			return 0;
		if (errno != EAGAIN)
			return -errno;
		if (copy.copy > 0)
			done += (size_t)copy.copy;
	}
	return 0;
}

static int write_protect(int uffd, void *start, size_t len, uint64_t *calls)
{
	struct uffdio_writeprotect protect = {
		.range = { (uintptr_t)start, len },
		.mode = UFFDIO_WRITEPROTECT_MODE_WP,
	};

	for (;;) {
		++*calls;
		if (ioctl(uffd, UFFDIO_WRITEPROTECT, &protect) == 0)
			return 0;
		if (errno != EAGAIN)
			return -errno;
	}
}

int stm_uffd_continue(int uffd, void *start, size_t len, uint64_t *calls)
{
	static _Atomic bool no_mode_wp; /* Linux before 6.4 */

	for (size_t done = 0; done < len;) {
		bool two_steps = no_mode_wp;
		struct uffdio_continue cont = {
			.range = { (uintptr_t)start + done, len - done },
			.mode = two_steps ? 0 : UFFDIO_CONTINUE_MODE_WP,
		};

		++*calls;
		if (ioctl(uffd, UFFDIO_CONTINUE, &cont) == 0)
			return two_steps ? write_protect(uffd, start, len, calls) : 0;
		if (errno == EINVAL && !two_steps)
			no_mode_wp = true;
		else if (errno != EAGAIN)
			return -errno;
		else if (cont.mapped > 0)
			done += (size_t)cont.mapped;
	}
	return no_mode_wp ? write_protect(uffd, start, len, calls) : 0;
}
