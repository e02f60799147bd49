// SPDX-License-Identifier: MIT
/*
 * probe_open.c - the three ways to a descriptor for userfaultfd.
 */
#include <errno.h>
#include <fcntl.h>
#include <linux/capability.h>
#include <linux/userfaultfd.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "check.h"

#define DEVICE "/dev/userfaultfd"
#define SYSCTL "/proc/sys/vm/unprivileged_userfaultfd"

static int by_device(void)
{
	int device = open(DEVICE, O_RDWR | O_CLOEXEC), fd;

	if (device < 0)
		return -errno;
	fd = ioctl(device, USERFAULTFD_IOC_NEW, O_CLOEXEC | O_NONBLOCK);
	if (fd < 0)
		fd = -errno;
	close(device);
	return fd;
}

static int by_call(int flags)
{
	int fd = (int)syscall(SYS_userfaultfd, O_CLOEXEC | O_NONBLOCK | flags);

	return fd < 0 ? -errno : fd;
}

int open_uffd(void)
{
	int fd = by_device();

	if (fd < 0)
		fd = by_call(0);
	return fd < 0 ? by_call(UFFD_USER_MODE_ONLY) : fd;
}

/* Only a kernel with userfaultfd has this file: else ENOSYS is its own answer. */
static bool kernel_has_it(void)
{
	return access(SYSCTL, F_OK) == 0;
}

static bool has_misc_device(void)
{
	FILE *file = fopen("/proc/misc", "re");
	char name[100];
	bool found = false;

	while (file && !found && fscanf(file, "%*d %99s", name) == 1)
		found = !strcmp(name, "userfaultfd");
	if (file)
		fclose(file);
	return found;
}

static void probe_device(struct finding *finding)
{
	int error = -by_device();

	if (error <= 0) {
		found(finding, WORKS, "also faults in system calls");
		return;
	}
	finding->error = error;
	switch (error) {
	case EACCES:
		found(finding, FORBIDDEN, "open: EACCES");
		if (by_call(0) >= 0)
			return;
		advise(finding, "let a group of which you are a member use it");
		as_setup(finding, "");
		return;
	case ENOENT:
	case ENXIO:
	case ENODEV:
		if (!has_misc_device())
			break;
		found(finding, FORBIDDEN, "open: %s, though this kernel has it", errno_name(error));
		advise(finding, "in a container, hand it in (docker run --device " DEVICE "); elsewhere mount a devtmpfs on /dev");
		return;
	case EPERM:
		found(finding, FORBIDDEN, "open: EPERM");
		advise(finding, "a container's list of devices forbids it: docker run --device " DEVICE);
		return;
	}
	refused(finding, error == ENOENT || error == ENXIO || error == ENODEV ? 0 : error, DEVICE, "6.1");
}

static void probe_call(struct finding *finding)
{
	int error = -by_call(0);

	if (error <= 0) {
		found(finding, WORKS, "also faults in system calls");
		return;
	}
	if (error == EPERM && (!has_capability(CAP_SYS_PTRACE) || in_user_namespace()) && read_number(SYSCTL) == 0) {
		finding->error = error;
		found(finding, FORBIDDEN, "EPERM: no CAP_SYS_PTRACE%s", in_user_namespace() ? " on the host" : "");
		if (by_device() >= 0)
			return;
		advise(finding, "if the device cannot be had, allow it to every user (vm.unprivileged_userfaultfd=1)");
		as_root(finding, "uffdstm setup --sysctl");
		return;
	}
	refused(finding, error, "userfaultfd(2)", "4.3");
}

static void probe_user_mode(struct finding *finding)
{
	int error = -by_call(UFFD_USER_MODE_ONLY);

	if (error <= 0) {
		found(finding, WORKS, "not faults in system calls");
		return;
	}
	refused(finding, error, "userfaultfd(2)", "5.11");
	if (finding->verdict == LACKING && kernel_has_it()) {
		found(finding, FORBIDDEN, "userfaultfd(2): %s, though this kernel has it", errno_name(error));
		advise_seccomp(finding, "userfaultfd(2)");
	}
}

static void probe_any(struct finding *finding)
{
	int fd = by_device();
	const char *way = DEVICE;

	if (fd < 0) {
		fd = by_call(0);
		way = "userfaultfd(2)";
	}
	if (fd < 0) {
		fd = by_call(UFFD_USER_MODE_ONLY);
		way = "userfaultfd(2), user mode";
	}
	if (fd >= 0) {
		found(finding, WORKS, "%s", way);
		return;
	}
	refused(finding, fd, "userfaultfd(2)", "4.3");
	found(finding, kernel_has_it() ? FORBIDDEN : LACKING, "none of the three is open");
}

const struct probe probes_open[] = {
	{ "device", DEVICE, INFORMATION, probe_device },
	{ "call", "userfaultfd(2)", INFORMATION, probe_call },
	{ "user-mode", "userfaultfd(2), user mode", INFORMATION, probe_user_mode },
	{ "userfaultfd", "the best of these", NEEDED, probe_any },
	{ NULL, NULL, INFORMATION, NULL },
};
