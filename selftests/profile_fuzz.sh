#!/bin/bash
# SPDX-License-Identifier: MIT
#
# profile_fuzz.sh - a bounded run of libFuzzer over the text of profiles, from the texts in profiles/ on. FUZZ_RUNS and
# FUZZ_SEED say how many and which; what is found stays in the build folder.
set -u
: "${UFFDSTM_SRC:?set it to the source tree}" "${UFFDSTM_BUILD:?set it to the build folder}"
runs=${FUZZ_RUNS:-200000} seed=${FUZZ_SEED:-1}
out=$UFFDSTM_BUILD/fuzz

echo "TAP version 13"
echo "1..1"
cd "$UFFDSTM_SRC/selftests" || exit 1
rm -rf "$out" && mkdir -p "$out/corpus" || exit 1
if ! clang -g -O1 -Wall -Wextra -Werror -std=gnu11 -D_GNU_SOURCE= -fsanitize=fuzzer,address,undefined \
	-fno-sanitize-recover=undefined -I../lib -I../uffd -I../lib/include -o "$out/profile_fuzz" \
	profile_fuzz.c ../lib/profile.c >"$out/log" 2>&1; then
	sed 's/^/# /' "$out/log"
	echo "not ok 1 profiles, fuzzed: the fuzzer does not build"
	exit 1
fi
if "$out/profile_fuzz" -runs="$runs" -seed="$seed" -max_len=4096 -dict=profiles/dictionary -artifact_prefix="$out/" \
	-print_final_stats=1 "$out/corpus" profiles >"$out/log" 2>&1; then
	grep -e 'cov:.*DONE' -e number_of_executed_units "$out/log" | sed 's/^/# /'
	echo "ok 1 profiles, fuzzed"
else
	tail -n 40 "$out/log" | sed 's/^/# /'
	echo "not ok 1 profiles, fuzzed: runs $runs, seed $seed"
	exit 1
fi
