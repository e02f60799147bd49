// SPDX-License-Identifier: MIT
/*
 * report.c - where did transactions lose time? Reads an event log and tells it in one of several ways.
 *
 *   log_read.c       records, checked
 *   report_sum.c     adds them up, with
 *     report_names.c   definitions of sites, labels, threads, modules
 *     report_axis.c    when things happened
 *     report_spent.c   what time went into
 *     report_pairs.c   who undid whom
 *   symbols.c        from addresses to lines; source.c: their text
 *   report_hints.c   what to do about it
 *   report_text.c, report_json.c, report_html.c, report_trace.c, report_folded.c
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "report.h"

#define PROGRESS_BYTES ((uint64_t)64 << 20)     /* smaller files are read in no time */
#define PROGRESS_RECORDS 65536u                 /* between two looks */
#define PROGRESS_BAR 50
#define TOP_TEXT 10u
#define TOP_DATA 100u
#define TOP_MOST 100000u

/* The log could not be read to its end, but the report is made from what could. */
#define STATUS_DAMAGED 1

enum kind { TEXT, JSON, HTML, TRACE, FOLDED };

static int help(void)
{
	printf("Usage: uffdstm report [OPTION]... FILE\n"
	       "Tell where a program's transactions lost time, by the event log that it wrote with\n"
	       "UFFDSTM_LOG=FILE: how much, to which lines, on what, and what to do about it.\n"
	       "FILE may be \"-\", and may still be growing.\n"
	       "\n"
	       "  -j, --json      report in JSON\n"
	       "      --html      one page that draws what each thread did when\n"
	       "      --trace     trace events, for Perfetto and chrome://tracing\n"
	       "      --folded    folded stacks of lost time, for flame graphs\n"
	       "  -o, --output FILE\n"
	       "                  write there, all or nothing, instead of standard output\n"
	       "  -n, --top N     at most N conflicts, transactions and tasks: 10, or 100 with\n"
	       "                  --json and --html\n"
	       "  -h, --help      print this text\n"
	       "\n"
	       "Exit status: 0 done; 1 done as far as the log could be read: it is damaged;\n"
	       "2 wrong usage; 3 trouble.\n");
	return STATUS_DONE;
}

/* ---- output ---- */

struct output {
	FILE *file;
	const char *name; /* NULL: standard output */
	char *temporary; /* becomes @name; NULL: @name is a pipe or a device, and is written itself */
};

static int output_open(struct output *output)
{
	struct stat status;
	size_t bytes;
	mode_t mask;
	int fd;

	if (!output->name) {
		output->file = stdout;
		return 0;
	}
	if (stat(output->name, &status) == 0 && !S_ISREG(status.st_mode)) {
		output->file = fopen(output->name, "we");
	} else {
		bytes = strlen(output->name) + sizeof(".XXXXXX");
		output->temporary = need(bytes);
		snprintf(output->temporary, bytes, "%s.XXXXXX", output->name);
		fd = mkostemp(output->temporary, 0);
		if (fd < 0) {
			free(output->temporary);
			output->temporary = NULL;
		} else {
			mask = umask(0);
			umask(mask);
			fchmod(fd, 0666 & ~mask);
			output->file = fdopen(fd, "w");
		}
	}
	if (output->file)
		return 0;
	complain(errno, NULL, "%s", output->name);
	return STATUS_TROUBLE;
}

static int output_close(struct output *output, int status)
{
	int error = 0;

	if (!output->name)
		return status; /* main() looks after it */
	if (ferror(output->file))
		error = EIO;
	if (fclose(output->file))
		error = errno;
	if (!error && output->temporary && status < STATUS_USAGE && rename(output->temporary, output->name))
		error = errno;
	if (output->temporary && (error || status >= STATUS_USAGE))
		unlink(output->temporary);
	free(output->temporary);
	if (!error)
		return status;
	complain(error, NULL, "writing to %s", output->name);
	return STATUS_TROUBLE;
}

/* ---- reading ---- */

