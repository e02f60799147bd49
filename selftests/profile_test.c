// SPDX-License-Identifier: MIT
/*
 * profile_test.c - white box: what stm_init() takes from a profile, from which, and over what; what it says of lines,
 * and of files, that are none.
 */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <sys/stat.h>

#include "engine.h"
#include "internal.h"
#include "profile_check.h"
#include "support.h"

#define NOBODY 65534

static char folder[] = "/tmp/uffdstm-profile-XXXXXX";

static const char *path_in(const char *name)
{
	static char paths[4][200];
	static unsigned int n;

	n = (n + 1) % 4;
	snprintf(paths[n], sizeof(paths[n]), "%s/%s", folder, name);
	return paths[n];
}

static void put(const char *name, const char *text, size_t len)
{
	int fd = open(path_in(name), O_WRONLY | O_CREAT | O_TRUNC, 0644);

	if (fd < 0 || write(fd, text, len) != (ssize_t)len || close(fd))
		abort();
}

FIXTURE(profile) {
	int unused;
};

FIXTURE_SETUP(profile)
{
	strcpy(folder + strlen(folder) - 6, "XXXXXX");
	ASSERT_NE(NULL, mkdtemp(folder));
	ASSERT_EQ(0, chmod(folder, 0755));
}

FIXTURE_TEARDOWN(profile)
{
	char command[100];

	snprintf(command, sizeof(command), "rm -rf %s", folder);
	ASSERT_EQ(0, system(command));
}

/* ---- a child that tells what it runs with ---- */

struct asked {
	const char *profile;            /* UFFDSTM_PROFILE; NULL: not set */
	const char *engine, *verbose, *home, *config; /* environment */
	struct stm_options options;
	bool as_nobody;
};

/* What slab.c is told. */
static size_t kept_bytes;
static bool kept_huge;

void __real_stm_parts_open(uint64_t keep_bytes, bool huge);
void __wrap_stm_parts_open(uint64_t keep_bytes, bool huge);
void __wrap_stm_parts_open(uint64_t keep_bytes, bool huge)
{
	kept_bytes = keep_bytes;
	kept_huge = huge;
	__real_stm_parts_open(keep_bytes, huge);
}

static void start(void *arg)
{
	const struct asked *a = arg;
	struct { const char *name, *value; } variables[] = {
		{ "UFFDSTM_PROFILE", a->profile },  { "UFFDSTM_ENGINE", a->engine }, { "UFFDSTM_VERBOSE", a->verbose },
		{ "HOME", a->home }, { "XDG_CONFIG_HOME", a->config },
	};
	struct stm_options options = a->options;
	int error;

	for (size_t i = 0; i < sizeof(variables) / sizeof(variables[0]); i++) {
		unsetenv(variables[i].name);
		if (variables[i].value)
			setenv(variables[i].name, variables[i].value, 1);
	}
	unsetenv("UFFDSTM_STRICT");
	if (a->as_nobody && geteuid() == 0 &&
	    (setgroups(0, NULL) || setresgid(NOBODY, NOBODY, NOBODY) || setresuid(NOBODY, NOBODY, NOBODY)))
		_exit(70);
	options.size = sizeof(options);
	options.heap_size = (size_t)16 << 20;
	error = stm_init(&options);
	if (error)
		_exit(-error);
	dprintf(STDERR_FILENO, "[%s|%zu %zu %zu|%zu|%llu %u %llu|%zu|%zu %d]", stm_engine_facts().why, stm_global.cluster_min,
		stm_global.writes_min, stm_global.cluster_max, stm_global.log_limit >> 20,
		stm_global.trim_age == UINT64_MAX ? 0 : (unsigned long long)stm_global.trim_age / 1000000,
		stm_global.trim_share,
		stm_global.trim_limit == UINT64_MAX ? 0 : (unsigned long long)stm_global.trim_limit,
		(size_t)stm_global.event_buffer_profile >> 10, kept_bytes >> 20, kept_huge);
	_exit(0);
}

