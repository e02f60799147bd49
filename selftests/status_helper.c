// SPDX-License-Identifier: MIT
/*
 * status_helper.c - what status_test.sh cannot say in shell. Two builds of one file:
 *
 *	a program, linked with the library:
 *	    run                    do what each line of standard input says (see commands[]), and answer in one line
 *	    get FILE PATH          the value at PATH in a file of JSON: "processes.0.commits.total"
 *	    write PID              try to change the status of another process: what could be done, a word each
 *	    garbage KIND           have such a memfd that is none, tell, and wait
 *	    fuzz SEED N TOOL       N times: have one with damage of all kinds, and run TOOL on it
 *	    elsewhere              have a pipe that looks like such a memfd by its name, tell, and wait (as root)
 *	-DPRELOAD -shared: for the tool: sleep is a line "asleep" to the file $STATUS_ASLEEP, then to wait for one from
 *	    $STATUS_AWAKE (without these: no time at all); its length is what the clock shows
 */
#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#ifdef PRELOAD

static struct timespec shown = { .tv_sec = 1000 };

int clock_gettime(clockid_t clock, struct timespec *now)
{
	(void)clock;
	*now = shown;
	return 0;
}

static void tell_and_wait(const char *asleep, const char *awake)
{
	FILE *to = fopen(asleep, "we"), *from;

	if (!to)
		abort();
	fputs("asleep\n", to);
	fclose(to);
	from = fopen(awake, "re");
	if (!from || getc(from) == EOF)
		exit(99);
	fclose(from);
}

int clock_nanosleep(clockid_t clock, int flags, const struct timespec *time, struct timespec *left)
{
	(void)clock, (void)flags, (void)left;
	if (getenv("STATUS_ASLEEP"))
		tell_and_wait(getenv("STATUS_ASLEEP"), getenv("STATUS_AWAKE"));
	shown.tv_sec += time->tv_sec;
	shown.tv_nsec += time->tv_nsec;
	shown.tv_sec += shown.tv_nsec / 1000000000;
	shown.tv_nsec %= 1000000000;
	return 0;
}

#else

#include <dirent.h>
#include <json-c/json.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdarg.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <uffdstm.h>
#include <uffdstm/status.h>

static void die(const char *what)
{
	perror(what);
	exit(1);
}

/* ---- what the system refuses on request: these are called instead of libc's, since they are linked first ---- */

int memfd_create(const char *name, unsigned int flags)
{
	if (getenv("NO_STATUS") && !strcmp(name, STM_STATUS_NAME)) {
		errno = EMFILE;
		return -1;
	}
	return (int)syscall(SYS_memfd_create, name, flags);
}

void *mremap(void *old, size_t old_size, size_t new_size, int flags, ...)
{
	va_list args;
	void *new;

	va_start(args, flags);
	new = flags &MREMAP_FIXED ? va_arg(args, void *) : NULL;
	va_end(args);
	if (getenv("NO_MREMAP")) {
		if (new)
			munmap(new, new_size); /* as the kernel may do before it refuses */
		errno = ENOMEM;
		return MAP_FAILED;
	}
	return (void *)syscall(SYS_mremap, old, old_size, new_size, flags, new);
}

/* ---- run ---- */

static long STM *cells;
volatile long seen; /* so that loads are not left out */
static pthread_barrier_t in_step;

static void init(long n)
{
	struct stm_options options = STM_OPTIONS_INIT;

	(void)n;
	options.trim_age = STM_TRIM_NEVER;
	if (stm_init(&options) || stm_thread_attach())
		exit(1);
	STM_ATOMIC
		cells = stm_zalloc(4096);
}

static void fini(long n)
{
	(void)n;
	if (stm_fini())
		exit(1);
}

static void write_cells(long n)
{
	for (volatile long i = 0; i < n; i++)
		STM_ATOMIC
			STM_SET(cells[0], i);
}

static void read_cells(long n)
{
	for (volatile long i = 0; i < n; i++)
		STM_ATOMIC
			seen = STM_GET(cells[0]);
}

static int refuse(void *arg)
{
	(void)arg;
	STM_SET(cells[1], 1);
	return 1;
}

static void cancel(long n)
{
	while (n--)
		stm_atomic(refuse, NULL);
}

static int restart_once(void *arg)
{
	bool *restarted = arg;

	if (!*restarted) {
		*restarted = true;
		stm_restart();
	}
	return 0;
}

static void restart(long n)
{
	while (n--) {
		bool restarted = false;

		stm_atomic(restart_once, &restarted);
	}
}

static void *attached_thread(void *arg)
{
	if (stm_thread_attach())
		exit(1);
	pthread_barrier_wait(&in_step);
	pause();
	return arg;
}

