// SPDX-License-Identifier: MIT
/*
 * status.c - which processes use the library, and how it goes: two looks, and what lies between them.
 */
#include <errno.h>
#include <limits.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <time.h>
#include <unistd.h>

#include "status.h"

#define STATUS_PARTLY 1                 /* of some of the processes named there is nothing to tell */

#define SECONDS_FIRST	0.5 /* between the first two looks */
#define SECONDS_MIN	0.1
#define SECONDS_MAX	86400.0
#define SECONDS_DEFAULT 2.0

struct wishes {
	bool json;
	double watch;                   /* seconds; 0: once */
	int *pids, pids_n;              /* none: all */
};

static int help(void)
{
	printf("Usage: uffdstm status [OPTION]... [PID]...\n"
	       "Tell which processes use libuffdstm, and how it goes; all about those named.\n"
	       "\n"
	       "  -w, --watch[=SECONDS]\n"
	       "                  again and again; every two seconds if no number is given\n"
	       "  -j, --json      report in JSON; with --watch one line for each look\n"
	       "  -h, --help      print this text\n"
	       "\n"
	       "It tells of those processes that the user who runs it may look into. It looks\n"
	       "twice, half a second apart, for the figures by the second.\n"
	       "\n"
	       "Exit status: 0 done; 1 of some process named there is nothing to tell; 2 wrong\n"
	       "usage; 3 trouble.\n");
	return STATUS_DONE;
}

/* ---- looks ---- */

/* Why there is nothing to tell of a process that was named. */
static void explain(const struct process *process)
{
	if (process->seen == SEEN_GONE)
		complain(process->error, NULL, "%d", process->pid);
	else if (process->seen == SEEN_DENIED)
		complain(process->error, "run it as root, or as the user of that process", "%d %s",
			 process->pid, process->command);
	else if (process->seen == SEEN_INHERITED)
		complain(0, "it may do nothing with the library",
			 "%d %s: a child of a process that uses libuffdstm", process->pid,
			 process->command);
	else
		complain(0, "no stm_init() so far, or stm_fini()",
			 "%d %s: it does not use libuffdstm", process->pid, process->command);
}

/* At those named. Who is not to be told of is left out from now on, and makes @status STATUS_PARTLY. */
static int look_at_named(struct look *look, struct wishes *wishes, int *status)
{
	int n = 0;

	memset(look, 0, sizeof(*look));
	look->at = now_seconds();
	look->processes = calloc((size_t)wishes->pids_n + 1, sizeof(*look->processes));
	if (!look->processes) {
		complain(ENOMEM, NULL, "%d processes", wishes->pids_n);
		return -ENOMEM;
	}
	for (int i = 0; i < wishes->pids_n; i++) {
		struct process *process = &look->processes[look->n];

		look_at(process, wishes->pids[i]);
		if (process->seen == SEEN || process->seen == SEEN_OTHER_VERSION ||
		    process->seen == SEEN_GARBAGE) {
			if (process->seen != SEEN)
				*status = STATUS_PARTLY;
			wishes->pids[n++] = wishes->pids[i];
			look->n++;
		} else {
			*status = STATUS_PARTLY;
			explain(process);
		}
	}
	wishes->pids_n = n;
	return 0;
}

static int look(struct look *look, struct wishes *wishes, int *status)
{
	return wishes->pids ? look_at_named(look, wishes, status) : look_around(look);
}

/* ---- between two ---- */

static double rate(uint64_t before, uint64_t after, double seconds)
{
	return after > before && seconds > 0 ? (double)(after - before) / seconds : 0;
}

static struct rates compare(const struct process *now, const struct look *before)
{
	struct rates rates = { .known = false };

	for (size_t i = 0; i < before->n; i++) {
		const struct process *then = &before->processes[i];

		/* Of the same number, and the same stm_init(). */
		if (now->seen != SEEN || then->seen != SEEN || then->pid != now->pid ||
		    then->status.started != now->status.started)
			continue;
		rates.known = true;
		rates.commits = rate(then->sum.commits, now->sum.commits, now->at - then->at);
		rates.read_only = rate(then->sum.commits_read_only, now->sum.commits_read_only,
				       now->at - then->at);
		rates.aborts = rate(total_aborts(then), total_aborts(now), now->at - then->at);
		break;
	}
	return rates;
}

static void wait_seconds(double seconds)
{
	struct timespec left = { .tv_sec = (time_t)seconds,
				 .tv_nsec = (long)((seconds - (double)(time_t)seconds) * 1e9) };

	while (clock_nanosleep(CLOCK_MONOTONIC, 0, &left, &left) == EINTR)
		;
}

/* ---- on the screen ---- */

#define CLEAR "\033[H\033[J"

