#!/bin/sh
# SPDX-License-Identifier: MIT
#
# valgrind_test.sh - programs with engines sigbus and async run under memcheck, with the same results, and its
# reports are as good as without the library.
#
# What it takes is told by uffdstm(7), "Debugging": the small layout, and registers that are right when a fault's
# handler runs. A library that has its handler thread cannot run: valgrind lets one thread run at a time, and
# does not notice that this one waits for a page.
set -u

tmp=$(mktemp -d)
trap 'rm -rf "$tmp"' EXIT

skip()
{
	echo "TAP version 13"
	echo "1..0 # SKIP $1"
	exit 4
}

[ -n "${UFFDSTM_SRC:-}" ] || skip "not run from the source tree (UFFDSTM_SRC)"
: "${UFFDSTM_BUILD:?set it to the build folder}"
command -v valgrind >/dev/null || skip "valgrind is not installed"
valgrind -q /bin/true >"$tmp/log" 2>&1 || skip "valgrind cannot run a program: $(head -n 1 "$tmp/log")"
[ "${UFFDSTM_ENGINE:-}" != thread ] || skip "not with engine thread"
[ -z "${UFFDSTM_STRICT:-}" ] || skip "not in strict mode"

cat > "$tmp/program.c" <<'END_OF_C'
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <uffdstm.h>

#define PAGES 300
#define STEP 512

static long STM *words;

static int add(void *arg)
{
	long n = *(long *)arg;

	STM_SET(words[n % PAGES * STEP], STM_GET(words[n % PAGES * STEP]) + 1);
	STM_SET(words[0], STM_GET(words[0]) + 1);
	return n % 7 == 3 ? 1 : 0; /* undone */
}

static void *work(void *arg)
{
	if (stm_thread_attach())
		abort();
	for (long n = 0; n < 700; n++)
		stm_atomic(add, &n);
	return arg;
}

/* Wrong on request: what memcheck finds in any program. */
static int choose(const char *what)
{
	int *volatile some = malloc(10 * sizeof(int));
	static volatile int n;

	STM_ATOMIC {
		if (!strcmp(what, "past"))
			n = some[10];
		if (!strcmp(what, "unset") && some[3])
			STM_SET(words[1], 1);
	}
	free(some);
	return n;
}

int main(int argc, char **argv)
{
	struct stm_stats stats;
	pthread_t threads[3];
	static volatile long sum;

	if (stm_init(NULL) || stm_thread_attach())
		return 1;
	STM_ATOMIC
		words = stm_zalloc(PAGES * 4096);
	for (int i = 0; i < 3; i++)
		pthread_create(&threads[i], NULL, work, NULL);
	for (int i = 0; i < 3; i++)
		pthread_join(threads[i], NULL);
	stm_thread_detach();
	stm_thread_attach();
	STM_ATOMIC {
		sum = 0;
		for (long n = 0; n < PAGES; n++)
			sum += STM_GET(words[n * STEP]);
		((volatile long STM *)words)[STEP + 1] = 5;     /* to a page that is mapped */
		((volatile long STM *)words)[299 * STEP + 1] = 5;
	}
	stm_stats(&stats, sizeof(stats));
	fprintf(stderr, "%s: words %ld, commits %s, faults %s\n", stats.engine, sum,
		stats.commits >= 1800 ? "all" : "lost", stats.faults[STM_FAULT_READ] ? "some" : "none");
	if (argc > 1 && choose(argv[1]) == 12345)
		return 1;
	return stm_fini();
}
END_OF_C

n=0 status=0
result()
{
	n=$((n + 1))
	if [ "$1" = 0 ]; then
		echo "ok $n $2"
	else
		sed 's/^/# /' "$tmp/log" | head -n 40
		echo "not ok $n $2"
		status=1
	fi
}

# Its own warnings about ioctls that it does not know are no errors.
check()
{
	timeout 240 valgrind -q --error-exitcode=99 --vex-iropt-register-updates=allregs-at-mem-access "$@" >"$tmp/log" 2>&1
}

echo "TAP version 13"
echo "1..7"
${CC:-gcc} -std=gnu11 -g -O2 -Wall -Wextra -Werror -Wno-clobbered -pthread -DSTM_SMALL_LAYOUT -I"$UFFDSTM_SRC/lib/include" \
	-fno-tree-vectorize -fno-ivopts -fno-builtin-memset -fno-builtin-memcpy \
	-o "$tmp/program" "$tmp/program.c" "$UFFDSTM_BUILD/small/libuffdstm.a" -luring >"$tmp/log" 2>&1
result $? "the program compiles"
[ $status = 0 ] || exit 1

# 3 threads of 700 transactions, of which 100 cancel: 1,800 on one word, and as many on all
"$tmp/program" >"$tmp/log" 2>&1 && grep -q "words 3600, commits all, faults some" "$tmp/log"
result $? "it runs by itself"
native=$(sed 's/^[a-z]*: //' "$tmp/log")

for engine in sigbus async; do
	UFFDSTM_ENGINE=$engine check "$tmp/program"
	code=$?
	if grep -q "^libuffdstm: engine $engine" "$tmp/log"; then
		n=$((n + 1))
		echo "ok $n engine $engine # SKIP $(grep "^libuffdstm:" "$tmp/log")"
		continue
	fi
	[ $code = 0 ] && grep -q "^$engine: $native\$" "$tmp/log"
	result $? "engine $engine: no errors, and the same results"
done

check "$UFFDSTM_BUILD/small/tools/samples/finddup" -q -v -t 2 "$UFFDSTM_SRC/lib" && grep -q "builds the same table" "$tmp/log"
result $? "finddup: no errors, and the table of a sequential program"

check "$tmp/program" past
[ $? = 99 ] && grep -q "Invalid read of size 4" "$tmp/log"
result $? "a read past a block is found, in a transaction"
check "$tmp/program" unset
[ $? = 99 ] && grep -q "depends on uninitialised value" "$tmp/log"
result $? "a decision on memory that was never set is found, in a transaction"
exit $status
