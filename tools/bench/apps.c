/* SPDX-License-Identifier: MIT */
/*
 * apps.c - the application benchmark: options, and the processes that take turns
 *
 * For each application there is a process (this program again, with -c) for each peer and number of threads. All of
 * them make a first round, to warm up; then each makes one round in turn, in an order that moves on. So a
 * slow minute of the machine hits all. Every round's result is compared with the one of sequential code.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <spawn.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "apps.h"

#define DEFAULT_JSON "build/bench/apps.json"

extern char **environ;

const struct peer peers[PEERS] = {
	[PEER_SEQ] = { "seq", &impl_seq, 0, NULL },
	{ "mutex", &impl_mutex, 0, NULL },
	{ "rwlock", &impl_rwlock, APP_READS, NULL },
	{ "fine", &impl_fine, APP_FINE, NULL },
	{ "omp", &impl_omp, 0, NULL },
	{ "libitm-ml_wt", &impl_libitm, 0, "ml_wt" },
	{ "libitm-gl_wt", &impl_libitm, 0, "gl_wt" },
	[PEER_STM] = { "stm", &impl_stm, 0, NULL },
};

static void usage(FILE *to)
{
	fprintf(to,
		"usage: apps [-qz] [-r ROUNDS] [-a APP] [-i IMPL] [-t N,N..] [-o FILE]\n"
		"\n"
		"  -r ROUNDS    so many times all in turn, after a first one that does not count (default 7)\n"
		"  -a APP       only applications with this in their name:");
	for (unsigned int i = 0; i < apps_count; i++)
		fprintf(to, "%s%s", i % 5 ? " " : "\n                 ", impl_seq.apps[i].name);
	fprintf(to, "\n  -i IMPL      only implementations with this in their name:\n                ");
	for (unsigned int i = 0; i < PEERS; i++)
		fprintf(to, " %s", peers[i].name);
	fprintf(to,
		"\n"
		"  -t N,N..     numbers of threads (default 1,2)\n"
		"  -o FILE      where the figures go (default " DEFAULT_JSON ")\n"
		"  -z           small sizes, for tests: times mean nothing\n"
		"  -x IMPL      take this implementation's results for wrong: to test the check\n"
		"  -q           no progress\n"
		"\n"
		"Exit status: 0; 1 if a result was wrong or something could not be run. Bars do not count.\n");
}

/* ---- children ---- */

/* What does not answer is dead: *@status says how. */
static bool ask(const struct child *child, struct answer *answer)
{
	size_t n = 0;

	while (n < sizeof(*answer)) {
		const ssize_t ret = read(child->from, (char *)answer + n, sizeof(*answer) - n);

		if (ret < 0 && errno == EINTR)
			continue;
		if (ret <= 0)
			return false;
		n += (size_t)ret;
	}
	return true;
}

static char **environment_with(const char *name, const char *value)
{
	const size_t len = strlen(name);
	char **copy, *entry;
	size_t n = 0, k = 0;

	while (environ[n])
		n++;
	copy = calloc(n + 2, sizeof(*copy));
	if (!copy || asprintf(&entry, "%s=%s", name, value) < 0)
		die("no memory");
	copy[k++] = entry;
	for (size_t i = 0; i < n; i++)
		if (strncmp(environ[i], name, len) || environ[i][len] != '=')
			copy[k++] = environ[i];
	return copy;
}

static struct child child_start(const struct settings *s, const struct app *app, const struct peer *peer,
				unsigned int threads)
{
	char number[16];
	char *args[] = { "apps", "-c", "-a", (char *)app->name, "-i", (char *)peer->name, "-t", number,
			 s->small ? "-z" : NULL, NULL };
	char **environment = peer->itm_method ? environment_with("ITM_DEFAULT_METHOD", peer->itm_method) : environ;
	posix_spawn_file_actions_t actions;
	struct child child;
	int to[2], from[2], ret;
	pid_t pid;

	snprintf(number, sizeof(number), "%u", threads);
	if (pipe2(to, O_CLOEXEC) || pipe2(from, O_CLOEXEC))
		die("pipe: %m");
	posix_spawn_file_actions_init(&actions);
	posix_spawn_file_actions_adddup2(&actions, to[0], STDIN_FILENO);
	posix_spawn_file_actions_adddup2(&actions, from[1], STDOUT_FILENO);
	ret = posix_spawn(&pid, "/proc/self/exe", &actions, NULL, args, environment);
	if (ret)
		die("posix_spawn of /proc/self/exe: %s", strerror(ret));
	posix_spawn_file_actions_destroy(&actions);
	close(to[0]);
	close(from[1]);
	if (environment != environ) {
		free(environment[0]);
		free(environment);
	}
	child = (struct child){ .pid = pid, .to = to[1], .from = from[0] };
	return child;
}

