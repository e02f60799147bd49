// SPDX-License-Identifier: MIT
/*
 * The walk opens each directory once, by device and inode, reads it to its end and closes it
 * before it goes deeper, so the depth costs no descriptors. The list is put into order when all
 * is found, and only then are further names of one inode dropped: which name stays does not
 * depend on the order in which a file system lists its directories.
 */
#include "walk.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "chunker.h"

/* A set of inodes: open addressing, at most half full. An inode number of 0 is an empty place. */
struct inodes {
	struct inode {
		dev_t dev;
		ino_t ino;
	} *at;
	size_t nr;
	size_t places;          /* a power of two */
};

/* The directories that the walk is in, innermost first: to tell loops of links. */
struct parent {
	const struct parent *up;
	dev_t dev;
	ino_t ino;
};

static struct inode *find_place(const struct inodes *set, dev_t dev, ino_t ino)
{
	size_t i = ((uint64_t)ino + (uint64_t)dev * 0x9e3779b97f4a7c15) * 0x9e3779b97f4a7c15 >> 20;

	for (;; i++) {
		struct inode *place = &set->at[i & (set->places - 1)];

		if (!place->ino || (place->ino == ino && place->dev == dev))
			return place;
	}
}

/* 1: added; 0: it was there; or -ENOMEM. */
static int add_inode(struct inodes *set, dev_t dev, ino_t ino)
{
	struct inode *place;

	if (2 * set->nr >= set->places) {
		struct inodes bigger = { .places = set->places ? 2 * set->places : 1024 };

		bigger.at = calloc(bigger.places, sizeof(*bigger.at));
		if (!bigger.at)
			return -ENOMEM;
		for (size_t i = 0; i < set->places; i++) {
			const struct inode *old = &set->at[i];

			if (old->ino)
				*find_place(&bigger, old->dev, old->ino) = *old;
		}
		bigger.nr = set->nr;
		free(set->at);
		*set = bigger;
	}
	place = find_place(set, dev, ino);
	if (place->ino)
		return 0;
	place->dev = dev;
	place->ino = ino;
	set->nr++;
	return 1;
}

static void free_inodes(struct inodes *set)
{
	if (set)
		free(set->at);
	free(set);
}

int walk_skip(struct walk *walk, const char *path, const char *reason)
{
	struct skip *skip;

	if (walk->nr_skips == walk->skips_capacity) {
		size_t capacity = walk->skips_capacity ? 2 * walk->skips_capacity : 64;
		struct skip *skips = reallocarray(walk->skips, capacity, sizeof(*skips));

		if (!skips)
			return -ENOMEM;
		walk->skips = skips;
		walk->skips_capacity = capacity;
	}
	skip = &walk->skips[walk->nr_skips];
	skip->path = strdup(path);
	if (!skip->path)
		return -ENOMEM;
	skip->reason = reason;
	walk->nr_skips++;
	return 0;
}

static int add_file(struct walk *walk, const char *path, const struct stat *st, bool follow)
{
	struct file *file;

	if (walk->nr == UINT32_MAX)             /* tables keep 32-bit file numbers */
		return -EFBIG;
	if (walk->nr == walk->capacity) {
		size_t capacity = walk->capacity ? 2 * walk->capacity : 1024;
		struct file *files = reallocarray(walk->files, capacity, sizeof(*files));

		if (!files)
			return -ENOMEM;
		walk->files = files;
		walk->capacity = capacity;
	}
	file = &walk->files[walk->nr];
	memset(file, 0, sizeof(*file));
	file->path = strdup(path);
	if (!file->path)
		return -ENOMEM;
	file->follow = follow;
	identity_of(&file->identity, st);
	walk->nr++;
	return 0;
}

static const char *name_of_type(mode_t mode)
{
	switch (mode & S_IFMT) {
	case S_IFIFO:
		return "a FIFO";
	case S_IFSOCK:
		return "a socket";
	case S_IFCHR:
		return "a character device";
	case S_IFBLK:
		return "a block device";
	default:
		return "not a regular file";
	}
}

