// SPDX-License-Identifier: MIT
/*
 * finddup - what is stored twice below some directories?
 *
 * The files are found (walk.c), and each is read and cut into chunks (scan.c, chunker.c) by one
 * transaction that also puts them into one table (table_stm.c). The table is then brought into a
 * form that does not depend on how it was filled (table.c), summed up (summary.c) and reported
 * (report.c). The same table is built by a plain program in table_seq.c.
 */
#include <errno.h>
#include <getopt.h>
#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <uffdstm.h>

#include "chunker.h"
#include "report.h"
#include "scan.h"
#include "table.h"
#include "walk.h"

enum {
	EXIT_SAME = 0,
	EXIT_DIFFERENT = 1,
	EXIT_USAGE = 2,
	EXIT_TROUBLE = 3,
};

#define MOST_THREADS 63         /* and the main thread: the library's most segments is 64 */

struct options {
	unsigned int threads;
	bool sequential;
	bool verify;
	bool json;
	bool pin;
	bool quiet;
	bool naive;
};

static const char help[] =
"Usage: finddup [OPTION]... DIR...\n"
"Find what is stored twice below the directories (or in the files) DIR.\n"
"\n"
"Files are cut into chunks of 4 KiB on average, at places that their content decides.\n"
"Each file is one transaction on a hash map that all threads share.\n"
"\n"
"  -t, --threads=N   threads, 1 to 63 (default: one for each CPU)\n"
"  -s, --sequential  a plain sequential program instead, without transactions\n"
"  -v, --verify      build the table again sequentially, and compare every entry\n"
"  -j, --json        report in JSON\n"
"  -p, --pin         pin each thread that reads files to a CPU (the default)\n"
"  -P, --no-pin      do not\n"
"  -n, --naive       keep totals that each transaction updates: an example of what does not scale\n"
"  -q, --quiet       do not tell on stderr what is left out, nor the progress\n"
"  -h, --help        print this text\n"
"  -V, --version     print the version\n"
"\n"
"Regular files only, each inode once, under its smallest path. Symbolic links are followed\n"
"only as arguments. What cannot be read, is not a regular file, goes in circles, or changes\n"
"while it is read, is told on stderr and left out; with --verify, so is what changes between\n"
"the two passes.\n"
"For the pairs of files that share most, only the first 32 holders of a chunk count.\n"
"\n"
"Exit status: 0 done; 1 --verify found a difference; 2 wrong usage, or an argument that cannot\n"
"be read; 3 other trouble: no memory, no userfaultfd, the report cannot be written.\n";

/* ---- options ---- */

static int usage_error(void)
{
	fprintf(stderr, "finddup: try finddup --help\n");
	return EXIT_USAGE;
}

static unsigned int count_cpus(void)
{
	const long n = sysconf(_SC_NPROCESSORS_ONLN);
	cpu_set_t set;
	int cpus = n > 0 ? (int)n : 1;

	if (!sched_getaffinity(0, sizeof(set), &set))
		cpus = CPU_COUNT(&set);
	return cpus < MOST_THREADS ? (unsigned int)cpus : MOST_THREADS;
}

/* -1: go on; else the exit status. */
static int parse_threads(const char *text, struct options *options)
{
	char *end;
	long n;

	errno = 0;
	n = strtol(text, &end, 10);
	if (errno || end == text || *end || n < 1 || n > MOST_THREADS) {
		fprintf(stderr, "finddup: --threads=%s: not a number from 1 to %d\n", text,
			MOST_THREADS);
		return usage_error();
	}
	options->threads = (unsigned int)n;
	return -1;
}

