// SPDX-License-Identifier: MIT
/*
 * check.c - what works here? One line a feature, and what to do about the rest.
 */
#include <stdio.h>
#include <string.h>

#include "check.h"

/* Exit statuses of this subcommand; STATUS_USAGE and STATUS_TROUBLE beside them. */
enum { USABLE = 0, USABLE_WITH_LIMITS = 1, NOT_USABLE = 2 };

static const char *const verdict_texts[VERDICTS] = {
	[WORKS] = "works",
	[LIMITED] = "limited",
	[LACKING] = "this kernel lacks it",
	[FORBIDDEN] = "you may not",
	[UNTESTED] = "not tested",
};

static int help(void)
{
	printf("Usage: uffdstm check\n"
	       "Try each thing of the system that libuffdstm uses, and say what to do about what fails.\n"
	       "\n"
	       "  -h, --help      print this text\n"
	       "\n"
	       "Exit status: 0 usable; 1 usable with limits; 2 not usable, or wrong usage; 3 trouble.\n");
	return STATUS_DONE;
}

static int weigh(const struct probe *probe, const struct finding *finding)
{
	if (finding->verdict == WORKS || probe->need == INFORMATION)
		return USABLE;
	return probe->need == NEEDED && finding->verdict != LIMITED ? NOT_USABLE : USABLE_WITH_LIMITS;
}

int cmd_check(int argc, char **argv)
{
	static const struct option names[] = {
		{ "help", no_argument, NULL, 'h' },
		{ NULL, 0, NULL, 0 },
	};
	int c, worst = USABLE;

	while ((c = getopt_long(argc, argv, ":h", names, NULL)) != -1) {
		if (c == 'h')
			return help();
		return bad_option(c, argv, names);
	}
	if (optind < argc)
		return usage_error("%s: takes no arguments", argv[optind]);
	for (const struct probe *probe = probes_library; probe->name; probe++) {
		struct finding finding;
		int weight;

		probe_run(probe, &finding);
		printf("%-30s %s: %s\n", probe->title, verdict_texts[finding.verdict], finding.detail);
		weight = weigh(probe, &finding);
		worst = weight > worst ? weight : worst;
	}
	return worst;
}
