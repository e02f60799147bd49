#!/bin/sh
# SPDX-License-Identifier: MIT
#
# gdb_test.sh - tools/gdb/uffdstm-gdb.py prints what the selected thread sees.
#
# A program stops with threads that see different states of the same objects: `reader` an old
# snapshot, `writer` its own uncommitted store, `late` a commit whose page its view has not mapped,
# while `reader` keeps that commit from being folded. `stranger` is not attached, but inherited
# the %gs base of the main thread.
set -u

tmp=$(mktemp -d)
trap 'rm -rf "$tmp"' EXIT

skip()
{
	echo "TAP version 13"
	echo "1..0 # SKIP $1"
	exit 4
}

debug()
{
	gdb -nx -batch -iex "set debuginfod enabled off" -iex "set pagination off" -iex "set width 0" "$@" </dev/null
}

[ -n "${UFFDSTM_SRC:-}" ] || skip "not run from the source tree (UFFDSTM_SRC)"
: "${UFFDSTM_BUILD:?set it to the build folder}"
command -v gdb >/dev/null || skip "gdb is not installed"
debug -ex "python print('scripts work')" 2>&1 | grep -q "scripts work" ||
	skip "this gdb has no Python"
debug -ex run /bin/true 2>&1 | grep -q "exited normally" ||
	skip "gdb cannot run a program: ptrace(2) is not allowed here"

cat > "$tmp/program.c" <<'END'
#define _GNU_SOURCE
#include <pthread.h>
#include <semaphore.h>
#include <stdio.h>
#include <uffdstm.h>

struct node {
	struct node STM *next;
	long key;
	long many[16];
	char STM *name;
	unsigned int bits : 3;
};

struct node STM *list;
long STM *untouched;
static sem_t ready, go_on;
static int wrong;

static void wait_for_gdb(void)
{
	sem_post(&ready);
	sem_wait(&go_on);
}

static int reader(void *arg)
{
	struct node STM *n = list;

	(void)arg;
	wrong |= STM_GET(n->key) != 1;
	wait_for_gdb();
	wrong |= STM_GET(n->key) != 1;
	return 0;
}

/* The log keeps large and small commits in different places. */
static int commit_large(void *arg)
{
	struct node STM *n = list;

	(void)arg;
	STM_SET(n->key, 2);
	n = STM_GET(n->next);
	for (int i = 0; i < 16; i++)
		STM_SET(n->many[i], 100 + i);
	return 0;
}

static int commit_small(void *arg)
{
	struct node STM *n = list;

	(void)arg;
	n = STM_GET(n->next);
	STM_SET(n->key, 11);
	return 0;
}

static int writer(void *arg)
{
	struct node STM *n = list;

	(void)arg;
	STM_SET(n->key, 3);
	wait_for_gdb();
	wrong |= STM_GET(n->key) != 3;
	return 0;
}

static int late(void *arg)
{
	struct node STM *n = list;

	(void)arg;
	wait_for_gdb();
	wrong |= STM_GET(n->key) != 2;
	return 0;
}

static void *run(void *arg)
{
	stm_fn *fn = *(stm_fn **)arg;

	pthread_setname_np(pthread_self(), fn == reader ? "reader" : fn == writer ? "writer" : "late");
	wrong |= stm_thread_attach();
	if (fn == writer)
		wrong |= stm_atomic(commit_large, NULL) | stm_atomic(commit_small, NULL);
	wrong |= stm_atomic(fn, NULL);
	wrong |= stm_thread_detach();
	return NULL;
}

static void *stranger(void *arg)
{
	pthread_setname_np(pthread_self(), "stranger");
	wait_for_gdb();
	return arg;
}

static int set_up(void *arg)
{
	struct node STM *n = stm_zalloc(sizeof(*n));

	(void)arg;
	n->key = 1;
	n->bits = 5;
	n->name = stm_alloc(sizeof("first"));
	stm_memcpy_in(n->name, "first", sizeof("first"));
	n->next = stm_zalloc(sizeof(*n));
	n->next->key = 10;
	list = n;
	return 0;
}

void everybody_waits(void)
{
}

