// SPDX-License-Identifier: MIT
/*
 * tune.c - what is measured, in which order; and then the profile.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/auxv.h>
#include <uffdstm.h>

#include "tune.h"

#define ROUNDS 5
#define PATTERN_SECONDS 5          /* no new round of engines after that, on a machine that is slow, or busy */
#define CLUSTER_SECONDS 11
#define LOG_SECONDS 5
#define DISTURBED 1.5   /* undisturbed runs: 1.1 */
#define TOGETHER 0.5    /* of samples with a second thread: it had no CPU in the others */
#define LOG_BYTES ((uint64_t)16 << 20)          /* to find out how fast it grows */
#define LOG_BYTES_MAX ((uint64_t)48 << 20)      /* of a standstill: far from where begins wait */

static int help(void)
{
	printf("Usage: uffdstm tune [OPTION]...\n"
	       "Measure this machine, and write what suits it to a profile that programs which\n"
	       "use libuffdstm read.\n"
	       "\n"
	       "  -o, --output=FILE  write the profile there; -: to standard output, and no table\n"
	       "  -e, --explain      say why each value was chosen\n"
	       "  -j, --json         figures and values in JSON\n"
	       "  -f, --force        replace a profile that tune did not write\n"
	       "  -q, --quick        fewer and shorter measurements, for a try\n"
	       "  -h, --help         print this text\n"
	       "\n"
	       "Without --output the profile is /etc/uffdstm.conf, or ~/.config/uffdstm.conf if not\n"
	       "run by root. It takes some ten seconds, in which the machine should be idle.\n"
	       "\n"
	       "Exit status: 0 done; 2 wrong usage; 3 trouble: no profile was written.\n");
	return STATUS_DONE;
}

static const char *const engines[ENGINES] = { "sigbus", "thread", "async" };

/* ---- steps ---- */

struct run {
	struct figures figures;
	bool quick;
	unsigned int done, all;
	char why[200];          /* the last measurement failed */
	double took, undisturbed; /* time of all patterns; what it would have been by medians */
};

static enum ended step(struct run *run, const char *what, measurement *measure, struct task *task, void *result,
		       size_t size)
{
	task->quick = run->quick;
	show_progress(what, run->done++, run->all);
	return in_child(measure, task, result, size, run->why, sizeof(run->why));
}

/* What cannot be done without. */
static bool ended_badly(struct run *run, enum ended ended, const char *what)
{
	if (ended == FAILED) {
		show_progress(NULL, 0, 0);
		complain(0, "see uffdstm check", "%s: %s", what, run->why);
	}
	return ended != MEASURED;
}

static void set_engine_aside(struct run *run, unsigned int i)
{
	run->figures.engines[i].works = false;
	snprintf(run->figures.engines[i].why_not, sizeof(run->figures.engines[i].why_not), "%s", run->why);
}

static bool measure_engines(struct run *run)
{
	for (unsigned int i = 0; i < ENGINES; i++) {
		run->figures.engines[i].name = engines[i];
		run->figures.engines[i].works = true;
		for (unsigned int second = 0; second < 2 && second < run->figures.cpus; second++) {
			struct task task = { .engine = engines[i], .second = second };
			struct page_costs *costs = &run->figures.engines[i].costs[second];
			enum ended ended = step(run, "page events", measure_pages, &task, costs, sizeof(*costs));

			if (ended == FAILED && i)
				set_engine_aside(run, i);
			else if (ended_badly(run, ended, "engine sigbus"))
				return false;
		}
	}
	return true;
}

/* The candidates of one kind take turns, so that what disturbs the machine for a moment disturbs all alike. */
struct rounds {
	struct pattern_run runs[ROUNDS];
};

/* Shall there be another one? At least one, and of an odd number, as medians are what counts. */
static bool goes_on(struct run *run, unsigned int round, unsigned int *n, uint64_t start, unsigned int seconds)
{
	const uint64_t spent = now_ns() - start, limit = (uint64_t)seconds * 1000000000;

	*n = round;
	if (round == (run->quick ? 1 : ROUNDS))
		return false;
	if (round % 2 == 0 || spent + 2 * spent / round <= limit) /* two more */
		return true;
	run->figures.rounds = round < run->figures.rounds ? round : run->figures.rounds;
	return false;
}

/* The sum of the parts' medians over @n rounds. */
static void take_medians(struct run *run, const struct rounds *rounds, unsigned int n, struct pattern_costs *to)
{
	for (unsigned int p = 0; p < PATTERNS; p++) {
		to->ns[p] = 0;
		for (unsigned int part = 0; part < PARTS; part++) {
			double values[ROUNDS], median;

			for (unsigned int i = 0; i < n; i++) {
				values[i] = rounds->runs[i].ns[p][part];
				run->took += values[i];
			}
			median = median_of(values, n);
			run->undisturbed += median * n;
			to->ns[p] += median / PARTS;
		}
	}
}

