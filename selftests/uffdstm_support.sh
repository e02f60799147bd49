# SPDX-License-Identifier: MIT
# shellcheck shell=bash
#
# uffdstm_support.sh - sourced by tests of the uffdstm command: a folder with a copy of it, and TAP.
set -u
export LC_ALL=C
: "${UFFDSTM_BUILD:?set it to the build folder}"
tmp=$(mktemp -d)
trap 'rm -rf "$tmp"' EXIT
chmod 755 "$tmp"
cd "$tmp" || exit 1
# A copy: an unprivileged user need not reach the build folder.
cp "$UFFDSTM_BUILD/tools/uffdstm/uffdstm" uffdstm || exit 1
# shellcheck disable=SC2034 # for who sources this
tool=$tmp/uffdstm
unset UFFDSTM_ENGINE UFFDSTM_STRICT UFFDSTM_VERBOSE
export UFFDSTM_PROFILE=

number=0
failed=0

plan()
{
	planned=$1
	echo "TAP version 13"
	echo "1..$planned"
}

finish()
{
	[ "$number" = "$planned" ] || { echo "# $number tests, $planned planned"; exit 1; }
	exit $((failed > 0))
}

# ok NAME COMMAND...: the command succeeds. 4: skipped, and the reason stands in the file "reason".
ok()
{
	local name=$1 status

	shift
	number=$((number + 1))
	"$@" >log 2>&1
	status=$?
	case $status in
	0) echo "ok $number $name" ;;
	4) echo "ok $number $name # SKIP $(cat reason)" ;;
	*)
		echo "not ok $number $name"
		failed=$((failed + 1))
		head -n 20 log | sed 's/^/# /'
		;;
	esac
}

skip()
{
	echo "$*" >reason
	return 4
}
