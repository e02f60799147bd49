// SPDX-License-Identifier: MIT
/*
 * undo.c - the record's lines, the last one first. A place that has neither a value from the record nor the one
 * that undo wants to put back was changed by somebody else since: it stays, and so does its line.
 */
#include "setup.h"

#include <errno.h>
#include <linux/capability.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static void help(void)
{
	printf("Usage: uffdstm undo [OPTION]...\n"
	       "Put back what `uffdstm setup` changed, also what it had only begun.\n"
	       "\n"
	       "  --force         also what others changed since\n"
	       "  -n, --dry-run   only say what would be done\n"
	       "  --root DIR      on the system below DIR\n"
	       "  -h, --help      print this text\n"
	       "\n"
	       "Exit status: 0 all is as it was; 1 something was left as others made it; 2 wrong usage, or not root;\n"
	       "3 trouble.\n");
}

static bool same_place(const struct change *a, const struct change *b)
{
	return a->pending && b->pending && a->kind == b->kind && !strcmp(a->path, b->path);
}

/*
 * Setup on setup gives a place several lines. The first of them whose value leads without a gap to the last is where
 * undo goes in one step: a program that was granted something in between is not granted it again.
 */
static int first_of(const struct record *record, int last)
{
	const struct change *changes = record->changes;
	int first = last;

	for (int i = last - 1; i >= 0; i--)
		if (same_place(&changes[i], &changes[last]) &&
		    (!strcmp(changes[i].new, changes[first].old) || !strcmp(changes[i].old, changes[first].old)))
			first = i;
	return first;
}

/* Is this value from one of the lines? Setup may have been killed at any of them. */
static bool is_ours(const struct record *record, int first, int last, const char *value)
{
	const struct change *changes = record->changes;

	for (int i = first; i <= last; i++)
		if (same_place(&changes[i], &changes[last]) &&
		    (!strcmp(changes[i].new, value) || !strcmp(changes[i].old, value)))
			return true;
	return false;
}

static int mark(struct record *record, int first, int last)
{
	struct change place = record->changes[last];

	for (int i = last; i >= first; i--)
		if (same_place(&record->changes[i], &place)) {
			int error = record_mark_undone(record, &record->changes[i]);

			if (error) {
				complain(error, "run undo again", PLACE_RECORD);
				return error;
			}
		}
	return 0;
}

struct options {
	bool force, dry_run;
};

/* 0; 1 when it was left; or -errno after an error line. */
static int undo_one(struct record *record, int last, const struct options *options)
{
	const struct change *change = &record->changes[last];
	int first = first_of(record, last), error;
	char *found, *words;
	const char *want = record->changes[first].old;

	error = change->kind == &kind_file && !options->dry_run ? file_clean(change->path) : 0;
	if (!error)
		error = change->kind->read(change->path, &found);
	if (error == -ENOENT) {
		printf("%s is gone: there is nothing to put back\n", change->path);
		return options->dry_run ? 0 : mark(record, first, last);
	}
	if (error) {
		complain_of(error, "it is left", change->path);
		return 1;
	}
	if (strcmp(found, want)) {
		words = change->kind->words(change->path, want);
		words[strcspn(words, ":\n")] = 0;
		if (!options->force && !is_ours(record, first, last, found)) {
			complain(0, "it is left; --force does it", "%s: others changed it since setup", words);
			error = 1;
		} else {
			printf("%s%s\n", options->dry_run ? "would " : "", words);
			fflush(stdout);
			error = options->dry_run ? 0 : change->kind->write(change->path, want);
			if (error == -ENOTEMPTY && options->force) {
				printf("%s holds what others put there: it stays\n", change->path);
				error = 0;
			} else if (error) {
				complain_of(error, error == -ENOTEMPTY ? "others use it now; it is left" : "it is left",
					    words);
				error = 1;
			}
		}
		free(words);
	}
	free(found);
	return error || options->dry_run ? error : mark(record, first, last);
}

static int undo_all(struct record *record, const struct options *options)
{
	int left = 0, error;

	for (int i = record->n - 1; i >= 0; i--) {
		if (!record->changes[i].pending)
			continue;
		error = undo_one(record, i, options);
		if (error < 0)
			return STATUS_TROUBLE;
		left |= error;
		/* The lines before it that it stands for. */
		if (error || options->dry_run)
			for (int first = first_of(record, i), j = i; j >= first; j--)
				if (j < i && same_place(&record->changes[j], &record->changes[i]))
					record->changes[j].pending = false;
	}
	if (left || options->dry_run)
		return left;
	error = record_remove(record);
	if (error)
		complain_of(error, "run undo again", PLACE_RECORD);
	return error ? STATUS_TROUBLE : STATUS_DONE;
}

static uint64_t rights_of_record(const struct record *record)
{
	uint64_t rights = 0;

	for (int i = 0; i < record->n; i++)
		if (record->changes[i].pending)
			rights |= record->changes[i].kind->needs;
	return rights;
}

static int undo(const char *root, const struct options *options)
{
	uint64_t rights = 1ULL << CAP_CHOWN | 1ULL << CAP_SETFCAP | 1ULL << CAP_DAC_READ_SEARCH;
	struct record record = { .directory = -1, .fd = -1 };
	int error = rights_keep(rights), status = STATUS_TROUBLE;

	if (error) {
		complain(error, "nothing was changed", "giving up capabilities");
		return STATUS_TROUBLE;
	}
	error = places_open_root(root);
	if (error) {
		complain_of(error, NULL, root);
		return STATUS_TROUBLE;
	}
	error = record_open(&record, false);
	if (error && error != -ENOENT) {
		complain_of(error,
			    error == -EBUSY ? "another setup or undo runs: wait for its end" : "nothing was changed",
			    PLACE_RECORD);
	} else if (error || !record.n) {
		/* Setup may have been killed before its first line. */
		error = options->dry_run ? 0 : record_remove(&record);
		if (error)
			complain_of(error, NULL, PLACE_RECORD);
		else
			printf("Nothing to undo: setup changed nothing here.\n");
		status = error ? STATUS_TROUBLE : STATUS_DONE;
	} else {
		rights &= rights_of_record(&record);
		if (rights & kind_capabilities.needs)
			rights |= 1ULL << CAP_DAC_READ_SEARCH;
		error = rights_keep(rights);
		if (error)
			complain(error, "nothing was changed", "giving up capabilities");
		else
			status = undo_all(&record, options);
	}
	record_close(&record);
	return status;
}

int cmd_undo(int argc, char **argv)
{
	static const struct option names[] = {
		{ "force", no_argument, NULL, 'f' },
		{ "dry-run", no_argument, NULL, 'n' },
		{ "root", required_argument, NULL, 'r' },
		{ "help", no_argument, NULL, 'h' },
		{ NULL, 0, NULL, 0 },
	};
	struct options options = { false, false };
	const char *root = "/";
	int c;

	opterr = 0;
	while ((c = getopt_long(argc, argv, ":nh", names, NULL)) != -1) {
		switch (c) {
		case 'f':
			options.force = true;
			break;
		case 'n':
			options.dry_run = true;
			break;
		case 'r':
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
	if (geteuid() != 0) {
		complain(0, "run it as root", "only root may change these places");
		return STATUS_USAGE;
	}
	umask(0);
	return finish_output(undo(root, &options));
}
