// SPDX-License-Identifier: MIT
/* plan.c - from what is asked for and what is there to the list of changes. Nothing is changed here. */
#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <linux/capability.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include "setup.h"

#define FILE_HEAD "# Written by `uffdstm setup`; `uffdstm undo` puts back what was there.\n"

void change_free(struct change *change)
{
	free(change->path);
	free(change->old);
	free(change->new);
}

void plan_free(struct plan *plan)
{
	for (int i = 0; i < plan->n; i++)
		change_free(&plan->changes[i]);
	free(plan->changes);
}

static int add(struct plan *plan, const struct kind *kind, const char *path, const char *old, const char *new)
{
	struct change *more;

	if (!strcmp(old, new))
		return 0;
	more = realloc(plan->changes, (plan->n + 1) * sizeof(*more));
	if (!more)
		return -ENOMEM;
	plan->changes = more;
	more[plan->n++] = (struct change){
		.kind = kind,
		.path = text("%s", path),
		.old = text("%s", old),
		.new = text("%s", new),
	};
	return 0;
}

/* Reads the old value itself. */
static int wish(struct plan *plan, const struct kind *kind, const char *path, const char *new)
{
	char *old;
	int error = kind->read(path, &old);

	if (error)
		return error;
	error = add(plan, kind, path, old, new);
	free(old);
	return error;
}

/* The file with its directories. */
static int wish_file(struct plan *plan, const char *path, const char *content)
{
	char *value = file_value(0644, content), *old;
	int error = 0;

	for (const char *slash = strchr(path + 1, '/'); slash && !error; slash = strchr(slash + 1, '/')) {
		char *directory = text("%.*s", (int)(slash - path), path);

		error = kind_directory.read(directory, &old);
		if (!error && !strcmp(old, "-"))
			error = add(plan, &kind_directory, directory, old, "0755");
		if (!error)
			free(old);
		free(directory);
	}
	if (!error)
		error = wish(plan, &kind_file, path, value);
	free(value);
	return error;
}

/* ---- the device ---- */

/* Below another root, that root's groups. */
static int find_group(const char *name, gid_t *gid)
{
	struct group *group = NULL;
	struct stat st;
	FILE *file;
	int fd;

	static const char plain[] = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_.-";

	if (!*name || strspn(name, plain) != strlen(name)) {
		complain(0, "only letters, digits and _ . - may stand in a udev rule", "group %s", name);
		return -1;
	}
	if (places_are_the_machine()) {
		group = getgrnam(name);
	} else {
		fd = places_open("/etc/group", S_IFREG, TRUST_ROOT, &st);
		file = fd < 0 ? NULL : fopen(path_of(fd), "re");
		if (fd >= 0)
			close(fd);
		while (file && (group = fgetgrent(file)) && strcmp(group->gr_name, name))
			;
		if (file)
			fclose(file);
	}
	if (!group) {
		complain(0, "make it with `groupadd --system`, or name another with --group", "no group %s", name);
		return -1;
	}
	*gid = group->gr_gid;
	return 0;
}

/* Whatever has that name must be what the kernel registered. */
static bool is_the_device(const struct stat *st)
{
	FILE *misc = fopen("/proc/misc", "re");
	unsigned int number, found = -1;
	char name[64];

	while (misc && fscanf(misc, "%u %63s", &number, name) == 2)
		if (!strcmp(name, "userfaultfd"))
			found = number;
	if (misc)
		fclose(misc);
	return major(st->st_rdev) == 10 && minor(st->st_rdev) == found;
}

static int plan_device(struct plan *plan, const struct wishes *wishes)
{
	char *acl = NULL, *new_acl = NULL, *mode = NULL, *group = NULL, *rule;
	struct stat st;
	gid_t gid;
	int fd, error = 0;

	if (find_group(wishes->group, &gid))
		return -1;
	fd = places_open(PLACE_DEVICE, S_IFCHR, TRUST_ROOT, &st);
	if (fd == -ENOENT && !places_are_the_machine()) {
		complain(0, NULL, "no %s there: only the udev rule is written", PLACE_DEVICE);
		st.st_mode = 0600;
	} else if (fd < 0) {
		complain_of(fd, "Linux has it from 6.1 on; a container must be given it; or use --sysctl",
			    PLACE_DEVICE);
		return -1;
	} else {
		close(fd);
		if (places_are_the_machine() && !is_the_device(&st)) {
			complain(0, "look at /proc/misc and at what made it",
				 "%s is not the kernel's userfaultfd device", PLACE_DEVICE);
			return -1;
		}
		/* First the group, then its rights: else the old group would have them for a moment. */
		group = text("%u", gid);
		mode = text("%04o", (st.st_mode & 07777) | 0060);
		error = kind_acl.read(PLACE_DEVICE, &acl);
		if (!error)
			error = wish(plan, &kind_group, PLACE_DEVICE, group);
		/* With an access-control list the mode's group bits are its mask. */
		if (!error && strcmp(acl, "-")) {
			error = acl_value(acl, &new_acl);
			if (!error)
				error = add(plan, &kind_acl, PLACE_DEVICE, acl, new_acl);
		} else if (!error) {
			error = wish(plan, &kind_mode, PLACE_DEVICE, mode);
		}
		if (error)
			complain_of(error, NULL, PLACE_DEVICE);
	}
	rule = text(FILE_HEAD "SUBSYSTEM==\"misc\", KERNEL==\"userfaultfd\", GROUP=\"%s\", MODE=\"%04o\"\n",
		    wishes->group, (st.st_mode & 0777) | 0060);
	if (!error) {
		error = wish_file(plan, PLACE_RULE, rule);
		if (error)
			complain_of(error, NULL, PLACE_RULE);
	}
	free(rule);
	free(group);
	free(mode);
	free(acl);
	free(new_acl);
	return error ? -1 : 0;
}

