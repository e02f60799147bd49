// SPDX-License-Identifier: MIT
/* setup.c - options, rights, and the changes one after the other. */
#include "setup.h"

#include <errno.h>
#include <limits.h>
#include <linux/capability.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* Enough for buffers that are registered with io_uring, on kernels that count them; all there is would be too much. */
#define MEMLOCK_DEFAULT "64M"

static void help(void)
{
	printf("Usage: uffdstm setup [OPTION]...\n"
	       "Let programs use userfaultfd. Says what it will do, does it, and keeps what was for `uffdstm undo`.\n"
	       "\n"
	       "  --group NAME        that group may use " PLACE_DEVICE " (what is done without options,\n"
	       "                      for group " DEFAULT_GROUP ")\n"
	       "  --sysctl            instead: vm.unprivileged_userfaultfd = 1, for every user\n"
	       "  --grant FILE        give cap_sys_ptrace to a program; may be repeated\n"
	       "  --revoke FILE       take it away\n"
	       "  --shmem-thp VALUE   huge pages for shared memory: advise, within_size, always, never\n"
	       "  --memlock[=SIZE]    the group may lock SIZE[K|M|G], or `unlimited` (" MEMLOCK_DEFAULT ")\n"
	       "  -n, --dry-run       only say what would be done\n"
	       "  --root DIR          on the system below DIR\n"
	       "  -h, --help          print this text\n"
	       "\n"
	       "Exit status: 0 done, or so already; 2 wrong usage, or not root; 3 trouble.\n");
}

/* In KiB, as limits.conf(5) has it; NULL if it is no size. */
static char *parse_memlock(const char *size)
{
	static const char units[] = "KMG";
	unsigned long long n;
	const char *unit;
	char *end;

	if (!strcmp(size, "unlimited"))
		return text("%s", size);
	if (*size < '0' || *size > '9')
		return NULL;
	errno = 0;
	n = strtoull(size, &end, 10);
	if (errno || !n || n >> 40)
		return NULL;
	unit = *end ? strchr(units, *end) : NULL;
	if (*end && (!unit || end[1]))
		return NULL;
	if (!*end)
		return text("%llu", (n + 1023) >> 10);
	return text("%llu", n << 10 * (unit - units));
}

static char *absolute(const char *path)
{
	char cwd[PATH_MAX];

	while (!strncmp(path, "./", 2))
		path += 2;
	if (*path == '/' || !getcwd(cwd, sizeof(cwd)))
		return text("%s", path);
	return text("%s/%s", strcmp(cwd, "/") ? cwd : "", path);
}

/* What the options may need at most; what they do need is known when the changes are. */
static uint64_t rights_of(const struct wishes *wishes)
{
	uint64_t rights = wishes->device ? kind_group.needs : 0;

	/* The way to a program may lead through a home directory. */
	if (wishes->programs_n)
		rights |= kind_capabilities.needs | (getenv("SUDO_UID") ? 1ULL << CAP_DAC_READ_SEARCH : 0);
	return rights;
}

static uint64_t rights_of_plan(const struct plan *plan, uint64_t most)
{
	uint64_t rights = 0;

	for (int i = 0; i < plan->n; i++)
		rights |= plan->changes[i].kind->needs | (plan->changes[i].kind == &kind_capabilities ? most : 0);
	return rights & most;
}

static int make_change(struct record *record, struct change *change)
{
	char *words = change->kind->words(change->path, change->new), *old;
	int error = change->kind->read(change->path, &old);

	words[strcspn(words, ":\n")] = 0;
	/* Somebody else may have been at it since the plan was made. */
	if (!error && strcmp(old, change->new)) {
		free(change->old);
		change->old = old;
		error = record_add(record, change);
		if (error)
			complain_of(error, "nothing more is changed; `uffdstm undo` puts back what was", PLACE_RECORD);
		else if ((error = change->kind->write(change->path, change->new)))
			complain_of(error, "nothing more is changed; `uffdstm undo` puts back what was", words);
	} else if (error) {
		complain_of(error, "nothing more is changed; `uffdstm undo` puts back what was", change->path);
	} else {
		free(old);
	}
	free(words);
	return error;
}

static int make_changes(struct plan *plan)
{
	struct record record;
	int error = record_open(&record, true);

	if (error)
		complain_of(error,
			    error == -EBUSY ? "another setup or undo runs: wait for its end" : "nothing was changed",
			    PLACE_RECORD);
	for (int i = 0; !error && i < plan->n; i++)
		error = make_change(&record, &plan->changes[i]);
	record_close(&record);
	return error;
}

