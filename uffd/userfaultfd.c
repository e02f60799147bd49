// SPDX-License-Identifier: MIT
/*
 * userfaultfd.c - open, register, resolve.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <sys/ioctl.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "compat.h"
#include "message.h"
#include "userfaultfd.h"

#define FEATURES_ALWAYS (UFFD_FEATURE_MINOR_SHMEM | UFFD_FEATURE_PAGEFAULT_FLAG_WP | UFFD_FEATURE_WP_HUGETLBFS_SHMEM)

#define FEATURE(name, since) { UFFD_FEATURE_##name, "UFFD_FEATURE_" #name ": needs Linux " since " or later" }

static const struct {
	uint64_t bit;
	const char *text;
} features[] = {
	FEATURE(SIGBUS, "4.14"),
	FEATURE(THREAD_ID, "4.14"),
	FEATURE(PAGEFAULT_FLAG_WP, "5.7"),
	FEATURE(MINOR_SHMEM, "5.14"),
	FEATURE(EXACT_ADDRESS, "5.18"),
	FEATURE(WP_HUGETLBFS_SHMEM, "5.19"),
	FEATURE(WP_ASYNC, "6.7"),
};

#define FEATURES (sizeof(features) / sizeof(features[0]))

/* ---- ways to get a descriptor ---- */

static const char device_path[] = "/dev/userfaultfd";

static const char *const way_names[STM_UFFD_WAYS] = {
	[STM_UFFD_DEVICE] = device_path,
	[STM_UFFD_CALL] = "userfaultfd(2)",
	[STM_UFFD_USER_MODE] = "userfaultfd(2) with UFFD_USER_MODE_ONLY",
};

static int device = -1;                         /* kept open; -1: not */
static _Atomic unsigned int worst;              /* enum stm_uffd_way */
static _Atomic int refused[STM_UFFD_WAYS];

static int open_by_device(void)
{
	int dev = device >= 0 ? device : open(device_path, O_RDWR | O_CLOEXEC);
	int fd, error;

	if (dev < 0)
		return -errno;
	fd = ioctl(dev, USERFAULTFD_IOC_NEW, O_CLOEXEC | O_NONBLOCK);
	error = fd < 0 ? -errno : 0;
	if (dev != device)
		close(dev);
	return error ? error : fd;
}

static int open_by_call(int flags)
{
	int fd = (int)syscall(SYS_userfaultfd, O_CLOEXEC | O_NONBLOCK | flags);

	return fd < 0 ? -errno : fd;
}

static int open_by(enum stm_uffd_way way)
{
	return way == STM_UFFD_DEVICE ? open_by_device() : open_by_call(way == STM_UFFD_CALL ? 0 : UFFD_USER_MODE_ONLY);
}

static int open_descriptor(void)
{
	int fd = -1;

	for (unsigned int way = 0; way < STM_UFFD_WAYS; way++) {
		fd = open_by(way);
		if (fd >= 0) {
			unsigned int was = atomic_load(&worst);

			while (was < way && !atomic_compare_exchange_weak(&worst, &was, way))
				;
			return fd;
		}
		atomic_store(&refused[way], fd);
	}
	return fd;
}

void stm_uffd_start(bool keep_device)
{
	atomic_store(&worst, STM_UFFD_DEVICE);
	for (unsigned int way = 0; way < STM_UFFD_WAYS; way++)
		atomic_store(&refused[way], 0);
	if (keep_device)
		device = open(device_path, O_RDWR | O_CLOEXEC);
}

void stm_uffd_stop(void)
{
	if (device >= 0)
		close(device);
	device = -1;
}

enum stm_uffd_way stm_uffd_way(void)
{
	return atomic_load(&worst);
}

const char *stm_uffd_way_name(enum stm_uffd_way way)
{
	return way_names[way];
}

int stm_uffd_refused(enum stm_uffd_way way)
{
	return atomic_load(&refused[way]);
}

/* ---- features ---- */

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

const char *stm_uffd_feature(uint64_t bits)
{
	for (size_t i = 0; i < FEATURES; i++)
		if (bits & features[i].bit)
			return features[i].text;
	return "a feature of userfaultfd";
}

/* The kernel does not say which it lacks: asked for nothing, it tells what it has. */
uint64_t stm_uffd_lacking(uint64_t wanted)
{
	struct uffdio_api api = { .api = UFFD_API };
	int fd = open_descriptor();
	uint64_t lacking = 0;

	if (fd < 0)
		return 0;
	if (ioctl(fd, UFFDIO_API, &api) == 0)
		lacking = (wanted | FEATURES_ALWAYS) & ~api.features;
	close(fd);
	return lacking;
}

int stm_uffd_open(uint64_t wanted)
{
	struct uffdio_api api = { .api = UFFD_API, .features = wanted | FEATURES_ALWAYS };
	int fd = open_descriptor();
	uint64_t lacking;
	int error;

	if (fd < 0) {
		stm_complain("userfaultfd: %s: %s", stm_errno_name(fd), advice(fd));
		return fd;
	}
	if (ioctl(fd, UFFDIO_API, &api) == 0)
		return fd;
	error = -errno;
	close(fd);
	lacking = stm_uffd_lacking(wanted);
	for (; lacking; lacking &= lacking - 1)
		stm_complain("userfaultfd: this kernel lacks %s", stm_uffd_feature(lacking & -lacking));
	stm_complain("userfaultfd: UFFDIO_API: %s: run a kernel of 6.1 or later", stm_errno_name(error));
	return error;
}

/* ---- ranges ---- */

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

int stm_uffd_protect(int uffd, void *start, size_t len, bool protected, uint64_t *calls)
{
	struct uffdio_writeprotect protect = {
		.range = { (uintptr_t)start, len },
		.mode = protected ? UFFDIO_WRITEPROTECT_MODE_WP : 0,
	};

	for (;;) {
		++*calls;
		if (ioctl(uffd, UFFDIO_WRITEPROTECT, &protect) == 0)
			return 0;
		if (errno != EAGAIN)
			return -errno;
	}
}

static int continue_range(int uffd, void *start, size_t len, uint64_t mode, uint64_t *calls)
{
	for (size_t done = 0; done < len;) {
		struct uffdio_continue cont = {
			.range = { (uintptr_t)start + done, len - done },
			.mode = mode,
		};

		++*calls;
		if (ioctl(uffd, UFFDIO_CONTINUE, &cont) == 0)
			return 0;
		if (errno != EAGAIN)
			return -errno;
		if (cont.mapped > 0)
			done += (size_t)cont.mapped;
	}
	return 0;
}

int stm_uffd_continue_at_once(int uffd, void *start, size_t len, uint64_t *calls)
{
	return continue_range(uffd, start, len, UFFDIO_CONTINUE_MODE_WP, calls);
}

int stm_uffd_continue(int uffd, void *start, size_t len, uint64_t *calls)
{
	static _Atomic bool no_mode_wp; /* Linux before 6.4 */
	int error = -EINVAL;

	if (!no_mode_wp)
		error = stm_uffd_continue_at_once(uffd, start, len, calls);
	if (error != -EINVAL)
		return error;
	no_mode_wp = true;
	error = continue_range(uffd, start, len, 0, calls);
	return error ? error : stm_uffd_protect(uffd, start, len, true, calls);
}

int stm_uffd_wake(int uffd, void *start, size_t len)
{
	struct uffdio_range range = { (uintptr_t)start, len };

	return ioctl(uffd, UFFDIO_WAKE, &range) ? -errno : 0;
}
