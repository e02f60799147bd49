// SPDX-License-Identifier: MIT
/*
 * kernel_test.c - white box: what the running kernel has of userfaultfd, told in one line, and that pages shared with the base
 * are write-protected whichever way this kernel has for it. `make check-kernels` runs it on others than this machine's.
 */
#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/utsname.h>
#include <linux/userfaultfd.h>

#include "compat.h"
#include "engine.h"
#include "support.h"
#include "view.h"

#include "kselftest_harness.h"

#define PAGES ((size_t)16)

/* Names of UFFD_FEATURE_*, by bit: include/uapi/linux/userfaultfd.h of Linux 6.8. */
static const char *const names[] = {
	"PAGEFAULT_FLAG_WP", "EVENT_FORK", "EVENT_REMAP", "EVENT_REMOVE", "MISSING_HUGETLBFS", "MISSING_SHMEM",
	"EVENT_UNMAP", "SIGBUS", "THREAD_ID", "MINOR_HUGETLBFS", "MINOR_SHMEM", "EXACT_ADDRESS",
	"WP_HUGETLBFS_SHMEM", "WP_UNPOPULATED", "POISON", "WP_ASYNC", "MOVE",
};

#define NAMES (sizeof(names) / sizeof(names[0]))

/* ---- a view of a base ---- */

static struct stm_view view;
static uint8_t *base, state[PAGES];
static int pagemap;

static uint8_t *page_at(size_t page)
{
	return view.heap + page * STM_PAGE;
}

static uint8_t contents(size_t page)
{
	return (uint8_t)(page * 7 + 1);
}

FIXTURE(kernel) {
};

FIXTURE_SETUP(kernel)
{
	int memfd = memfd_create("base", MFD_CLOEXEC);
	uint8_t *heap = stm_reserve(PAGES * STM_PAGE);

	ASSERT_LE(0, memfd);
	ASSERT_NE(NULL, heap);
	ASSERT_EQ(0, fallocate(memfd, 0, 0, PAGES * STM_PAGE));
	base = mmap(NULL, PAGES * STM_PAGE, PROT_READ | PROT_WRITE, MAP_SHARED, memfd, 0);
	ASSERT_NE(MAP_FAILED, base);
	for (size_t page = 0; page < PAGES; page++)
		memset(base + page * STM_PAGE, contents(page), STM_PAGE);
	memset(state, STM_PAGE_UNMAPPED, sizeof(state));
	stm_engine = &stm_sigbus_engine;
	ASSERT_EQ(0, stm_view_open(&view, heap, state, base, memfd));
	ASSERT_EQ(0, stm_view_grow(&view, PAGES));
	pagemap = open("/proc/self/pagemap", O_RDONLY | O_CLOEXEC);
	ASSERT_LE(0, pagemap);
}

FIXTURE_TEARDOWN(kernel)
{
	stm_view_close(&view);
	close(pagemap);
}

/* Documentation/admin-guide/mm/pagemap.rst */
#define PM_UFFD_WP ((uint64_t)1 << 57)
#define PM_FILE ((uint64_t)1 << 61)
#define PM_PRESENT ((uint64_t)1 << 63)

static uint64_t how_mapped(size_t page)
{
	uint64_t entry = 0;

	if (pread(pagemap, &entry, sizeof(entry), (off_t)((uintptr_t)page_at(page) / STM_PAGE * sizeof(entry))) != sizeof(entry))
		abort();
	return entry & (PM_UFFD_WP | PM_FILE | PM_PRESENT);
}

/* Whether the kernel itself can CONTINUE write-protected, asked without the library. */
static bool kernel_has_continue_wp(void)
{
	struct uffdio_continue cont = {
		.range = { (uintptr_t)page_at(PAGES - 1), STM_PAGE },
		.mode = UFFDIO_CONTINUE_MODE_WP,
	};

	if (!ioctl(view.uffd, UFFDIO_CONTINUE, &cont)) {
		stm_empty(page_at(PAGES - 1), STM_PAGE);
		return true;
	}
	if (errno != EINVAL)
		abort();
	return false;
}

static bool kernel_has_pagemap_scan(void)
{
	struct pm_scan_arg scan = {
		.size = sizeof(scan),
		.start = (uintptr_t)view.heap,
		.end = (uintptr_t)view.heap + STM_PAGE,
		.category_mask = PAGE_IS_WRITTEN,
	};

	return !ioctl(pagemap, PAGEMAP_SCAN, &scan);
}

/* ---- a store or load that may fault ---- */

static sigjmp_buf out;
static uint8_t *volatile fault_at;
static volatile bool fault_write;

static bool note_fault(const struct stm_fault *fault)
{
	if (!fault->mapped)
		return false;
	fault_at = (uint8_t *)fault->address;
	fault_write = fault->write;
	siglongjmp(out, 1);
}

/* Whether it came to a fault for the library, at this very address. */
static bool faults(uint8_t *address, bool write)
{
	fault_at = NULL;
	if (!sigsetjmp(out, 1)) {
		if (write)
			*(volatile uint8_t *)address = 0xee;
		else
			(void)*(volatile uint8_t *)address;
	}
	return fault_at == address && fault_write == write;
}

/* ---- the tests ---- */