static int setup(const struct wishes *wishes, bool dry_run, const char *root)
{
	struct plan plan = { NULL, 0 };
	uint64_t rights = rights_of(wishes), missing;
	char *words;
	int error = rights_keep(rights);

	if (error) {
		complain(error, "nothing was changed", "giving up capabilities");
		return STATUS_TROUBLE;
	}
	error = places_open_root(root);
	if (error)
		complain_of(error, NULL, root);
	else
		error = plan_make(&plan, wishes);
	if (error)
		goto out;
	if (!plan.n) {
		printf("All is so already: nothing to do.\n");
		goto out;
	}
	rights = rights_of_plan(&plan, rights);
	missing = rights_missing(rights);
	error = rights_keep(rights);
	words = rights_words(rights & ~missing);
	printf("uffdstm setup %s:\n", dry_run ? "would" : "will");
	plan_print(&plan);
	printf("It keeps these capabilities: %s.\n", *words ? words : "none");
	printf("What is there now %s in %s.\n", dry_run ? "would stand" : "stands", PLACE_RECORD);
	free(words);
	/* Nothing is done that could not be said. */
	if (fflush(stdout) || ferror(stdout)) {
		complain(errno, "nothing was changed", "writing to standard output");
		plan_free(&plan);
		exit(STATUS_TROUBLE);
	}
	if (error) {
		complain(error, "nothing was changed", "giving up capabilities");
	} else if (missing && !dry_run) {
		words = rights_words(missing);
		complain(0, "a container must be given it; nothing was changed", "root lacks %s here", words);
		free(words);
		error = -EPERM;
	} else if (!dry_run) {
		error = make_changes(&plan);
		if (!error)
			printf("Done. `uffdstm undo` puts back what was.\n");
	}
out:
	plan_free(&plan);
	return error ? STATUS_TROUBLE : STATUS_DONE;
}

enum { GROUP = 256, SYSCTL, GRANT, REVOKE, SHMEM_THP, MEMLOCK, ROOT };

int cmd_setup(int argc, char **argv)
{
	static const struct option names[] = {
		{ "group", required_argument, NULL, GROUP },
		{ "sysctl", no_argument, NULL, SYSCTL },
		{ "grant", required_argument, NULL, GRANT },
		{ "revoke", required_argument, NULL, REVOKE },
		{ "shmem-thp", required_argument, NULL, SHMEM_THP },
		{ "memlock", optional_argument, NULL, MEMLOCK },
		{ "dry-run", no_argument, NULL, 'n' },
		{ "root", required_argument, NULL, ROOT },
		{ "help", no_argument, NULL, 'h' },
		{ NULL, 0, NULL, 0 },
	};
	struct wishes wishes = { .group = NULL };
	const char *root = "/";
	bool dry_run = false;
	int c;

	wishes.programs = calloc(argc, sizeof(*wishes.programs));
	if (!wishes.programs) {
		complain(ENOMEM, NULL, "reading the options");
		return STATUS_TROUBLE;
	}
	opterr = 0;
	while ((c = getopt_long(argc, argv, ":nh", names, NULL)) != -1) {
		switch (c) {
		case GROUP:
			wishes.group = optarg;
			break;
		case SYSCTL:
			wishes.sysctl = true;
			break;
		case GRANT:
		case REVOKE:
			wishes.programs[wishes.programs_n].path = absolute(optarg);
			wishes.programs[wishes.programs_n++].granted = c == GRANT;
			break;
		case SHMEM_THP:
			/* "deny" and "force" are for tests of the kernel. */
			if (strcmp(optarg, "advise") && strcmp(optarg, "within_size") && strcmp(optarg, "always") &&
			    strcmp(optarg, "never"))
				return usage_error("--shmem-thp %s: none of advise, within_size, always, never",
						   optarg);
			wishes.shmem_thp = optarg;
			break;
		case MEMLOCK:
			wishes.memlock = parse_memlock(optarg ? optarg : MEMLOCK_DEFAULT);
			if (!wishes.memlock)
				return usage_error("--memlock=%s: no size", optarg);
			break;
		case 'n':
			dry_run = true;
			break;
		case ROOT:
			root = optarg;
			break;
		case 'h':
			help();
			return finish_output(STATUS_DONE);
		default:
			return bad_option(c, argv, names);
		}
	}
	if (optind != argc)
		return usage_error("%s: no argument is taken", argv[optind]);
	wishes.device =
		!wishes.sysctl && (wishes.group || (!wishes.shmem_thp && !wishes.memlock && !wishes.programs_n));
	if (!wishes.group)
		wishes.group = DEFAULT_GROUP;
	if (geteuid() != 0 && !dry_run) {
		complain(0, "run it as root (--dry-run works for everybody)", "only root may change these places");
		return STATUS_USAGE;
	}
	umask(0);
	return finish_output(setup(&wishes, dry_run, root));
}
