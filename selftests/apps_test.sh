#!/bin/sh
# SPDX-License-Identifier: MIT
#
# apps_test.sh - the applications of the benchmark, in small sizes: each implementation gives the sequential result, and
# one that does not is found.
set -u

if [ -z "${UFFDSTM_SRC:-}" ]; then
	echo "1..0 # SKIP not run from the source tree (UFFDSTM_SRC)"
	exit 4
fi
bench=$UFFDSTM_BUILD/tools/bench
number=0
failed=0
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT

# result STATUS NAME: after the log of what went wrong, if it did
result()
{
	number=$((number + 1))
	if [ "$1" = 0 ]; then
		echo "ok $number $2"
	else
		sed 's/^/# /' "$dir/log"
		echo "not ok $number $2"
		failed=1
	fi
}

# run OPTIONS: status, log and figures are left
run()
{
	"$bench/apps" -q -z -r 1 -o "$dir/apps.json" "$@" >"$dir/log" 2>&1
	status=$?
}

# rows PATTERN: how many rows match it
rows()
{
	grep -c "$1" "$dir/apps.json"
}

# Each application once with one thread and sequentially; by any other peer with one and with two.
all_verified()
{
	[ "$status" = 0 ] && [ "$(rows '"verified": false')" = 0 ] || return 1
	apps=$(rows '"impl": "seq", "threads": 1, .*"verified": true')
	[ "$apps" -gt 0 ] || return 1
	for peer in mutex omp libitm-ml_wt libitm-gl_wt stm; do
		grep -q "^$peer is left out" "$dir/log" && continue
		[ "$(rows "\"impl\": \"$peer\", \"threads\": 1,")" = "$apps" ] || return 1
		[ "$(rows "\"impl\": \"$peer\", \"threads\": 2,")" = "$apps" ] || return 1
	done
}

wrong_found()
{
	[ "$status" = 1 ] && [ "$(rows '"impl": "mutex", .*"verified": false')" = 2 ] &&
		[ "$(rows '"verified": false')" = 2 ] && grep -q 'but that of sequential code is' "$dir/log"
}

# What dies gives no result: transactions, where their address space cannot be had.
death_found()
{
	(
		ulimit -v 8000000
		run -a kmeans-low -i stm
		[ "$status" = 1 ]
	) && [ "$(rows '"verified": false')" = 2 ] && grep -q 'kmeans-low, stm, 2 threads: ended without' "$dir/log"
}

# Where OpenMP gives fewer threads than asked for, the rest would wait for ever.
few_threads_found()
{
	export OMP_THREAD_LIMIT=1
	run -a kmeans-low -i omp -t 2
	unset OMP_THREAD_LIMIT
	grep -q '^omp is left out' "$dir/log" && return
	[ "$status" = 1 ] && grep -q 'OpenMP gives 1 threads instead of 2' "$dir/log"
}

# Its process says so itself.
serial_found()
{
	! ITM_DEFAULT_METHOD=serialirr "$bench/apps" -c -z -a kmeans-low -i libitm-ml_wt -t 1 </dev/null 2>"$dir/log" >/dev/null &&
		grep -q 'libitm does not instrument' "$dir/log"
}

echo "TAP version 13"
echo "1..6"
run
all_verified
result $? "all applications, all implementations, 1 and 2 threads"

run -a kmeans-low -x mutex
wrong_found
result $? "a wrong result"

death_found
result $? "a process that dies"

few_threads_found
result $? "fewer threads than asked for"

# Where there is no call to become serial, all transactions of gcc's are instrumented, if the method is one that does it.
nm "$bench/apps_libitm.o" >"$dir/symbols"
if ! grep -q _ITM_beginTransaction "$dir/symbols"; then
	echo "ok 5 # SKIP built without gcc's transactions"
	echo "ok 6 # SKIP built without gcc's transactions"
else
	! grep _ITM_changeTransactionMode "$dir/symbols" >"$dir/log"
	result $? "gcc's transactions do not become serial"

	serial_found
	result $? "gcc's transactions that are not instrumented"
fi
exit "$failed"
