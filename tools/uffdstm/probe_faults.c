// SPDX-License-Identifier: MIT
/*
 * probe_faults.c - what the library does with userfaultfd, each on four pages of a memfd, mapped shared (base) and
 * private (view), as in a heap.
 */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "../../uffd/compat.h"
#include "check.h"

#define PAGE ((size_t)4096)
#define PAGES ((size_t)4)
#define ALWAYS (UFFD_FEATURE_MINOR_SHMEM | UFFD_FEATURE_PAGEFAULT_FLAG_WP | UFFD_FEATURE_WP_HUGETLBFS_SHMEM)

static int uffd;
static char *base;
static volatile char *view;

/* ---- preparation: false, and @finding tells why not ---- */

#define FEATURE(name, since) { UFFD_FEATURE_##name, "UFFD_FEATURE_" #name, since }

static bool has_features(struct finding *finding, uint64_t features)
{
	static const struct {
		uint64_t bit;
		const char *name, *since;
	} names[] = {
		FEATURE(SIGBUS, "4.14"),
		FEATURE(THREAD_ID, "4.14"),
		FEATURE(PAGEFAULT_FLAG_WP, "5.7"),
		FEATURE(MINOR_SHMEM, "5.14"),
		FEATURE(EXACT_ADDRESS, "5.18"),
		FEATURE(WP_HUGETLBFS_SHMEM, "5.19"),
		FEATURE(WP_ASYNC, "6.7"),
	};
	struct uffdio_api api = { .api = UFFD_API };
	int fd = open_uffd();

	if (fd < 0) {
		finding->error = -fd;
		found(finding, UNTESTED, "userfaultfd cannot be opened: see above");
		return false;
	}
	if (ioctl(fd, UFFDIO_API, &api)) {
		refused(finding, errno, "UFFDIO_API", "4.3");
		close(fd);
		return false;
	}
	close(fd);
	for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++)
		if (features & ~api.features & names[i].bit) {
			refused(finding, 0, names[i].name, names[i].since);
			return false;
		}
	return true;
}

