// SPDX-License-Identifier: MIT
/*
 * profile_file.c - where profiles are, and how a file is read that may be anything.
 *
 *   UFFDSTM_PROFILE   that file, and no other; empty: none
 *   else              /etc/uffdstm.conf, and over it, unless root runs us, that in the user's ~/.config
 *
 * A program that runs with more rights than who started it (secure_getenv(3)) believes /etc alone. No line is said
 * about a file that is not there, or whose folder may not be looked into, unless UFFDSTM_PROFILE names it.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "message.h"
#include "profile.h"

/* Names stay valid until the next stm_profile_read(). */
static char names[2][PATH_MAX];

/* Fills @text, up to @size bytes: how many, or -errno. */
static ssize_t fill(int fd, char *text, size_t size)
{
	size_t have = 0;

	while (have < size) {
		ssize_t n = read(fd, text + have, size - have);

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return -errno;
		if (!n)
			break;
		have += (size_t)n;
	}
	return (ssize_t)have;
}

/* Opening a FIFO may wait for its other end, and opening a device may do anything: a look first, and another after. */
static int open_regular(const char *name)
{
	struct stat st;
	int fd;

	if (stat(name, &st))
		return -errno;
	if (!S_ISREG(st.st_mode))
		return -ENOTSUP;
	fd = open(name, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
	if (fd < 0)
		return -errno;
	if (fstat(fd, &st) || !S_ISREG(st.st_mode)) {
		close(fd);
		return -ENOTSUP;
	}
	return fd;
}

/* Is it there, as far as we may know? */
static bool is_there(const char *name)
{
	return access(name, F_OK) == 0;
}

static void refuse(const char *name, int error, bool named)
{
	const size_t shown = 200, len = strlen(name);
	const char *end = len > shown ? name + len - shown : name;

	if (error == -ENOTSUP)
		stm_complain("%s: not a regular file: no profile is read from it", end);
	else if (error == -EFBIG)
		stm_complain("%s: more than %zu bytes: no profile is read from it", end, STM_PROFILE_BYTES);
	else if (named || is_there(name))
		stm_complain("%s: %s: no profile is read from it", end, stm_errno_name(error));
}

/* @named: by UFFDSTM_PROFILE, so that it should be there. */
static void read_file(struct stm_profile *profile, const char *name, bool named)
{
	char *text = NULL;
	ssize_t len;
	int fd = open_regular(name);

	if (fd < 0) {
		refuse(name, fd, named);
		return;
	}
	text = malloc(STM_PROFILE_BYTES + 1);
	len = text ? fill(fd, text, STM_PROFILE_BYTES + 1) : -ENOMEM;
	close(fd);
	if (len > (ssize_t)STM_PROFILE_BYTES)
		len = -EFBIG;
	if (len < 0)
		refuse(name, (int)len, true);
	else
		stm_profile_parse(profile, name, text, (size_t)len);
	free(text);
}

/* The user's own, or NULL. */
static const char *home_profile(char *name)
{
	const char *folder = secure_getenv("XDG_CONFIG_HOME"), *below = "";
	int n;

	if (geteuid() == 0)
		return NULL;
	if (!folder || folder[0] != '/') { /* the XDG base directory specification: a relative one is as good as none */
		folder = secure_getenv("HOME");
		below = ".config/";
	}
	if (!folder || folder[0] != '/')
		return NULL;
	n = snprintf(name, PATH_MAX, "%s/%s%s", folder, below, STM_PROFILE_HOME);
	return n > 0 && n < PATH_MAX ? name : NULL;
}

void stm_profile_read(struct stm_profile *profile)
{
	const char *only = secure_getenv("UFFDSTM_PROFILE"), *home;

	memset(profile, 0, sizeof(*profile));
	if (only && !*only)
		return;
	if (only) {
		snprintf(names[0], sizeof(names[0]), "%s", only);
		read_file(profile, names[0], true);
	} else {
		strcpy(names[0], STM_PROFILE_SYSTEM);
		read_file(profile, names[0], false);
		home = home_profile(names[1]);
		if (home)
			read_file(profile, home, false);
	}
	stm_profile_settle(profile);
}

static void tell_file(const struct stm_profile *profile, const char *name)
{
	char text[400], value[24];
	size_t len = 0;

	for (unsigned int key = 0; key < STM_PROFILE_KEYS; key++) {
		if (!profile->given[key] || profile->file[key] != name)
			continue;
		stm_profile_print(value, sizeof(value), key, profile->value[key]);
		len += (size_t)snprintf(text + len, sizeof(text) - len, "%s%s = %s", len ? ", " : "",
					stm_profile_name(key), value);
	}
	if (len)
		stm_complain("profile %.80s: %s", name, text);
}

void stm_profile_tell(const struct stm_profile *profile)
{
	for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++)
		tell_file(profile, names[i]);
}
