#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
#
# event_cost.sh - what the event log costs where nobody asks for it: instructions, by callgrind, of a library that has it
# against one that is built without (VARIANT=small, small-noevents). Counts are the same each time: no matter of luck.
#
# Start, end and the first faults are left out: two lengths of the same run are compared.
set -u

: "${UFFDSTM_SRC:?set it to the source tree}"
: "${UFFDSTM_BUILD:?set it to the build folder}"
SHORT=2000 LONG=22000
BOUND=1.0       # percent

skip()
{
	echo "TAP version 13"
	echo "1..0 # SKIP $1"
	exit 4
}

command -v valgrind >/dev/null || skip "valgrind is not installed"
tmp=$(mktemp -d)
trap 'rm -rf "$tmp"' EXIT

cat > "$tmp/cost.c" <<'END_OF_C'
#include <stdlib.h>
#include <string.h>
#include <uffdstm.h>

#define WORDS 1024
#define NODES 64

struct node {
	struct node STM *next;
	long key;
};

static long STM *words;
static struct node STM *list;

/* A granule each. */
static int read_only(void *arg)
{
	volatile long sum = 0;
	long n = *(long *)arg;

	for (long k = 0; k < 8; k++)
		sum += STM_GET(words[(n + k * 16) % WORDS]);
	return 0;
}

static int transfer(void *arg)
{
	long n = *(long *)arg;

	STM_SET(words[n % WORDS], STM_GET(words[n % WORDS]) - 1);
	STM_SET(words[n * 7 % WORDS], STM_GET(words[n * 7 % WORDS]) + 1);
	return 0;
}

static int walk_and_write(void *arg)
{
	struct node STM *n = list;

	(void)arg;
	while (STM_GET(n->key) < NODES - 4)
		n = STM_GET(n->next);
	STM_SET(n->key, STM_GET(n->key));
	return 0;
}

static int alloc_and_free(void *arg)
{
	(void)arg;
	stm_free(stm_alloc(48));
	return 0;
}

int main(int argc, char **argv)
{
	stm_fn *fn = !strcmp(argv[1], "read_only") ? read_only : !strcmp(argv[1], "transfer") ? transfer :
		     !strcmp(argv[1], "walk_and_write") ? walk_and_write : alloc_and_free;
	long n = argc > 2 ? atol(argv[2]) : 0;

	if (stm_init(NULL) || stm_thread_attach())
		return 1;
	STM_ATOMIC {
		words = stm_zalloc(WORDS * sizeof(*words));
		for (long i = NODES; i > 0; i--) {
			struct node STM *new = stm_zalloc(sizeof(*new));

			new->key = i;
			new->next = list;
			list = new;
		}
	}
	for (long i = 0; i < n; i++)
		stm_atomic(fn, &i);
	return stm_fini();
}
END_OF_C

# instructions LIBRARY WORK N
instructions()
{
	env -u UFFDSTM_LOG -u UFFDSTM_STRICT UFFDSTM_ENGINE=sigbus valgrind --tool=callgrind --callgrind-out-file=/dev/null \
		--vex-iropt-register-updates=allregs-at-mem-access "$tmp/$1" "$2" "$3" 2>&1 |
		sed -n 's/.*Collected : \([0-9]*\).*/\1/p'
}

# each LIBRARY WORK: for a transaction
each()
{
	local short long

	short=$(instructions "$1" "$2" $SHORT)
	long=$(instructions "$1" "$2" $LONG)
	[ -n "$short" ] && [ -n "$long" ] || return 1
	echo $((long - short))
}

echo "TAP version 13"
echo "1..5"
for library in small small-noevents; do
	${CC:-gcc} -std=gnu11 -g -O2 -Wall -Wextra -Werror -Wno-clobbered -pthread -DSTM_SMALL_LAYOUT -I"$UFFDSTM_SRC/lib/include" \
		-fno-tree-vectorize -fno-ivopts -fno-builtin-memset -fno-builtin-memcpy \
		-o "$tmp/$library" "$tmp/cost.c" "$UFFDSTM_BUILD/$library/libuffdstm.a" -luring >"$tmp/log" 2>&1 || {
		sed 's/^/# /' "$tmp/log"
		echo "not ok 1 the programs compile"
		exit 1
	}
done
echo "ok 1 the programs compile"

number=1 status=0
for work in read_only transfer walk_and_write alloc_and_free; do
	number=$((number + 1))
	with=$(each small "$work") && without=$(each small-noevents "$work") || with=0 without=0
	if awk -v with="$with" -v without="$without" -v n=$((LONG - SHORT)) -v bound=$BOUND -v work="$work" 'BEGIN {
		if (!without)
			exit 1
		more = (with - without) * 100 / without
		printf "# %s: %.1f instructions, %.1f without the event log: %+.2f %%, at most %.1f\n",
		       work, with / n, without / n, more, bound
		exit !(more <= bound)
	}'; then
		echo "ok $number $work"
	else
		echo "not ok $number $work"
		status=1
	fi
done
exit $status