/* 0, or what is wrong with how it ended. */
static int child_end(const struct child *child, const char *what)
{
	int status;

	close(child->to);
	close(child->from);
	if (waitpid(child->pid, &status, 0) != child->pid)
		die("waitpid: %m");
	if (WIFSIGNALED(status))
		fprintf(stderr, "apps: %s: killed by signal %d (%s)\n", what, WTERMSIG(status),
			strsignal(WTERMSIG(status)));
	return status;
}

/* ---- one application ---- */

struct contestant {
	const struct peer *peer;
	unsigned int threads;
	struct cell *cell;      /* NULL: for the reference only */
	struct child child;
	bool dead;
	char what[80];
};

static const char *left_out(const struct settings *s, const struct app *app, const struct peer *peer)
{
	if (s->peer && !strstr(peer->name, s->peer))
		return "not asked for";
	if ((app->has & peer->needs) != peer->needs)
		return "nothing of its own";
	return peer->impl->missing;
}

/* A round of one, and whether its result is right. The first of all gives the reference. */
static void measure(const struct settings *s, struct contestant *c, unsigned int round, uint64_t *reference,
		    bool first)
{
	struct answer answer;
	bool verified = true;

	if (c->dead)
		return;
	if (!ask(&c->child, &answer)) {
		fprintf(stderr, "apps: %s: ended without a result\n", c->what);
		c->dead = true;
		verified = false;
	} else {
		if (first)
			*reference = answer.result;
		if (s->spoil && !strcmp(s->spoil, c->peer->name))
			answer.result++;
		if (answer.wrong[0]) {
			fprintf(stderr, "apps: %s: %s\n", c->what, answer.wrong);
			verified = false;
		} else if (answer.result != *reference) {
			fprintf(stderr, "apps: %s: result %#llx, but that of sequential code is %#llx\n", c->what,
				(unsigned long long)answer.result, (unsigned long long)*reference);
			verified = false;
		}
	}
	if (!c->cell)
		return;
	c->cell->verified &= verified;
	if (round)
		c->cell->seconds[round - 1] = c->dead ? 0 : answer.seconds;
}

static void app_run(const struct settings *s, struct cell *cells, unsigned int a)
{
	const struct app *app = &impl_seq.apps[a];
	struct contestant list[1 + PEERS * THREADS_MOST];
	unsigned int n = 0;
	uint64_t reference = 0;

	/* For the reference, even if it is not measured. */
	list[n++] = (struct contestant){ .peer = &peers[PEER_SEQ], .threads = 1 };
	for (unsigned int t = 0; t < s->threads_n; t++) {
		for (unsigned int p = 0; p < PEERS; p++) {
			struct contestant *c = &list[p == PEER_SEQ ? 0 : n];

			if (left_out(s, app, &peers[p]) || (p == PEER_SEQ && s->threads[t] != 1))
				continue;
			n += c != list;
			*c = (struct contestant){ .peer = &peers[p], .threads = s->threads[t] };
			c->cell = cell_of(cells, a, t, p);
			c->cell->verified = true;
			c->cell->seconds = calloc(s->rounds, sizeof(double));
			if (!c->cell->seconds)
				die("no memory");
		}
	}
	for (unsigned int i = 0; i < n; i++) {
		snprintf(list[i].what, sizeof(list[i].what), "%s, %s, %u threads", app->name, list[i].peer->name,
			 list[i].threads);
		list[i].child = child_start(s, app, list[i].peer, list[i].threads);
		measure(s, &list[i], 0, &reference, i == 0);
	}
	for (unsigned int round = 1; round <= s->rounds; round++) {
		if (!s->quiet && isatty(STDERR_FILENO))
			fprintf(stderr, "\r\033[K%s, round %u of %u", app->name, round, s->rounds);
		for (unsigned int k = 0; k < n; k++) {
			struct contestant *c = &list[(k + round) % n];

			if (!c->cell || c->dead)
				continue;
			c->dead = write(c->child.to, "r", 1) != 1;
			measure(s, c, round, &reference, false);
		}
	}
	for (unsigned int i = 0; i < n; i++) {
		const bool ended_well = !child_end(&list[i].child, list[i].what);

		if (!list[i].cell)
			continue;
		list[i].cell->verified &= ended_well && !list[i].dead;
		list[i].cell->median = median(list[i].cell->seconds, s->rounds);
		list[i].cell->min = list[i].cell->seconds[0];
		list[i].cell->max = list[i].cell->seconds[s->rounds - 1];
	}
}