/* ---- the rest ---- */

/* A value of the running kernel, and the file that sets it at the next boot. */
static int plan_value(struct plan *plan, const char *path, const char *value, const char *file, const char *content)
{
	int error = wish(plan, &kind_value, path, value);

	if (error == -ENOENT && !places_are_the_machine()) {
		complain(0, NULL, "no %s there: only %s is written", path, file);
	} else if (error) {
		complain_of(error, "this kernel has no such setting", path);
		return -1;
	}
	error = wish_file(plan, file, content);
	if (error)
		complain_of(error, NULL, file);
	return error ? -1 : 0;
}

static int plan_shmem(struct plan *plan, const char *value)
{
	char *content = text(FILE_HEAD "w " PLACE_SHMEM " - - - - %s\n", value);
	int error = plan_value(plan, PLACE_SHMEM, value, PLACE_SHMEM_FILE, content);

	free(content);
	return error;
}

static int plan_memlock(struct plan *plan, const struct wishes *wishes)
{
	gid_t gid;
	char *content;
	int error;

	if (find_group(wishes->group, &gid))
		return -1;
	content = text(FILE_HEAD "@%s - memlock %s\n", wishes->group, wishes->memlock);
	error = wish_file(plan, PLACE_LIMITS_FILE, content);
	if (error)
		complain_of(error, NULL, PLACE_LIMITS_FILE);
	free(content);
	return error ? -1 : 0;
}

static int plan_program(struct plan *plan, const char *path, bool granted)
{
	char *old = NULL, *new = NULL;
	int error;

	if (!kind_capabilities.allows(path)) {
		complain(0, NULL, "%s is no program", path);
		return -1;
	}
	error = kind_capabilities.read(path, &old);
	if (!error)
		error = grant_value(path, old, granted, &new);
	if (!error)
		error = add(plan, &kind_capabilities, path, old, new);
	if (error)
		complain_of(error, error == -EOPNOTSUPP ? "that file system does not hold capabilities" : NULL, path);
	free(old);
	free(new);
	return error ? -1 : 0;
}

int plan_make(struct plan *plan, const struct wishes *wishes)
{
	int error = 0;

	if (wishes->device)
		error = plan_device(plan, wishes);
	if (!error && wishes->sysctl)
		error = plan_value(plan, PLACE_SYSCTL, "1", PLACE_SYSCTL_FILE,
				   FILE_HEAD "vm.unprivileged_userfaultfd = 1\n");
	if (!error && wishes->shmem_thp)
		error = plan_shmem(plan, wishes->shmem_thp);
	if (!error && wishes->memlock)
		error = plan_memlock(plan, wishes);
	for (int i = 0; !error && i < wishes->programs_n; i++)
		error = plan_program(plan, wishes->programs[i].path, wishes->programs[i].granted);
	return error;
}

void plan_print(const struct plan *plan)
{
	for (int i = 0; i < plan->n; i++) {
		const struct change *change = &plan->changes[i];
		char *words = change->kind->words(change->path, change->new), *save, *line;
		bool was = change->kind != &kind_directory && change->kind != &kind_file;

		line = strtok_r(words, "\n", &save);
		printf("  %s%s%s%s\n", line,
		       was							? " (was "
		       : change->kind == &kind_file && strcmp(change->old, "-") ? " (in place of what is there)"
										: "",
		       was ? strcmp(change->old, "-") ? change->old : "none" : "", was ? ")" : "");
		while ((line = strtok_r(NULL, "\n", &save)))
			printf("      %s\n", line);
		free(words);
	}
}