static bool measure_engine_patterns(struct run *run)
{
	static struct rounds rounds[ENGINES];
	const uint64_t start = now_ns();
	unsigned int n;

	for (unsigned int round = 0; goes_on(run, round, &n, start, PATTERN_SECONDS); round++)
		for (unsigned int i = 0; i < ENGINES; i++) {
			struct task task = { .engine = engines[i], .second = run->figures.cpus > 1 };
			enum ended ended;

			if (!run->figures.engines[i].works) {
				run->done++;
				continue;
			}
			ended = step(run, "engines", measure_patterns, &task, &rounds[i].runs[round],
				     sizeof(rounds[i].runs[round]));
			if (ended == FAILED && i)
				set_engine_aside(run, i);
			else if (ended_badly(run, ended, "engine sigbus"))
				return false;
		}
	for (unsigned int i = 0; i < ENGINES; i++)
		if (run->figures.engines[i].works)
			take_medians(run, &rounds[i], n, &run->figures.engines[i].patterns);
	return true;
}

static bool measure_clusters(struct run *run)
{
	static struct rounds rounds[LEASTS + MOSTS];
	const uint64_t start = now_ns();
	unsigned int n;

	for (unsigned int round = 0; goes_on(run, round, &n, start, CLUSTER_SECONDS); round++)
		for (unsigned int i = 0; i < LEASTS + MOSTS; i++) {
			struct task task = { .engine = engines[0], .second = run->figures.cpus > 1 };
			char what[64];

			if (i < LEASTS)
				snprintf(task.profile, sizeof(task.profile), "cluster = %u\ncluster_writes = %u\n",
					 least_pages(i), least_pages(i));
			else
				snprintf(task.profile, sizeof(task.profile), "cluster_max = %u\n",
					 most_pages(i - LEASTS));
			snprintf(what, sizeof(what), "clusters of %u pages",
				 i < LEASTS ? least_pages(i) : most_pages(i - LEASTS));
			if (ended_badly(run,
					step(run, what, measure_patterns, &task, &rounds[i].runs[round],
					     sizeof(rounds[i].runs[round])),
					what))
				return false;
		}
	for (unsigned int i = 0; i < LEASTS; i++)
		take_medians(run, &rounds[i], n, &run->figures.least[i]);
	for (unsigned int i = 0; i < MOSTS; i++)
		take_medians(run, &rounds[LEASTS + i], n, &run->figures.most[i]);
	return true;
}

static bool measure_log_rate(struct run *run)
{
	struct task task = { .engine = engines[0], .bytes = LOG_BYTES };
	struct log_costs costs;

	if (ended_badly(run, step(run, "log", measure_log, &task, &costs, sizeof(costs)), "the log"))
		return false;
	run->figures.log_rate = costs.rate > 0 ? costs.rate : 0;
	run->figures.log_standstill = (uint64_t)(run->figures.log_rate * STANDSTILL_MS * 1e6);
	if (run->figures.log_standstill > LOG_BYTES_MAX)
		run->figures.log_standstill = LOG_BYTES_MAX;
	return true;
}

static bool measure_log_memory(struct run *run)
{
	double rounds[KEEPS + 2][ROUNDS];
	const uint64_t start = now_ns();
	unsigned int n;

	for (unsigned int round = 0; goes_on(run, round, &n, start, LOG_SECONDS); round++)
		for (unsigned int i = 0; i < KEEPS + 2; i++) {
			struct task task = { .engine = engines[0], .bytes = run->figures.log_standstill };
			struct log_costs costs;

			if (i < KEEPS)
				snprintf(task.profile, sizeof(task.profile), "log_keep = %llu\n",
					 (unsigned long long)keep_bytes(i));
			else
				snprintf(task.profile, sizeof(task.profile), "log_keep = 0\nlog_huge = %s\n",
					 i == KEEPS ? "no" : "yes");
			if (ended_badly(run, step(run, "log memory", measure_log, &task, &costs, sizeof(costs)),
					"the log's memory"))
				return false;
			rounds[i][round] = costs.ns;
		}
	for (unsigned int i = 0; i < KEEPS; i++)
		run->figures.keep[i] = median_of(rounds[i], n);
	for (unsigned int i = 0; i < 2; i++)
		run->figures.huge[i] = median_of(rounds[KEEPS + i], n);
	return true;
}

