// SPDX-License-Identifier: MIT
/*
 * uffdstm - what an administrator does with libuffdstm: one subcommand a file.
 */
#include <stdio.h>
#include <string.h>
#include <uffdstm.h>

#include "uffdstm.h"

static const struct command {
	const char *name;
	int (*run)(int argc, char **argv);
	const char *help;
} commands[] = {
	{ "check", cmd_check, "what of the library works here, and what to do about the rest" },
	{ "status", cmd_status, "which processes use the library, and how it goes" },
	{ "setup", cmd_setup, "let programs use userfaultfd here (as root)" },
	{ "tune", cmd_tune, "measure this machine, and write a profile of it" },
	{ "undo", cmd_undo, "put back what setup changed (as root)" },
	{ "report", cmd_report, "where a program's transactions lost time, by its event log" },
};

#define COMMANDS (sizeof(commands) / sizeof(commands[0]))

static int help(void)
{
	printf("Usage: uffdstm COMMAND [OPTION]...\n"
	       "Let programs that use libuffdstm work on this machine, and work well.\n"
	       "\n");
	for (size_t i = 0; i < COMMANDS; i++)
		printf("  %-15s %s\n", commands[i].name, commands[i].help);
	printf("\n"
	       "  -h, --help      print this text; uffdstm COMMAND --help tells more\n"
	       "  -V, --version   print the version\n"
	       "\n"
	       "Exit status: 0 done; 2 wrong usage; 3 trouble; others: see the command.\n"
	       "uffdstm(8) has it all.\n");
	return STATUS_DONE;
}

static int run(int argc, char **argv)
{
	static char name[64];

	for (size_t i = 0; i < COMMANDS; i++) {
		if (strcmp(argv[0], commands[i].name))
			continue;
		snprintf(name, sizeof(name), "uffdstm %s", argv[0]);
		speaker = argv[0] = name;
		optind = 0; /* start anew, on another argv */
		return commands[i].run(argc, argv);
	}
	return usage_error("%s: unknown command", argv[0]);
}

int main(int argc, char **argv)
{
	static const struct option names[] = {
		{ "help", no_argument, NULL, 'h' },
		{ "version", no_argument, NULL, 'V' },
		{ NULL, 0, NULL, 0 },
	};
	int c;

	start_output();
	opterr = 0;
	c = getopt_long(argc, argv, "+:hV", names, NULL);
	if (c == 'h')
		return finish_output(help());
	if (c == 'V') {
		printf("uffdstm %s\n", stm_version());
		return finish_output(STATUS_DONE);
	}
	if (c != -1)
		return bad_option(c, argv, names);
	if (optind == argc)
		return usage_error("no command");
	return finish_output(run(argc - optind, argv + optind));
}
