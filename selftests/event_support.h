/* SPDX-License-Identifier: MIT */
/*
 * event_support.h - a program that records, and conflicts that are sure to happen: in the first attempt of a victim
 * another thread begins, writes, commits and ends. To be included by one file of a test.
 */
#ifndef STM_SELFTESTS_EVENT_SUPPORT_H
#define STM_SELFTESTS_EVENT_SUPPORT_H

#include <errno.h>
#include <sys/stat.h>

#include <uffdstm.h>

#include "event_reader.h"
#include "support.h"

#define NOINLINE __attribute__((__noinline__))
#define COUNT(array) (sizeof(array) / sizeof((array)[0]))

/* Behind an access on the same line, it tells which line that is. */
#define NOTE(line) ((line) = __LINE__)

/* A transaction, and the line where it begins. */
#define ATOMIC_AT(line) NOTE(line); STM_ATOMIC

static char log_dir[] = "/tmp/uffdstm-events-XXXXXX";
static char log_path[64];

UNUSED static struct stm_stats stats(void)
{
	struct stm_stats s;

	if (stm_stats(&s, sizeof(s)))
		abort();
	return s;
}

UNUSED static struct stm_options options_for_log(void)
{
	struct stm_options options = STM_OPTIONS_INIT;

	options.heap_size = (size_t)64 << 20;
	options.event_log = log_path;
	return options;
}

/* What this process finds in its environment is for others. */
UNUSED static void forget_environment(void)
{
	unsetenv("UFFDSTM_LOG");
	unsetenv("UFFDSTM_LOG_SAMPLE");
	unsetenv("UFFDSTM_LOG_READERS");
	unsetenv("UFFDSTM_LOG_BUFFER");
}

UNUSED static void make_log_dir(void)
{
	forget_environment();
	if (!mkdtemp(log_dir))
		abort();
	snprintf(log_path, sizeof(log_path), "%s/log", log_dir);
}

UNUSED static void remove_log_dir(void)
{
	char command[128];

	snprintf(command, sizeof(command), "rm -rf %s", log_dir);
	if (system(command))
		abort();
}

UNUSED static void record_with(const struct stm_options *options)
{
	int error = stm_init(options);

	if (!error)
		error = stm_thread_attach();
	if (error) {
		fprintf(stderr, "# stm_init, stm_thread_attach: %s\n", stm_strerror(error));
		abort();
	}
}

/* ---- a victim and its rival ---- */

struct duel {
	void (*read)(void);             /* by the victim, in each attempt */
	void (*write)(void);            /* by its rival, in one transaction */
	void (*around)(void);           /* by its rival, in one before that and one behind; or NULL */
	unsigned int times;             /* attempts of the victim that are in vain; 0: one */
	int (*after)(void *arg);        /* the rest of the victim's attempt; NULL: it writes elsewhere */
	volatile unsigned int attempts;
	int victim_line, rival_line;    /* where their transactions begin */
	pid_t rival;
};

static long STM *elsewhere;

static void run_around(const struct duel *duel)
{
	if (duel->around)
		STM_ATOMIC {
			duel->around();
		}
}

static int rival_fn(void *arg)
{
	struct duel *duel = arg;

	duel->write();
	return 0;
}

static void *be_rival(void *arg)
{
	struct duel *duel = arg;

	duel->rival = gettid();
	pthread_setname_np(pthread_self(), "rival");
	if (stm_thread_attach())
		abort();
	run_around(duel);
	stm_atomic(rival_fn, duel), NOTE(duel->rival_line);
	run_around(duel);
	if (stm_thread_detach())
		abort();
	return NULL;
}

static int victim_fn(void *arg)
{
	struct duel *duel = arg;

	duel->read();
	if (duel->attempts++ < (duel->times ? duel->times : 1))
		in_thread(be_rival, duel);
	if (duel->after)
		return duel->after(duel);
	STM_SET(*elsewhere, STM_GET(*elsewhere) + 1);
	return 0;
}

UNUSED static int fight(struct duel *duel)
{
	duel->attempts = 0;
	return stm_atomic(victim_fn, duel), NOTE(duel->victim_line), 0;
}

#endif