int main(void)
{
	static stm_fn *const tasks[3] = { reader, writer, late };
	pthread_t threads[4];
	struct stm_stats stats;

	sem_init(&ready, 0, 0);
	sem_init(&go_on, 0, 0);
	wrong |= stm_init(NULL) | stm_thread_attach() | stm_atomic(set_up, NULL);
	wrong |= stm_stats(&stats, sizeof(stats));
	untouched = (long STM *)(STM_HEAP + stats.heap_bytes) - 1;
	for (int i = 0; i < 4; i++) {
		if (i == 3)
			pthread_create(&threads[i], NULL, stranger, NULL);
		else
			pthread_create(&threads[i], NULL, run, (void *)&tasks[i]);
		sem_wait(&ready);
	}
	everybody_waits();
	for (int i = 0; i < 4; i++)
		sem_post(&go_on);
	for (int i = 0; i < 4; i++)
		pthread_join(threads[i], NULL);
	wrong |= stm_fini();
	return !!wrong;
}
END

# Each line: thread, command, and a regular expression that all of the answer must match.
cat > "$tmp/cases" <<'END'
reader	stm print n->key	\(long\) 1
writer	stm print n->key	\(long\) 3
late	stm print n->key	\(long\) 2
reader	stm print n->next->many[15]	\(long\) 0
writer	stm print n->next->many[15]	\(long\) 115
late	stm print n->next->many[15]	\(long\) 115
late	stm print n->next->many[0] + n->next->key	\(long\) 111
reader	stm print/x n->next->key	\(long\) 0xa
reader	stm print n	\(struct node STM \*\) 0x18[0-9a-f]{8} = \{next = 0x18[0-9a-f]{8}, key = 1, many = \{0 <repeats 16 times>\}, name = 0x18[0-9a-f]{8} "first", bits = 5\}
writer	stm print *n	\(struct node\) \{next = 0x18[0-9a-f]{8}, key = 3, .*, name = 0x18[0-9a-f]{8} "first", bits = 5\}
late	stm print n->name	\(char STM \*\) 0x18[0-9a-f]{8} "first"
late	stm print n->next->key	\(long\) 11
late	stm print n->bits	\(unsigned int\) 5
late	stm print (*list).next[0].many[3]	\(long\) 103
late	stm print ((struct node STM *)(void *)n)->key == 2	\(int\) 1
late	stm print &n->next->many[2]	\(long STM \*\) 0x18[0-9a-f]{8} = 102
late	stm print *&n->next->many[2]@3	\(long \[3\]\) \{102, 103, 104\}
reader	stm print n->next->next	\(struct node \*\) 0x0
reader	stm print n->next->next->key	Cannot access memory at address 0x8
reader	stm print n->nothing	There is no member named nothing.
reader	stm print n->key = 7	The heap cannot be changed from gdb: only a transaction can.
reader	stm x/1dg &n->key	0x18[0-9a-f]{8}:\t1
writer	stm x/1dg &n->key	0x18[0-9a-f]{8}:\t3
late	stm x/1dg &n->key	The page of heap address 0x18[0-9a-f]{8} is not mapped in the view of thread [0-9]+, and newer than the base: use `stm print`.
late	stm x/1dg untouched	0x18[0-9a-f]{8}:\t0
reader	print $stm(n)->key	\$[0-9]+ = 1
writer	print $stm(n)->key	\$[0-9]+ = 3
reader	print $stm($stm(n)->next)->key	\$[0-9]+ = 10
reader	stm segment	thread [0-9]+: %gs base 0x[0-9a-f]+, in a transaction, version [0-9]+, begun at .*program.c:[0-9]+ \(run\), attempt 1, segment 1, snapshot [0-9]+, folded [0-9]+
program	stm segment	thread 1: %gs base 0x[0-9a-f]+, not in a transaction, segment 0, snapshot [0-9]+, folded [0-9]+
stranger	stm segment	Thread 5 is not attached: it inherited the %gs base of the thread that made it.
stranger	stm print list->key	Thread 5 is not attached: it inherited the %gs base of the thread that made it.
reader	stm segments	thread 1: [^\n]* not in a transaction, [^\n]*\nthread 2: [^\n]* in a transaction, [^\n]*\nthread 3: [^\n]* in a transaction, [^\n]*\nthread 4: [^\n]* in a transaction, [^\n]*\nThread 5 is not attached: [^\n]*
END