static void progress(const struct log *log, bool end)
{
	unsigned int part =
		log->size
			? (unsigned int)(PROGRESS_BAR * (log->offset < log->size ? log->offset : log->size) / log->size)
			: 0;

	if (end)
		fprintf(stderr, "\r\33[K");
	else
		fprintf(stderr, "\r[%.*s%*s] %3u %%", (int)part, "##################################################",
			(int)(PROGRESS_BAR - part), "", 100 * part / PROGRESS_BAR);
}

static void read_all(struct report *report, FILE *trace)
{
	struct log *log = report->log;
	bool show = log->size >= PROGRESS_BYTES && isatty(STDERR_FILENO);
	const struct stm_record *record;

	for (uint64_t n = 0; (record = log_next(log)); n++) {
		report_record(report, record);
		if (trace)
			trace_record(report, trace, record);
		if (show && n % PROGRESS_RECORDS == 0)
			progress(log, false);
	}
	if (show)
		progress(log, true);
}

static int write_report(struct report *report, FILE *out, enum kind kind, unsigned int top)
{
	switch (kind) {
	case JSON:
		return write_json(report, out, top);
	case HTML:
		return write_html(report, out, top);
	case FOLDED:
		return write_folded(report, out);
	case TEXT:
		return write_text(report, out, top);
	case TRACE:
		trace_end(report, out);
	}
	return 0;
}

static int run(const char *file, enum kind kind, struct output *output, unsigned int top)
{
	struct report *report;
	struct log log;
	int status = log_open(&log, file);

	if (status)
		return status;
	status = output_open(output);
	if (status) {
		log_close(&log);
		return status;
	}
	report = need(sizeof(*report));
	report_start(report, &log, kind == HTML);
	if (kind == TRACE)
		trace_start(report, output->file);
	read_all(report, kind == TRACE ? output->file : NULL);
	report_finish(report);
	status = write_report(report, output->file, kind, top);
	status = output_close(output, status);
	if (!status && (log.damaged || log.error)) {
		char text[SAY_BYTES];

		status = STATUS_DAMAGED;
		complain(0, NULL, "%s: %s", log.name, say_trouble(text, report, 0));
	}
	report_end(report);
	free(report);
	log_close(&log);
	return status;
}

/* ---- usage ---- */

static int number(const char *text, unsigned int *value)
{
	char *end;
	unsigned long n;

	errno = 0;
	n = strtoul(text, &end, 10);
	if (*text < '0' || *text > '9' || *end || errno || !n || n > TOP_MOST)
		return usage_error("--top %s: it is no number from 1 to %u", text, TOP_MOST);
	*value = (unsigned int)n;
	return 0;
}

int cmd_report(int argc, char **argv)
{
	enum { OPTION_HTML = 256, OPTION_TRACE, OPTION_FOLDED };
	static const struct option names[] = {
		{ "json", no_argument, NULL, 'j' },	      { "html", no_argument, NULL, OPTION_HTML },
		{ "trace", no_argument, NULL, OPTION_TRACE }, { "folded", no_argument, NULL, OPTION_FOLDED },
		{ "output", required_argument, NULL, 'o' },   { "top", required_argument, NULL, 'n' },
		{ "help", no_argument, NULL, 'h' },	      { NULL, 0, NULL, 0 },
	};
	struct output output = { .name = NULL };
	enum kind kind = TEXT, asked;
	unsigned int top = 0;
	int c;

	while ((c = getopt_long(argc, argv, ":jo:n:h", names, NULL)) != -1) {
		switch (c) {
		case 'h':
			return help();
		case 'o':
			output.name = optarg;
			break;
		case 'n':
			if (number(optarg, &top))
				return STATUS_USAGE;
			break;
		case 'j':
		case OPTION_HTML:
		case OPTION_TRACE:
		case OPTION_FOLDED:
			asked = c == 'j' ? JSON : c == OPTION_HTML ? HTML : c == OPTION_TRACE ? TRACE : FOLDED;
			if (kind != TEXT && kind != asked)
				return usage_error("one kind of report at a time");
			kind = asked;
			break;
		default:
			return bad_option(c, argv, names);
		}
	}
	if (optind == argc)
		return usage_error("no file");
	if (optind + 1 < argc)
		return usage_error("%s: one file at a time", argv[optind + 1]);
	if (!top)
		top = kind == TEXT ? TOP_TEXT : TOP_DATA;
	return run(argv[optind], kind, &output, top);
}
