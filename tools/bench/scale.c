/* SPDX-License-Identifier: MIT */
/*
 * scale.c - scale beyond this machine: counts for 1 to 64 segments, times on two cores, and what follows from both
 *
 * Three builds of this program count and time: this one times, one with -DSTM_COUNTING counts what is done about
 * each commit, one of the small layout, which valgrind can hold, is run under callgrind. They are this program again
 * with -w and -s, which counts once and prints.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include <uffdstm.h>

#include "scale.h"

#define DEFAULT_JSON "build/bench/scale.json"
#define DEFAULT_COUNTING "build/counting/tools/bench/scale"
#define DEFAULT_SMALL "build/small/tools/bench/scale"
#define TRANSACTIONS 6400u              /* of all segments together, and 100 of each at least */
#define CALLGRIND_TRANSACTIONS 1280u    /* and 20 */
#define FOLD_SEGMENTS 4u
#define FOLD_TRANSACTIONS 1500u         /* of each: six chunks of the log, and once more as many */
#define SKIP_BAR 2.0                    /* ns for each foreign commit that summaries let it skip */
#define LOOK_BAR 10.0                   /* and that it must look at */
#define CALL_NS 50000.0                 /* a shoot-down with another thread running: 42 to 88 us for a page */

static const unsigned int all_segments[] = { 1, 2, 4, 8, 16, 32, 64 };

#define STEPS_MOST (sizeof(all_segments) / sizeof(all_segments[0]))
static unsigned int steps;              /* how many of them */

const char *const scale_whats[SCALE_WHATS] = {
	[SLOTS_APPLIED] = "slots-applied",
	[SLOTS_APPLIED_SKIPPED] = "applied-skipped",
	[SLOTS_TESTED] = "slots-tested",
	[SLOTS_TESTED_SKIPPED] = "tested-skipped",
	[GROUPS_SKIPPED] = "groups-skipped",
	[BYTES_APPLIED] = "bytes-applied",
	[FOREIGN_LINES] = "foreign-lines",
	[SLOTS_LOST] = "slots-lost",
	[ENTRIES_FOLDED] = "entries-folded",
	[COMMITS] = "commits",
	[ABORTS] = "aborts",
	[SYSTEM_CALLS] = "system-calls",
	[FAULTS] = "heap-faults",
	[PARKED] = "parked",
	[PRIVATE_PAGES] = "private-pages",
	[INSTRUCTIONS] = "instructions",
	[FOLD_INSTRUCTIONS] = "fold-instructions",
};

struct options {
	const char *json, *counting, *small;
	unsigned int rounds;
	unsigned int most;      /* segments */
	bool quiet, no_callgrind;
	/* -w: one count only */
	int workload;
	unsigned int segments, transactions;
};

static void usage(FILE *to)
{
	fprintf(to,
		"usage: scale [-q] [-r ROUNDS] [-m SEGMENTS] [-C] [-c PROGRAM] [-i PROGRAM] [-o FILE]\n"
		"       scale -w WORKLOAD -s SEGMENTS [-t TRANSACTIONS]\n"
		"\n"
		"  -r ROUNDS        of what is timed (default 9)\n"
		"  -m SEGMENTS      no more than these: 2, 4, 8, 16, 32 or 64 (default 64)\n"
		"  -c PROGRAM       this one, built with VARIANT=counting (default " DEFAULT_COUNTING ")\n"
		"  -i PROGRAM       this one, built with VARIANT=small, for callgrind (default " DEFAULT_SMALL ")\n"
		"  -C               no callgrind: no instructions\n"
		"  -o FILE          where the figures go (default " DEFAULT_JSON ")\n"
		"  -q               no progress\n"
		"  -w WORKLOAD      partitioned, shared-hot or read-mostly: only this one, with so many SEGMENTS, each of\n"
		"                   which runs so many TRANSACTIONS (default 100); prints what is counted\n"
		"\n"
		"Exit status: 0, or 1 if a sum was wrong or something could not be run. Bars do not count.\n");
}

/* ---- counts of other builds ---- */

static int what_named(const char *name)
{
	for (int what = 0; what < SCALE_WHATS; what++)
		if (!strcmp(scale_whats[what], name))
			return what;
	return -1;
}

static void print_counts(const struct scale_counts *counts)
{
	for (int what = 0; what < SCALE_WHATS; what++)
		if (counts->known[what])
			printf("%s %.9g\n", scale_whats[what], counts->per_transaction[what]);
	printf("folded %.0f\n", counts->folded);
}

/* Run @command, which prints what it counted. */
static struct scale_counts read_counts(const char *command)
{
	struct scale_counts counts = { 0 };
	FILE *f = popen(command, "re");
	char line[256], name[64];
	double value;