/* ---- all ---- */

struct cell *cell_of(struct cell *cells, unsigned int app, unsigned int threads_i, unsigned int peer)
{
	return &cells[(app * THREADS_MOST + threads_i) * PEERS + peer];
}

static int run_all(const struct settings *s)
{
	struct cell *cells = calloc((size_t)apps_count * THREADS_MOST * PEERS, sizeof(*cells));
	unsigned int measured = 0;
	int status = 0;

	if (!cells)
		die("no memory");
	print_machine();
	printf("; %u rounds after one to warm up%s\n", s->rounds, s->small ? ", small sizes" : "");
	for (unsigned int p = 0; p < PEERS; p++)
		if (peers[p].impl->missing)
			printf("%s is left out: %s\n", peers[p].name, peers[p].impl->missing);
	fflush(stdout);
	for (unsigned int a = 0; a < apps_count; a++)
		if (!s->app || strstr(impl_seq.apps[a].name, s->app))
			app_run(s, cells, a);
	if (!s->quiet && isatty(STDERR_FILENO))
		fprintf(stderr, "\r\033[K");
	print_apps(s, cells);
	write_apps(s, cells);
	for (unsigned int i = 0; i < apps_count * THREADS_MOST * PEERS; i++) {
		measured += !!cells[i].seconds;
		if (cells[i].seconds && !cells[i].verified)
			status = 1;
		free(cells[i].seconds);
	}
	free(cells);
	if (!measured)
		die("nothing is of that name: see apps -h");
	return status;
}

/* What a child is to run, by exact names. */
static int run_child(const struct settings *s)
{
	for (unsigned int a = 0; a < apps_count; a++)
		for (unsigned int p = 0; p < PEERS; p++)
			if (!strcmp(impl_seq.apps[a].name, s->app) && !strcmp(peers[p].name, s->peer))
				return child_main(&peers[p].impl->apps[a], &peers[p], s->threads[0], s->small);
	die("-c: no application %s or no implementation %s", s->app, s->peer);
}

static void threads_read(struct settings *s, char *text)
{
	s->threads_n = 0;
	for (char *part; (part = strsep(&text, ","));) {
		if (s->threads_n == THREADS_MOST)
			die("-t: more than %u numbers", THREADS_MOST);
		s->threads[s->threads_n] = option_number(part, "-t");
		if (s->threads[s->threads_n++] > 64)
			die("-t %s: more threads than the library has segments, 64", part);
	}
}

int main(int argc, char **argv)
{
	struct settings s = { .rounds = 7, .threads = { 1, 2 }, .threads_n = 2, .json = DEFAULT_JSON };
	bool child = false;
	int option;

	while ((option = getopt(argc, argv, "r:a:i:t:o:x:zqch")) != -1) {
		switch (option) {
		case 'r':
			s.rounds = option_number(optarg, "-r");
			break;
		case 'a':
			s.app = optarg;
			break;
		case 'i':
			s.peer = optarg;
			break;
		case 't':
			threads_read(&s, optarg);
			break;
		case 'o':
			s.json = optarg;
			break;
		case 'x':
			s.spoil = optarg;
			break;
		case 'z':
			s.small = true;
			break;
		case 'q':
			s.quiet = true;
			break;
		case 'c':
			child = true;
			break;
		case 'h':
			usage(stdout);
			return 0;
		default:
			usage(stderr);
			return 1;
		}
	}
	if (optind < argc) {
		usage(stderr);
		return 1;
	}
	if (child) {
		if (!s.app || !s.peer)
			die("-c: with -a and -i only");
		return run_child(&s);
	}
	signal(SIGPIPE, SIG_IGN); /* a child that died is reported */
	return run_all(&s);
}
