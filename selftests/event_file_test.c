// SPDX-License-Identifier: MIT
/*
 * event_file_test.c - white box: which file the event log goes to, and which it leaves alone.
 */
#include <fcntl.h>
#include <sys/file.h>
#include <sys/stat.h>

#include "event_file.h"
#include "support.h"

#include <uffdstm/event.h>

FIXTURE(file) {
	struct stm_event_file file;
	char dir[64], path[128], other[PATH_MAX + 64];
	struct ended e;
};

FIXTURE_SETUP(file)
{
	strcpy(self->dir, "/tmp/uffdstm-file-XXXXXX");
	ASSERT_NE(NULL, mkdtemp(self->dir));
	snprintf(self->path, sizeof(self->path), "%s/log", self->dir);
}

FIXTURE_TEARDOWN(file)
{
	char command[128];

	snprintf(command, sizeof(command), "rm -rf %s", self->dir);
	EXPECT_EQ(0, system(command));
}

static bool has(const char *path, const char *text)
{
	char found[64];
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	ssize_t n = fd < 0 ? -1 : read(fd, found, sizeof(found));

	close(fd);
	return n == (ssize_t)strlen(text) && !memcmp(found, text, (size_t)n);
}

static bool make(const char *path, const char *text)
{
	int fd = open(path, O_WRONLY | O_CREAT | O_CLOEXEC, 0600);
	ssize_t n = write(fd, text, strlen(text));

	return !close(fd) && n == (ssize_t)strlen(text);
}

/* In a child: its exit code is the error, what it says is caught. */
static void open_in_child(void *path)
{
	static struct stm_event_file file;

	_exit(-stm_event_file_open(&file, path));
}

/* Refused, with one line that says @why. */
static bool is_refused(struct ended *e, char *path, int error, const char *why)
{
	*e = run_child(open_in_child, path);
	return exited_with(e, error) && said(e, strerrorname_np(error), why);
}

#define EXPECT_REFUSED(path, error, why)                                \
	EXPECT_TRUE(is_refused(&self->e, (path), (error), (why))) {     \
		TH_LOG("%s", how(&self->e));                            \
	}

TEST_F(file, new_and_empty_files_and_logs)
{
	ASSERT_EQ(0, stm_event_file_open(&self->file, self->path));
	EXPECT_STREQ(self->path, self->file.path);
	EXPECT_EQ(FD_CLOEXEC, fcntl(self->file.data.fd, F_GETFD));
	EXPECT_EQ(FD_CLOEXEC, fcntl(self->file.lock.fd, F_GETFD));
	stm_event_file_close(&self->file);
	EXPECT_EQ(-1, self->file.data.fd);
	EXPECT_TRUE(has(self->path, ""));

	ASSERT_EQ(0, stm_event_file_open(&self->file, self->path));
	stm_event_file_close(&self->file);

	ASSERT_TRUE(make(self->path, STM_LOG_MAGIC "and whatever was recorded"));
	ASSERT_EQ(0, stm_event_file_open(&self->file, self->path));
	EXPECT_TRUE(has(self->path, ""));
	stm_event_file_close(&self->file);
}

TEST_F(file, other_files_are_left_alone)
{
	static const char *const texts[] = { "precious", "x", "uffdstm", "uffdstm data", "Uffdstm\n......" };

	for (unsigned int i = 0; i < sizeof(texts) / sizeof(*texts); i++) {
		unlink(self->path);
		ASSERT_TRUE(make(self->path, texts[i]));
		EXPECT_REFUSED(self->path, EEXIST, "left as it is");
		EXPECT_TRUE(has(self->path, texts[i]));
	}
}

TEST_F(file, what_is_no_file_is_not_opened)
{
	ASSERT_EQ(0, mkfifo(self->path, 0600));
	EXPECT_REFUSED(self->path, ENOTSUP, "no regular file"); /* and it does not wait for a reader */
	EXPECT_REFUSED(self->dir, ENOTSUP, "no regular file");
	strcpy(self->other, "/dev/null");
	EXPECT_REFUSED(self->other, ENOTSUP, "no regular file");
}