static void *holding_thread(void *arg)
{
	if (stm_thread_attach())
		exit(1);
	STM_ATOMIC {
		pthread_barrier_wait(&in_step);
		for (;;)
			pause();
	}
	return arg;
}

static void start_threads(void *(*fn)(void *arg), long n)
{
	pthread_t thread;

	while (n--) {
		pthread_barrier_init(&in_step, NULL, 2);
		if (pthread_create(&thread, NULL, fn, NULL))
			exit(1);
		pthread_barrier_wait(&in_step);
		pthread_barrier_destroy(&in_step);
	}
}

static void attach(long n)
{
	start_threads(attached_thread, n);
}

static void hold(long n)
{
	start_threads(holding_thread, n);
}

/* 0: by fork(2). 1: past the handlers of pthread_atfork(3). */
static void fork_child(long raw)
{
	pid_t pid = raw ? (pid_t)syscall(SYS_fork) : fork();

	if (!pid) {
		pause();
		_exit(0);
	}
	printf("%d ", pid);
}

static void tell_stats(long n)
{
	struct stm_stats s;

	(void)n;
	if (stm_stats(&s, sizeof(s)))
		exit(1);
	printf("segments.attached=%u commits.total=%lu read_only.total=%lu inevitable=%lu system_calls=%lu",
	       s.attached, s.commits, s.commits_read_only, s.inevitable, s.system_calls);
	for (unsigned int i = 0; i < STM_ABORT_REASONS; i++)
		printf(" aborts.reasons.%s=%lu", stm_abort_name(i), s.aborts[i]);
	for (unsigned int i = 0; i < STM_FAULT_KINDS; i++)
		printf(" faults.%s=%lu", stm_fault_name(i), s.faults[i]);
	printf(" pages.private=%lu pages.shared=%lu pages.mapped_so_far=%lu"
	       " pages.copied_so_far=%lu pages.dropped_so_far=%lu",
	       s.pages_private, s.pages_shared, s.pages_mapped, s.pages_copied, s.pages_dropped);
	printf(" heap.bytes=%lu log.bytes=%lu log.committed=%lu log.folded=%lu log.waits=%lu"
	       " segments.parks=%lu engine=%s ",
	       s.heap_bytes, s.log_bytes, s.committed, s.folded, s.log_waits, s.parked, s.engine);
}

static void exit_well(long n)
{
	exit((int)n);
}

static const struct {
	const char *name;
	void (*run)(long n);
} commands[] = {
	{ "init", init },	 { "fini", fini },	{ "write", write_cells },
	{ "read", read_cells },	 { "cancel", cancel },	{ "restart", restart },
	{ "attach", attach },	 { "hold", hold },	{ "fork", fork_child },
	{ "stats", tell_stats }, { "quit", exit_well },
};

static int run(void)
{
	char line[100], name[20];

	signal(SIGCHLD, SIG_IGN);
	while (fgets(line, sizeof(line), stdin)) {
		long n = 0;

		if (sscanf(line, "%19s %ld", name, &n) < 1)
			return 1;
		for (size_t i = 0; i < sizeof(commands) / sizeof(commands[0]); i++)
			if (!strcmp(name, commands[i].name))
				commands[i].run(n);
		printf("done\n");
		fflush(stdout);
	}
	return 0;
}

/* ---- get ---- */

static int get(const char *file, char *path)
{
	struct json_object *object = json_object_from_file(file);

	for (char *name = strtok(path, "."); name && object; name = strtok(NULL, ".")) {
		if (json_object_is_type(object, json_type_array))
			object = json_object_array_get_idx(object, strtoul(name, NULL, 10));
		else if (!json_object_object_get_ex(object, name, &object))
			object = NULL;
	}
	if (!object)
		return 1;
	printf("%s\n", json_object_get_string(object));
	return 0;
}

/* ---- write ---- */

static bool is_status(const char *directory, const char *name, char *path, size_t size)
{
	char link[100] = "";

	snprintf(path, size, "%s/%s", directory, name);
	return readlink(path, link, sizeof(link) - 1) > 0 && strstr(link, STM_STATUS_NAME);
}

/* The open descriptor, for reading and writing if that may be had. */
static int open_status(const char *pid)
{
	char directory[40], path[300];
	struct dirent *entry;
	DIR *files;
	int fd = -1;

	snprintf(directory, sizeof(directory), "/proc/%s/fd", pid);
	files = opendir(directory);
	while (files && fd < 0 && (entry = readdir(files)))
		if (is_status(directory, entry->d_name, path, sizeof(path))) {
			fd = open(path, O_RDWR | O_CLOEXEC);
			fd = fd < 0 ? open(path, O_RDONLY | O_CLOEXEC) : fd;
		}
	if (fd < 0)
		die(directory);
	closedir(files);
	return fd;
}