	if (!f)
		die("%s: %m", command);
	while (fgets(line, sizeof(line), f)) {
		int what;

		if (sscanf(line, "%63s %lf", name, &value) != 2)
			die("%s printed: %s", command, line);
		what = what_named(name);
		if (what >= 0) {
			counts.known[what] = true;
			counts.per_transaction[what] = value;
		} else if (!strcmp(name, "folded")) {
			counts.folded = value;
		}
	}
	if (pclose(f))
		die("%s failed", command);
	return counts;
}

static unsigned int share(unsigned int all, unsigned int segments)
{
	return all / segments;
}

static bool command_exists(const char *name)
{
	char command[128];

	snprintf(command, sizeof(command), "command -v %s >/dev/null", name);
	return !system(command);
}

/*
 * A function's inclusive cost by callgrind's file: that of the calls of it, which stands in the line after "calls=".
 * The first mention of a name gives it a number, later ones give only that.
 */
struct cost_reader {
	const char *function;
	char number[32];        /* "(12)" */
	bool called, cost_next;
	unsigned long long cost;
};

static void read_cost(struct cost_reader *r, const char *line)
{
	const char *name;
	char number[32];

	if (r->cost_next) {
		const char *last = strrchr(line, ' ');

		r->cost += strtoull(last ? last : "0", NULL, 10);
		r->cost_next = false;
	} else if (!strncmp(line, "fn=(", 4) || !strncmp(line, "cfn=(", 5)) {
		if (sscanf(strchr(line, '('), "%31[^ \n]", number) != 1)
			return;
		name = strchr(line, ' ');
		if (name && !strncmp(name + 1, r->function, strlen(r->function)) &&
		    strchr("'\n", name[1 + strlen(r->function)]))
			memcpy(r->number, number, sizeof(number));
		r->called = line[0] == 'c' && !strcmp(number, r->number);
	} else if (!strncmp(line, "calls=", 6)) {
		r->cost_next = r->called;
		r->called = false;
	}
}

/*
 * Instructions in the function @count and what it calls, but not in @except, if that is not NULL.
 */
static double callgrind(const struct options *o, const char *count, const char *except, enum scale_workload workload,
			unsigned int segments, unsigned int transactions, struct scale_counts *counts)
{
	char file[] = "/tmp/scale-callgrind-XXXXXX", command[2048], line[4096];
	struct cost_reader reader = { .function = except };
	unsigned long long total = 0;
	int fd = mkstemp(file);
	FILE *f;

	if (fd < 0)
		die("%s: %m", file);
	snprintf(command, sizeof(command),
		 "valgrind -q --log-file=/dev/null --tool=callgrind --vex-iropt-register-updates=allregs-at-mem-access "
		 "--callgrind-out-file=%s --toggle-collect=%s '%s' -w %s -s %u -t %u", file, count, o->small,
		 scale_names[workload], segments, transactions);
	*counts = read_counts(command);
	f = fdopen(fd, "r");
	while (f && fgets(line, sizeof(line), f)) {
		sscanf(line, "totals: %llu", &total);
		if (except)
			read_cost(&reader, line);
	}
	if (!f || !total)
		die("callgrind: no total in %s", file);
	if (except && !reader.cost)
		die("callgrind: no calls of %s in %s", except, file);
	fclose(f);
	unlink(file);
	return (double)(total - reader.cost);
}

static void progress(const struct options *o, const char *what, unsigned int n)
{
	if (!o->quiet && isatty(STDERR_FILENO))
		fprintf(stderr, "\r\033[K%s %u", what, n);
}

/* For each entry that is folded: the difference of two runs, since the first entries are those of the allocation. */
static double fold_instructions(const struct options *o, enum scale_workload w)
{
	struct scale_counts some, more;
	const double first = callgrind(o, "stm_fold_try", NULL, w, FOLD_SEGMENTS, FOLD_TRANSACTIONS, &some);
	const double all = callgrind(o, "stm_fold_try", NULL, w, FOLD_SEGMENTS, 2 * FOLD_TRANSACTIONS, &more);

	if (more.folded <= some.folded)
		die("%s: nothing was folded in %u transactions", scale_names[w], FOLD_TRANSACTIONS);
	return (all - first) / (more.folded - some.folded);
}

