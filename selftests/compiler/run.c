/* SPDX-License-Identifier: MIT */
/*
 * Run cases in memory addressed by %gs, without the library.
 *
 * The %gs base is set so that the STM pointer STM_HEAP names an ordinary mapping, the view.
 * At the ordinary address STM_HEAP lies a decoy of other contents: an access that lost
 * its %gs prefix reads wrong data there, or changes it, and is found out without a crash.
 * Each case runs in a child of its own, so that it may do any harm.
 *
 * Prints one line a case, "ok NAME" or "bad NAME: REASON", and "end" once all have run.
 */
#include <asm/prctl.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "run.h"

/* Bytes on both sides of each window, for a case that runs past it. A multiple of the page size. */
#define MARGIN 16384
#define MAPPED (MARGIN + CASE_WINDOW + MARGIN)

static unsigned char *view, *decoy, *ordinary;          /* windows in their mappings */
static unsigned char *model_heap, *model_ordinary;

static void *map(void *at, int flags)
{
	unsigned char *p = mmap(at, MAPPED, PROT_READ | PROT_WRITE,
				MAP_PRIVATE | MAP_ANONYMOUS | flags, -1, 0);

	if (p == MAP_FAILED) {
		fprintf(stderr, "mmap of %d bytes at %p: %s\n", MAPPED, at, strerror(errno));
		exit(1);
	}
	return p + MARGIN;
}

/* Noise with a zero every now and then, so that strings end; differs by @seed in every byte. */
static void fill(unsigned char *window, unsigned char seed)
{
	unsigned int x = 12345;

	for (long i = -MARGIN; i < CASE_WINDOW + MARGIN; i++) {
		x = x * 1664525 + 1013904223;
		window[i] = (x >> 24) ^ seed;
	}
}

/* Offset of the first byte that differs; the end of the mapping if none does. */
static long differs(const unsigned char *a, const unsigned char *b)
{
	if (!memcmp(a - MARGIN, b - MARGIN, MAPPED))
		return CASE_WINDOW + MARGIN;
	for (long i = -MARGIN;; i++)
		if (a[i] != b[i])
			return i;
}

static _Noreturn void report(const char *name, const char *what, long where)
{
	printf("bad %s: %s %ld\n", name, what, where);
	fflush(stdout);
	_exit(0);
}

/* Pointers inside the heap: the model's are moved to where the view's lie. */
static void relocate(unsigned char *heap)
{
	const unsigned long from = (unsigned long)model_heap;

	for (long i = 0; i + 8 <= CASE_WINDOW; i += 8) {
		unsigned long v;

		memcpy(&v, heap + i, 8);
		if (v >= from && v < from + CASE_WINDOW) {
			v = v - from + STM_HEAP;
			memcpy(heap + i, &v, 8);
		}
	}
}

static void run(const struct view_case *c, const struct model_case *m)
{
	unsigned char *untouched = map(NULL, 0);
	unsigned char STM *h = (unsigned char STM *)STM_HEAP;
	const long end = CASE_WINDOW + MARGIN;
	long result, expected, at;

	fill(view, 0);
	fill(model_heap, 0);
	fill(ordinary, 0x33);
	fill(model_ordinary, 0x33);
	fill(decoy, 0x99);
	fill(untouched, 0x99);

	result = c->run(h, ordinary, CASE_LOOP);
	expected = m->run(model_heap, model_ordinary, CASE_LOOP);
	relocate(model_heap);

	at = differs(decoy, untouched);
	if (at != end)
		report(c->name, "stored without %gs at", at);
	at = differs(view, model_heap);
	if (at != end)
		report(c->name, "wrong heap at", at);
	at = differs(ordinary, model_ordinary);
	if (at != end)
		report(c->name, "wrong ordinary memory at", at);
	if (result != expected)
		report(c->name, "wrong result", result);
	printf("ok %s\n", c->name);
	fflush(stdout);
	_exit(0);
}

int main(void)
{
	unsigned long segment;
	struct stm_hot *hot;

	view = map(NULL, 0);
	ordinary = map(NULL, 0);
	model_heap = map(NULL, 0);
	model_ordinary = map(NULL, 0);
	decoy = map((void *)(STM_HEAP - MARGIN), MAP_FIXED_NOREPLACE);
	if (decoy != (unsigned char *)STM_HEAP) {
		fprintf(stderr, "address %#lx is taken\n", (unsigned long)STM_HEAP);
		return 1;
	}
	segment = (unsigned long)view - STM_HEAP;
	hot = mmap((void *)(segment + STM_HOT), 4096, PROT_READ | PROT_WRITE,
		   MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED_NOREPLACE, -1, 0);
	if (hot != (struct stm_hot *)(segment + STM_HOT)) {
		fprintf(stderr, "mmap of the hot page: %s\n", strerror(errno));
		return 1;
	}
	hot->segment = segment;
	if (syscall(SYS_arch_prctl, ARCH_SET_GS, segment)) {
		fprintf(stderr, "arch_prctl(ARCH_SET_GS): %s\n", strerror(errno));
		return 1;
	}
	for (int i = 0; view_cases[i].name; i++) {
		int status;
		pid_t child;

		if (!model_cases[i].name || strcmp(model_cases[i].name, view_cases[i].name)) {
			fprintf(stderr, "%s: not in the model\n", view_cases[i].name);
			return 1;
		}
		child = fork();
		if (!child)
			run(&view_cases[i], &model_cases[i]);
		if (child < 0 || waitpid(child, &status, 0) != child) {
			fprintf(stderr, "fork, waitpid: %s\n", strerror(errno));
			return 1;
		}
		if (WIFSIGNALED(status)) {
			printf("bad %s: killed by signal %d\n", view_cases[i].name, WTERMSIG(status));
			fflush(stdout);
		}
	}
	puts("end");
	return 0;
}