static bool measure_all(struct run *run)
{
	uint64_t start = now_ns();
	bool done;

	run->figures.cpus = cpus_n();
	run->figures.rounds = run->quick ? 1 : ROUNDS;
	run->figures.when = time(NULL);
	run->all = ENGINES * (run->figures.cpus > 1 ? 2 : 1) + 1 +
		   run->figures.rounds * (ENGINES + LEASTS + MOSTS + KEEPS + 2);
	if (run->figures.cpus == 1)
		complain(0, "the profile suits programs that run on this CPU alone",
			 "one CPU: what a second thread costs cannot be measured");
	done = measure_engines(run) && measure_engine_patterns(run) && measure_clusters(run) && measure_log_rate(run) &&
	       measure_log_memory(run);
	show_progress(NULL, 0, 0);
	run->figures.seconds = (double)(now_ns() - start) / 1e9;
	run->figures.disturbance = run->took / run->undisturbed;
	if (done && (run->figures.disturbance > DISTURBED ||
		     (run->figures.cpus > 1 && run->figures.engines[0].costs[1].together < TOGETHER)))
		complain(0, "run it again when it is idle", "the machine was busy with other things");
	return done;
}

/* ---- the command ---- */

struct wish {
	const char *output;
	bool explain, json, force, quick;
};

/* What programs will read must be what was chosen. */
static bool reads_back(const char *text, const struct choice *choices)
{
	struct stm_profile profile = { .given = { false } };

	stm_profile_parse(&profile, "profile", text, strlen(text));
	stm_profile_settle(&profile);
	for (unsigned int key = 0; key < STM_PROFILE_KEYS; key++)
		if (profile.given[key] != choices[key].made || profile.value[key] != choices[key].value)
			return false;
	return true;
}

static int report(const struct wish *wish, const struct figures *figures, const struct choice *choices,
		  const char *path)
{
	int error;

	if (wish->json) {
		error = print_json(figures, choices, path);
		if (error)
			complain(error, NULL, "the report");
		return error ? STATUS_TROUBLE : STATUS_DONE;
	}
	print_table(stdout, "", figures);
	printf("\n");
	print_choices(stdout, choices, wish->explain);
	printf("\nWritten to %s.\n", path);
	return STATUS_DONE;
}

static int finish(const struct wish *wish, const struct figures *figures, struct target *target)
{
	struct choice choices[STM_PROFILE_KEYS];
	int status = STATUS_TROUBLE;
	char *text;

	choose(figures, choices);
	text = profile_text(figures, choices);
	if (!text)
		complain(ENOMEM, NULL, "the profile");
	else if (!reads_back(text, choices))
		complain(0, "report this", "the profile that was made does not mean what was chosen");
	else if (!target)
		status = fputs(text, stdout) < 0 ? STATUS_TROUBLE : STATUS_DONE;
	else if (!target_write(target, text, strlen(text)))
		status = report(wish, figures, choices, target_path(target));
	free(text);
	return status;
}

static int run_all(const struct wish *wish)
{
	static struct run run;
	struct target *target = NULL;
	int status = STATUS_TROUBLE;

	if (getauxval(AT_SECURE)) {
		complain(0, "run it as root, or take the capabilities away", "this program has more rights than you");
		return status;
	}
	if (!wish->output || strcmp(wish->output, "-")) {
		target = target_open(wish->output, wish->force);
		if (!target)
			return status;
	}
	catch_interrupts();
	run.quick = wish->quick;
	if (measure_all(&run))
		status = finish(wish, &run.figures, target);
	target_close(target);
	if (!interrupted() || status == STATUS_DONE)
		return status;
	complain(0, NULL, "interrupted: no profile was written");
	end_interrupted();
}

int cmd_tune(int argc, char **argv)
{
	static const struct option names[] = {
		{ "output", required_argument, NULL, 'o' },
		{ "explain", no_argument, NULL, 'e' },
		{ "json", no_argument, NULL, 'j' },
		{ "force", no_argument, NULL, 'f' },
		{ "quick", no_argument, NULL, 'q' },
		{ "help", no_argument, NULL, 'h' },
		{ NULL, 0, NULL, 0 },
	};
	struct wish wish = { .output = NULL };
	int c;

	while ((c = getopt_long(argc, argv, ":o:ejfqh", names, NULL)) != -1) {
		switch (c) {
		case 'o':
			wish.output = optarg;
			break;
		case 'e':
			wish.explain = true;
			break;
		case 'j':
			wish.json = true;
			break;
		case 'f':
			wish.force = true;
			break;
		case 'q':
			wish.quick = true;
			break;
		case 'h':
			return help();
		default:
			return bad_option(c, argv, names);
		}
	}
	if (optind < argc)
		return usage_error("%s: no argument is expected", argv[optind]);
	if (wish.output && !*wish.output)
		return usage_error("--output: an empty name");
	if (wish.output && !strcmp(wish.output, "-") && (wish.json || wish.explain))
		return usage_error("--output=-: the profile is all that is printed: no --%s",
				   wish.json ? "json" : "explain");
	return run_all(&wish);
}