#define BUILT_IN "|8 2 512|64|3000 1 0|0|16 1]"

/* It started, said @lines lines that contain each of these, and runs with @values. */
#define EXPECT_RUN(asked_, lines_, values, a, b)                                                       \
	do {                                                                                          \
		struct asked asked__ = { asked_ };                                                      \
		struct ended e_ = run_child(start, &asked__);                                           \
		EXPECT_TRUE(exited_with(&e_, 0) && e_.lines == (lines_) && strstr(e_.text, values) &&   \
			    strstr(e_.text, a) && strstr(e_.text, b)) {                                 \
			TH_LOG("expected %s %s %s; %s", values, a, b, how(&e_));                        \
		}                                                                                       \
	} while (0)

#define UNPACK(...) __VA_ARGS__

static const char all[] = "# a comment\n"
			  "\n"
			  "engine = thread # and another\n"
			  "cluster=16\n"
			  "\tcluster_writes =4\r\n"
			  "cluster_max= 128\n"
			  "log_limit = 32M\n"
			  "log_keep = 0\n"
			  "log_huge = no\n"
			  "trim_age = never\n"
			  "trim_share = 5\n"
			  "trim_pages = 1000\n"
			  "event_buffer = 2M";

/* ---- from where ---- */

TEST_F(profile, none)
{
	EXPECT_RUN(UNPACK(.profile = ""), 0, "[the default" BUILT_IN, "", "");
}

TEST_F(profile, all_keys)
{
	put("p", all, sizeof(all) - 1);
	EXPECT_RUN(UNPACK(.profile = path_in("p")), 0, "[as the profile says|16 4 128|32|0 5 1000|2048|0 0]", "", "");
}

TEST_F(profile, user_over_system)
{
	/* What /etc has, if anything, is taken over: all keys but the engine are the user's. */
	put("uffdstm.conf", all, sizeof(all) - 1);
	EXPECT_RUN(UNPACK(.config = folder, .as_nobody = true), 0, "|16 4 128|32|0 5 1000|2048|0 0]", "", "");
	EXPECT_RUN(UNPACK(.config = "relative", .home = "/nowhere", .profile = ""), 0, BUILT_IN, "", "");
	ASSERT_EQ(0, mkdir(path_in(".config"), 0755));
	ASSERT_EQ(0, rename(path_in("uffdstm.conf"), path_in(".config/uffdstm.conf")));
	EXPECT_RUN(UNPACK(.home = folder, .as_nobody = true), 0, "|16 4 128|32|0 5 1000|2048|0 0]", "", "");
	EXPECT_RUN(UNPACK(.home = folder, .config = "relative", .as_nobody = true), 0, "|16 4 128|32|0 5 1000|2048|0 0]",
		   "", "");
	/* UFFDSTM_PROFILE names the only one. */
	put("other", "cluster = 4\n", 12);
	EXPECT_RUN(UNPACK(.home = folder, .profile = path_in("other"), .as_nobody = true), 0,
		   "[the default|4 2 512|64|3000 1 0|0|16 1]", "", "");
	EXPECT_RUN(UNPACK(.home = folder, .profile = "", .as_nobody = true), 0, "[the default" BUILT_IN, "", "");
}

TEST_F(profile, root_takes_none_from_home)
{
	if (geteuid())
		SKIP(return, "not root");
	if (!access(STM_PROFILE_SYSTEM, F_OK))
		SKIP(return, "this machine has a profile");
	put("uffdstm.conf", all, sizeof(all) - 1);
	EXPECT_RUN(UNPACK(.config = folder), 0, "[the default" BUILT_IN, "", "");
}

/* ---- over what ---- */

