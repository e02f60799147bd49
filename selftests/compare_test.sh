#!/bin/sh
# SPDX-License-Identifier: MIT
#
# compare_test.sh - tools/bench/compare: silent inside the spread, status 1 beyond it, 2 for what cannot be compared.
set -u

if [ -z "${UFFDSTM_SRC:-}" ]; then
	echo "1..0 # SKIP not run from the source tree (UFFDSTM_SRC)"
	exit 4
fi
compare=$UFFDSTM_BUILD/tools/bench/compare
tmp=$(mktemp -d)
trap 'rm -rf "$tmp"' EXIT
cd "$tmp" || exit 1
number=0
failed=0

# gives NAME STATUS PATTERN NEW [OLD]: what compare says of the files is one line with PATTERN, or nothing
gives()
{
	number=$((number + 1))
	"$compare" "${5:-old}" "$4" >log 2>&1
	got=$?
	if [ "$got" = "$2" ] && if [ "$3" ]; then [ "$(wc -l <log)" = 1 ] && grep -qE "$3" log; else ! [ -s log ]; fi; then
		echo "ok $number $1"
	else
		echo "# status $got, asked for $2 and '$3'"
		sed 's/^/# /' log
		echo "not ok $number $1"
		failed=1
	fi
}

# app SECONDS MIN MAX [VERIFIED]
app()
{
	printf '{"app": "k-means", "impl": "stm", "threads": 2, "seconds": %s, "min": %s, "max": %s, "verified": %s}' \
		"$1" "$2" "$3" "${4:-true}"
}

other='{"app": "k-means", "impl": "stm", "threads": 1, "seconds": 3, "min": 3, "max": 3, "verified": true}'
micro='{"workload": "list", "impl": "seq", "threads": 1, "ns_per_op": 10.5, "min": 10, "max": 11, "rounds": 9}'

echo "TAP version 13"
echo "1..19"
echo "[$(app 0.20 0.18 0.23), $other, $micro]" >old
gives "the same file" 0 '' old

echo "[$micro, $(app 0.26 0.23 0.30), $other]" >new
gives "inside the spread, in another order" 0 '' new
echo "[$(app 0.16 0.15 0.18), $other, $micro]" >new
gives "inside the spread, below" 0 '' new
echo "[$(app 0.25 0.2301 0.27), $other, $micro]" >new
gives "more" 1 'k-means stm threads=2 +more: 0.25 \(0.2301 to 0.27\), was 0.2 \(0.18 to 0.23\), 1.25x$' new
echo "[$(app 0.15 0.1 0.1799), $other, $micro]" >new
gives "less" 1 'k-means stm threads=2 +less: 0.15 .*, 0.75x$' new
echo "[$(app 0.20 0.18 0.23), $other, $(echo "$micro" | sed 's/10.5/12/; s/10,/11.5,/; s/11,/13,/')]" >new
gives "of micro, a whole number as maximum" 1 'list seq threads=1 +more: 12 ' new

echo "[$(app 0.20 0.18 0.23), $micro]" >new
gives "a row is gone" 2 'k-means stm threads=1 +missing from new$' new
gives "a row is new" 2 'k-means stm threads=1 +missing from new$' old new
echo "[$(app 0.20 0.18 0.23 false), $other, $micro]" >new
gives "a wrong result" 2 'k-means stm threads=2 +not verified in new$' new

gives "no such file" 2 '^compare: none: No such file' none
gives "no such old file" 2 '^compare: none: No such file' old none
echo "[$(app 0.20 0.18 0.23), " >new
gives "half a file" 2 '^compare: new: no JSON' new
echo '{}' >new
gives "no array" 2 '^compare: new: no array' new
echo '[]' >new
gives "no rows" 2 '^compare: new: no rows' new
echo "[$other, $other]" >new
gives "a row twice" 2 'two rows of k-means stm threads=1' new
echo '[{"app": "k-means", "impl": "stm", "threads": 1}]' >new
gives "no figure" 2 'k-means stm threads=1: no figure' new
echo '[{"app": "k-means", "impl": "stm", "threads": 1, "seconds": 3}]' >new
gives "no spread" 2 'k-means stm threads=1: no min and max' new
echo "[$(app 0.24 0.18 0.23)]" >new
gives "a figure outside its own spread" 2 'is not between min 0.18 and max 0.23' new
echo '[{"seconds": 3, "min": 3, "max": 3}]' >new
gives "a row of nothing" 2 'row 1 does not say what it is of' new
exit "$failed"
