// SPDX-License-Identifier: MIT
/*
 * probe_memory.c - memory that a heap is made of.
 */
#include <errno.h>
#include <fcntl.h>
#include <linux/membarrier.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "../../uffd/compat.h"
#include "check.h"

#define PAGE ((size_t)4096)
#define HUGE ((size_t)2 << 20)
#define NOEXEC "/proc/sys/vm/memfd_noexec"
#define SHMEM_THP "/sys/kernel/mm/transparent_hugepage/shmem_enabled"

/* A memfd of @size bytes, mapped shared at *@at, its blocks there; or -1, and @finding tells. */
static int make_memfd(struct finding *finding, size_t size, char **at)
{
	int fd = memfd_create("check", MFD_CLOEXEC);
	const char *call = "memfd_create(2)";

	if (fd >= 0) {
		call = "ftruncate(2) of a memfd";
		if (ftruncate(fd, (off_t)size) == 0) {
			call = "fallocate(2) of a memfd";
			if (fallocate(fd, 0, 0, (off_t)size) == 0) {
				call = "mmap(2) of a memfd";
				*at = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
				if (*at != MAP_FAILED)
					return fd;
			}
		}
	}
	if (fd < 0 && errno == EACCES && read_number(NOEXEC) == 2) {
		finding->error = errno;
		found(finding, FORBIDDEN, "%s: EACCES, since vm.memfd_noexec=2", call);
		advise(finding, "let memfds be made that are not marked noexec");
		as_root(finding, "sysctl vm.memfd_noexec=1");
	} else if (fd >= 0 && (errno == EFBIG || errno == ENOSPC)) {
		finding->error = errno;
		found(finding, FORBIDDEN, "%s: %s", call, errno_name(errno));
		advise(finding, "raise the limit of a file's size (ulimit -f), or of the control group's memory");
	} else {
		refused(finding, errno, call, "3.17");
	}
	close(fd);
	return -1;
}

static void probe_memfd(struct finding *finding)
{
	char *at;
	int fd = make_memfd(finding, 16 * PAGE, &at);

	if (fd < 0)
		return;
	at[3 * PAGE] = 'x';
	if (fallocate(fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 0, (off_t)(8 * PAGE)))
		refused(finding, errno, "fallocate(2) of a hole", "3.5");
	else if (at[3 * PAGE])
		found(finding, LACKING, "a hole in a memfd does not read as zero");
}

static void probe_membarrier(struct finding *finding)
{
	if (syscall(SYS_membarrier, MEMBARRIER_CMD_REGISTER_PRIVATE_EXPEDITED, 0, 0) ||
	    syscall(SYS_membarrier, MEMBARRIER_CMD_PRIVATE_EXPEDITED, 0, 0))
		refused(finding, errno, "membarrier(2)", "4.14");
}

static void probe_dontneed_locked(struct finding *finding)
{
	char *at;
	int fd = make_memfd(finding, 4 * PAGE, &at);

	if (fd < 0)
		return;
	at[0] = 'a';
	at = mmap(NULL, PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE, fd, 0);
	if (at == MAP_FAILED) {
		refused(finding, errno, "mmap(2) of a memfd", "3.17");
		return;
	}
	at[0] = 'b';
	if (madvise(at, PAGE, MADV_DONTNEED_LOCKED))
		refused(finding, errno, "MADV_DONTNEED_LOCKED", "5.18");
	else if (*(volatile char *)at != 'a')
		found(finding, LACKING, "a private page that was given up is still there");
}

/* "never" of "always advise [never]". */
static void chosen_word(const char *path, char *word, size_t size)
{
	FILE *file = fopen(path, "re");
	char line[200] = "", *start;

	if (file) {
		if (!fgets(line, sizeof(line), file))
			line[0] = 0;
		fclose(file);
	}
	start = strchr(line, '[');
	snprintf(word, size, "%.*s", start ? (int)strcspn(start + 1, "]") : 7, start ? start + 1 : "unknown");
}

static void probe_huge_pages(struct finding *finding)
{
	char setting[32], *at, *aligned;
	long long huge;
	int fd;

	chosen_word(SHMEM_THP, setting, sizeof(setting));
	/* Blocks are made by touching them: they take the size that is asked for. */
	fd = memfd_create("check-huge", MFD_CLOEXEC);
	at = fd < 0 || ftruncate(fd, (off_t)(4 * HUGE)) ? MAP_FAILED :
	     mmap(NULL, 4 * HUGE, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	if (at == MAP_FAILED) {
		refused(finding, errno, "a mapped memfd", "3.17");
		return;
	}
	aligned = (char *)(((uintptr_t)at + HUGE - 1) & ~(HUGE - 1));
	if (madvise(aligned, HUGE, MADV_HUGEPAGE)) {
		refused(finding, errno, "MADV_HUGEPAGE", "2.6.38");
		return;
	}
	for (size_t i = 0; i < HUGE; i += PAGE)
		aligned[i] = 'x';
	huge = read_field("/proc/self/smaps_rollup", "ShmemPmdMapped:");
	if (huge > 0) {
		found(finding, WORKS, "shmem_enabled is \"%s\"", setting);
		return;
	}
	found(finding, LIMITED, "none; shmem_enabled is \"%s\"", setting);
	if (!strcmp(setting, "never") || !strcmp(setting, "deny")) {
		advise(finding, "allow huge pages in memfds that ask for them");
		as_root(finding, "uffdstm setup --shmem-thp advise");
	} else {
		advise(finding, "free memory may be in small pieces: join them");
		as_root(finding, "sysctl vm.compact_memory=1");
	}
}

const struct probe probes_memory[] = {
	{ "memfd", "memfd_create(2)", NEEDED, probe_memfd },
	{ "membarrier", "membarrier(2)", NEEDED, probe_membarrier },
	{ "dontneed-locked", "MADV_DONTNEED_LOCKED", NEEDED, probe_dontneed_locked },
	{ "shmem-huge-pages", "huge pages in memfds", INFORMATION, probe_huge_pages },
	{ NULL, NULL, INFORMATION, NULL },
};