static void head(const struct wishes *wishes, bool screen, bool first)
{
	time_t now = time(NULL);
	char text[32] = "";
	struct tm broken;

	if (!wishes->watch || wishes->json)
		return;
	if (localtime_r(&now, &broken))
		strftime(text, sizeof(text), "%Y-%m-%d %H:%M:%S", &broken);
	if (screen)
		fputs(CLEAR, stdout);
	else if (!first)
		putchar('\n');
	printf("%s\n", text);
}

/* Rows for the report below its first line; 0: no screen. */
static size_t rows_of(bool screen)
{
	struct winsize size;

	if (!screen || ioctl(STDOUT_FILENO, TIOCGWINSZ, &size) || size.ws_row < 2)
		return 0;
	return size.ws_row - 1u;
}

/* 0, or -errno after a line. */
static int report(const struct look *look, const struct look *before, const struct wishes *wishes,
		  bool screen, bool first)
{
	struct rates *rates = calloc(look->n + 1, sizeof(*rates));
	int error = rates ? 0 : -ENOMEM;

	for (size_t i = 0; i < look->n && !error; i++)
		rates[i] = compare(&look->processes[i], before);
	if (!error) {
		struct report report = {
			.look = look,
			.rates = rates,
			.seconds = look->at - before->at,
			.in_detail = wishes->pids,
			.rows = rows_of(screen),
			.on_one_line = wishes->watch > 0,
		};

		head(wishes, screen, first);
		if (wishes->json)
			error = status_json(&report);
		else
			status_text(&report);
	}
	if (error)
		complain(error, NULL, "the report");
	free(rates);
	return error;
}

static int run(struct wishes *wishes)
{
	bool screen = wishes->watch > 0 && !wishes->json && isatty(STDOUT_FILENO);
	struct look before, now;
	int status = STATUS_DONE;

	if (looks_start() || look(&before, wishes, &status))
		return STATUS_TROUBLE;
	wait_seconds(SECONDS_FIRST);
	for (bool first = true;; first = false) {
		int later, error = look(&now, wishes,
					first ? &status
					      : &later); /* that a process ends is nothing amiss */

		/* Of nobody is anything left to tell. */
		if (!error && (!wishes->pids || now.n || first))
			error = report(&now, &before, wishes, screen, first);
		look_free(&before);
		if (error) {
			look_free(&now);
			return STATUS_TROUBLE;
		}
		before = now;
		if (wishes->watch == 0 || (wishes->pids && !now.n) || !flush_output())
			break;
		wait_seconds(wishes->watch);
	}
	look_free(&before);
	return status;
}

/* ---- options ---- */

/* Seconds, or 0: not such a number. */
static double seconds_of(const char *text)
{
	char *end;
	double seconds = strtod(text, &end);

	return end != text && !*end && seconds >= SECONDS_MIN && seconds <= SECONDS_MAX ? seconds
											: 0;
}

/* 0, or -1: not such a number. */
static int pid_of(const char *text, int *pid)
{
	char *end;
	long n;

	errno = 0;
	n = strtol(text, &end, 10);
	if (errno || end == text || *end || *text < '0' || *text > '9' || n < 1 || n > INT_MAX)
		return -1;
	*pid = (int)n;
	return 0;
}

int cmd_status(int argc, char **argv)
{
	static const struct option names[] = {
		{ "watch", optional_argument, NULL, 'w' },
		{ "json", no_argument, NULL, 'j' },
		{ "help", no_argument, NULL, 'h' },
		{ NULL, 0, NULL, 0 },
	};
	struct wishes wishes = { .json = false };
	int c, status;

	while ((c = getopt_long(argc, argv, ":w::jh", names, NULL)) != -1) {
		if (c == 'h')
			return help();
		if (c == 'j') {
			wishes.json = true;
		} else if (c == 'w') {
			wishes.watch = optarg ? seconds_of(optarg) : SECONDS_DEFAULT;
			if (wishes.watch == 0)
				return usage_error("--watch=%s: seconds, 0.1 to 86400", optarg);
		} else {
			return bad_option(c, argv, names);
		}
	}
	if (optind < argc) {
		wishes.pids = calloc((size_t)(argc - optind), sizeof(*wishes.pids));
		if (!wishes.pids) {
			complain(ENOMEM, NULL, "%d processes", argc - optind);
			return STATUS_TROUBLE;
		}
	}
	for (; optind < argc; optind++)
		if (pid_of(argv[optind], &wishes.pids[wishes.pids_n++])) {
			free(wishes.pids);
			return usage_error("%s: not the number of a process", argv[optind]);
		}
	status = run(&wishes);
	free(wishes.pids);
	return status;
}
