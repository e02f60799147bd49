// SPDX-License-Identifier: MIT
/* changes.c - how each kind of thing is read and written. Capabilities of programs are in grant.c. */
#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <linux/capability.h>
#include <linux/posix_acl.h>
#include <linux/posix_acl_xattr.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/xattr.h>
#include <unistd.h>

#include "setup.h"

#define ACL	 "system.posix_acl_access"
#define ACL_MOST 4096

static const char *const files[] = { PLACE_RULE, PLACE_SYSCTL_FILE, PLACE_SHMEM_FILE, PLACE_LIMITS_FILE };

static bool is_file(const char *path)
{
	for (size_t i = 0; i < sizeof(files) / sizeof(*files); i++)
		if (!strcmp(path, files[i]))
			return true;
	return false;
}

static bool is_directory(const char *path)
{
	size_t length = strlen(path);

	for (size_t i = 0; length > 1 && i < sizeof(files) / sizeof(*files); i++)
		if (!strncmp(path, files[i], length) && files[i][length] == '/')
			return true;
	return false;
}

static bool is_device(const char *path)
{
	return !strcmp(path, PLACE_DEVICE);
}

static bool is_value(const char *path)
{
	return !strcmp(path, PLACE_SYSCTL) || !strcmp(path, PLACE_SHMEM);
}

static int absent(char **value)
{
	*value = text("-");
	return 0;
}

/* ---- directories: "0755" ---- */

static int read_directory(const char *path, char **value)
{
	struct stat st;
	int fd = places_open(path, S_IFDIR, TRUST_ROOT, &st);

	if (fd < 0)
		return fd == -ENOENT ? absent(value) : fd;
	close(fd);
	*value = text("%04o", st.st_mode & 0777);
	return 0;
}

static int write_directory(const char *path, const char *value)
{
	const char *name;
	int parent = places_open_parent(path, TRUST_ROOT, &name), error = 0;

	if (parent < 0)
		return parent;
	if (!strcmp(value, "-") ? unlinkat(parent, name, AT_REMOVEDIR) : mkdirat(parent, name, strtoul(value, NULL, 8)))
		error = -errno;
	if (!error)
		error = sync_directory(parent);
	close(parent);
	return error;
}

static char *directory_words(const char *path, const char *value)
{
	return text("%s the directory %s", strcmp(value, "-") ? "make" : "remove", path);
}

const struct kind kind_directory = { "directory", read_directory, write_directory, is_directory, directory_words, 0 };

/* ---- files: "0644\n" and the text ---- */

char *file_value(mode_t mode, const char *content)
{
	return text("%04o\n%s", mode & 07777, content);
}

static int read_file(const char *path, char **value)
{
	struct stat st;
	int fd = places_open(path, S_IFREG, TRUST_ROOT, &st), readable, error;
	char *content;
	size_t size;

	if (fd < 0)
		return fd == -ENOENT ? absent(value) : fd;
	readable = open(path_of(fd), O_RDONLY | O_CLOEXEC);
	error = readable < 0 ? -errno : read_all(readable, &content, &size);
	if (readable >= 0)
		close(readable);
	close(fd);
	if (error)
		return error;
	if (st.st_gid != 0 || strlen(content) != size) {
		snprintf(places_reason, sizeof(places_reason), "%s %s: move it away first", path,
			 st.st_gid ? "belongs to another group than root's" : "is no text");
		free(content);
		return -EUNSAFE;
	}
	*value = file_value(st.st_mode, content);
	free(content);
	return 0;
}

/* The next version of a file stands beside it until it is complete. No reader of these folders takes such a name. */
static char *next_name(const char *name)
{
	return text(".%s.new", name);
}

