#!/bin/bash
# SPDX-License-Identifier: MIT
#
# uffdstm_test.sh - how the uffdstm command speaks: usage, output, manual, completion, installation.
# shellcheck disable=SC2317 # functions are called through ok
if [ -z "${UFFDSTM_SRC:-}" ]; then
	echo "1..0 # SKIP not run from the source tree (UFFDSTM_SRC)"
	exit 4
fi
# shellcheck source=selftests/uffdstm_support.sh
. "$UFFDSTM_SRC/selftests/uffdstm_support.sh"

plan 6

# ---- usage ----

# usage PATTERN ARGUMENT...: exit status 2 and one line that says PATTERN.
usage()
{
	local pattern=$1

	shift
	"$tool" "$@" >out 2>err
	[ $? = 2 ] && [ ! -s out ] && [ "$(wc -l <err)" = 1 ] && grep -q "^uffdstm.*$pattern.*: see uffdstm.* --help\$" err && return
	echo "uffdstm $*:"
	cat out err
	return 1
}
bad_usage()
{
	usage 'no command' && usage 'frobnicate: unknown command' frobnicate && usage '-x: unknown option' -x &&
		usage '--fast: unknown option' --fast check && usage 'check: --fast: unknown option' check --fast &&
		usage 'check: -x: unknown option' check -jx && usage 'check: --json takes no value' check --json=1 &&
		usage 'check: --json takes no value' check --js=1 && usage 'check: all: no argument' check all
}
ok "wrong usage" bad_usage
help()
{
	local command

	"$tool" --help >out && "$tool" --version | grep -q '^uffdstm [0-9]*\.[0-9]*$' || return 1
	# shellcheck disable=SC2013 # words
	for command in $(sed -n 's/^  \([a-z]*\)  .*/\1/p' out); do
		"$tool" "$command" --help | grep -q "^Usage: uffdstm $command" || { echo "uffdstm $command --help"; return 1; }
		grep -qx "\.Ss uffdstm $command" "$UFFDSTM_SRC/tools/uffdstm/uffdstm.8" || { echo "$command has no manual"; return 1; }
	done
	grep -q '^  check ' out
}
ok "--help and --version" help
full()
{
	local arguments

	for arguments in --help --version "check --help" check "check --json"; do
		# shellcheck disable=SC2086
		"$tool" $arguments >/dev/full 2>err
		[ $? = 3 ] && [ "$(wc -l <err)" = 1 ] && grep -q 'standard output: No space left on device (ENOSPC)' err && continue
		echo "uffdstm $arguments:"
		cat err
		return 1
	done
	"$tool" check >&- 2>err
	[ $? = 3 ] || { echo "status of a closed output"; return 1; }
}
ok "output that cannot be written" full

# ---- manual, completion ----

manual()
{
	local name missing=0

	"$tool" check --json >json
	[ -s json ] || return
	# shellcheck disable=SC2013 # words
	for name in $(sed -n 's/^ *"name": *"\(.*\)",/\1/p' json); do
		grep -q "^\.It Cm $name\( \|\$\)" "$UFFDSTM_SRC/tools/uffdstm/uffdstm.8" || { echo "$name"; missing=1; }
	done
	return "$missing"
}
ok "every feature is in the manual" manual
complete_is()
{
	local expected=$1

	shift
	bash --norc -c '
		PATH=$1:$PATH
		. "$2" || exit
		shift 2
		COMP_WORDS=("$@") COMP_CWORD=$(($# - 1)) COMPREPLY=()
		_uffdstm
		echo "${COMPREPLY[*]}"' - "$tmp" "$UFFDSTM_SRC/tools/uffdstm/completion.bash" "$@" >out 2>&1
	[ "$(cat out)" = "$expected" ] || echo "$*: $(cat out), not $expected"
	[ "$(cat out)" = "$expected" ]
}
completion()
{
	complete_is check uffdstm ch && complete_is "--help --version" uffdstm -- &&
		complete_is "--json --help" uffdstm check "" && complete_is --json uffdstm check --j &&
		complete_is "--watch --json --help" uffdstm status - &&
		complete_is "" uffdstm frobnicate -- && complete_is --help uffdstm check --json --he &&
		complete_is "--html --help" uffdstm report --h && touch some.log && complete_is some.log uffdstm report some &&
		complete_is some.log uffdstm report --output some
}
ok "completion" completion
installed()
{
	local where

	env -u MAKEFLAGS -u MAKELEVEL make -s -C "$UFFDSTM_SRC" -n install DESTDIR="$tmp/root" prefix=/usr >commands || return 1
	for where in "tools/uffdstm/uffdstm .*/usr/bin/" "uffdstm.8 .*/usr/share/man/man8/" \
		"uffdstm-report.1 .*/usr/share/man/man1/" \
		"completion.bash .*/usr/share/bash-completion/completions/uffdstm"; do
		grep -q "$where" commands || { echo "not installed: $where"; return 1; }
	done
}
ok "program, manual and completion are installed" installed

finish
