// SPDX-License-Identifier: MIT
/*
 * check.c - what works here? One line a feature, and what to do about the rest.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

#include "check.h"

static const struct probe *const tables[] = {
	probes_open, probes_faults, probes_memory, probes_limits, probes_io, probes_library,
};

#define TABLES (sizeof(tables) / sizeof(tables[0]))

enum usable weigh(const struct probe *probe, const struct finding *finding)
{
	if (finding->verdict == WORKS || probe->need == INFORMATION)
		return USABLE;
	return probe->need == NEEDED && finding->verdict != LIMITED ? NOT_USABLE : USABLE_WITH_LIMITS;
}

static int help(void)
{
	printf("Usage: uffdstm check [OPTION]...\n"
	       "Try each thing of the system that libuffdstm uses, and say what to do about\n"
	       "what fails.\n"
	       "\n"
	       "  -j, --json      report in JSON\n"
	       "  -h, --help      print this text\n"
	       "\n"
	       "Nothing is changed, and no rights are needed: it tells what the user who runs it may do.\n"
	       "\n"
	       "Exit status: 0 usable; 1 usable with limits; 2 not usable, or wrong usage;\n"
	       "3 trouble.\n");
	return STATUS_DONE;
}

static int run(bool json)
{
	enum usable usable = USABLE;
	struct result *results;
	size_t n = 0;
	int error;

	for (size_t t = 0; t < TABLES; t++)
		for (const struct probe *probe = tables[t]; probe->name; probe++)
			n++;
	results = calloc(n, sizeof(*results));
	if (!results) {
		complain(ENOMEM, NULL, "%zu findings", n);
		return STATUS_TROUBLE;
	}
	n = 0;
	for (size_t t = 0; t < TABLES; t++)
		for (const struct probe *probe = tables[t]; probe->name; probe++) {
			struct result *result = &results[n++];
			enum usable weight;

			result->probe = probe;
			probe_run(probe, &result->finding);
			weight = weigh(probe, &result->finding);
			usable = weight > usable ? weight : usable;
		}
	if (json) {
		error = check_json(results, n, usable);
		if (error)
			complain(error, NULL, "the report");
	} else {
		error = 0;
		check_text(results, n, usable);
	}
	free(results);
	return error ? STATUS_TROUBLE : (int)usable;
}

int cmd_check(int argc, char **argv)
{
	static const struct option names[] = {
		{ "json", no_argument, NULL, 'j' },
		{ "help", no_argument, NULL, 'h' },
		{ NULL, 0, NULL, 0 },
	};
	bool json = false;
	int c;

	while ((c = getopt_long(argc, argv, ":jh", names, NULL)) != -1) {
		if (c == 'h')
			return help();
		if (c != 'j')
			return bad_option(c, argv, names);
		json = true;
	}
	if (optind < argc)
		return usage_error("%s: no argument is expected", argv[optind]);
	return run(json);
}
