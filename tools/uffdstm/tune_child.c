// SPDX-License-Identifier: MIT
/*
 * tune_child.c - each measurement in a process of its own, since the library is chosen once a process, and since it
 * may fail.
 */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>
#include <uffdstm.h>

#include "check.h"
#include "tune.h"

#define PATIENCE_MS 30000       /* the slowest takes half a second: what needs this long, hangs */
#define BAR 30

/* ---- ^C ---- */

static volatile sig_atomic_t signalled;

static const int interrupts[] = { SIGINT, SIGTERM, SIGHUP };

#define INTERRUPTS (sizeof(interrupts) / sizeof(interrupts[0]))

static void on_interrupt(int signal)
{
	signalled = signal;
}

void catch_interrupts(void)
{
	struct sigaction action = { .sa_handler = on_interrupt }, old;

	sigemptyset(&action.sa_mask);
	for (size_t i = 0; i < INTERRUPTS; i++)
		if (!sigaction(interrupts[i], NULL, &old) && old.sa_handler != SIG_IGN) /* as nohup(1) wants it */
			sigaction(interrupts[i], &action, NULL);
}

bool interrupted(void)
{
	return signalled;
}

void end_interrupted(void)
{
	signal(signalled, SIG_DFL);
	raise(signalled);
	_exit(STATUS_TROUBLE);
}

void hold_interrupts(bool hold)
{
	sigset_t set;

	sigemptyset(&set);
	for (size_t i = 0; i < INTERRUPTS; i++)
		sigaddset(&set, interrupts[i]);
	sigprocmask(hold ? SIG_BLOCK : SIG_UNBLOCK, &set, NULL);
}

/* ---- progress ---- */

void show_progress(const char *what, unsigned int done, unsigned int all)
{
	static int terminal = -1;
	int part = all ? (int)(done * BAR / all) : 0;

	if (terminal < 0)
		terminal = isatty(STDERR_FILENO);
	if (!terminal)
		return;
	if (what)
		fprintf(stderr, "\r[%.*s%*s] %3u %%  %-30.30s\033[K", part, "##############################",
			BAR - part, "", done * 100 / all, what);
	else
		fprintf(stderr, "\r\033[K");
	fflush(stderr);
}

/* ---- children ---- */

/* What a child says first. */
struct answer {
	bool measured;
	char why[200];
};

static int answer_fd;

static void answer(const struct answer *a, const void *result, size_t size)
{
	bool whole = write(answer_fd, a, sizeof(*a)) == sizeof(*a) &&
		     (!size || write(answer_fd, result, size) == (ssize_t)size);

	_exit(whole ? 0 : 1);
}

void give_up(const char *format, ...)
{
	struct answer a = { .measured = false };
	va_list args;

	va_start(args, format);
	vsnprintf(a.why, sizeof(a.why), format, args);
	va_end(args);
	answer(&a, NULL, 0);
	_exit(1);
}

static __attribute__((__noreturn__)) void run_child(measurement *measure, const struct task *task, void *result,
						    size_t size)
{
	struct rlimit no_core = { 0, 0 };
	struct answer a = { .measured = true };
	sigset_t none;

	for (size_t i = 0; i < INTERRUPTS; i++)
		signal(interrupts[i], SIG_DFL);
	signal(SIGBUS, SIG_DFL);
	signal(SIGSEGV, SIG_DFL);
	sigemptyset(&none);
	sigprocmask(SIG_SETMASK, &none, NULL);
	prctl(PR_SET_PDEATHSIG, SIGKILL);
	setrlimit(RLIMIT_CORE, &no_core);
	unsetenv("UFFDSTM_ENGINE");
	unsetenv("UFFDSTM_STRICT");
	unsetenv("UFFDSTM_VERBOSE");
	unsetenv("UFFDSTM_LOG");
	setenv("UFFDSTM_PROFILE", "", 1);
	measure(task, result);
	answer(&a, result, size);
	_exit(1);
}

/* All of @size bytes, within the time that is left; else 0 for an end, or a number < 0. */
static ssize_t read_answer(int fd, void *to, size_t size, uint64_t until)
{
	size_t have = 0;

	while (have < size) {
		struct pollfd ready = { .fd = fd, .events = POLLIN };
		uint64_t now = now_ns();
		ssize_t n;

		if (interrupted() || now >= until)
			return -1;
		if (poll(&ready, 1, (int)((until - now) / 1000000) + 1) <= 0)
			continue;
		n = read(fd, (char *)to + have, size - have);
		if (!n)
			return 0;
		if (n > 0)
			have += (size_t)n;
	}
	return (ssize_t)have;
}

static void explain_end(int status, bool hung, char *why, size_t size)
{
	if (hung)
		snprintf(why, size, "no answer within %d s", PATIENCE_MS / 1000);
	else if (WIFSIGNALED(status))
		snprintf(why, size, "the measurement was killed by SIG%s", sigabbrev_np(WTERMSIG(status)));
	else
		snprintf(why, size, "the measurement ended with exit status %d", WEXITSTATUS(status));
}

