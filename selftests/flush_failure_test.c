// SPDX-License-Identifier: MIT
/*
 * flush_failure_test.c - white box: what the event log's file has when the disk refuses, when the program forks, exits,
 * is killed or closes descriptors.
 */
#include <dirent.h>
#include <sys/mount.h>

#include "flush_support.h"

#define CHECK(condition)                                                                                      \
	do {                                                                                                  \
		if (!(condition)) {                                                                           \
			fprintf(stderr, "line %d: %s\n", __LINE__, #condition);                               \
			_exit(1);                                                                             \
		}                                                                                             \
	} while (0)

FIXTURE(failure) {
	struct ended e;
};

FIXTURE_VARIANT(failure) {
	enum stm_log_writer kind;
};

FIXTURE_VARIANT_ADD(failure, io_uring) {
	.kind = STM_WRITER_IO_URING,
};

FIXTURE_VARIANT_ADD(failure, pwritev) {
	.kind = STM_WRITER_PWRITE,
};

FIXTURE_SETUP(failure)
{
	struct io_uring ring;

	ASSERT_TRUE(make_place());
	if (variant->kind == STM_WRITER_IO_URING && io_uring_queue_init(1, &ring, 0))
		SKIP(return, "no io_uring");
	atomic_store(&ring_refused, variant->kind == STM_WRITER_PWRITE ? ENOSYS : 0);
}

FIXTURE_TEARDOWN(failure)
{
	remove_place();
}

/* A log with one ring, in a child. */
static struct stm_ring ring;

static void start(uint64_t units)
{
	CHECK(!open_log());
	ring_make(&ring, units);
	CHECK(!stm_flush_add(&ring));
}

/* Until it is full: the number of the record that has no room. */
static uint64_t fill(uint64_t number)
{
	while (put(&ring, 0, number, 0))
		number++;
	return number;
}

static bool is_whole(uint64_t records)
{
	struct reading log = read_log(path, false);

	return log.good && log.records[0] == records;
}

/* ---- the disk ---- */

/* What was in the ring stays there, what has no room is the producer's to drop; then it goes on. */
static void fail_for_a_while(void *arg)
{
	uint64_t n;

	start(128);
	put_all(&ring, 0, 0, 1000);
	wait_until_flushed(&ring);
	atomic_store(&failing, *(int *)arg);
	for (n = 1000; atomic_load(&failures) < 3; n = fill(n))
		stm_flush_hurry();
	n = fill(n);
	stm_flush_hurry();
	CHECK(!put(&ring, 0, n, 0));
	define_site(1);
	atomic_store(&failing, 0);
	put_all(&ring, 0, n, n + 1000);
	stm_flush_close();
	CHECK(is_whole(n + 1000));
}

TEST_F(failure, errors_for_a_while)
{
	static const struct {
		int error;
		const char *name;
	} errors[] = { { EIO, "EIO" }, { ENOSPC, "ENOSPC" }, { EDQUOT, "EDQUOT" }, { EFBIG, "EFBIG" } };

	for (unsigned int i = 0; i < sizeof(errors) / sizeof(*errors); i++) {
		int error = errors[i].error;

		self->e = run_child(fail_for_a_while, &error);
		EXPECT_TRUE(exited_with(&self->e, 0) && said(&self->e, "event log", errors[i].name)) {
			TH_LOG("%s: %s", errors[i].name, how(&self->e));
		}
	}
}

/* The first line says that it began, the second what is lost. */
static void fail_to_the_end(void *arg)
{
	struct reading log;

	(void)arg;
	start(128);
	put_all(&ring, 0, 0, 1000);
	wait_until_flushed(&ring);
	atomic_store(&failing, EIO);
	CHECK(put(&ring, 0, 1000, 0));
	define_site(1);
	stm_flush_close();
	log = read_log(path, true);
	CHECK(log.good && !log.ends && log.records[0] == 1000);
}

TEST_F(failure, errors_to_the_end)
{
	/* The record, and the site of two units; the clock's, if the end was the first to fail. */
	unsigned long lost, expected = (1 + more_of(1000) + 2) * STM_LOG_UNIT;
	const char *last;

	self->e = run_child(fail_to_the_end, NULL);
	last = strchr(self->e.text, '\n');
	EXPECT_TRUE(exited_with(&self->e, 0) && self->e.lines == 2 &&
		    strstr(self->e.text, "write: EIO: events are dropped") &&
		    sscanf(last, "%*[^:]: event log %*[^:]: write: EIO: %lu bytes of events at its end", &lost) == 1 &&
		    (lost == expected || lost == expected + STM_LOG_UNIT)) {
		TH_LOG("%s; not: %lu", how(&self->e), expected);
	}
}

/* RLIMIT_FSIZE: no SIGXFSZ, which would end the program. */
static void exceed_the_limit(void *arg)
{
	struct reading log;

	(void)arg;
	CHECK(!setrlimit(RLIMIT_FSIZE, &(struct rlimit){ 100000, 100000 }));
	start(8192);
	fill(0); /* 256 KiB */
	stm_flush_close();
	log = read_log(path, true);
	CHECK(log.good && !log.ends && log.size == 100000 && log.records[0] > 500);
}

TEST_F(failure, the_file_may_not_be_so_large)
{
	self->e = run_child(exceed_the_limit, NULL);
	EXPECT_TRUE(exited_with(&self->e, 0) && self->e.lines == 2 && strstr(self->e.text, "EFBIG")) {
		TH_LOG("%s", how(&self->e));
	}
}

/* A disk of a MiB, of which somebody else has 640 KiB: for a while, or for good. */
static void fill_a_disk(void *arg)
{
	bool for_good = *(bool *)arg;
	struct reading log;
	char other[128];
	uint64_t n = 0;
	int fd;

	if (unshare(CLONE_NEWNS) || mount("none", "/", NULL, MS_REC | MS_PRIVATE, NULL) ||
	    mount("none", dir, "tmpfs", 0, "size=1m"))
		_exit(KSFT_SKIP);
	snprintf(other, sizeof(other), "%s/other", dir);
	fd = open(other, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
	CHECK(fd >= 0 && !posix_fallocate(fd, 0, 640 << 10) && !close(fd));
	start(8192); /* 256 KiB */
	while (!atomic_load(&failures))
		n = fill(n);
	n = fill(n);
	if (!for_good) {
		CHECK(!unlink(other));
		put_all(&ring, 0, n, n + 1000);
		n += 1000;
	}
	stm_flush_close();
	if (!for_good)
		CHECK(is_whole(n));
	log = read_log(path, true);
	CHECK(log.good && log.ends == !for_good && log.records[0] > 1000);
}

TEST_F(failure, the_disk_is_full)
{
	bool for_good = false;

	self->e = run_child(fill_a_disk, &for_good);
	if (exited_with(&self->e, KSFT_SKIP))
		SKIP(return, "cannot mount a tmpfs: not root");
	EXPECT_TRUE(exited_with(&self->e, 0) && said(&self->e, "ENOSPC", "until there is room")) {
		TH_LOG("%s", how(&self->e));
	}
	for_good = true;
	self->e = run_child(fill_a_disk, &for_good);
	EXPECT_TRUE(exited_with(&self->e, 0) && self->e.lines == 2 && strstr(self->e.text, "ENOSPC")) {
		TH_LOG("%s", how(&self->e));
	}
}

/* ---- the end of a process ---- */

/* Two rings in memory that the parent sees. */
static struct stm_ring *shared;

static void *record_on(void *arg)
{
	struct stm_ring *mine = arg;

	for (uint64_t n = 0;; n++) {
		if (n % 16 == 0)
			define_site((uint32_t)(1 + n / 16 % (SITES - 1)));
		put_all(mine, (unsigned int)(mine - shared), n, n + 1);
	}
	return NULL;
}

static void record_and_wait(bool aborts)
{
	pthread_t threads[2];

	CHECK(!open_log());
	for (unsigned int i = 0; i < 2; i++) {
		CHECK(!stm_flush_add(&shared[i]));
		CHECK(!pthread_create(&threads[i], NULL, record_on, &shared[i]));
	}
	if (!aborts)
		pause();
	while (atomic_load(&shared[0].tail) < 20000 || atomic_load(&shared[1].tail) < 20000)
		sched_yield();
	signal(SIGABRT, SIG_DFL);
	abort();
}

/* Records within the first @units. */
static uint64_t records_within(uint64_t units)
{
	uint64_t n = 0;

	for (uint64_t end = 0; (end += 1 + more_of(n)) <= units;)
		n++;
	return n;
}

/* All that was flushed when it ended is there. */
static const char *end_process(bool aborts)
{
	uint64_t tails[2];
	struct reading log;
	pid_t child;
	int status;

	shared = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	ring_make(&shared[0], 512);
	ring_make(&shared[1], 4096);
	child = fork();
	if (!child) {
		setrlimit(RLIMIT_CORE, &(struct rlimit){ 0, 0 });
		record_and_wait(aborts);
	}
	if (!aborts) {
		while (atomic_load(&shared[0].tail) < 20000 || atomic_load(&shared[1].tail) < 20000)
			sched_yield();
	} else if (waitpid(child, &status, 0) != child || WTERMSIG(status) != SIGABRT) {
		return "not aborted";
	}
	for (unsigned int i = 0; i < 2; i++)
		tails[i] = atomic_load(&shared[i].tail);
	if (!aborts && (kill(child, SIGKILL) || waitpid(child, &status, 0) != child))
		return "not killed";
	log = read_log(path, true);
	if (!log.good || log.ends)
		return "not readable, or at an end";
	for (unsigned int i = 0; i < 2; i++)
		if (log.records[i] < records_within(tails[i]))
			return "less than was flushed";
	return NULL;
}

TEST_F(failure, killed)
{
	EXPECT_EQ(NULL, end_process(false));
}

TEST_F(failure, aborted)
{
	EXPECT_EQ(NULL, end_process(true));
}

/* Whoever returns from main() or calls exit(3) has all in the file. */
static void exit_without_close(void *arg)
{
	start(1024);
	CHECK(fill(0) > 100);
	if (arg)
		_exit(0);
	exit(0);
}

TEST_F(failure, exit_flushes)
{
	struct reading log;

	self->e = run_child(exit_without_close, NULL);
	EXPECT_TRUE(exited_with(&self->e, 0));
	log = read_log(path, false);
	EXPECT_TRUE(log.good);
	EXPECT_LT(100, log.records[0]);

	self->e = run_child(exit_without_close, self);
	EXPECT_TRUE(exited_with(&self->e, 0));
	log = read_log(path, true);
	EXPECT_TRUE(log.good);
	EXPECT_EQ(0, log.ends);
}

/* ---- fork(2) ---- */

static unsigned int descriptors(void)
{
	DIR *d = opendir("/proc/self/fd");
	unsigned int n = 0;

	CHECK(d);
	while (readdir(d))
		n++;
	closedir(d);
	return n;
}

static int wait_for(pid_t child)
{
	int status = -1;

	CHECK(waitpid(child, &status, 0) == child);
	return status;
}

static void fork_while_recording(void *arg)
{
	unsigned int before = descriptors();
	char other[128];
	int ends[2];
	pid_t child;
	char c;

	(void)arg;
	start(128);
	put_all(&ring, 0, 0, 1000);
	CHECK(put(&ring, 0, 1000, 0));
	child = fork();
	if (!child) {
		stm_flush_forked();
		CHECK(descriptors() == before);
		define_site(1);
		CHECK(stm_flush_add(&ring) == -ENXIO);
		stm_flush_hurry();
		stm_flush_close();
		exit(0);
	}
	CHECK(wait_for(child) == 0);
	child = fork();
	if (!child)
		exit(0); /* a child that never heard of it */
	CHECK(wait_for(child) == 0);

	/* One that lives on does not keep the file locked. */
	CHECK(!pipe(ends));
	child = fork();
	if (!child) {
		close(ends[1]);
		stm_flush_forked();
		CHECK(read(ends[0], &c, 1) == 0);
		_exit(0);
	}
	put_all(&ring, 0, 1001, 2000);
	stm_flush_close();
	CHECK(is_whole(2000));
	CHECK(descriptors() == before + 2);
	CHECK(!open_log());
	snprintf(other, sizeof(other), "%s.%d", path, getpid());
	CHECK(access(other, F_OK));
	stm_flush_close();
	close(ends[1]);
	CHECK(wait_for(child) == 0);
}

TEST_F(failure, children_write_nothing)
{
	self->e = run_child(fork_while_recording, NULL);
	EXPECT_TRUE(exited_with(&self->e, 0) && !self->e.lines) {
		TH_LOG("%s", how(&self->e));
	}
}

/* ---- descriptors ---- */

#define OTHERS 16

/* The program closes what it does not know, and its own files get these numbers. */
static void close_descriptors(void *arg)
{
	const enum stm_log_writer *kind = arg;
	static const char text[] = "another's";
	char other[128], found[64];
	struct reading log;
	int fds[OTHERS];
	uint64_t n;

	start(128);
	put_all(&ring, 0, 0, 1000);
	wait_until_flushed(&ring);
	for (int fd = 3; fd < 256; fd++)
		close(fd);
	for (int i = 0; i < OTHERS; i++) {
		snprintf(other, sizeof(other), "%s/other-%d", dir, i);
		fds[i] = open(other, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
		CHECK(fds[i] < 256 && write(fds[i], text, sizeof(text)) == sizeof(text));
	}
	for (n = 1000; n < 2000 && put(&ring, 0, n, 0); n++)
		while (*kind == STM_WRITER_IO_URING && atomic_load(&ring.head) != atomic_load(&ring.tail))
			stm_flush_hurry();
	CHECK(n == 2000 || *kind == STM_WRITER_PWRITE);
	stm_flush_close();
	log = read_log(path, true);
	CHECK(log.good && log.records[0] == (*kind == STM_WRITER_PWRITE ? 1000 : 2000));
	for (int i = 0; i < OTHERS; i++)
		CHECK(pread(fds[i], found, sizeof(found), 0) == sizeof(text) && !memcmp(found, text, sizeof(text)));
}

TEST_F(failure, its_descriptors_are_closed)
{
	enum stm_log_writer kind = variant->kind;

	self->e = run_child(close_descriptors, &kind);
	EXPECT_TRUE(exited_with(&self->e, 0) && !self->e.lines == (kind == STM_WRITER_IO_URING)) {
		TH_LOG("%s", how(&self->e));
	}
}

/* ---- signals ---- */

/* The flusher is found by its name, and blocks what it should. */
TEST_F(failure, the_flusher_takes_no_signals)
{
	unsigned long long blocked = 0, all = 0;
	struct dirent *entry;
	unsigned int found = 0;
	char name[300], line[256];
	DIR *tasks;

	ASSERT_EQ(0, open_log());
	tasks = opendir("/proc/self/task");
	ASSERT_NE(NULL, tasks);
	while ((entry = readdir(tasks))) {
		FILE *status;
		bool is_it = false;

		snprintf(name, sizeof(name), "/proc/self/task/%s/status", entry->d_name);
		status = fopen(name, "r");
		while (status && fgets(line, sizeof(line), status)) {
			is_it |= !strcmp(line, "Name:\tuffdstm-log\n");
			if (is_it)
				sscanf(line, "SigBlk: %llx", &blocked);
		}
		if (status)
			fclose(status);
		found += is_it;
	}
	closedir(tasks);
	EXPECT_EQ(1, found);
	for (int i = 0; i < 64; i++)
		if (i + 1 != SIGKILL && i + 1 != SIGSTOP && i + 1 != SIGSYS && i + 1 != 32 && i + 1 != 33)
			all |= 1ull << i; /* those two are libc's own */
	EXPECT_EQ(all, blocked & all);
	EXPECT_FALSE(blocked >> (SIGSYS - 1) & 1);
	stm_flush_close();
}

TEST_HARNESS_MAIN