# The same with a library that has no debugging information.
cat > "$tmp/cases-stripped" <<'END'
reader	stm print n->key	\(long\) 1
writer	stm print n->next->many[15]	\(long\) 115
late	stm print n->key	Heap address 0x18[0-9a-f]{8} is on a page that thread 4 has not used: its view has no such page, and without the library's debugging information the base cannot be found.
writer	stm segment	thread 3: %gs base 0x[0-9a-f]+, in a transaction, version [0-9]+
reader	stm segments	thread 1: [^\n]*, not in a transaction\nthread 2: [^\n]*\nthread 3: [^\n]*\nthread 4: [^\n]*\nthread 5: [^\n]* \(the same as thread 1: one of them is not attached, and inherited it\)
END

# With engine thread the second thread is the library's, and not attached.
if [ "${UFFDSTM_ENGINE:-}" = thread ]; then
	for n in 5 4 3 2; do
		sed -i "s/\([Tt]hread\) $n/\1 $((n + 1))/g" "$tmp/cases" "$tmp/cases-stripped"
	done
	sed -i 's/\\nthread 3: /\\nThread 2 is not attached: [^\\n]*&/' "$tmp/cases" "$tmp/cases-stripped"
fi

cat > "$tmp/driver.py" <<'END'
import re
import gdb

def answer(name, command):
    threads = {thread.name: thread for thread in gdb.selected_inferior().threads()}
    threads[name].switch()
    frame = gdb.newest_frame()
    while frame and name != "program" and frame.name() != name:
        frame = frame.older()
    if frame:
        frame.select()
    try:
        return gdb.execute(command, False, True).rstrip("\n")
    except gdb.error as error:
        return str(error)

def run_cases(path):
    for line in open(path):
        name, command, wanted = line.rstrip("\n").split("\t", 2)
        got = answer(name, command)
        ok = re.fullmatch(wanted, got)
        print("case\t%s\t%s: %s\t%s" % ("ok" if ok else "not ok", name, command,
                                        "" if ok else repr(got)))
END

cases=$(cat "$tmp/cases" "$tmp/cases-stripped" | wc -l)
echo "TAP version 13"
echo "1..$((cases + 3))"
n=0 status=0
result()
{
	n=$((n + 1))
	if [ "$1" = 0 ]; then
		echo "ok $n $2"
	else
		echo "not ok $n $2"
		status=1
	fi
}

# run CASES LIBRARIES: the program under gdb, with the library of that folder
run()
{
	debug -ex "set environment LD_LIBRARY_PATH $2" -ex "source $UFFDSTM_SRC/tools/gdb/uffdstm-gdb.py" \
		-ex "source $tmp/driver.py" -ex "break everybody_waits" -ex run \
		-ex "python run_cases('$1')" -ex delete -ex continue "$tmp/program" >"$tmp/log" 2>&1
	grep "^case" "$tmp/log" >"$tmp/results"
	while IFS='	' read -r _ verdict what got; do
		[ "$verdict" = ok ] || echo "# gdb answered $got"
		[ "$verdict" = ok ]
		result $? "$3$what"
	done <"$tmp/results"
	grep -q "exited normally" "$tmp/log" || { sed 's/^/# /' "$tmp/log"; false; }
	result $? "${3}the program went on undisturbed, page faults and all"
}

${CC:-gcc} -std=gnu11 -g -O0 -Wall -Wextra -Werror -pthread -I"$UFFDSTM_SRC/lib/include" \
	-o "$tmp/program" "$tmp/program.c" "$UFFDSTM_BUILD/libuffdstm.so" >"$tmp/log" 2>&1 ||
	sed 's/^/# /' "$tmp/log"
[ -x "$tmp/program" ]
result $? "the program compiles"
[ $status = 0 ] || exit 1

run "$tmp/cases" "$UFFDSTM_BUILD" ""
mkdir "$tmp/stripped"
for library in "$UFFDSTM_BUILD"/libuffdstm.so.[0-9]; do
	strip -o "$tmp/stripped/${library##*/}" "$library"
done
run "$tmp/cases-stripped" "$tmp/stripped" "stripped library, "
[ $n = $((cases + 3)) ] || status=1
exit $status