static void count_all(const struct options *o, struct scale_counts counts[SCALE_WORKLOADS][STEPS_MOST])
{
	const bool instructions = !o->no_callgrind && command_exists("valgrind");
	char command[1024];

	if (!instructions)
		printf("instructions are left out: %s\n", o->no_callgrind ? "-C" : "valgrind is not installed");
	for (unsigned int w = 0; w < SCALE_WORKLOADS; w++) {
		for (unsigned int i = 0; i < steps; i++) {
			const unsigned int n = all_segments[i];
			struct scale_counts *c = &counts[w][i], other;

			progress(o, scale_names[w], n);
			snprintf(command, sizeof(command), "'%s' -w %s -s %u -t %u", o->counting, scale_names[w], n,
				 share(TRANSACTIONS, n));
			*c = read_counts(command);
			if (!instructions)
				continue;
			c->per_transaction[INSTRUCTIONS] =
				callgrind(o, "scale_transaction", "scale_wait", w, n, share(CALLGRIND_TRANSACTIONS, n),
					  &other) / (n * share(CALLGRIND_TRANSACTIONS, n));
			c->known[INSTRUCTIONS] = true;
		}
		if (instructions) {
			struct scale_counts *most = &counts[w][steps - 1];

			/* Where few commit, an entry is what it is where all do. */
			most->per_transaction[FOLD_INSTRUCTIONS] =
				w == READ_MOSTLY ? counts[SHARED_HOT][steps - 1].per_transaction[FOLD_INSTRUCTIONS] :
						   fold_instructions(o, w);
			most->known[FOLD_INSTRUCTIONS] = true;
		}
	}
	progress(o, "\r", 0);
}

/* ---- on screen ---- */

/* Fit @what over the segments; false if it was not counted everywhere. */
static bool fit(const struct scale_counts *counts, enum scale_what what, struct scale_line *line)
{
	double values[STEPS_MOST];

	for (unsigned int i = 0; i < steps; i++) {
		if (!counts[i].known[what])
			return false;
		values[i] = counts[i].per_transaction[what];
	}
	*line = scale_fit(all_segments, values, steps);
	return true;
}

static void print_workload(enum scale_workload w, const struct scale_counts *counts)
{
	printf("\n%s, for each transaction with so many segments; the line that fits best\n%-18s", scale_names[w], "");
	for (unsigned int i = 0; i < steps; i++)
		printf(" %8u", all_segments[i]);
	printf("  %9s %9s %7s\n", "constant", "per other", "off");
	for (int what = 0; what < FOLD_INSTRUCTIONS; what++) {
		struct scale_line line;

		if (!fit(counts, what, &line))
			continue;
		printf("%-18s", scale_whats[what]);
		for (unsigned int i = 0; i < steps; i++)
			printf(" %8.4g", counts[i].per_transaction[what]);
		printf("  %9.4g %9.4g %6.1f%%\n", line.constant, line.slope, line.off);
	}
	if (counts[steps - 1].known[FOLD_INSTRUCTIONS])
		printf("%-18s %8.4g for each entry, by one thread for all\n", scale_whats[FOLD_INSTRUCTIONS],
		       counts[steps - 1].per_transaction[FOLD_INSTRUCTIONS]);
}

static void print_times(const struct scale_timed *times)
{
	printf("\nns, timed with two cores\n");
	for (int what = 0; what < SCALE_TIMES; what++) {
		const double bar = what == BEGIN_SKIPPED || what == COMMIT_SKIPPED ? SKIP_BAR : LOOK_BAR;

		printf("%-54s %8.2f (%.2f to %.2f)", scale_times[what], times[what].ns, times[what].min, times[what].max);
		if (what < ALONE)
			printf("  asked: %g, %s", bar, times[what].ns <= bar ? "met" : "NOT MET");
		putchar('\n');
	}
}

/* ns that a term adds to each transaction. */
static void term_costs(enum scale_workload w, struct scale_counts counts[SCALE_WORKLOADS][STEPS_MOST],
		       const struct scale_timed *times, double ns[SCALE_TERMS])
{
	const struct scale_counts *most = &counts[w][steps - 1], *alone = &counts[PARTITIONED][0];
	const double commits = most->per_transaction[COMMITS];
	const enum scale_time walk = w == PARTITIONED ? COMMIT_SKIPPED : w == SHARED_HOT ? COMMIT_APPLIED : BEGIN_APPLIED;

	ns[WALK] = commits * times[walk].ns;
	ns[THE_TAIL] = commits * times[TAIL].ns;
	/* As many ns for an instruction as in a commit alone, fold included, which is all of its time. */
	ns[FOLD] = 0;
	if (most->known[FOLD_INSTRUCTIONS] && alone->known[INSTRUCTIONS])
		ns[FOLD] = commits * times[ALONE].ns * most->per_transaction[FOLD_INSTRUCTIONS] /
			   alone->per_transaction[INSTRUCTIONS];
	ns[CALLS] = (most->per_transaction[SYSTEM_CALLS] + most->per_transaction[FAULTS]) * CALL_NS;
}

