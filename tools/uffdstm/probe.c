// SPDX-License-Identifier: MIT
/*
 * probe.c - run a probe where it can do no harm: in a child, with a time limit, its standard error kept.
 */
#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include "check.h"

#define PATIENCE_MS 20000       /* the slowest takes milliseconds: who needs this long, hangs */

void found(struct finding *finding, enum verdict verdict, const char *format, ...)
{
	va_list args;

	finding->verdict = verdict;
	va_start(args, format);
	vsnprintf(finding->detail, sizeof(finding->detail), format, args);
	va_end(args);
}

void advise(struct finding *finding, const char *format, ...)
{
	va_list args;

	va_start(args, format);
	vsnprintf(finding->advice, sizeof(finding->advice), format, args);
	va_end(args);
}

static void in_child(const struct probe *probe, int out)
{
	struct finding finding = { .verdict = WORKS };

	prctl(PR_SET_PDEATHSIG, SIGKILL);
	probe->run(&finding);
	_exit(write(out, &finding, sizeof(finding)) == sizeof(finding) ? 0 : 1);
}

/* How a child ended that told nothing. */
static void explain_end(struct finding *finding, int status, bool hung)
{
	if (hung) {
		found(finding, FORBIDDEN, "it hangs: no answer within %d s", PATIENCE_MS / 1000);
	} else if (WIFSIGNALED(status) && WTERMSIG(status) == SIGSYS) {
		finding->error = EPERM;
		found(finding, FORBIDDEN, "a seccomp filter kills whoever tries it");
		advise(finding, "allow the system call in the filter of the container or service");
	} else if (WIFSIGNALED(status)) {
		found(finding, FORBIDDEN, "who tries it is killed by SIG%s", sigabbrev_np(WTERMSIG(status)));
	} else {
		found(finding, FORBIDDEN, "the try ended with status %d", WEXITSTATUS(status));
	}
}

void probe_run(const struct probe *probe, struct finding *finding)
{
	int channel[2], status = 0;
	struct pollfd ready;
	bool hung, told;
	pid_t child;

	memset(finding, 0, sizeof(*finding));
	if (pipe(channel)) {
		finding->error = errno;
		found(finding, UNTESTED, "pipe: %s", errno_name(errno));
		return;
	}
	child = fork();
	if (child == 0) {
		close(channel[0]);
		in_child(probe, channel[1]);
	}
	close(channel[1]);
	if (child < 0) {
		finding->error = errno;
		found(finding, UNTESTED, "fork: %s", errno_name(errno));
		close(channel[0]);
		return;
	}
	ready = (struct pollfd){ .fd = channel[0], .events = POLLIN };
	hung = poll(&ready, 1, PATIENCE_MS) == 0;
	if (hung)
		kill(child, SIGKILL);
	told = !hung && read(channel[0], finding, sizeof(*finding)) == sizeof(*finding);
	close(channel[0]);
	waitpid(child, &status, 0);
	if (!told) {
		memset(finding, 0, sizeof(*finding));
		explain_end(finding, status, hung);
	}
}