static int write_to(const char *pid)
{
	int fd = open_status(pid);
	char *page = mmap(NULL, 4096, PROT_READ, MAP_SHARED, fd, 0);

	if (page == MAP_FAILED || memcmp(page, STM_STATUS_MAGIC, sizeof(STM_STATUS_MAGIC)))
		die("mmap");
	printf("read");
	if (pwrite(fd, "x", 1, 0) == 1)
		printf(" write");
	if (mprotect(page, 4096, PROT_READ | PROT_WRITE) == 0)
		printf(" protect");
	if (mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0) != MAP_FAILED)
		printf(" map");
	if (ftruncate(fd, 1) == 0)
		printf(" shrink");
	if (ftruncate(fd, 1 << 20) == 0)
		printf(" grow");
	if (fallocate(fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 0, 4096) == 0)
		printf(" punch");
	printf("\n");
	return 0;
}

/* ---- garbage ---- */

#define BYTES ((1 + STM_STATUS_SEGMENTS) * (size_t)STM_STATUS_PAGE)

static void tell_and_wait(void)
{
	printf("ready\n");
	fflush(stdout);
	for (;;)
		pause();
}

/* A good one, of two segments, each with three commits. */
static void fill(uint8_t *image)
{
	struct stm_status *status = (struct stm_status *)image;

	memset(image, 0, BYTES);
	memcpy(status->magic, STM_STATUS_MAGIC, sizeof(STM_STATUS_MAGIC));
	status->version = STM_STATUS_VERSION;
	status->page = STM_STATUS_PAGE;
	strcpy(status->library, "0.1");
	strcpy(status->engine, "sigbus");
	status->pid = getpid();
	status->segments = 3;
	status->fields_n = STM_STATUS_FIGURES;
	for (unsigned int i = 0; i < STM_STATUS_FIGURES; i++)
		status->fields[i] = (struct stm_status_field){ (uint16_t)(i * 64), 8, 8 };
	for (int segment = 1; segment <= 2; segment++)
		image[segment * STM_STATUS_PAGE + STM_STATUS_COMMITS * 64] = 3;
}

static int make(const uint8_t *image, size_t size, int seals)
{
	int fd = memfd_create(STM_STATUS_NAME, MFD_CLOEXEC | MFD_ALLOW_SEALING);

	if (fd < 0 || write(fd, image, size) != (ssize_t)size ||
	    (seals && fcntl(fd, F_ADD_SEALS, seals)))
		die("memfd");
	return fd;
}

static int garbage(const char *kind)
{
	static uint8_t image[BYTES];
	struct stm_status *status = (struct stm_status *)image;
	size_t size = BYTES;
	int seals = F_SEAL_SHRINK;

	fill(image);
	if (!strcmp(kind, "empty"))
		size = 0;
	else if (!strcmp(kind, "short"))
		size = STM_STATUS_PAGE * 2;
	else if (!strcmp(kind, "tiny"))
		size = 100;
	else if (!strcmp(kind, "unsealed"))
		seals = 0;
	else if (!strcmp(kind, "zeros"))
		memset(image, 0, BYTES);
	else if (!strcmp(kind, "version"))
		status->version = 7, strcpy(status->library, "9.\033[1m9");
	else if (!strcmp(kind, "others"))
		status->pid++;
	else if (!strcmp(kind, "offsets")) { /* far behind the page, and over its end */
		for (unsigned int i = 0; i < STM_STATUS_FIELDS; i++)
			status->fields[i] = (struct stm_status_field){ i % 2 ? 4092 : 65528, 8, 255 };
		memset(image + STM_STATUS_PAGE, 0xff, BYTES - STM_STATUS_PAGE);
	} else if (!strcmp(kind, "older")) { /* of a library that has no such figures: what stands there is none */
		memset(image + STM_STATUS_PAGE, 0xff, STM_STATUS_PAGE);
		image[STM_STATUS_PAGE] = 1; /* versions */
		status->segments = 1;
		status->fields[STM_STATUS_VERSIONS_BEFORE].count = 0;
		status->fields[STM_STATUS_COMMITS].count = 0;
		status->fields_n = STM_STATUS_ABORTS;
	} else if (!strcmp(kind, "figures"))
		memset(image + STM_STATUS_PAGE, 0xff, BYTES - STM_STATUS_PAGE);
	else if (!strcmp(kind, "texts")) {
		memset(status->engine, '\033', sizeof(status->engine));
		memset(status->log_held_by, '\n', sizeof(status->log_held_by));
		memset(status->engine_why, 'w', 20);
	} else if (strcmp(kind, "good"))
		return 1;
	make(image, size, seals);
	tell_and_wait();
	return 0;
}