/* -1: go on; else the exit status. */
static int parse(int argc, char **argv, struct options *options)
{
	static const struct option names[] = {
		{ "threads", required_argument, NULL, 't' },
		{ "sequential", no_argument, NULL, 's' },
		{ "verify", no_argument, NULL, 'v' },
		{ "json", no_argument, NULL, 'j' },
		{ "pin", no_argument, NULL, 'p' },
		{ "no-pin", no_argument, NULL, 'P' },
		{ "naive", no_argument, NULL, 'n' },
		{ "quiet", no_argument, NULL, 'q' },
		{ "help", no_argument, NULL, 'h' },
		{ "version", no_argument, NULL, 'V' },
		{ NULL, 0, NULL, 0 },
	};
	int c, status;

	*options = (struct options){ .pin = true };
	while ((c = getopt_long(argc, argv, "t:svjpPnqhV", names, NULL)) != -1) {
		switch (c) {
		case 't':
			status = parse_threads(optarg, options);
			if (status >= 0)
				return status;
			break;
		case 's':
			options->sequential = true;
			break;
		case 'v':
			options->verify = true;
			break;
		case 'j':
			options->json = true;
			break;
		case 'p':
			options->pin = true;
			break;
		case 'P':
			options->pin = false;
			break;
		case 'n':
			options->naive = true;
			break;
		case 'q':
			options->quiet = true;
			break;
		case 'h':
			fputs(help, stdout);
			return fflush(stdout) ? EXIT_TROUBLE : EXIT_SAME;
		case 'V':
			printf("finddup (libuffdstm %s)\n", stm_version());
			return fflush(stdout) ? EXIT_TROUBLE : EXIT_SAME;
		default:
			return usage_error();
		}
	}
	if (options->sequential && (options->verify || options->threads || options->naive)) {
		fprintf(stderr, "finddup: --sequential goes with none of --verify, --threads, --naive\n");
		return usage_error();
	}
	if (optind == argc) {
		fprintf(stderr, "finddup: no directory given\n");
		return usage_error();
	}
	if (!options->sequential && !options->threads)
		options->threads = count_cpus();
	return -1;
}

/* ---- progress, on a terminal ---- */

static struct progress {
	pthread_t thread;
	pthread_mutex_t lock;
	pthread_cond_t cond;
	bool runs;
	bool stop;              /* under lock */
	uint64_t files, bytes;  /* in all */
	const char *what;
} progress = { .lock = PTHREAD_MUTEX_INITIALIZER };

#define PROGRESS_NS 200000000   /* ns between two lines */

static void *show_progress(void *arg)
{
	struct timespec t;
	(void)arg;

	pthread_mutex_lock(&progress.lock);
	clock_gettime(CLOCK_MONOTONIC, &t);
	while (!progress.stop) {
		uint64_t files, bytes;

		t.tv_nsec += PROGRESS_NS;
		if (t.tv_nsec >= 1000000000) {
			t.tv_nsec -= 1000000000;
			t.tv_sec++;
		}
		while (!progress.stop &&
		       pthread_cond_timedwait(&progress.cond, &progress.lock, &t) != ETIMEDOUT)
			;
		scan_totals(&files, &bytes);
		fprintf(stderr, "\r%s: %llu of %llu files, %llu of %llu MB \033[K", progress.what,
			(unsigned long long)files, (unsigned long long)progress.files,
			(unsigned long long)(bytes / 1000000),
			(unsigned long long)(progress.bytes / 1000000));
	}
	pthread_mutex_unlock(&progress.lock);
	fprintf(stderr, "\r\033[K");
	return NULL;
}

/* Without progress if there can be no thread. */
static void progress_start(const struct options *options, const struct walk *walk, const char *what)
{
	pthread_condattr_t attr;

	if (options->quiet || !isatty(STDERR_FILENO))
		return;
	progress.files = walk->nr;
	progress.bytes = walk->bytes;
	progress.what = what;
	progress.stop = false;
	pthread_condattr_init(&attr);
	pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
	pthread_cond_init(&progress.cond, &attr);
	pthread_condattr_destroy(&attr);
	progress.runs = !pthread_create(&progress.thread, NULL, show_progress, NULL);
}

static void progress_stop(void)
{
	if (!progress.runs)
		return;
	pthread_mutex_lock(&progress.lock);
	progress.stop = true;
	pthread_cond_signal(&progress.cond);
	pthread_mutex_unlock(&progress.lock);
	pthread_join(progress.thread, NULL);
	pthread_cond_destroy(&progress.cond);
	progress.runs = false;
}

/* ---- the job ---- */

static void tell_skips(const struct options *options, const struct walk *walk, size_t from)
{
	for (size_t i = from; i < walk->nr_skips && !options->quiet; i++) {
		fputs("finddup: ", stderr);
		print_path(walk->skips[i].path, stderr);
		fprintf(stderr, ": %s: left out\n", walk->skips[i].reason);
	}
}

/* Tell which files were left out by a pass. 0 or -ENOMEM. */
static int collect_skips(const struct options *options, struct walk *walk, bool again)
{
	const size_t from = walk->nr_skips;
	int ret = 0;

	for (size_t i = 0; i < walk->nr && !ret; i++) {
		const struct file *file = &walk->files[i];

		if (file->state == FILE_CHANGED_LATER)
			ret = walk_skip(walk, file->path, "changed before it was verified");
		else if (again)
			continue;
		else if (file->state == FILE_UNREADABLE)
			ret = walk_skip(walk, file->path, strerrordesc_np(file->error));
		else if (file->state == FILE_CHANGED)
			ret = walk_skip(walk, file->path, 
					"changed while it was read, or is not as long as its size");
	}
	tell_skips(options, walk, from);
	walk_sort_skips(walk);
	return ret;
}