static int write_next(int parent, const char *name, const char *next, const char *value)
{
	const char *content = strchr(value, '\n');
	int fd, error;

	if (!content)
		return -EINVAL;
	if (unlinkat(parent, next, 0) && errno != ENOENT)
		return -errno;
	fd = openat(parent, next, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600);
	if (fd < 0)
		return -errno;
	error = write_all(fd, content + 1, strlen(content + 1));
	if (!error && (fchmod(fd, strtoul(value, NULL, 8)) || fsync(fd)))
		error = -errno;
	close(fd);
	if (!error && renameat(parent, next, parent, name))
		error = -errno;
	if (error)
		unlinkat(parent, next, 0);
	return error;
}

static int write_file(const char *path, const char *value)
{
	const char *name;
	int parent = places_open_parent(path, TRUST_ROOT, &name), error = 0;
	char *next;

	if (parent < 0)
		return parent;
	next = next_name(name);
	if (strcmp(value, "-"))
		error = write_next(parent, name, next, value);
	else if (unlinkat(parent, name, 0))
		error = -errno;
	if (!error)
		error = sync_directory(parent);
	free(next);
	close(parent);
	return error;
}

int file_clean(const char *path)
{
	const char *name;
	int parent = places_open_parent(path, TRUST_ROOT, &name), error = 0;
	char *next;

	if (parent < 0)
		return parent == -ENOENT ? 0 : parent;
	next = next_name(name);
	if (unlinkat(parent, next, 0) && errno != ENOENT)
		error = -errno;
	free(next);
	close(parent);
	return error;
}

static char *file_words(const char *path, const char *value)
{
	const char *content = strchr(value, '\n');

	return content ? text("write %s:\n%s", path, content + 1) : text("remove %s", path);
}

const struct kind kind_file = { "file", read_file, write_file, is_file, file_words, 0 };

/* ---- the device: "105"; "0660"; its access-control list in hexadecimal ---- */

static int look_at_device(const char *path, struct stat *st)
{
	int fd = places_open(path, S_IFCHR, TRUST_ROOT, st);

	if (fd < 0)
		return fd;
	close(fd);
	return 0;
}

/* @set returns as a system call does. */
static int set_device(const char *path, const char *value, int (*set)(int fd, const char *value))
{
	struct stat st;
	int fd = places_open(path, S_IFCHR, TRUST_ROOT, &st), error = 0;

	if (fd < 0)
		return fd;
	if (set(fd, value))
		error = -errno;
	close(fd);
	return error;
}

static int read_group(const char *path, char **value)
{
	struct stat st;
	int error = look_at_device(path, &st);

	if (error)
		return error;
	*value = text("%u", st.st_gid);
	return 0;
}

static int set_group(int fd, const char *value)
{
	return fchownat(fd, "", -1, strtoul(value, NULL, 10), AT_EMPTY_PATH);
}

static int write_group(const char *path, const char *value)
{
	return set_device(path, value, set_group);
}

static char *group_words(const char *path, const char *value)
{
	struct group *group = getgrgid(strtoul(value, NULL, 10));

	return group ? text("give %s to group %s", path, group->gr_name) : text("give %s to group %s", path, value);
}

const struct kind kind_group = { "group", read_group, write_group, is_device, group_words, 1ULL << CAP_CHOWN };

static int read_mode(const char *path, char **value)
{
	struct stat st;
	int error = look_at_device(path, &st);

	if (error)
		return error;
	*value = text("%04o", st.st_mode & 07777);
	return 0;
}

static int set_mode(int fd, const char *value)
{
	return chmod(path_of(fd), strtoul(value, NULL, 8));
}

static int write_mode(const char *path, const char *value)
{
	return set_device(path, value, set_mode);
}

static char *mode_words(const char *path, const char *value)
{
	return text("set the mode of %s to %s", path, value);
}

const struct kind kind_mode = { "mode", read_mode, write_mode, is_device, mode_words, 0 };

static int read_acl(const char *path, char **value)
{
	char list[ACL_MOST];
	struct stat st;
	int fd = places_open(path, S_IFCHR, TRUST_ROOT, &st), error = 0;
	ssize_t size;

	if (fd < 0)
		return fd;
	size = getxattr(path_of(fd), ACL, list, sizeof(list));
	if (size < 0)
		error = errno == ENODATA || errno == EOPNOTSUPP ? absent(value) : -errno;
	else if (!(*value = hex_from_bytes(list, size)))
		error = -ENOMEM;
	close(fd);
	return error;
}