/* ---- fuzz ---- */

static uint64_t state;

static uint32_t random_number(uint32_t n)
{
	state = state * 6364136223846793005u + 1442695040888963407u; /* Knuth's MMIX */
	return (uint32_t)(state >> 33) % n;
}

static void damage(uint8_t *image, size_t *size, int *seals)
{
	/* Mostly in the header, which decides what is read. */
	for (uint32_t n = random_number(40); n; n--)
		image[random_number(4) ? random_number(sizeof(struct stm_status))
				       : random_number(BYTES)] = (uint8_t)random_number(256);
	for (uint32_t n = random_number(3); n; n--) {
		uint32_t at = random_number(sizeof(struct stm_status)), len = random_number(64);

		for (; len && at < BYTES; len--, at++)
			image[at] = random_number(2) ? 0xff : (uint8_t)random_number(256);
	}
	/* What is looked at first is mostly right, or the rest would not be reached. */
	if (random_number(8))
		memcpy(image, STM_STATUS_MAGIC, sizeof(STM_STATUS_MAGIC));
	if (random_number(8)) {
		((struct stm_status *)image)->version = STM_STATUS_VERSION;
		((struct stm_status *)image)->page = STM_STATUS_PAGE;
	}
	if (random_number(8))
		((struct stm_status *)image)->pid = getpid();
	if (!random_number(6))
		*size = random_number(BYTES);
	*seals = random_number(10) ? F_SEAL_SHRINK : 0;
}

/* False: it was killed, or trouble, or what it printed is not printable. */
static bool tool_is_well(const char *tool, const char *option)
{
	char pid[20], byte;
	int ends[2], status;
	bool well = true;
	pid_t child;

	snprintf(pid, sizeof(pid), "%d", getpid());
	if (pipe2(ends, O_CLOEXEC))
		die("pipe2");
	child = fork();
	if (!child) {
		dup2(ends[1], 1);
		dup2(ends[1], 2);
		execl(tool, tool, "status", option, pid, NULL);
		_exit(98);
	}
	close(ends[1]);
	while (read(ends[0], &byte, 1) == 1)
		well = well && (byte == '\n' || (byte >= ' ' && byte <= '~'));
	close(ends[0]);
	return waitpid(child, &status, 0) == child && WIFEXITED(status) &&
	       WEXITSTATUS(status) <= 1 && well;
}

static int fuzz(uint64_t seed, unsigned int n, const char *tool)
{
	static uint8_t image[BYTES];

	for (; n--; seed++) {
		size_t size = BYTES;
		int fd, seals;

		state = seed;
		fill(image);
		damage(image, &size, &seals);
		fd = make(image, size, seals);
		if (!tool_is_well(tool, "--") || !tool_is_well(tool, "--json")) {
			printf("seed %lu\n", seed);
			return 1;
		}
		close(fd);
	}
	return 0;
}

/* ---- elsewhere ---- */

static int elsewhere(const char *directory)
{
	if (unshare(CLONE_NEWNS) || mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) ||
	    mount("none", directory, "tmpfs", 0, NULL) || chdir(directory) ||
	    syscall(SYS_pivot_root, ".", ".") || umount2(".", MNT_DETACH) || chdir("/"))
		die("a root of its own");
	if (mkfifo("/memfd:" STM_STATUS_NAME, 0600) ||
	    open("/memfd:" STM_STATUS_NAME, O_RDWR) < 0 || unlink("/memfd:" STM_STATUS_NAME))
		die("a pipe");
	tell_and_wait();
	return 0;
}

int main(int argc, char **argv)
{
	if (argc == 2 && !strcmp(argv[1], "run"))
		return run();
	if (argc == 4 && !strcmp(argv[1], "get"))
		return get(argv[2], argv[3]);
	if (argc == 3 && !strcmp(argv[1], "write"))
		return write_to(argv[2]);
	if (argc == 3 && !strcmp(argv[1], "garbage"))
		return garbage(argv[2]);
	if (argc == 5 && !strcmp(argv[1], "fuzz"))
		return fuzz(strtoul(argv[2], NULL, 0), (unsigned int)strtoul(argv[3], NULL, 0),
			    argv[4]);
	if (argc == 3 && !strcmp(argv[1], "elsewhere"))
		return elsewhere(argv[2]);
	return 2;
}

#endif