/* To the CPU that the first worker of a queue gets; without that, it only takes longer. */
static void pin_to_first(void)
{
	cpu_set_t set;
	int cpu = 0;

	if (sched_getaffinity(0, sizeof(set), &set))
		return;
	while (cpu < CPU_SETSIZE && !CPU_ISSET(cpu, &set))
		cpu++;
	CPU_ZERO(&set);
	CPU_SET(cpu, &set);
	sched_setaffinity(0, sizeof(set), &set);
}

static int build(const struct options *options, struct walk *walk, struct table *table,
		 struct build *how)
{
	int ret;

	progress_start(options, walk, options->sequential ? "reading, sequentially" : "reading");
	if (options->sequential && options->pin)
		pin_to_first();
	if (options->sequential)
		ret = table_build_seq(walk, false, table, how);
	else
		ret = table_build_stm(walk, options->threads, options->pin, options->naive, table, how);
	progress_stop();
	scan_free_all();
	if (ret && options->sequential)
		fprintf(stderr, "finddup: building the table: %s\n", strerror(-ret));
	return ret ? ret : collect_skips(options, walk, false);
}

/* 0 or -errno. */
static int verify(const struct options *options, struct walk *walk, struct table *table,
		  enum verdict *verdict)
{
	struct table plain = { 0 };
	int ret;

	progress_start(options, walk, "verifying");
	ret = table_build_seq(walk, true, &plain, NULL);
	progress_stop();
	scan_free_all();
	if (!ret)
		ret = collect_skips(options, walk, true);
	if (ret) {
		fprintf(stderr, "finddup: verifying: %s\n", strerror(-ret));
		goto free;
	}
	table_leave_out(table, walk->files);
	*verdict = table_compare(table, &plain, walk->files, "shared", "sequential", stderr) ?
		VERIFIED : DIFFERENT;
free:
	table_free(&plain);
	return ret;
}

static int find_files(const struct options *options, char **paths, struct walk *walk)
{
	int ret;

	for (; *paths; paths++) {
		ret = walk_add(walk, *paths);
		if (ret) {
			fprintf(stderr, "finddup: cannot read %s: %s\n", *paths, strerror(-ret));
			return ret == -ENOMEM ? EXIT_TROUBLE : EXIT_USAGE;
		}
	}
	ret = walk_finish(walk);
	if (ret) {
		fprintf(stderr, "finddup: ordering the files: %s\n", strerror(-ret));
		return EXIT_TROUBLE;
	}
	tell_skips(options, walk, 0);
	return -1;
}

static int report(const struct options *options, const struct report *what)
{
	int ret = 0;

	if (options->json)
		ret = report_json(what, stdout);
	else
		report_text(what, stdout);
	if (!ret && (fflush(stdout) || ferror(stdout)))
		ret = errno ? -errno : -EIO;
	if (ret)
		fprintf(stderr, "finddup: writing the report: %s\n", strerror(-ret));
	return ret;
}

int main(int argc, char **argv)
{
	struct walk walk = { 0 };
	struct table table = { 0 };
	struct stm_stats stats;
	struct build how = { 0 };
	struct summary summary;
	struct options options;
	struct report what = { &walk, &table, &summary, &how, 0, NOT_VERIFIED, 0 };
	double start;
	int status = parse(argc, argv, &options);

	if (status >= 0)
		return status;
	chunker_init();
	what.threads = options.threads;
	how.stats = options.sequential ? NULL : &stats;
	start = now();
	status = find_files(&options, argv + optind, &walk);
	what.walk_seconds = now() - start;
	if (status >= 0)
		goto free;
	status = EXIT_TROUBLE;
	if (build(&options, &walk, &table, &how))
		goto free;
	if (options.verify && verify(&options, &walk, &table, &what.verdict))
		goto free;
	if (summarise(&table, &walk, &summary)) {
		fprintf(stderr, "finddup: summing up: %s\n", strerror(ENOMEM));
		goto free;
	}
	if (!report(&options, &what))
		status = what.verdict == DIFFERENT ? EXIT_DIFFERENT : EXIT_SAME;
free:
	table_free(&table);
	walk_free(&walk);
	return status;
}
