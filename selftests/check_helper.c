// SPDX-License-Identifier: MIT
/*
 * check_helper.c - what check_test.sh cannot say in shell.
 *
 *   deny CALL ANSWER [ARGUMENT] PROGRAM...   run it where system call number CALL (whose second argument is ARGUMENT, if that
 *                                            is a number) gives errno ANSWER, or kills if that is "kill"
 *   json FILE    each feature of a report of uffdstm check: name, title, need, verdict, between tabs; then, behind
 *                "result", the result, and the exit status that the features mean
 */
#include <errno.h>
#include <json-c/json.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <unistd.h>

#define SKIP 4

static int call_number(const char *name)
{
	static const struct {
		const char *name;
		int number;
	} calls[] = {
		{ "userfaultfd", SYS_userfaultfd },
		{ "membarrier", SYS_membarrier },
		{ "memfd_create", SYS_memfd_create },
		{ "io_uring_setup", SYS_io_uring_setup },
		{ "io_uring_enter", SYS_io_uring_enter },
		{ "io_uring_register", SYS_io_uring_register },
		{ "ioctl", SYS_ioctl },
		{ "poll", SYS_poll },
		{ "epoll_create1", SYS_epoll_create1 },
	};

	for (size_t i = 0; i < sizeof(calls) / sizeof(calls[0]); i++)
		if (!strcmp(name, calls[i].name))
			return calls[i].number;
	fprintf(stderr, "check_helper: %s: not in its list\n", name);
	exit(99);
}

static int deny(char **argv)
{
	unsigned int call = (unsigned int)call_number(argv[0]), argument = 0;
	unsigned int answer = !strcmp(argv[1], "kill") ? SECCOMP_RET_KILL_PROCESS :
			      SECCOMP_RET_ERRNO | (unsigned int)atoi(argv[1]);
	char *end = argv[2];

	argument = (unsigned int)strtoul(argv[2], &end, 0);
	int any = end == argv[2] || *end;
	struct sock_filter code[] = {
		BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
		BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, call, 0, any ? 1 : 3),
		any ? (struct sock_filter)BPF_STMT(BPF_RET | BPF_K, answer) :
		      (struct sock_filter)BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, args[1])),
		any ? (struct sock_filter)BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW) :
		      (struct sock_filter)BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, argument, 0, 1),
		BPF_STMT(BPF_RET | BPF_K, answer),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
	};
	struct sock_fprog program = { .len = sizeof(code) / sizeof(code[0]), .filter = code };

	if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) || prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program))
		return SKIP;
	argv += any ? 2 : 3;
	execv(argv[0], argv);
	perror(argv[0]);
	return 99;
}

static const char *text(struct json_object *object, const char *key)
{
	struct json_object *value;

	if (!json_object_object_get_ex(object, key, &value) || !json_object_is_type(value, json_type_string)) {
		fprintf(stderr, "check_helper: no text \"%s\"\n", key);
		exit(99);
	}
	return json_object_get_string(value);
}

static int json(const char *path)
{
	struct json_object *report = json_object_from_file(path), *features;
	int status = 0;

	if (!report || !json_object_object_get_ex(report, "features", &features)) {
		fprintf(stderr, "check_helper: %s: %s\n", path, report ? "no features" : json_util_get_last_err());
		return 99;
	}
	for (size_t i = 0; i < json_object_array_length(features); i++) {
		struct json_object *feature = json_object_array_get_idx(features, i);
		const char *need = text(feature, "need"), *verdict = text(feature, "verdict");
		int means = 0;

		printf("%s\t%s\t%s\t%s\n", text(feature, "name"), text(feature, "title"), need, verdict);
		if (strcmp(verdict, "works") && !strcmp(need, "useful"))
			means = 1;
		if (strcmp(verdict, "works") && !strcmp(need, "needed"))
			means = strcmp(verdict, "limited") ? 2 : 1;
		status = means > status ? means : status;
	}
	printf("result\t%s\t%d\n", text(report, "result"), status);
	json_object_put(report);
	return 0;
}

int main(int argc, char **argv)
{
	if (argc > 4 && !strcmp(argv[1], "deny"))
		return deny(argv + 2);
	if (argc == 3 && !strcmp(argv[1], "json"))
		return json(argv[2]);
	return 99;
}
