#!/bin/sh
# SPDX-License-Identifier: MIT
#
# levels_test.sh - transaction_test.c, compiled by gcc and clang at each optimisation level and run: the
# checkpoint, the cleanup at the end of a block and what compilers keep in registers must fit together.
set -u

if [ -z "${UFFDSTM_SRC:-}" ]; then
	echo "1..0 # SKIP not run from the source tree (UFFDSTM_SRC)"
	exit 4
fi
: "${UFFDSTM_BUILD:?set it to the build folder}"
headers=$UFFDSTM_BUILD/kselftest/tools/testing/selftests
[ -z "${KSELFTEST_DIR:-}" ] || headers=$KSELFTEST_DIR/tools/testing/selftests
tmp=$(mktemp -d)
trap 'rm -rf "$tmp"' EXIT

levels='-O0 -O1 -O2 -O3 -Os -O2_-flto -O3_-fexceptions -O2_-fno-omit-frame-pointer_-fstack-protector-all'
echo "TAP version 13"
echo "1..$((2 * $(echo "$levels" | wc -w)))"
n=0 status=0
for cc in gcc clang; do
	for level in $levels; do
		n=$((n + 1))
		flags=$(echo "$level" | tr _ ' ')
		if ! command -v $cc >/dev/null; then
			echo "ok $n $cc $flags # SKIP no $cc"
			continue
		fi
		# clang's LTO needs a linker plugin that Debian's ld has for gcc only.
		[ "$cc $flags" != "clang -O2 -flto" ] || flags="-O2 -fno-plt"
		# shellcheck disable=SC2086
		if $cc -std=gnu11 $flags -g -Wall -Wextra -Werror -Wno-unused-parameter -Wno-empty-body \
			-D_GNU_SOURCE= -pthread -isystem "$headers" -isystem "$headers/kselftest" \
			-I"$UFFDSTM_SRC/lib/include" -o "$tmp/test" "$UFFDSTM_SRC/selftests/transaction_test.c" \
			"$UFFDSTM_BUILD/libuffdstm.so" -Wl,-rpath,"$UFFDSTM_BUILD" >"$tmp/log" 2>&1 &&
			"$tmp/test" >"$tmp/log" 2>&1; then
			echo "ok $n $cc $flags"
		else
			grep -v -e '^ok' -e ' RUN ' -e '  OK ' "$tmp/log" | tail -n 20 | sed 's/^/# /'
			echo "not ok $n $cc $flags"
			status=1
		fi
	done
done
exit $status