static bool map(struct finding *finding)
{
	int fd = memfd_create("check", MFD_CLOEXEC);
	void *at = MAP_FAILED;

	if (fd >= 0 && !ftruncate(fd, PAGES * PAGE))
		at = mmap(NULL, PAGES * PAGE, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	if (at != MAP_FAILED) {
		base = at;
		for (size_t page = 0; page < PAGES; page++)
			memset(base + page * PAGE, 'a' + (int)page, PAGE);
		at = mmap(NULL, PAGES * PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE, fd, 0);
	}
	if (at == MAP_FAILED) {
		finding->error = errno;
		found(finding, UNTESTED, "a mapped memfd: %s", errno_name(errno));
		advise(finding, "see memfd below");
		return false;
	}
	view = at;
	close(fd);
	return true;
}

static bool prepare(struct finding *finding, uint64_t features)
{
	struct uffdio_api api = { .api = UFFD_API, .features = features | ALWAYS };
	struct uffdio_register reg = { .mode = UFFDIO_REGISTER_MODE_MINOR | UFFDIO_REGISTER_MODE_WP };

	if (!has_features(finding, features | ALWAYS) || !map(finding))
		return false;
	uffd = open_uffd();
	reg.range = (struct uffdio_range){ (uintptr_t)view, PAGES * PAGE };
	if (uffd < 0 || ioctl(uffd, UFFDIO_API, &api)) {
		refused(finding, uffd < 0 ? uffd : errno, "UFFDIO_API", "5.19");
		return false;
	}
	if (ioctl(uffd, UFFDIO_REGISTER, &reg)) {
		refused(finding, errno, "UFFDIO_REGISTER", "5.19");
		return false;
	}
	return true;
}

/* ---- one page ---- */

static int copy(size_t page)
{
	struct uffdio_copy c = {
		.dst = (uintptr_t)view + page * PAGE,
		.src = (uintptr_t)base + page * PAGE,
		.len = PAGE,
	};

	return ioctl(uffd, UFFDIO_COPY, &c) ? errno : 0;
}

static int share(size_t page, uint64_t mode)
{
	struct uffdio_continue c = { .range = { (uintptr_t)view + page * PAGE, PAGE }, .mode = mode };

	return ioctl(uffd, UFFDIO_CONTINUE, &c) ? errno : 0;
}

static int protect(size_t page, bool on)
{
	struct uffdio_writeprotect w = {
		.range = { (uintptr_t)view + page * PAGE, PAGE },
		.mode = on ? UFFDIO_WRITEPROTECT_MODE_WP : 0,
	};

	return ioctl(uffd, UFFDIO_WRITEPROTECT, &w) ? errno : 0;
}

/* As the library shares pages; without the mode (before Linux 6.4), in two calls. */
static int share_protected(size_t page)
{
	int error = share(page, UFFDIO_CONTINUE_MODE_WP);

	if (error != EINVAL)
		return error;
	error = share(page, 0);
	return error ? error : protect(page, true);
}

/* ---- signals ---- */

static volatile int faults;

/* A missing page is copied; a protected one is no more, so that the kernel copies it. */
static void on_sigbus(int signal, siginfo_t *info, void *context)
{
	uintptr_t offset = (uintptr_t)info->si_addr - (uintptr_t)view;
	int error;

	(void)signal;
	(void)context;
	if (offset >= PAGES * PAGE || ++faults > 10)
		_exit(100);
	error = copy(offset / PAGE);
	if (error == EEXIST)
		error = protect(offset / PAGE, false);
	if (error)
		_exit(101);
}

static void catch_sigbus(void)
{
	struct sigaction action = { .sa_sigaction = on_sigbus, .sa_flags = SA_SIGINFO };

	sigemptyset(&action.sa_mask);
	sigaction(SIGBUS, &action, NULL);
}

static void wrong(struct finding *finding, const char *what)
{
	found(finding, LACKING, "it is there but does not work: %s", what);
	advise(finding, "run another kernel, and report this one");
}

/* ---- probes ---- */

static void probe_register(struct finding *finding)
{
	prepare(finding, 0);
}

static void probe_copy(struct finding *finding)
{
	int error;

	if (!prepare(finding, 0))
		return;
	error = copy(1);
	if (error) {
		refused(finding, error, "UFFDIO_COPY", "5.19");
		return;
	}
	view[PAGE] = 'x';
	if (view[2 * PAGE - 1] != 'b' || base[PAGE] != 'b')
		wrong(finding, "the copy is not the base's page, or not private");
}

static void probe_continue(struct finding *finding)
{
	int error;

	if (!prepare(finding, 0))
		return;
	error = share(1, 0);
	if (error) {
		refused(finding, error, "UFFDIO_CONTINUE", "5.13");
		return;
	}
	base[PAGE] = 'y';
	if (view[PAGE] != 'y' || view[2 * PAGE - 1] != 'b')
		wrong(finding, "the view does not show the base's page");
}

static void probe_continue_protected(struct finding *finding)
{
	int error;

	if (!prepare(finding, UFFD_FEATURE_SIGBUS))
		return;
	error = share(1, UFFDIO_CONTINUE_MODE_WP);
	if (error) {
		refused(finding, error, "UFFDIO_CONTINUE_MODE_WP", "6.4");
		return;
	}
	catch_sigbus();
	view[PAGE] = 'x';
	if (faults != 1 || base[PAGE] != 'b')
		wrong(finding, "a store to the page is not reported");
}

static void probe_sigbus(struct finding *finding)
{
	if (!prepare(finding, UFFD_FEATURE_SIGBUS))
		return;
	catch_sigbus();
	if (view[2 * PAGE] != 'c' || faults != 1)
		wrong(finding, "an access to a missing page is not reported once");
}

static void probe_protect(struct finding *finding)
{
	int error;

	if (!prepare(finding, UFFD_FEATURE_SIGBUS))
		return;
	catch_sigbus();
	error = share(1, 0);
	if (!error)
		error = protect(1, true);
	if (error) {
		refused(finding, error, "UFFDIO_WRITEPROTECT", "5.19");
		return;
	}
	if (view[PAGE] != 'b' || faults)
		wrong(finding, "a load from the page is reported");
	view[PAGE] = 'x';
	if (faults != 1 || view[PAGE] != 'x' || base[PAGE] != 'b')
		wrong(finding, "a store to the page is not reported once");
}

static volatile int loader;

static void *load(void *arg)
{
	loader = gettid();
	return view[3 * PAGE + 100] == 'd' ? arg : NULL;
}

static void probe_messages(struct finding *finding)
{
	struct uffd_msg message = { .event = 0 };
	struct pollfd ready;
	pthread_t thread;
	void *right;

	if (!prepare(finding, UFFD_FEATURE_THREAD_ID | UFFD_FEATURE_EXACT_ADDRESS))
		return;
	if (pthread_create(&thread, NULL, load, &right)) {
		found(finding, UNTESTED, "no thread can be made");
		advise(finding, "raise the limit of processes (RLIMIT_NPROC, pids.max)");
		return;
	}
	ready = (struct pollfd){ .fd = uffd, .events = POLLIN };
	if (poll(&ready, 1, 5000) != 1 || read(uffd, &message, sizeof(message)) != sizeof(message)) {
		wrong(finding, "no message comes");
		return;
	}
	if (message.event != UFFD_EVENT_PAGEFAULT || (int)message.arg.pagefault.feat.ptid != loader ||
	    message.arg.pagefault.address != (uintptr_t)view + 3 * PAGE + 100)
		wrong(finding, "a message does not name thread and address");
	if (copy(3) || pthread_join(thread, &right) || !right)
		wrong(finding, "the waiting thread does not get the page");
}

static void probe_async(struct finding *finding)
{
	int error;

	if (!prepare(finding, UFFD_FEATURE_SIGBUS | UFFD_FEATURE_WP_ASYNC))
		return;
	catch_sigbus();
	error = share_protected(1);
	if (error) {
		refused(finding, error, "UFFDIO_CONTINUE", "6.7");
		return;
	}
	view[PAGE] = 'x';
	if (faults || view[PAGE] != 'x' || base[PAGE] != 'b')
		wrong(finding, "a store to a protected page does not simply get a copy");
}

static void probe_pagemap_scan(struct finding *finding)
{
	struct page_region region = { 0, 0, 0 };
	struct pm_scan_arg scan = {
		.size = sizeof(scan),
		.vec = (uintptr_t)&region,
		.vec_len = 1,
		.category_mask = PAGE_IS_WRITTEN,
		.return_mask = PAGE_IS_WRITTEN,
	};
	int pagemap = open("/proc/self/pagemap", O_RDONLY | O_CLOEXEC), n;

	if (pagemap < 0) {
		finding->error = errno;
		found(finding, FORBIDDEN, "/proc/self/pagemap: %s", errno_name(errno));
		advise(finding, "mount /proc");
		return;
	}
	/* Does the call exist? Asked first, since it needs no userfaultfd. */
	if (!map(finding))
		return;
	scan.start = (uintptr_t)view;
	scan.end = (uintptr_t)view + PAGES * PAGE;
	if (ioctl(pagemap, PAGEMAP_SCAN, &scan) < 0) {
		refused(finding, errno, "PAGEMAP_SCAN", "6.7");
		return;
	}
	if (!prepare(finding, UFFD_FEATURE_SIGBUS | UFFD_FEATURE_WP_ASYNC))
		return;
	for (size_t page = 0; page < PAGES; page++)
		if (share_protected(page)) {
			found(finding, UNTESTED, "pages cannot be shared: see above");
			return;
		}
	view[PAGE] = 'x';
	scan.start = (uintptr_t)view;
	scan.end = (uintptr_t)view + PAGES * PAGE;
	n = ioctl(pagemap, PAGEMAP_SCAN, &scan);
	if (n != 1 || region.start != (uintptr_t)view + PAGE || region.end != region.start + PAGE)
		wrong(finding, "it does not name the page that was stored to");
}

const struct probe probes_faults[] = {
	{ "register", "UFFDIO_REGISTER", NEEDED, probe_register },
	{ "copy", "UFFDIO_COPY", NEEDED, probe_copy },
	{ "continue", "UFFDIO_CONTINUE", NEEDED, probe_continue },
	{ "write-protect", "UFFDIO_WRITEPROTECT", NEEDED, probe_protect },
	{ "continue-protected", "CONTINUE, protected", USEFUL, probe_continue_protected },
	{ "sigbus", "page faults by SIGBUS", NEEDED, probe_sigbus },
	{ "messages", "page faults by message", USEFUL, probe_messages },
	{ "wp-async", "stores found later", USEFUL, probe_async },
	{ "pagemap-scan", "PAGEMAP_SCAN", USEFUL, probe_pagemap_scan },
	{ NULL, NULL, INFORMATION, NULL },
};
