// SPDX-License-Identifier: MIT
/*
 * probe.c - run a probe where it can do no harm: in a child, with a time limit.
 */
#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include "check.h"

#define PATIENCE_MS 20000       /* the slowest probe takes milliseconds: what needs this long, hangs */

static void __attribute__((__noreturn__)) in_child(const struct probe *probe, int out)
{
	struct finding finding = { .verdict = WORKS };
	struct rlimit no_core = { 0, 0 };

	sigset_t none;

	/* Not as whoever started this left them: page faults are signals, and a limit shall answer, not kill. */
	sigemptyset(&none);
	sigprocmask(SIG_SETMASK, &none, NULL);
	signal(SIGBUS, SIG_DFL);
	signal(SIGXFSZ, SIG_IGN);
	prctl(PR_SET_PDEATHSIG, SIGKILL);
	setrlimit(RLIMIT_CORE, &no_core);
	probe->run(&finding);
	_exit(write(out, &finding, sizeof(finding)) == sizeof(finding) ? 0 : 1);
}

/* How a child ended that told nothing. */
static void explain_end(struct finding *finding, int status, bool hung)
{
	if (hung) {
		found(finding, FORBIDDEN, "no answer within %d s", PATIENCE_MS / 1000);
	} else if (WIFSIGNALED(status) && WTERMSIG(status) == SIGSYS) {
		found(finding, FORBIDDEN, "a seccomp filter kills whoever tries it");
		advise_seccomp(finding, "it");
	} else if (WIFSIGNALED(status)) {
		found(finding, FORBIDDEN, "whoever tries it is killed by SIG%s", sigabbrev_np(WTERMSIG(status)));
	} else {
		found(finding, FORBIDDEN, "the attempt ended with exit status %d", WEXITSTATUS(status));
	}
	if (!*finding->advice)
		advise(finding, "look for a security module or sandbox that interferes, and report it if there is none");
}

static void untested(struct finding *finding, const char *call)
{
	finding->error = errno;
	found(finding, UNTESTED, "%s: %s", call, errno_name(errno));
	advise(finding, "free memory, or raise the limits of open files and processes, and try again");
}

void probe_run(const struct probe *probe, struct finding *finding)
{
	int channel[2], status = 0;
	struct pollfd ready;
	bool hung, told;
	pid_t child;

	signal(SIGCHLD, SIG_DFL); /* ignored, there would be no exit status */
	memset(finding, 0, sizeof(*finding));
	if (pipe(channel)) {
		untested(finding, "pipe");
		return;
	}
	child = fork();
	if (child == 0)
		in_child(probe, channel[1]);
	if (child < 0)
		untested(finding, "fork");
	close(channel[1]);
	if (child < 0) {
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
