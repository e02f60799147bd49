/* SPDX-License-Identifier: MIT */
/*
 * micro.c - the micro benchmark: options, and its parts one after the other
 *
 * Each part of the output runs in a process of its own (this program again,
 * with -s), so that none starts in the heap that another left behind.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <limits.h>
#include <spawn.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include <uffdstm.h>

#include "bench.h"

#define DEFAULT_JSON "build/bench/micro.json"

extern char **environ;

const struct workload workloads[WORKLOADS] = {
	{ "list-256-u20", LIST, 256, 20, 128 },
	{ "list-1024-u20", LIST, 1024, 20, 32 },
	{ "hash-4096-u20", HASH, 4096, 20, 1024 },
	{ "hash-4096-u2", HASH, 4096, 2, 1024 },
	{ "rbtree-4096-u20", TREE, 4096, 20, 512 },
	{ "rbtree-4096-u2", TREE, 4096, 2, 512 },
	{ "bank-1024-u0", BANK, 1024, 0, 1024 },
	{ "bank-1024-r20", BANK, 1024, 20, 256 },
	{ "map-100000-u10", MAP, 100000, 10, 512 },
	{ "ordered-100000-u10", ORDERED, 100000, 10, 128 },
};

static const struct part {
	const char *name;
	int (*run)(const struct settings *s);
	const char *what;
} parts[] = {
	{ "table", table_run, "the workloads: sequential, mutex, transactions" },
	{ "steady", steady_run, "page faults and system calls in the steady state" },
	{ "granules", granules_run, "a transaction that writes 1,000 granules" },
	{ "idle", idle_run, "what attached but idle segments cost" },
	{ "foreign", foreign_run, "what another segment's commit costs" },
	{ "heap", heap_run, "begin, commit, abort, attach against the heap's size" },
	{ "reader", reader_run, "a segment that only reads" },
	{ "pages", pages_run, "page faults against the size of clusters" },
	{ "tracked", tracked_run, "memory without barriers" },
	{ "trim", trim_run, "memory of threads whose working sets move" },
	{ "events", events_run, "what it costs to record" },
	{ "sweep", sweep_run, "length, readers, writes, conflicts, objects; to sweeps.json beside the FILE" },
};

#define PARTS (sizeof(parts) / sizeof(parts[0]))

static void usage(FILE *to)
{
	fprintf(to,
		"usage: micro [-q] [-r ROUNDS] [-t MS] [-w WORKLOAD] [-i IMPL] [-o FILE] "
		"[-s PART]\n"
		"\n"
		"  -r ROUNDS    so many times all in turn, then medians (default 7)\n"
		"  -t MS        length of one measurement (default 150)\n"
		"  -w WORKLOAD  only workloads with this in their name\n"
		"  -i IMPL      only the implementation seq, mutex or stm, in the table\n"
		"  -o FILE      where the table's figures go (default " DEFAULT_JSON ")\n"
		"  -q           no progress\n"
		"  -s PART      only this part:\n");
	for (size_t i = 0; i < PARTS; i++)
		fprintf(to, "                 %-9s %s\n", parts[i].name, parts[i].what);
	fprintf(to, "\nExit status: 0, or 1 if a structure was broken or something could not be "
		    "run. Bars do not count.\n");
}

bool selected(const struct settings *s, const struct workload *w)
{
	return !s->workload || strstr(w->name, s->workload);
}

const struct workload *workload_named(const char *name)
{
	for (unsigned int i = 0; i < WORKLOADS; i++)
		if (!strcmp(workloads[i].name, name))
			return &workloads[i];
	die("no workload is called %s", name);
}

/* This program again, with the same arguments and one part. */
static int run_part(int argc, char **argv, const struct part *part)
{
	char **args = calloc((size_t)argc + 3, sizeof(*args));
	int status, ret;
	pid_t pid;

	if (!args)
		die("no memory");
	memcpy(args, argv, (size_t)argc * sizeof(*args));
	args[argc] = "-s";
	args[argc + 1] = (char *)part->name;
	fflush(stdout);
	ret = posix_spawn(&pid, "/proc/self/exe", NULL, NULL, args, environ);
	if (ret)
		die("posix_spawn of /proc/self/exe: %s", strerror(ret));
	free(args);
	if (waitpid(pid, &status, 0) != pid)
		die("waitpid: %m");
	if (WIFSIGNALED(status))
		fprintf(stderr, "micro: part %s: killed by signal %d (%s)\n", part->name,
			WTERMSIG(status), strsignal(WTERMSIG(status)));
	return WIFEXITED(status) ? WEXITSTATUS(status) : 1;
}

int main(int argc, char **argv)
{
	struct settings s = { .rounds = 7, .ms = 150, .json = DEFAULT_JSON };
	const struct part *only = NULL;
	int option, worst = 0;

	while ((option = getopt(argc, argv, "r:t:w:i:o:s:qh")) != -1) {
		switch (option) {
		case 'r':
			s.rounds = option_number(optarg, "-r");
			break;
		case 't':
			s.ms = option_number(optarg, "-t");
			break;
		case 'w':
			s.workload = optarg;
			break;
		case 'i':
			s.impl = optarg;
			break;
		case 'o':
			s.json = optarg;
			break;
		case 'q':
			s.quiet = true;
			break;
		case 's':
			only = NULL;
			for (size_t i = 0; i < PARTS; i++)
				if (!strcmp(optarg, parts[i].name))
					only = &parts[i];
			if (!only)
				die("-s %s: no such part; see micro -h", optarg);
			break;
		case 'h':
			usage(stdout);
			return 0;
		default:
			usage(stderr);
			return 1;
		}
	}
	if (optind < argc) {
		usage(stderr);
		return 1;
	}
	setvbuf(stdout, NULL, _IOLBF, 0);
	if (only)
		return only->run(&s);
	print_machine();
	printf("; %u rounds of %u ms, medians\n", s.rounds, s.ms);
	for (size_t i = 0; i < PARTS; i++) {
		const int ret = run_part(argc, argv, &parts[i]);

		if (ret > worst)
			worst = ret;
	}
	return worst;
}
