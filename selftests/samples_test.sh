#!/bin/sh
# SPDX-License-Identifier: MIT
#
# samples_test.sh - the short examples: each checks its own result, and says so; and what makes each worth showing.
set -u

if [ -z "${UFFDSTM_SRC:-}" ]; then
	echo "1..0 # SKIP not run from the source tree (UFFDSTM_SRC)"
	exit 4
fi
cd "$UFFDSTM_BUILD/tools/samples" || exit 1
number=0
failed=0
log=$(mktemp)
trap 'rm -f "$log"' EXIT

result()
{
	number=$((number + 1))
	if [ "$1" = 0 ]; then
		echo "ok $number $2"
	else
		sed 's/^/# /' "$log"
		echo "not ok $number $2"
		failed=1
	fi
}

# sample PATTERN PROGRAM ARGUMENT: it succeeds, and its output has a line that matches
sample()
{
	"./$2" "$3" >"$log" 2>&1 && grep -q '^\(.*: \)\?verified' "$log" && grep -qE "$1" "$log"
	result $? "$2"
}

echo "TAP version 13"
echo "1..6"
sample '^transfer +20000 committed' bank 10000
sample 'slept [1-9][0-9]* times' philosophers 1000
sample '4999 numbers, 669 of them primes' pipeline 5000
# What OpenMP makes of a forgotten critical is chance: of some runs one is wrong. All of them are right else.
wrong()
{
	for _ in 1 2 3 4 5; do
		./loop 200000 >"$log" 2>&1 || break
		! grep -q 'critical forgotten .* WRONG$' "$log" || return 0
	done
	return 1
}
wrong
result $? "loop, without a critical, is wrong"
sample 'sum shared .* right$' loop 100000
sample '4000 guests: [0-9]+\.[0-9]+ times as fast' speculate 4000
exit "$failed"
