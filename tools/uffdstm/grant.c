// SPDX-License-Identifier: MIT
/*
 * grant.c - a program's capabilities. The value is the attribute's bytes in hexadecimal, so that undo puts back just
 * these; libcap says what they mean. (cap_set_file would take the set, but the record needs the bytes beforehand.)
 */
#include <endian.h>
#include <errno.h>
#include <linux/capability.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/capability.h>
#include <sys/statvfs.h>
#include <sys/xattr.h>
#include <unistd.h>

#include "setup.h"

#define ATTRIBUTE "security.capability"

static int read_capabilities(const char *path, char **value)
{
	char bytes[256];
	struct stat st;
	int fd = places_open(path, S_IFREG, TRUST_ANYBODY, &st), error = 0;
	ssize_t size;

	if (fd < 0)
		return fd;
	size = getxattr(path_of(fd), ATTRIBUTE, bytes, sizeof(bytes));
	if (size < 0 && errno == ENODATA)
		*value = text("-");
	else if (size < 0)
		error = -errno;
	else if (!(*value = hex_from_bytes(bytes, size)))
		error = -ENOMEM;
	close(fd);
	return error;
}

static int write_capabilities(const char *path, const char *value)
{
	char bytes[256];
	struct stat st;
	int size = strcmp(value, "-") ? bytes_from_hex(value, bytes, sizeof(bytes)) : 0, fd, error = 0;

	if (size < 0)
		return size;
	/* Since it was recorded another program may stand there, by whoever owns the directory. */
	fd = places_open(path, S_IFREG, size ? TRUST_CALLER : TRUST_ANYBODY, &st);
	if (fd < 0)
		return fd;
	if (size ? setxattr(path_of(fd), ATTRIBUTE, bytes, size, 0) : removexattr(path_of(fd), ATTRIBUTE))
		error = -errno;
	close(fd);
	return error;
}

/* Each place has its kind; a program is none of them. */
static bool allows(const char *path)
{
	return *path == '/' && !kind_directory.allows(path) && !kind_file.allows(path) && !kind_group.allows(path) &&
	       !kind_value.allows(path);
}

/* NULL for what this program does not understand: other versions, capabilities that hold in another user namespace. */
static cap_t decode(const char *value, bool *effective)
{
	struct vfs_ns_cap_data data = { 0 };
	int size = strcmp(value, "-") ? bytes_from_hex(value, &data, sizeof(data)) : 0;
	uint32_t magic = le32toh(data.magic_etc);
	cap_t set = cap_init();

	*effective = magic & VFS_CAP_FLAGS_EFFECTIVE;
	if (!size || !set)
		return set;
	if (size < (int)XATTR_CAPS_SZ_2 || data.rootid ||
	    ((magic & VFS_CAP_REVISION_MASK) != VFS_CAP_REVISION_2 &&
	     (magic & VFS_CAP_REVISION_MASK) != VFS_CAP_REVISION_3)) {
		cap_free(set);
		return NULL;
	}
	for (cap_value_t c = 0; c < cap_max_bits(); c++) {
		if (le32toh(data.data[c / 32].permitted) >> c % 32 & 1)
			cap_set_flag(set, CAP_PERMITTED, 1, &c, CAP_SET);
		if (le32toh(data.data[c / 32].inheritable) >> c % 32 & 1)
			cap_set_flag(set, CAP_INHERITABLE, 1, &c, CAP_SET);
		if (*effective && (le32toh(data.data[c / 32].permitted | data.data[c / 32].inheritable) >> c % 32 & 1))
			cap_set_flag(set, CAP_EFFECTIVE, 1, &c, CAP_SET);
	}
	return set;
}

static char *encode(cap_t set, bool effective)
{
	uint32_t magic = VFS_CAP_REVISION_2 | (effective ? VFS_CAP_FLAGS_EFFECTIVE : 0);
	struct vfs_cap_data data = { .magic_etc = htole32(magic) };
	cap_flag_value_t has;
	bool any = false;

	for (cap_value_t c = 0; c < cap_max_bits(); c++) {
		if (!cap_get_flag(set, c, CAP_PERMITTED, &has) && has) {
			data.data[c / 32].permitted |= htole32(1U << c % 32);
			any = true;
		}
		if (!cap_get_flag(set, c, CAP_INHERITABLE, &has) && has) {
			data.data[c / 32].inheritable |= htole32(1U << c % 32);
			any = true;
		}
	}
	return any ? hex_from_bytes(&data, XATTR_CAPS_SZ_2) : text("-");
}

static int unfit(const char *path, const char *why)
{
	snprintf(places_reason, sizeof(places_reason), "%s %s", path, why);
	return -EUNSAFE;
}

int grant_value(const char *path, const char *old, bool granted, char **value)
{
	cap_value_t ptrace = CAP_SYS_PTRACE;
	bool effective;
	cap_t set = decode(old, &effective);
	cap_flag_value_t has = 0;
	struct statvfs system;
	struct stat st;
	int error = 0, fd;

	if (!set)
		return unfit(path, "has capabilities that are not understood here: use setcap(8)");
	cap_get_flag(set, ptrace, CAP_PERMITTED, &has);
	if (!granted && !has) {
		*value = text("%s", old);
	} else if (granted && !effective && strcmp(old, "-")) {
		/* The effective bit is one for the whole file. */
		error = unfit(path, "has capabilities that it raises by itself: add cap_sys_ptrace with setcap(8)");
	} else {
		cap_set_flag(set, CAP_PERMITTED, 1, &ptrace, granted ? CAP_SET : CAP_CLEAR);
		*value = encode(set, granted || effective);
		if (!*value)
			error = -ENOMEM;
	}
	cap_free(set);
	if (error || !granted)
		return error;
	fd = places_open(path, S_IFREG, TRUST_CALLER, &st);
	if (fd < 0 || fstatvfs(fd, &system))
		error = fd < 0 ? fd : -errno;
	else if (system.f_flag & ST_NOSUID)
		error = unfit(path, "is on a file system mounted nosuid, where capabilities of programs do not count");
	else if (!(st.st_mode & 0111))
		error = unfit(path, "is no program: nobody may execute it");
	if (fd >= 0)
		close(fd);
	return error;
}

static char *capabilities_words(const char *path, const char *value)
{
	bool effective;
	cap_t set = strcmp(value, "-") ? decode(value, &effective) : NULL;
	char *words = set ? cap_to_text(set, NULL) : NULL;
	char *all;

	if (!strcmp(value, "-"))
		return text("take all capabilities from %s", path);
	all = text("set the capabilities of %s to %s", path, words ?: value);
	cap_free(words);
	cap_free(set);
	return all;
}

const struct kind kind_capabilities = {
	"capabilities", read_capabilities, write_capabilities, allows, capabilities_words, 1ULL << CAP_SETFCAP,
};
