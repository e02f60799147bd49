/* SPDX-License-Identifier: MIT */
/*
 * apps_child.c - one application as one peer with some threads, round after round, as the parent says
 *
 * Its threads live, pinned and attached, from the first round to the last: what is measured is not how memory is first
 * touched. Between rounds all of them sleep, so that they do not disturb the others' rounds. The first round is
 * the warm-up.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <limits.h>
#include <malloc.h>
#include <semaphore.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "apps.h"

struct team {
	const struct app *app;
	const struct impl *impl;
	struct run run;
	sem_t begin;            /* a round begins: for all threads but the first */
	bool over;
	/* Of each thread's work. It may begin, and be done, before another thread gets a CPU. */
	struct times {
		uint64_t start, end;
	} *times;
};

/* A call of its own, so that callgrind can count what is in it: --toggle-collect=work. */
static __attribute__((__noinline__)) void work(struct team *team, unsigned int id)
{
	gate_wait(&team->run.gate);
	team->times[id].start = now();
	team->app->work(&team->run, id);
	team->times[id].end = now();
	gate_wait(&team->run.gate);
}

static struct answer round_run(struct team *team)
{
	struct run *run = &team->run;
	struct answer answer = { 0 };
	const char *wrong;
	uint64_t start = UINT64_MAX, end = 0;

	team->app->make(run);
	for (unsigned int i = 1; i < run->threads; i++)
		sem_post(&team->begin);
	work(team, 0);
	for (unsigned int i = 0; i < run->threads; i++) {
		start = team->times[i].start < start ? team->times[i].start : start;
		end = team->times[i].end > end ? team->times[i].end : end;
	}
	answer.seconds = (double)(end - start) / 1e9;
	wrong = team->app->check(run, &answer.result);
	if (wrong)
		snprintf(answer.wrong, sizeof(answer.wrong), "%s", wrong);
	team->app->clear(run);
	return answer;
}

static void lead(struct team *team)
{
	char command;

	do {
		const struct answer answer = round_run(team);

		if (write(STDOUT_FILENO, &answer, sizeof(answer)) != sizeof(answer))
			die("cannot answer: %m");
	} while (read(STDIN_FILENO, &command, 1) == 1);
	team->over = true;
	for (unsigned int i = 1; i < team->run.threads; i++)
		sem_post(&team->begin);
}

static void member(unsigned int id, void *arg)
{
	struct team *team = arg;

	pin(id);
	team->impl->attach();
	if (id == 0) {
		lead(team);
	} else {
		for (;;) {
			while (sem_wait(&team->begin))
				;       /* a signal */
			if (team->over)
				break;
			work(team, id);
		}
	}
	team->impl->detach();
}

int child_main(const struct app *app, const struct peer *peer, unsigned int threads, bool small)
{
	static _Alignas(64) struct team team;

	cpus_read();
	/* What a round frees is the next one's, and the system need not give it again. */
	mallopt(M_MMAP_MAX, 0);
	mallopt(M_TRIM_THRESHOLD, INT_MAX);
	team.app = app;
	team.impl = peer->impl;
	team.run.parameters = small ? app->small : app->parameters;
	team.run.threads = threads;
	team.run.gate.threads = threads;
	team.times = calloc(threads, sizeof(*team.times));
	if (!team.times || sem_init(&team.begin, 0, 0))
		die("no memory for %u threads", threads);
	peer->impl->start();
	peer->impl->team(threads, member, &team);
	free(team.times);
	return 0;
}
