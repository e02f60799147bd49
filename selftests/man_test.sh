#!/bin/sh
# SPDX-License-Identifier: MIT
#
# man_test.sh - every man page is clean for mandoc's lint, and every public function has one.
set -u

if [ -z "${UFFDSTM_SRC:-}" ]; then
	echo "1..0 # SKIP not run from the source tree (UFFDSTM_SRC)"
	exit 4
fi
cd "$UFFDSTM_SRC/lib/man" || exit 1
log=$(mktemp)
trap 'rm -f "$log"' EXIT

pages=$(ls -- *.[0-9] ../../tools/uffdstm/*.[0-9] 2>/dev/null)
functions=$("$UFFDSTM_SRC/lib/check-symbols.sh" list "$UFFDSTM_SRC/lib/uffdstm.map" | grep -v '__')

echo "TAP version 13"
echo "1..$(echo "$pages" "$functions" | wc -w)"
n=0 status=0
result()
{
	n=$((n + 1))
	if [ "$1" = 0 ]; then
		echo "ok $n $2"
	else
		sed 's/^/# /' "$log"
		echo "not ok $n $2"
		status=1
	fi
}

for page in $pages; do
	mandoc -T lint -W warning "$page" >"$log" 2>&1
	result $? "${page##*/} has no lint"
done
for function in $functions; do
	echo "no page says \".Nm $function\"" >"$log"
	grep -qE "^\.Nm $function( |$)" -- *.3 2>/dev/null
	result $? "$function is documented"
done
exit $status