TEST_F(kernel, features)
{
	struct uffdio_api api = { .api = UFFD_API };
	int fd = (int)syscall(SYS_userfaultfd, O_CLOEXEC | UFFD_USER_MODE_ONLY);
	struct utsname name;
	char text[600] = "";
	size_t len = 0;

	ASSERT_EQ(0, uname(&name));
	ASSERT_LE(0, fd);
	ASSERT_EQ(0, ioctl(fd, UFFDIO_API, &api));
	close(fd);
	for (unsigned int bit = 0; bit < 64; bit++) {
		if (!(api.features >> bit & 1))
			continue;
		if (bit < NAMES)
			len += (size_t)snprintf(text + len, sizeof(text) - len, " %s", names[bit]);
		else
			len += (size_t)snprintf(text + len, sizeof(text) - len, " bit_%u", bit);
		ASSERT_LT(len, sizeof(text));
	}
	printf("# Linux %s: userfaultfd:%s%s%s; ", name.release, text, kernel_has_continue_wp() ? " CONTINUE_MODE_WP" : "",
	       kernel_has_pagemap_scan() ? "; PAGEMAP_SCAN" : "");
	ASSERT_EQ(0, stm_engine_open(NULL, NULL, NULL, note_fault));
	printf("engine %s, by %s\n", stm_engine_facts().name, stm_engine_facts().opened);
	stm_engine_close();
	stm_engine = &stm_sigbus_engine;
}

/* However it is done: mapped from the page cache, write-protected; the state is what it says. */
TEST_F(kernel, shared_pages_are_write_protected)
{
	ASSERT_EQ(0, stm_view_share(&view, 2, 10));
	for (size_t page = 0; page < PAGES; page++) {
		bool shared = page >= 2 && page < 10;

		EXPECT_EQ(shared ? PM_UFFD_WP | PM_FILE | PM_PRESENT : 0, how_mapped(page));
		EXPECT_EQ(shared ? STM_PAGE_SHARED : STM_PAGE_UNMAPPED, state[page]);
	}
}

/* One call where the kernel has it; else one that is refused, once, and two for each range. */
TEST_F(kernel, the_kernels_own_way_is_taken)
{
	uint64_t least = kernel_has_continue_wp() ? 1 : 2;

	ASSERT_EQ(0, stm_view_share(&view, 0, 4));
	EXPECT_EQ(least == 1 ? 1 : 3, view.calls);
	ASSERT_EQ(0, stm_view_share(&view, 4, 5));
	EXPECT_EQ(least == 1 ? 2 : 5, view.calls);
}

TEST_F(kernel, faults_come_to_the_thread_that_caused_them)
{
	ASSERT_EQ(0, stm_fault_install(note_fault));
	EXPECT_TRUE(faults(page_at(3) + 5, false));
	EXPECT_TRUE(faults(page_at(3) + 5, true));
	ASSERT_EQ(0, stm_view_share(&view, 2, 10));
	EXPECT_FALSE(faults(page_at(3) + 5, false));
	EXPECT_TRUE(faults(page_at(3) + 5, true));
	EXPECT_TRUE(faults(page_at(9) + 4095, true));
	EXPECT_TRUE(faults(page_at(10), false));

	/* Nothing was stored by any of these. */
	for (size_t page = 2; page < 10; page++) {
		EXPECT_EQ(contents(page), page_at(page)[5]);
		EXPECT_EQ(contents(page), page_at(page)[4095]);
		EXPECT_EQ(contents(page), base[page * STM_PAGE + 5]);
	}
	stm_fault_uninstall();
}

TEST_F(kernel, private_pages_are_the_views_own)
{
	ASSERT_EQ(0, stm_fault_install(note_fault));
	ASSERT_EQ(0, stm_view_share(&view, 2, 10));
	ASSERT_EQ(0, stm_view_drop(&view, 4, 6));
	ASSERT_EQ(0, stm_view_copy(&view, 4, 6));
	EXPECT_EQ(PM_PRESENT, how_mapped(4) & ~PM_UFFD_WP);
	EXPECT_FALSE(faults(page_at(4), true));
	EXPECT_EQ(0xee, page_at(4)[0]);
	EXPECT_EQ(contents(4), base[4 * STM_PAGE]);
	EXPECT_EQ(contents(4), page_at(4)[1]);
	EXPECT_TRUE(faults(page_at(3), true));
	EXPECT_TRUE(faults(page_at(6), true));

	/* Dropped, it comes from the base again. */
	ASSERT_EQ(0, stm_view_drop(&view, 4, 5));
	EXPECT_TRUE(faults(page_at(4), false));
	ASSERT_EQ(0, stm_view_share(&view, 4, 5));
	EXPECT_EQ(contents(4), page_at(4)[0]);
	stm_fault_uninstall();
}

/* What is stored to the base shows where it is shared, and is mapped again if the kernel took it back. */
TEST_F(kernel, shared_pages_are_the_bases)
{
	ASSERT_EQ(0, stm_view_share(&view, 0, 2));
	base[7] = 99;
	EXPECT_EQ(99, ((volatile uint8_t *)view.heap)[7]);
	ASSERT_EQ(0, stm_empty(view.heap, STM_PAGE));
	EXPECT_EQ(0, how_mapped(0) & PM_PRESENT); /* the kernel may keep a mark that it was protected */
	ASSERT_EQ(0, stm_view_share_again(&view, 0));
	EXPECT_EQ(PM_UFFD_WP | PM_FILE | PM_PRESENT, how_mapped(0));
	EXPECT_EQ(0, stm_view_share_again(&view, 1));
	EXPECT_EQ(PM_UFFD_WP | PM_FILE | PM_PRESENT, how_mapped(1));
}

TEST_HARNESS_MAIN
