// SPDX-License-Identifier: MIT
/*
 * setup_helper.c - what setup_test.sh cannot do itself. Two builds of one file:
 *
 *	a program:         setup_helper open              which ways to a userfaultfd are open, a word each
 *	                   setup_helper attributes FILE   its capabilities and access-control list, in hexadecimal
 *	                   setup_helper snapshot DIR      a line for all that there is below DIR, with contents
 *	                   setup_helper acl FILE          give it a list: group 77 may read
 *	-DPRELOAD -shared: appends what /proc/self/status says of rights to $RIGHTS_LOG before each call that changes
 *	                   something
 */
#include <dlfcn.h>
#include <fcntl.h>
#include <fts.h>
#include <linux/posix_acl.h>
#include <linux/posix_acl_xattr.h>
#include <linux/userfaultfd.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/xattr.h>
#include <unistd.h>

#ifdef PRELOAD

static void tell(const char *call)
{
	FILE *status = fopen("/proc/self/status", "re"), *log = fopen(getenv("RIGHTS_LOG"), "ae");
	char line[256];

	if (!status || !log)
		abort();
	fprintf(log, "%s", call);
	while (fgets(line, sizeof(line), status))
		if (!strncmp(line, "Cap", 3) || !strncmp(line, "NoNewPrivs", 10)) {
			line[strcspn(line, "\n")] = 0;
			*strchr(line, '\t') = ' ';
			fprintf(log, " %s", line);
		}
	fputs("\n", log);
	fclose(status);
	fclose(log);
}

#define BEFORE(name, parameters, ...)                                         \
	int name parameters                                                   \
	{                                                                     \
		int(*real) parameters = (int(*) parameters)dlsym(RTLD_NEXT, #name); \
                                                                              \
		tell(#name);                                                  \
		return real(__VA_ARGS__);                                     \
	}

BEFORE(renameat, (int from, const char *old, int to, const char *new), from, old, to, new)
BEFORE(mkdirat, (int parent, const char *name, mode_t mode), parent, name, mode)
BEFORE(unlinkat, (int parent, const char *name, int flags), parent, name, flags)
BEFORE(chmod, (const char *path, mode_t mode), path, mode)
BEFORE(fchownat, (int fd, const char *path, uid_t uid, gid_t gid, int flags), fd, path, uid, gid, flags)
BEFORE(setxattr, (const char *path, const char *name, const void *value, size_t size, int flags), path, name, value, size,
       flags)
BEFORE(removexattr, (const char *path, const char *name), path, name)
BEFORE(fsync, (int fd), fd)

#else

#define CAPABILITIES "security.capability"
#define ACL "system.posix_acl_access"

static int open_ways(void)
{
	int device = open("/dev/userfaultfd", O_RDWR | O_CLOEXEC);

	if (syscall(SYS_userfaultfd, O_CLOEXEC) >= 0)
		printf("all ");
	if (syscall(SYS_userfaultfd, O_CLOEXEC | UFFD_USER_MODE_ONLY) >= 0)
		printf("user ");
	if (device >= 0 && ioctl(device, USERFAULTFD_IOC_NEW, O_CLOEXEC) >= 0)
		printf("device ");
	printf("\n");
	return 0;
}

static void print_attributes(const char *path)
{
	static const char *const names[] = { CAPABILITIES, ACL };
	unsigned char value[4096];

	for (int i = 0; i < 2; i++) {
		ssize_t size = lgetxattr(path, names[i], value, sizeof(value));

		if (size >= 0)
			printf(" %s ", names[i]);
		for (ssize_t j = 0; j < size; j++)
			printf("%02x", value[j]);
	}
}

/* Small files as they are, with new lines shown; of others a checksum (FNV-1a). */
static void print_content(const char *path, off_t size)
{
	uint64_t sum = 0xcbf29ce484222325;
	FILE *file = fopen(path, "re");
	int c;

	if (!file)
		exit(1);
	printf(" \"");
	while ((c = getc(file)) != EOF) {
		sum = (sum ^ c) * 0x100000001b3;
		if (size < 1000)
			printf(c == '\n' ? "\\n" : "%c", c);
	}
	printf("\" %016llx", (unsigned long long)sum);
	fclose(file);
}

static int by_name(const FTSENT **a, const FTSENT **b)
{
	return strcmp((*a)->fts_name, (*b)->fts_name);
}

static int snapshot(char *directory)
{
	char *paths[] = { directory, NULL }, target[256];
	FTS *tree = fts_open(paths, FTS_PHYSICAL, by_name);
	FTSENT *entry;

	while (tree && (entry = fts_read(tree))) {
		const struct stat *st = entry->fts_statp;
		ssize_t n;

		if (entry->fts_info == FTS_DP)
			continue;
		printf("%s mode %o owner %u:%u", entry->fts_path + strlen(directory), st->st_mode, st->st_uid, st->st_gid);
		if (S_ISCHR(st->st_mode))
			printf(" device %lx", st->st_rdev);
		if (S_ISREG(st->st_mode))
			print_content(entry->fts_accpath, st->st_size);
		if (S_ISLNK(st->st_mode) && (n = readlink(entry->fts_accpath, target, sizeof(target))) > 0)
			printf(" -> %.*s", (int)n, target);
		else
			print_attributes(entry->fts_accpath);
		printf("\n");
	}
	return tree ? 0 : 1;
}

static int set_acl(const char *path)
{
	struct {
		struct posix_acl_xattr_header header;
		struct posix_acl_xattr_entry entries[5];
	} list = {
		{ POSIX_ACL_XATTR_VERSION },
		{
			{ ACL_USER_OBJ, ACL_READ | ACL_WRITE, -1 },
			{ ACL_GROUP_OBJ, 0, -1 },
			{ ACL_GROUP, ACL_READ, 77 },
			{ ACL_MASK, ACL_READ, -1 },
			{ ACL_OTHER, 0, -1 },
		},
	};

	if (!setxattr(path, ACL, &list, sizeof(list), 0))
		return 0;
	perror(path);
	return 1;
}

int main(int argc, char **argv)
{
	if (argc == 2 && !strcmp(argv[1], "open"))
		return open_ways();
	if (argc == 3 && !strcmp(argv[1], "attributes")) {
		print_attributes(argv[2]);
		printf("\n");
		return 0;
	}
	if (argc == 3 && !strcmp(argv[1], "snapshot"))
		return snapshot(argv[2]);
	if (argc == 3 && !strcmp(argv[1], "acl"))
		return set_acl(argv[2]);
	return 2;
}

#endif