TEST_F(file, paths_that_lead_nowhere)
{
	snprintf(self->other, sizeof(self->other), "%s/none/log", self->dir);
	EXPECT_REFUSED(self->other, ENOENT, "directory does not exist");
	EXPECT_REFUSED("", ENOENT, "event log");
	memset(self->other, 'x', PATH_MAX + 10);
	EXPECT_REFUSED(self->other, ENAMETOOLONG, "too long");
	/* The longest path, which "%p" makes longer: in a new PID namespace it may not. */
	memset(self->other, '/', PATH_MAX - 1);
	self->other[PATH_MAX - 1] = '\0';
	memcpy(self->other, self->dir, strlen(self->dir));
	memcpy(self->other + PATH_MAX - 3, "%p", 2);
	if (getpid() >= 100)
		EXPECT_REFUSED(self->other, ENAMETOOLONG, "too long");
	if (!geteuid())
		return;
	ASSERT_EQ(0, chmod(self->dir, 0500));
	EXPECT_REFUSED(self->path, EACCES, "cannot be opened");
	chmod(self->dir, 0700);
}

TEST_F(file, the_process_in_its_name)
{
	char path[128];

	snprintf(path, sizeof(path), "%s/%%p-100%%-%%p.log", self->dir);
	snprintf(self->other, sizeof(self->other), "%s/%d-100%%-%d.log", self->dir, getpid(), getpid());
	ASSERT_EQ(0, stm_event_file_open(&self->file, path));
	EXPECT_STREQ(self->other, self->file.path);
	EXPECT_TRUE(has(self->other, ""));
	stm_event_file_close(&self->file);
}

/* Of two processes with the same path the second has a file of its own, and says which. */
static void record_beside(void *path)
{
	static struct stm_event_file file;
	char expected[PATH_MAX];
	int error = stm_event_file_open(&file, path);

	snprintf(expected, sizeof(expected), "%s.%d", (char *)path, getpid());
	_exit(error ? -error : strcmp(expected, file.path) ? 1 : access(expected, F_OK) ? 2 : 0);
}

TEST_F(file, another_process_has_it)
{
	ASSERT_EQ(0, stm_event_file_open(&self->file, self->path));
	ASSERT_TRUE(make(self->path, STM_LOG_MAGIC "of the first"));
	self->e = run_child(record_beside, self->path);
	EXPECT_TRUE(exited_with(&self->e, 0) && said(&self->e, self->path, "another process records to it")) {
		TH_LOG("%s", how(&self->e));
	}
	EXPECT_TRUE(has(self->path, STM_LOG_MAGIC "of the first"));

	/* When it has ended, it is free. */
	stm_event_file_close(&self->file);
	self->e = run_child(open_in_child, self->path);
	EXPECT_TRUE(exited_with(&self->e, 0) && !self->e.lines) {
		TH_LOG("%s", how(&self->e));
	}
}

/* A lock is its opener's only: an open file that io_uring or a child still has keeps nobody out. */
TEST_F(file, the_lock_ends_with_its_descriptor)
{
	int fd;

	ASSERT_EQ(0, stm_event_file_open(&self->file, self->path));
	fd = dup(self->file.data.fd);
	stm_event_file_close(&self->file);
	self->e = run_child(open_in_child, self->path);
	EXPECT_TRUE(exited_with(&self->e, 0) && !self->e.lines);
	close(fd);
}

/* A number that was closed and is something else by now is not ours to close. */
TEST_F(file, a_descriptor_that_is_anothers)
{
	int number, fd;

	ASSERT_EQ(0, stm_event_file_open(&self->file, self->path));
	EXPECT_TRUE(stm_still_holds(&self->file.data));
	number = self->file.data.fd;
	close(number);
	EXPECT_FALSE(stm_still_holds(&self->file.data));
	fd = open("/dev/null", O_RDONLY | O_CLOEXEC);
	ASSERT_EQ(number, fd);
	EXPECT_FALSE(stm_still_holds(&self->file.data));
	stm_event_file_close(&self->file);
	EXPECT_EQ(FD_CLOEXEC, fcntl(fd, F_GETFD));
}

TEST_HARNESS_MAIN