TEST_F(profile, options_win)
{
	put("p", all, sizeof(all) - 1);
	EXPECT_RUN(UNPACK(.profile = path_in("p"), .options = { .engine = "sigbus" }), 0,
		   "[asked for by options.engine|16 4 128|32|0 5 1000|2048|0 0]", "", "");
	EXPECT_RUN(
		UNPACK(.profile = path_in("p"),
		       .options = { .log_limit = (size_t)8 << 20, .trim_age = 7, .trim_share = 9, .trim_pages = 11 }),
		0, "|16 4 128|8|7 9 11|2048|0 0]", "", "");
	/* Bounds of clusters go together. */
	EXPECT_RUN(UNPACK(.profile = path_in("p"), .options = { .cluster = 1 }), 0, "|1 1 1|32|", "", "");
	EXPECT_RUN(UNPACK(.profile = path_in("p"), .options = { .cluster_max = 2 }), 0, "|2 2 2|32|", "", "");
	EXPECT_RUN(UNPACK(.profile = path_in("p"), .options = { .cluster = 2, .cluster_max = 256 }), 0, "|2 2 256|32|",
		   "", "");
}

TEST_F(profile, environment_wins)
{
	put("p", all, sizeof(all) - 1);
	EXPECT_RUN(UNPACK(.profile = path_in("p"), .engine = "sigbus"), 0, "[asked for by UFFDSTM_ENGINE|16 4 128|", "",
		   "");
	EXPECT_RUN(UNPACK(.profile = path_in("p"), .engine = ""), 0, "[as the profile says|16 4 128|", "", "");
}

/* Some keys; the others are built in. */
TEST_F(profile, defaults_below)
{
	put("p", "cluster_max = 4\n", 16);
	EXPECT_RUN(UNPACK(.profile = path_in("p")), 0, "[the default|4 2 4|64|3000 1 0|0|16 1]", "", "");
	put("p", "cluster_writes = 64\n", 20);
	EXPECT_RUN(UNPACK(.profile = path_in("p")), 0, "[the default|8 64 512|64|3000 1 0|0|16 1]", "", "");
}

TEST_F(profile, engine_that_cannot_be_had)
{
	if (HAS_ASYNC)
		SKIP(return, "Linux has all engines from 6.7 on");
	put("p", "engine = async\n", 15);
	EXPECT_RUN(UNPACK(.profile = path_in("p")), 1, "[the default, since what the profile says cannot be had|",
		   "async", "lacks");
}

TEST_F(profile, verbose)
{
	put("p", "cluster = 16\nlog_keep = 4M\n", 27);
	EXPECT_RUN(UNPACK(.profile = path_in("p"), .verbose = "1"), 2, "", path_in("p: cluster = 16, log_keep = 4M\n"),
		   "libuffdstm: profile /tmp/");
}

/* ---- lines ---- */

