#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
#
# long.sh - what `make check-long` runs: the tortures with many more seeds, all tests with library and programs built by
# clang, all programs under AddressSanitizer and UndefinedBehaviorSanitizer, most with engines thread and async, in strict
# mode, and with the event log and its readers; what the log costs where nobody asks for it; the README's example against
# the installed library; profiles and event logs fuzzed. The last line is the sum; the exit status is 1 if anything failed.
set -u
set -o pipefail

cd "$(dirname "$0")/.."
export UFFDSTM_PROFILE=
log=$(mktemp)
events=$(mktemp -d)
trap 'rm -rf "$log" "$events"' EXIT
passed=0 failed=0 skipped=0
summary=()

add()
{
	passed=$((passed + $1)) failed=$((failed + $2)) skipped=$((skipped + $3))
}

# part NAME COMMAND...: one whose last line is the count, as run.sh prints it
part()
{
	local name=$1 line status=0 began=$SECONDS p f s _
	shift
	echo "== $name: $*"
	env "$@" </dev/null 2>&1 | tee "$log" || status=$?
	line=$(grep -E '^[0-9]+ passed, [0-9]+ failed, [0-9]+ skipped$' "$log" | tail -n 1)
	read -r p _ f _ s _ <<<"${line:-0 passed, 0 failed, 0 skipped}"
	# a part that ends badly without a failed test counts as one
	[ "$status" = 0 ] || [ "$f" != 0 ] || f=1
	add "$p" "$f" "$s"
	summary+=("# $name: $p passed, $f failed, $s skipped, $((SECONDS - began)) s")
}

# tap NAME SCRIPT: one that speaks TAP itself
tap()
{
	local name=$1 began=$SECONDS p f s plan
	shift
	echo "== $name: $*"
	env UFFDSTM_SRC="$PWD" UFFDSTM_BUILD="$PWD/build" "$@" </dev/null 2>&1 | tee "$log"
	p=$(grep -c '^ok ' "$log")
	s=$(grep -c '^ok .*# SKIP' "$log")
	plan=$(sed -n 's/^1\.\.\([0-9]*\)$/\1/p' "$log")
	f=$((${plan:-1} - p))
	p=$((p - s))
	add "$p" "$f" "$s"
	summary+=("# $name: $p passed, $f failed, $s skipped, $((SECONDS - began)) s")
}

list()
{
	make -s --no-print-directory -f - <<END
include selftests/Kbuild
\$(info \$($1))
all:;@:
END
}

programs="$(list stm-tests) $(list stm-white-tests)"
tortures=$(cd selftests && for test in $programs; do
	grep -qs -e STM_LONG -e long_factor -e is_long "$test.c" && echo "$test"
done)

part torture STM_LONG=1 KSELFTEST_TIMEOUT=1200 make check TESTS="$(echo $tortures)"
part clang KSELFTEST_TIMEOUT=600 make check VARIANT=clang TESTS="$programs"
part sanitizers KSELFTEST_TIMEOUT=900 make check VARIANT=asan TESTS="$programs"
# Each engine, with the fault counts that it should have. Strict mode runs with sigbus, whatever is asked for.
for engine in thread async; do
	part "engine $engine" UFFDSTM_ENGINE=$engine STM_RUNS=2 KSELFTEST_TIMEOUT=900 make check \
		TESTS="$(tr ' ' '\n' <<<"$programs" | grep -vx -e strict_test -e strict_use_test | tr '\n' ' ') gdb_test.sh finddup_test.sh"
done
# No false report stops a test. Not those that look at the states of pages, make stores without barriers or choose engines.
strict=$(tr ' ' '\n' <<<"$programs" | grep -vx -e pages_test -e pages_model_test -e trim_test -e trim_limit_test \
	-e failure_test -e queue_failure_test -e unprivileged_test -e engines_test -e engines_process_test -e engine_choice_test \
	-e mutant_engine_test -e events_test)
part strict UFFDSTM_STRICT=2 STM_RUNS=2 KSELFTEST_TIMEOUT=900 make check TESTS="$(echo $strict finddup_test.sh)"
# The event log records them all, and finds who reads. Not those that count the lines on stderr, or files, are in strict
# mode, or make the time, which the log's thread looks at, too.
chmod 1777 "$events"
recorded=$(tr ' ' '\n' <<<"$programs" | grep -vx -e strict_test -e strict_use_test -e debug_test -e limits_test \
	-e failure_test -e queue_failure_test -e trim_test -e trim_limit_test)
part "event log" UFFDSTM_LOG="$events/%p" UFFDSTM_LOG_READERS=1 STM_RUNS=2 KSELFTEST_TIMEOUT=900 make check \
	TESTS="$(echo $recorded finddup_test.sh)"
make -s build/small/libuffdstm.a build/small-noevents/libuffdstm.a
tap "event cost" selftests/event_cost.sh
tap example selftests/example_test.sh
tap fuzz selftests/profile_fuzz.sh
tap fuzz-report selftests/report_fuzz.sh

printf '%s\n' "${summary[@]}"
echo "$passed passed, $failed failed, $skipped skipped"
[ "$failed" = 0 ]