static void print_bounds(struct scale_counts counts[SCALE_WORKLOADS][STEPS_MOST], const struct scale_timed *times)
{
	static const double us[] = { 1, 10, 100 };

	printf("\ncores at which a term takes as long as the transactions themselves\n%-12s %6s", "workload", "us");
	for (int term = 0; term < SCALE_TERMS; term++)
		printf(" %10s", scale_terms[term]);
	printf("  first\n");
	for (unsigned int w = 0; w < SCALE_WORKLOADS; w++) {
		double ns[SCALE_TERMS];

		term_costs(w, counts, times, ns);
		for (unsigned int i = 0; i < sizeof(us) / sizeof(us[0]); i++) {
			enum scale_term first = WALK;

			printf("%-12s %6g", scale_names[w], us[i]);
			for (int term = 0; term < SCALE_TERMS; term++) {
				const double cores = scale_cores(term, ns[term], us[i]);

				if (isinf(cores))
					printf(" %10s", "-");
				else
					printf(" %10.0f", cores);
				if (cores < scale_cores(first, ns[first], us[i]))
					first = term;
			}
			printf("  %s\n", scale_terms[first]);
		}
	}
	printf("walk, tail: where cores are as near to each other as these two; fold: by instructions, as many ns for each\n"
	       "as in a commit; calls: system calls and page faults of %u segments, %g us each; -: there were none\n",
	       all_segments[steps - 1], CALL_NS / 1000);
}

/* ---- as JSON ---- */

static void write_json(const char *path, struct scale_counts counts[SCALE_WORKLOADS][STEPS_MOST],
		       const struct scale_timed *times, unsigned int rounds)
{
	FILE *f = results_open(path);

	for (unsigned int w = 0; w < SCALE_WORKLOADS; w++)
		for (unsigned int i = 0; i < steps; i++)
			for (int what = 0; what < SCALE_WHATS; what++) {
				const double value = counts[w][i].per_transaction[what];

				if (!counts[w][i].known[what])
					continue;
				results_row(f, "\"workload\": \"%s\", \"segments\": %u, \"what\": \"%s\", \"count\": %.6g, "
					       "\"min\": %.6g, \"max\": %.6g", scale_names[w], all_segments[i],
					    scale_whats[what], value, value, value);
			}
	for (int what = 0; what < SCALE_TIMES; what++)
		results_row(f, "\"what\": \"%s\", \"ns\": %.3f, \"min\": %.3f, \"max\": %.3f, \"rounds\": %u",
			    scale_times[what], times[what].ns, times[what].min, times[what].max, rounds);
	results_close(f, path);
}

static int count_workload(const char *name)
{
	for (int w = 0; w < SCALE_WORKLOADS; w++)
		if (!strcmp(name, scale_names[w]))
			return w;
	die("-w %s: no such workload; see scale -h", name);
}

int main(int argc, char **argv)
{
	struct options o = { .json = DEFAULT_JSON, .counting = DEFAULT_COUNTING, .small = DEFAULT_SMALL, .rounds = 9,
			     .most = SCALE_SEGMENTS, .workload = -1, .segments = 1, .transactions = 100 };
	static struct scale_counts counts[SCALE_WORKLOADS][STEPS_MOST];
	static struct scale_timed times[SCALE_TIMES];
	int option;

	while ((option = getopt(argc, argv, "qCr:m:c:i:o:w:s:t:h")) != -1) {
		switch (option) {
		case 'q':
			o.quiet = true;
			break;
		case 'C':
			o.no_callgrind = true;
			break;
		case 'r':
			o.rounds = option_number(optarg, "-r");
			break;
		case 'm':
			o.most = option_number(optarg, "-m");
			break;
		case 'c':
			o.counting = optarg;
			break;
		case 'i':
			o.small = optarg;
			break;
		case 'o':
			o.json = optarg;
			break;
		case 'w':
			o.workload = count_workload(optarg);
			break;
		case 's':
			o.segments = option_number(optarg, "-s");
			if (o.segments > SCALE_SEGMENTS)
				die("-s %s: at most %u", optarg, SCALE_SEGMENTS);
			break;
		case 't':
			o.transactions = option_number(optarg, "-t");
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
	if (o.workload >= 0) {
		const struct scale_counts one = scale_count(o.workload, o.segments, o.transactions);

		print_counts(&one);
		return 0;
	}
	while (steps < STEPS_MOST && all_segments[steps] <= o.most)
		steps++;
	if (steps < 2)
		die("-m %u: two segments at least", o.most);
	setvbuf(stdout, NULL, _IOLBF, 0);
	print_machine();
	printf("\n");
	count_all(&o, counts);
	scale_time(times, o.rounds);
	for (unsigned int w = 0; w < SCALE_WORKLOADS; w++)
		print_workload(w, counts[w]);
	print_times(times);
	print_bounds(counts, times);
	write_json(o.json, counts, times, o.rounds);
	return 0;
}