TEST_F(profile, bad_lines)
{
	static const struct {
		const char *text, *say;
	} lines[] = {
		{ "cluster = 3", "cluster = \"3\" is ignored: it takes a power of two, 1 to 512" },
		{ "cluster = 0", "a power of two, 1 to 512" },
		{ "cluster_max = 1024", "a power of two, 1 to 512" },
		{ "cluster_writes = 2x", "a power of two, 1 to 512" },
		{ "cluster = -8", "a power of two, 1 to 512" },
		{ "cluster =", "cluster = \"\" is ignored" },
		{ "cluster = 8 8", "cluster = \"8 8\" is ignored" },
		{ "log_limit = 4095K", "bytes, 4M to 1024G" },
		{ "log_limit = 18446744073709551616", "bytes, 4M to 1024G" },
		{ "log_limit = 17179869188G", "bytes, 4M to 1024G" },
		{ "log_keep = 2G", "bytes, 0 to 1G" },
		{ "log_keep = M", "bytes, 0 to 1G" },
		{ "log_huge = 1", "yes or no" },
		{ "trim_age = 0", "milliseconds, 1 to 86400000, or never" },
		{ "trim_age = Never", "milliseconds, 1 to 86400000, or never" },
		{ "trim_share = 101", "percent, 1 to 100" },
		{ "trim_pages = 0", "pages, 1 or more" },
		{ "event_buffer = 15K", "bytes, 16K to 256M" },
		{ "engine = SIGBUS", "engine = \"SIGBUS\" is ignored: it takes sigbus, thread or async" },
		{ "clusters = 8", "\"clusters\" is ignored: there is no such key: see uffdstm.conf(5)" },
		{ "Cluster = 8", "there is no such key" },
		{ " = 8", "\"\" is ignored: there is no such key" },
		{ "cluster 8", "\"cluster 8\" is ignored: a line is \"key = value\"" },
		{ "[cluster]", "a line is \"key = value\"" },
		{ "cluster = 8\v", "this is no text: ignored from here on" },
		{ "\x1b[31m = 1\xc3\xa4", "this is no text" },
		{ "\xc3\xa4 = 1", "\"??\" is ignored: there is no such key" },
		{ "a0123456789012345678901234567890123456789b = 1",
		  "\"a012345678901234567890123456789012345678...\" is ignored" },
	};
	char text[200], where[200];

	for (size_t i = 0; i < sizeof(lines) / sizeof(lines[0]); i++) {
		snprintf(text, sizeof(text), "trim_share = 7\n\n%s\n", lines[i].text);
		put("p", text, strlen(text));
		snprintf(where, sizeof(where), "libuffdstm: %s/p:3: ", folder);
		EXPECT_RUN(UNPACK(.profile = path_in("p")), 1, "[the default|8 2 512|64|3000 7 0|0|16 1]", where,
			   lines[i].say);
	}
	/* The lines after it count. */
	put("p", "nonsense\ncluster = 16\n", 22);
	EXPECT_RUN(UNPACK(.profile = path_in("p")), 1, "|16 2 512|", "/p:1: \"nonsense\"", "");
}

TEST_F(profile, clusters_that_do_not_go_together)
{
	put("p", "cluster = 16\ncluster_writes = 4\ncluster_max = 8\n", 48);
	EXPECT_RUN(UNPACK(.profile = path_in("p")), 1, "|8 4 8|",
		   "/p:1: cluster = 16 is ignored: it is more than cluster_max = 8, line 3 of /tmp/", "");
}

TEST_F(profile, many_bad_lines_are_few)
{
	char text[2000] = "";

	for (int i = 0; i < 100; i++)
		strcat(text, "nonsense\n");
	strcat(text, "cluster = 16\n");
	put("p", text, strlen(text));
	EXPECT_RUN(UNPACK(.profile = path_in("p")), 9, "|16 2 512|", "/p:8: ", "/p: 92 more lines are ignored");
}

/* ---- files that are none ---- */

TEST_F(profile, no_file)
{
	EXPECT_RUN(UNPACK(.profile = path_in("p")), 1, BUILT_IN, "/p: ENOENT: no profile is read from it", "");
	EXPECT_RUN(UNPACK(.profile = folder), 1, BUILT_IN, ": not a regular file: no profile is read from it", "");
	EXPECT_RUN(UNPACK(.profile = "/dev/zero"), 1, BUILT_IN, "/dev/zero: not a regular file", "");
	ASSERT_EQ(0, mkfifo(path_in("f"), 0644));
	EXPECT_RUN(UNPACK(.profile = path_in("f")), 1, BUILT_IN, "/f: not a regular file", "");
	ASSERT_EQ(0, symlink("l", path_in("l")));
	EXPECT_RUN(UNPACK(.profile = path_in("l")), 1, BUILT_IN, "/l: ELOOP: no profile is read from it", "");
}

TEST_F(profile, no_file_at_home)
{
	if (!access(STM_PROFILE_SYSTEM, F_OK))
		SKIP(return, "this machine has a profile");
	EXPECT_RUN(UNPACK(.home = "/nowhere", .as_nobody = true), 0, BUILT_IN, "", "");
	EXPECT_RUN(UNPACK(.home = "/dev/null", .as_nobody = true), 0, BUILT_IN, "", "");
	EXPECT_RUN(UNPACK(.config = folder, .as_nobody = true), 0, BUILT_IN, "", "");
	ASSERT_EQ(0, mkdir(path_in("uffdstm.conf"), 0755));
	EXPECT_RUN(UNPACK(.config = folder, .as_nobody = true), 1, BUILT_IN, "/uffdstm.conf: not a regular file", "");
	/* Somebody else's home. */
	ASSERT_EQ(0, chmod(folder, 0));
	if (geteuid() == 0)
		EXPECT_RUN(UNPACK(.config = folder, .as_nobody = true), 0, BUILT_IN, "", "");
	ASSERT_EQ(0, chmod(folder, 0755));
}

