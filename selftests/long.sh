#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
#
# long.sh - what `make check-long` runs: the tortures with many more seeds, all tests with library and programs built by clang, all
# programs under AddressSanitizer and UndefinedBehaviorSanitizer, most with engines thread and async, and in strict mode, and the README's example against the installed
# library. The last line is the sum; the exit status is 1 if anything failed.
set -u
set -o pipefail

cd "$(dirname "$0")/.."
log=$(mktemp)
trap 'rm -f "$log"' EXIT
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
	part "engine $engine" UFFDSTM_ENGINE=$engine KSELFTEST_TIMEOUT=900 make check \
		TESTS="$(tr ' ' '\n' <<<"$programs" | grep -vx -e strict_test -e strict_use_test | tr '\n' ' ') gdb_test.sh finddup_test.sh"
done
# No false report stops a test. Not those that look at the states of pages, make stores without barriers or choose engines.
strict=$(tr ' ' '\n' <<<"$programs" | grep -vx -e pages_test -e pages_model_test -e trim_test \
	-e failure_test -e unprivileged_test -e engines_test -e engines_process_test -e engine_choice_test -e mutant_engine_test)
part strict UFFDSTM_STRICT=2 KSELFTEST_TIMEOUT=900 make check TESTS="$(echo $strict finddup_test.sh)"
tap example selftests/example_test.sh

printf '%s\n' "${summary[@]}"
echo "$passed passed, $failed failed, $skipped skipped"
[ "$failed" = 0 ]
