// SPDX-License-Identifier: MIT
/*
 * system.c - what probes say, and what they must know of the system to say why.
 */
#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/utsname.h>
#include <unistd.h>

#include "check.h"

/* ---- to fill in a finding ---- */

void found(struct finding *finding, enum verdict verdict, const char *format, ...)
{
	va_list args;

	finding->verdict = verdict;
	va_start(args, format);
	vsnprintf(finding->detail, sizeof(finding->detail), format, args);
	va_end(args);
}

void advise(struct finding *finding, const char *format, ...)
{
	va_list args;

	va_start(args, format);
	vsnprintf(finding->advice, sizeof(finding->advice), format, args);
	va_end(args);
}

static void add_command(struct finding *finding, const char *prefix, const char *format, va_list args,
			const char *comment)
{
	size_t len = strlen(finding->commands), size = sizeof(finding->commands);
	char command[200];

	vsnprintf(command, sizeof(command), format, args);
	snprintf(finding->commands + len, size - len, "%s%s%s%s", len ? "\n" : "", prefix, command, comment);
}

void as_root(struct finding *finding, const char *format, ...)
{
	va_list args;

	va_start(args, format);
	add_command(finding, geteuid() ? "sudo " : "", format, args, in_user_namespace() ? "  # on the host" : "");
	va_end(args);
}

void as_user(struct finding *finding, const char *format, ...)
{
	va_list args;

	va_start(args, format);
	add_command(finding, "", format, args, "");
	va_end(args);
}

/* Of groups that many services share, none is named. */
void as_setup(struct finding *finding, const char *options)
{
	const gid_t nogroup = 65534;
	const struct group *group = getgid() && getgid() != nogroup ? getgrgid(getgid()) : NULL;

	as_root(finding, "uffdstm setup%s%s%s", group ? " --group " : "", group ? group->gr_name : "", options);
}

/* ---- files of numbers ---- */

long long read_field(const char *path, const char *key)
{
	FILE *file = fopen(path, "re");
	long long value = -ENOENT;
	char line[400];

	if (!file)
		return -errno;
	while (value == -ENOENT && fgets(line, sizeof(line), file))
		if (!strncmp(line, key, strlen(key)))
			value = strtoll(line + strlen(key), NULL, 0);
	fclose(file);
	return value;
}

long long read_number(const char *path)
{
	return read_field(path, "");
}

/* ---- why ---- */

bool seccomp_filtered(void)
{
	return read_field("/proc/self/status", "Seccomp:") > 0;
}

bool has_capability(int capability)
{
	FILE *file = fopen("/proc/self/status", "re");
	unsigned long long set = 0;
	char line[400];

	while (file && fgets(line, sizeof(line), file))
		if (sscanf(line, "CapEff: %llx", &set) == 1)
			break;
	if (file)
		fclose(file);
	return set >> capability & 1;
}

bool in_user_namespace(void)
{
	FILE *file = fopen("/proc/self/uid_map", "re");
	unsigned long inside, outside, n;
	bool initial = !file || (fscanf(file, "%lu %lu %lu", &inside, &outside, &n) == 3 && n == 4294967295);

	if (file)
		fclose(file);
	return !initial;
}

void advise_seccomp(struct finding *finding, const char *call)
{
	advise(finding,
	       "allow %s in the security filter: --security-opt seccomp=PROFILE of Docker or Podman, SystemCallFilter= of a systemd unit",
	       call);
}

static bool is_older(const char *release, const char *since)
{
	unsigned int have[2] = { 0, 0 }, want[2] = { 0, 0 };

	sscanf(release, "%u.%u", &have[0], &have[1]);
	sscanf(since, "%u.%u", &want[0], &want[1]);
	return have[0] != want[0] ? have[0] < want[0] : have[1] < want[1];
}

void refused(struct finding *finding, int error, const char *what, const char *since)
{
	struct utsname kernel;

	error = abs(error);
	uname(&kernel);
	finding->error = error;
	switch (error) {
	case ENOSYS:
	case EPERM:
		if (seccomp_filtered()) {
			found(finding, FORBIDDEN, "%s: %s, while a seccomp filter is in force", what, errno_name(error));
			advise_seccomp(finding, what);
			return;
		}
		if (error == EPERM)
			break;
		/* fall through */
	case EINVAL:
	case ENOTTY:
	case EOPNOTSUPP:
	case 0:
		found(finding, LACKING, "%s%s%s", what, error ? ": " : "", error ? errno_name(error) : "");
		if (is_older(kernel.release, since))
			advise(finding, "this is Linux %s: run %s or later", kernel.release, since);
		else
			advise(finding, "this is Linux %s, new enough, but built without it: run another kernel", kernel.release);
		return;
	case EMFILE:
	case ENFILE:
		found(finding, FORBIDDEN, "%s: %s", what, errno_name(error));
		advise(finding, "raise the limit of open files");
		as_user(finding, "ulimit -n 1024");
		return;
	case ENOMEM:
		found(finding, FORBIDDEN, "%s: ENOMEM", what);
		advise(finding, "free memory, or raise the limits of the process or its control group");
		return;
	}
	found(finding, FORBIDDEN, "%s: %s", what, errno_name(error));
	if (in_user_namespace())
		advise(finding, "it takes rights outside this user namespace: change it on the host");
	else
		advise(finding, "see what security module (AppArmor, SELinux) or sandbox refuses it");
}