TEST_F(profile, unreadable)
{
	put("p", all, sizeof(all) - 1);
	ASSERT_EQ(0, chmod(path_in("p"), 0));
	EXPECT_RUN(UNPACK(.profile = path_in("p"), .as_nobody = true), 1, BUILT_IN,
		   "/p: EACCES: no profile is read from it", "");
}

TEST_F(profile, huge)
{
	static char text[STM_PROFILE_BYTES + 1];

	memset(text, '\n', sizeof(text));
	memcpy(text + STM_PROFILE_BYTES - 11, "cluster = 4", 11);
	put("p", text, STM_PROFILE_BYTES);
	EXPECT_RUN(UNPACK(.profile = path_in("p")), 0, "|4 2 512|", "", "");
	put("p", text, STM_PROFILE_BYTES + 1);
	EXPECT_RUN(UNPACK(.profile = path_in("p")), 1, BUILT_IN,
		   "/p: more than 65536 bytes: no profile is read from it", "");
	ASSERT_EQ(0, truncate(path_in("p"), (off_t)1 << 40));
	EXPECT_RUN(UNPACK(.profile = path_in("p")), 1, BUILT_IN, "more than 65536 bytes", "");
}

TEST_F(profile, binary)
{
	put("p", "cluster = 4\n\0\1\2\ncluster = 16\n", 29);
	EXPECT_RUN(UNPACK(.profile = path_in("p")), 1, "|4 2 512|", "/p:2: this is no text: ignored from here on", "");
}

/* ---- the texts that the fuzzer begins with ---- */

TEST(corpus)
{
	const char *tree = getenv("UFFDSTM_SRC");
	char path[500], text[4096];
	struct dirent *entry;
	unsigned int n = 0, texts = 0;
	int null = open("/dev/null", O_WRONLY | O_CLOEXEC), err = dup(STDERR_FILENO);
	DIR *dir;

	if (!tree)
		SKIP(return, "not run from the source tree (UFFDSTM_SRC)");
	snprintf(path, sizeof(path), "%s/selftests/profiles", tree);
	dir = opendir(path);
	ASSERT_NE(NULL, dir);
	while ((entry = readdir(dir))) {
		struct stm_profile profile = { .given = { false } };
		const char *wrong;
		ssize_t len;
		int fd;

		if (entry->d_name[0] == '.')
			continue;
		snprintf(path, sizeof(path), "%s/selftests/profiles/%s", tree, entry->d_name);
		fd = open(path, O_RDONLY | O_CLOEXEC);
		len = read(fd, text, sizeof(text));
		close(fd);
		ASSERT_GE(len, 0);
		texts++;
		/* As the fuzzer does: the first byte says where to cut. Here, everywhere. */
		for (ssize_t cut = 0; cut < len; cut++, n++) {
			memset(&profile, 0, sizeof(profile));
			dup2(null, STDERR_FILENO);
			stm_profile_parse(&profile, "first", text + 1, (size_t)cut);
			stm_profile_parse(&profile, "second", text + 1 + cut, (size_t)(len - 1 - cut));
			stm_profile_settle(&profile);
			dup2(err, STDERR_FILENO);
			wrong = profile_is_wrong(&profile);
			ASSERT_EQ(NULL, wrong) {
				TH_LOG("%s, cut at %zd: %s", entry->d_name, cut, wrong);
			}
		}
	}
	closedir(dir);
	EXPECT_GE(texts, 8);
	EXPECT_GE(n, 500);
}

TEST_HARNESS_MAIN