static int write_acl(const char *path, const char *value)
{
	char list[ACL_MOST];
	struct stat st;
	int size = strcmp(value, "-") ? bytes_from_hex(value, list, sizeof(list)) : 0, fd, error = 0;

	if (size < 0)
		return size;
	fd = places_open(path, S_IFCHR, TRUST_ROOT, &st);
	if (fd < 0)
		return fd;
	if (size ? setxattr(path_of(fd), ACL, list, size, 0) : removexattr(path_of(fd), ACL))
		error = -errno;
	close(fd);
	return error;
}

int acl_value(const char *old, char **value)
{
	struct {
		struct posix_acl_xattr_header header;
		struct posix_acl_xattr_entry entries[ACL_MOST / sizeof(struct posix_acl_xattr_entry)];
	} list;
	int size = bytes_from_hex(old, &list, sizeof(list));

	if (size < (int)sizeof(list.header))
		return -EINVAL;
	for (size_t i = 0; i < (size - sizeof(list.header)) / sizeof(*list.entries); i++)
		if (list.entries[i].e_tag == ACL_GROUP_OBJ || list.entries[i].e_tag == ACL_MASK)
			list.entries[i].e_perm |= ACL_READ | ACL_WRITE;
	*value = hex_from_bytes(&list, size);
	return *value ? 0 : -ENOMEM;
}

static char *acl_words(const char *path, const char *value)
{
	return text("set the access-control list of %s to %s", path, value);
}

const struct kind kind_acl = { "acl", read_acl, write_acl, is_device, acl_words, 0 };

/* ---- what the kernel runs with: the word in brackets, or the only one ---- */

static int read_value(const char *path, char **value)
{
	struct stat st;
	int fd = places_open(path, S_IFREG, TRUST_ROOT, &st), readable, error;
	char *all, *word;
	size_t size;

	if (fd < 0)
		return fd;
	readable = open(path_of(fd), O_RDONLY | O_CLOEXEC);
	error = readable < 0 ? -errno : read_all(readable, &all, &size);
	if (readable >= 0)
		close(readable);
	close(fd);
	if (error)
		return error;
	word = strchr(all, '[');
	word = word ? word + 1 : all;
	*value = text("%.*s", (int)strcspn(word, "] \n"), word);
	free(all);
	return 0;
}

static int write_value(const char *path, const char *value)
{
	struct stat st;
	int fd = places_open(path, S_IFREG, TRUST_ROOT, &st), writable, error = 0;
	char *line = text("%s\n", value);
	ssize_t size = strlen(line), n = -1;

	if (fd < 0) {
		free(line);
		return fd;
	}
	writable = open(path_of(fd), O_WRONLY | O_CLOEXEC);
	if (writable >= 0)
		n = write(writable, line, size);
	/* The kernel takes a value only as a whole; a plain file (below --root) may have to become shorter. */
	if (n < 0 || (n == size && st.st_size > size && !places_are_the_machine() && ftruncate(writable, size)))
		error = -errno;
	else if (n != size)
		error = -EIO;
	if (writable >= 0)
		close(writable);
	close(fd);
	free(line);
	return error;
}

static char *value_words(const char *path, const char *value)
{
	return text("write %s to %s", value, path);
}

const struct kind kind_value = { "value", read_value, write_value, is_value, value_words, 0 };

const struct kind *kind_by_name(const char *name)
{
	static const struct kind *const kinds[] = { &kind_directory, &kind_file,  &kind_group,	     &kind_mode,
						    &kind_acl,	     &kind_value, &kind_capabilities };

	for (size_t i = 0; i < sizeof(kinds) / sizeof(*kinds); i++)
		if (!strcmp(name, kinds[i]->name))
			return kinds[i];
	return NULL;
}