enum ended in_child(measurement *measure, const struct task *task, void *result, size_t size, char *why,
		    size_t why_size)
{
	uint64_t until = now_ns() + (uint64_t)PATIENCE_MS * 1000000;
	struct answer a = { .measured = false };
	int ends[2], said[2], status = 0;
	ssize_t n;
	pid_t pid;

	if (interrupted())
		return INTERRUPTED;
	if (pipe2(ends, O_CLOEXEC)) {
		snprintf(why, why_size, "pipe: %s", errno_name(errno));
		return FAILED;
	}
	if (pipe2(said, O_CLOEXEC | O_NONBLOCK)) {
		snprintf(why, why_size, "pipe: %s", errno_name(errno));
		close(ends[0]);
		close(ends[1]);
		return FAILED;
	}
	fflush(NULL);
	pid = fork();
	if (pid == 0) {
		answer_fd = ends[1];
		dup2(said[1], STDERR_FILENO);
		run_child(measure, task, result, size);
	}
	close(ends[1]);
	close(said[1]);
	if (pid < 0) {
		snprintf(why, why_size, "fork: %s", errno_name(errno));
		close(ends[0]);
		close(said[0]);
		return FAILED;
	}
	n = read_answer(ends[0], &a, sizeof(a), until);
	if (n > 0 && a.measured)
		n = read_answer(ends[0], result, size, until);
	close(ends[0]);
	kill(pid, SIGKILL);
	while (waitpid(pid, &status, 0) < 0 && errno == EINTR)
		;
	/* What the library said tells more than how it ended. */
	first_line(said[0], why, why_size);
	close(said[0]);
	if (interrupted())
		return INTERRUPTED;
	if (n > 0 && a.measured)
		return MEASURED;
	if (!*why && n > 0)
		snprintf(why, why_size, "%s", a.why);
	else if (!*why)
		explain_end(status, n < 0, why, why_size);
	return FAILED;
}

/* ---- for measurements ---- */

void start_library(const struct task *task, size_t heap_size)
{
	struct stm_options options = STM_OPTIONS_INIT;
	char path[40];
	size_t len = strlen(task->profile);
	int fd = memfd_create("profile", MFD_CLOEXEC), error;

	if (fd < 0 || write(fd, task->profile, len) != (ssize_t)len)
		give_up("a profile for the measurement: %s", errno_name(errno));
	snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
	setenv("UFFDSTM_PROFILE", path, 1);
	options.heap_size = heap_size;
	options.engine = task->engine;
	error = stm_init(&options);
	if (error)
		give_up("stm_init: %s", stm_strerror(error));
	close(fd);
}

static bool allowed(cpu_set_t *set)
{
	return sched_getaffinity(0, sizeof(*set), set) == 0;
}

unsigned int cpus_n(void)
{
	cpu_set_t set;

	return allowed(&set) ? (unsigned int)CPU_COUNT(&set) : 1;
}

/* As the process was given them, before any thread of it was pinned. */
void pin_to(unsigned int i)
{
	static cpu_set_t given;
	static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
	static bool known;
	cpu_set_t one;
	int cpu = 0;

	pthread_mutex_lock(&lock);
	if (!known)
		known = allowed(&given);
	pthread_mutex_unlock(&lock);
	if (!known)
		return;
	i %= (unsigned int)CPU_COUNT(&given);
	while (!CPU_ISSET(cpu, &given) || i--)
		cpu++;
	CPU_ZERO(&one);
	CPU_SET(cpu, &one);
	sched_setaffinity(0, sizeof(one), &one);
}

void in_thread(void *(*fn)(void *arg), void *arg)
{
	pthread_t thread;
	int error = pthread_create(&thread, NULL, fn, arg);

	if (error)
		give_up("pthread_create: %s", errno_name(error));
	pthread_join(thread, NULL);
}

static atomic_bool second_runs, second_ends;
static _Atomic uint64_t turns __attribute__((__aligned__(64)));
static pthread_t second;

static void *keep_busy(void *arg)
{
	pin_to(1);
	atomic_store(&second_runs, true);
	for (uint64_t n = 0; !atomic_load_explicit(&second_ends, memory_order_relaxed); n++) {
		atomic_store_explicit(&turns, n, memory_order_relaxed);
		__builtin_ia32_pause();
	}
	return arg;
}

void second_start(void)
{
	int error = pthread_create(&second, NULL, keep_busy, NULL);

	if (error)
		give_up("pthread_create: %s", errno_name(error));
	while (!atomic_load(&second_runs))
		sched_yield();
}

uint64_t second_turns(void)
{
	return atomic_load_explicit(&turns, memory_order_relaxed);
}

void second_stop(void)
{
	atomic_store(&second_ends, true);
	pthread_join(second, NULL);
}

/* ---- time ---- */

/*
 * Nanoseconds that the calling thread was ready and had no CPU: Documentation/scheduler/sched-stats.rst. 0 if the
 * kernel counts none.
 */
static uint64_t cpu_wait(void)
{
	static __thread int fd = -2;
	unsigned long long waited = 0;
	char text[100];
	ssize_t n;

	if (fd == -2)
		fd = open("/proc/thread-self/schedstat", O_RDONLY | O_CLOEXEC);
	n = fd < 0 ? -1 : pread(fd, text, sizeof(text) - 1, 0);
	if (n <= 0)
		return 0;
	text[n] = 0;
	return sscanf(text, "%*u %llu", &waited) == 1 ? waited : 0;
}

static __thread uint64_t stretch_start, stretch_wait;

void stretch_begin(void)
{
	stretch_wait = cpu_wait();
	stretch_start = now_ns();
}

double stretch_end(void)
{
	const uint64_t ns = now_ns() - stretch_start, waited = cpu_wait() - stretch_wait;

	return waited < ns ? (double)(ns - waited) : 0;
}

static int compare(const void *a, const void *b)
{
	const double x = *(const double *)a, y = *(const double *)b;

	return (x > y) - (x < y);
}

double median_of(double *values, unsigned int n)
{
	qsort(values, n, sizeof(*values), compare);
	return n % 2 ? values[n / 2] : (values[n / 2 - 1] + values[n / 2]) / 2;
}