/* Links are not followed; those that go in circles are told. */
static int meet_link(struct walk *walk, const char *path, const struct parent *parent)
{
	struct stat st;

	walk->links++;
	if (stat(path, &st))
		return errno == ELOOP ? walk_skip(walk, path, "a loop of symbolic links") : 0;
	if (S_ISDIR(st.st_mode))
		for (; parent; parent = parent->up)
			if (parent->dev == st.st_dev && parent->ino == st.st_ino)
				return walk_skip(walk, path,
						 "a loop: a symbolic link to a directory above it");
	return 0;
}

/* The subdirectories of a directory: names, each ended by a 0, one behind the other. */
struct names {
	char *text;
	size_t used, size;
};

static int add_name(struct names *names, const char *name)
{
	const size_t len = strlen(name) + 1;

	if (names->size - names->used < len) {
		const size_t size = 2 * names->size + len + 1024;
		char *text = realloc(names->text, size);

		if (!text)
			return -ENOMEM;
		names->text = text;
		names->size = size;
	}
	memcpy(names->text + names->used, name, len);
	names->used += len;
	return 0;
}

/* A path that names are put behind. */
struct path {
	char *text;
	size_t size;
	size_t stem;            /* length of the directory's part */
};

static int set_stem(struct path *path, const char *directory)
{
	path->stem = strlen(directory);
	path->size = path->stem + 258;
	path->text = malloc(path->size);
	if (!path->text)
		return -ENOMEM;
	memcpy(path->text, directory, path->stem + 1);
	if (!path->stem || directory[path->stem - 1] != '/')
		path->text[path->stem++] = '/';
	return 0;
}

static int set_name(struct path *path, const char *name)
{
	const size_t len = strlen(name) + 1;

	if (path->size - path->stem < len) {
		char *text = realloc(path->text, path->stem + len);

		if (!text)
			return -ENOMEM;
		path->text = text;
		path->size = path->stem + len;
	}
	memcpy(path->text + path->stem, name, len);
	return 0;
}

/* One entry of the directory @fd; subdirectories are put off. */
static int meet(struct walk *walk, int fd, const char *name, const char *path,
		const struct parent *parent, struct names *directories)
{
	struct stat st;

	if (fstatat(fd, name, &st, AT_SYMLINK_NOFOLLOW)) {
		if (errno == ENOENT)            /* gone since it was listed */
			return 0;
		return walk_skip(walk, path, strerrordesc_np(errno));
	}
	if (S_ISREG(st.st_mode))
		return add_file(walk, path, &st, false);
	if (S_ISDIR(st.st_mode))
		return add_name(directories, name);
	if (S_ISLNK(st.st_mode))
		return meet_link(walk, path, parent);
	return walk_skip(walk, path, name_of_type(st.st_mode));
}

static int meet_all(struct walk *walk, DIR *dir, struct path *path, const struct parent *parent,
		    struct names *directories)
{
	const struct dirent *entry;
	int ret = 0;

	while (!ret) {
		errno = 0;
		entry = readdir(dir);
		if (!entry)
			break;
		if (!strcmp(entry->d_name, ".") || !strcmp(entry->d_name, ".."))
			continue;
		ret = set_name(path, entry->d_name);
		if (!ret)
			ret = meet(walk, dirfd(dir), entry->d_name, path->text, parent,
				   directories);
	}
	if (!ret && errno) {                    /* what could be listed is used */
		const char *reason = strerrordesc_np(errno);

		path->text[path->stem] = 0;
		ret = walk_skip(walk, path->text, reason);
	}
	return ret;
}

/* Whether the directory was met before; told if it is one that the walk is in. 1, 0 or -ENOMEM. */
static int met_before(struct walk *walk, const char *path, const struct parent *self)
{
	int ret = add_inode(walk->directories, self->dev, self->ino);

	if (ret)
		return ret < 0 ? ret : 0;
	for (const struct parent *up = self->up; up; up = up->up)
		if (up->dev == self->dev && up->ino == self->ino)
			return walk_skip(walk, path, "a loop: a directory above it") ? -ENOMEM : 1;
	return 1;
}

