/* SPDX-License-Identifier: MIT */
/* common.c - what all benchmark programs share: see common.h */
#define _GNU_SOURCE
#include <errno.h>
#include <pthread.h>
#include <sched.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/utsname.h>
#include <unistd.h>

#include <uffdstm.h>

#include "common.h"

#define GATE_SPINS 100000       /* then yield: somebody else may need this CPU to arrive */

void die(const char *format, ...)
{
	va_list args;

	fflush(stdout);
	fprintf(stderr, "%s: ", program_invocation_short_name);
	va_start(args, format);
	vfprintf(stderr, format, args);
	va_end(args);
	fputc('\n', stderr);
	exit(1);
}

static cpu_set_t cpus_allowed;
static pthread_once_t cpus_once = PTHREAD_ONCE_INIT;

static void cpus_get(void)
{
	if (sched_getaffinity(0, sizeof(cpus_allowed), &cpus_allowed))
		die("sched_getaffinity: %m");
}

void cpus_read(void)
{
	pthread_once(&cpus_once, cpus_get);
}

void pin(unsigned int i)
{
	unsigned int n;
	cpu_set_t one;
	int cpu = 0;

	cpus_read();
	n = i % (unsigned int)CPU_COUNT(&cpus_allowed);
	while (!CPU_ISSET(cpu, &cpus_allowed) || n--)
		cpu++;
	CPU_ZERO(&one);
	CPU_SET(cpu, &one);
	if (sched_setaffinity(0, sizeof(one), &one))
		die("sched_setaffinity to CPU %d: %m", cpu);
}

static int compare(const void *a, const void *b)
{
	const double x = *(const double *)a, y = *(const double *)b;

	return (x > y) - (x < y);
}

double median(double *values, unsigned int n)
{
	qsort(values, n, sizeof(*values), compare);
	return n % 2 ? values[n / 2] : (values[n / 2 - 1] + values[n / 2]) / 2;
}

unsigned int option_number(const char *text, const char *option)
{
	char *end;
	long n = strtol(text, &end, 10);

	if (*end || n < 1 || n > 1000000)
		die("%s %s: not a number from 1 to 1000000", option, text);
	return (unsigned int)n;
}

void gate_wait(struct gate *gate)
{
	const unsigned int passed = atomic_load(&gate->passed);

	if (atomic_fetch_add(&gate->arrived, 1) + 1 == gate->threads) {
		atomic_store(&gate->arrived, 0);
		atomic_store(&gate->passed, passed + 1);
		return;
	}
	for (unsigned int i = 0; atomic_load(&gate->passed) == passed; i++) {
		if (i > GATE_SPINS)
			sched_yield();
		else
			__builtin_ia32_pause();
	}
}

/* The folders above @path, as mkdir -p. */
static void make_folders(const char *path)
{
	char *copy = strdup(path);

	if (!copy)
		die("no memory");
	for (char *p = strchr(copy + 1, '/'); p; p = strchr(p + 1, '/')) {
		*p = '\0';
		if (mkdir(copy, 0777) && errno != EEXIST)
			die("mkdir %s: %m", copy);
		*p = '/';
	}
	free(copy);
}

FILE *results_open(const char *path)
{
	FILE *f;

	make_folders(path);
	f = fopen(path, "w");
	if (!f)
		die("%s: %m", path);
	fputc('[', f);
	return f;
}

void results_row(FILE *f, const char *members, ...)
{
	va_list args;

	fputs(ftell(f) > 1 ? ",\n  {" : "\n  {", f);
	va_start(args, members);
	vfprintf(f, members, args);
	va_end(args);
	fputc('}', f);
}

void results_close(FILE *f, const char *path)
{
	fputs("\n]\n", f);
	if (ferror(f) | fclose(f))
		die("%s: %m", path);
	printf("\n%s written\n", path);
}

void print_machine(void)
{
	char line[256], model[128] = "unknown CPU";
	FILE *f = fopen("/proc/cpuinfo", "r");
	struct utsname uts;

	while (f && fgets(line, sizeof(line), f))
		if (sscanf(line, "model name : %127[^\n]", model) == 1)
			break;
	if (f)
		fclose(f);
	uname(&uts);
	printf("libuffdstm %s, %s, %ld CPUs, Linux %s", stm_version(), model, sysconf(_SC_NPROCESSORS_ONLN),
	       uts.release);
}
