#!/bin/bash
# SPDX-License-Identifier: MIT
#
# report_fuzz.sh - a bounded run of libFuzzer over event logs, from those of report_helper.c on; 30 a second here. FUZZ_RUNS and
# FUZZ_SEED say how many and which; what is found stays in the build folder.
set -u
: "${UFFDSTM_SRC:?set it to the source tree}" "${UFFDSTM_BUILD:?set it to the build folder}"
runs=${FUZZ_RUNS:-1000} seed=${FUZZ_SEED:-1}
out=$UFFDSTM_BUILD/fuzz-report
tool=$UFFDSTM_SRC/tools/uffdstm

echo "TAP version 13"
echo "1..1"
rm -rf "$out" && mkdir -p "$out/corpus" "$out/known" && cd "$out" || exit 1
# shellcheck source=selftests/report_support.sh
. "$UFFDSTM_SRC/selftests/report_support.sh"
objects=$(sed -n '/^uffdstm-report-objs/,/[^\\]$/p' "$tool/Kbuild" | tr -d '\\' | sed 's/.*:=//')
# shellcheck disable=SC2046,SC2086 # words
if ! build_helper >log 2>&1 || ! clang -g -O1 -Wall -Wextra -Werror -std=gnu11 -D_GNU_SOURCE= -fsanitize=fuzzer,address,undefined \
	-fno-sanitize-recover=undefined -iquote "$tool" -I"$UFFDSTM_SRC/lib/include" -o report_fuzz "$UFFDSTM_SRC/selftests/report_fuzz.c" \
	"$tool/wrap.c" "$tool/json.c" $(printf "$tool/%s.c " ${objects//.o/}) -ljson-c -ldw -lm >log 2>&1; then
	sed 's/^/# /' log
	echo "not ok 1 event logs, fuzzed: the fuzzer does not build"
	exit 1
fi
for name in $(./helper names); do
	REPORT_NO_MODULES=1 ./helper write "$name" >"known/$name" || exit 1
done
if ./report_fuzz -runs="$runs" -seed="$seed" -max_len=65536 -artifact_prefix="$out/" -print_final_stats=1 corpus known >log 2>&1; then
	grep -e 'cov:.*DONE' -e number_of_executed_units log | sed 's/^/# /'
	echo "ok 1 event logs, fuzzed"
else
	tail -n 40 log | sed 's/^/# /'
	echo "not ok 1 event logs, fuzzed: runs $runs, seed $seed"
	exit 1
fi