/* Recursion: a path longer than PATH_MAX cannot be opened, so it goes at most 2,048 deep. */
static int walk_directory(struct walk *walk, const char *name, bool follow,
			  const struct parent *up)
{
	const int flags = O_RDONLY | O_DIRECTORY | O_CLOEXEC | O_NONBLOCK;
	const int fd = open(name, follow ? flags : flags | O_NOFOLLOW);
	struct parent self = { .up = up };
	struct names directories = { 0 };
	struct path path = { 0 };
	struct stat st;
	int ret;
	DIR *dir;

	if (fd < 0)
		return up ? walk_skip(walk, name, strerrordesc_np(errno)) : -errno;
	dir = fdopendir(fd);
	if (!dir || fstat(fd, &st)) {
		ret = -errno;
		goto close;
	}
	self.dev = st.st_dev;
	self.ino = st.st_ino;
	ret = met_before(walk, name, &self);
	if (!ret)
		ret = set_stem(&path, name);
	if (!ret)
		ret = meet_all(walk, dir, &path, &self, &directories);
	if (ret > 0)
		ret = 0;
close:
	if (dir)
		closedir(dir);
	else
		close(fd);
	for (size_t i = 0; i < directories.used && !ret; i += strlen(directories.text + i) + 1) {
		ret = set_name(&path, directories.text + i);
		if (!ret)
			ret = walk_directory(walk, path.text, false, &self);
	}
	free(directories.text);
	free(path.text);
	return ret;
}

int walk_add(struct walk *walk, const char *path)
{
	struct stat st;

	if (!walk->directories) {
		walk->directories = calloc(1, sizeof(*walk->directories));
		if (!walk->directories)
			return -ENOMEM;
	}
	if (stat(path, &st))
		return -errno;
	if (S_ISDIR(st.st_mode))
		return walk_directory(walk, path, true, NULL);
	if (S_ISREG(st.st_mode))
		return add_file(walk, path, &st, true);
	return walk_skip(walk, path, name_of_type(st.st_mode));
}

static int by_path(const void *a, const void *b)
{
	return strcmp(((const struct file *)a)->path, ((const struct file *)b)->path);
}

static int skips_by_path(const void *a, const void *b)
{
	return strcmp(((const struct skip *)a)->path, ((const struct skip *)b)->path);
}

void walk_sort_skips(struct walk *walk)
{
	if (walk->nr_skips)
		qsort(walk->skips, walk->nr_skips, sizeof(*walk->skips), skips_by_path);
}

int walk_finish(struct walk *walk)
{
	struct inodes seen = { 0 };
	size_t nr = 0;
	int ret = 0;

	walk_sort_skips(walk);
	if (walk->nr)
		qsort(walk->files, walk->nr, sizeof(*walk->files), by_path);
	for (size_t i = 0; i < walk->nr; i++) {
		struct file *file = &walk->files[i];

		if (ret >= 0)
			ret = add_inode(&seen, file->identity.dev, file->identity.ino);
		if (ret <= 0) {
			walk->other_names++;
			free((char *)file->path);
			continue;
		}
		walk->bytes += (uint64_t)file->identity.size;
		walk->chunks += 1 + (uint64_t)file->identity.size / CHUNK_MEAN;
		walk->files[nr++] = *file;
	}
	walk->nr = nr;
	free(seen.at);
	free_inodes(walk->directories);
	walk->directories = NULL;
	return ret < 0 ? ret : 0;
}

void print_path(const char *path, FILE *out)
{
	for (; *path; path++) {
		const unsigned char c = (unsigned char)*path;

		if (c < 32 || c == 127 || c == '\\')
			fprintf(out, "\\%03o", c);
		else
			putc(c, out);
	}
}

void walk_free(struct walk *walk)
{
	for (size_t i = 0; i < walk->nr; i++)
		free((char *)walk->files[i].path);
	for (size_t i = 0; i < walk->nr_skips; i++)
		free(walk->skips[i].path);
	free(walk->files);
	free(walk->skips);
	free_inodes(walk->directories);
}
