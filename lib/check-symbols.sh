#!/bin/sh
# SPDX-License-Identifier: MIT
#
# check-symbols.sh - do header, symbol map and what was built agree?
#
#   check-symbols.sh header MAP HEADERS COMPILER...  functions of HEADERS, one word, against MAP; version of the first
#   check-symbols.sh list MAP                        the functions in MAP, one a line
#   check-symbols.sh built MAP LIBRARY               what LIBRARY (.so or .a) defines against MAP
#
# Prints one line for each difference; the exit status is 1 then.
set -eu

mode=$1 map=$2
shift 2

fail()
{
	echo "check-symbols: $*" >&2
	status=1
}

# Comments away, then every name between "global:" and "local:" or the end of a node.
map_names()
{
	sed 's,/\*.*\*/,,' "$map" | awk '
		/global:/ { on = 1; sub(/.*global:/, "") }
		/local:|}/ { on = 0 }
		on { gsub(/[ \t]/, ""); n = split($0, name, ";")
		     for (i = 1; i <= n; i++) if (name[i] ~ /^[a-z_0-9]+$/) print name[i] }' | sort -u
}

# Declarations of functions: at depth 0, neither typedef nor static. The first name before a "(" is it.
header_names()
{
	for header in $headers; do
		"$@" -E -P -x c "$header"
	done | awk '
		{ text = text " " $0 }
		END {
			while (match(text, /[{};]/)) {
				c = substr(text, RSTART, 1)
				if (!depth)
					statement = statement substr(text, 1, RSTART - 1)
				text = substr(text, RSTART + 1)
				if (c == "{") depth++
				if (c == "}") depth--
				if (depth || c == "{")
					continue
				if (statement !~ /(^|[^a-z_])(typedef|static)[^a-z_]/ &&
				    match(statement, /(^|[^a-zA-Z0-9_])stm_[a-z0-9_]+ *\(/)) {
					name = substr(statement, RSTART, RLENGTH)
					gsub(/[^a-z0-9_]/, "", name)
					print name
				}
				statement = ""
			}
		}' | sort -u
}

# differences WANTED FOUND: lines that only one of the two has, as "missing NAME" and "extra NAME"
differences()
{
	{ echo "$1" | sed 's/^/1 /'; echo "$2" | sed 's/^/2 /'; } |
		awk 'NF == 2 { seen[$2] += $1 }
		     END { for (n in seen) if (seen[n] < 3) print seen[n] == 1 ? "missing" : "extra", n }' | sort
}

status=0
case $mode in
list)
	map_names
	;;
header)
	headers=$1 header=${1%% *}
	shift
	version=$(sed -n 's/^#define STM_VERSION_\(MAJOR\|MINOR\) *\([0-9]*\).*/\2/p' "$header" | paste -sd.)
	node=$(sed -n 's/^UFFDSTM_\([0-9.]*\) *{.*/\1/p' "$map" | tail -n 1)
	[ "$version" = "$node" ] ||
		fail "the last version in $map is $node, but $header says $version: add a node, or mend STM_VERSION_*"
	names=$(header_names "$@")
	[ -n "$names" ] || fail "no function found in $header: does it compile?"
	found=$(differences "$names" "$(map_names)")
	for name in $(echo "$found" | sed -n 's/^missing //p'); do
		fail "$name is declared in $header, but not in $map"
	done
	for name in $(echo "$found" | sed -n 's/^extra //p'); do
		fail "$name is in $map, but no public header declares it"
	done
	;;
built)
	library=$1
	case $library in
	*.a) names=$(nm -g --defined-only "$library" | awk 'NF == 3 { print $3 }' | sort -u) ;;
	*) names=$(nm -D --defined-only "$library" | awk '$2 != "A" { sub(/@.*/, "", $3); print $3 }' | sort -u) ;;
	esac
	found=$(differences "$(map_names)" "$names")
	for name in $(echo "$found" | sed -n 's/^missing //p'); do
		fail "$name is in $map, but $library does not define it"
	done
	for name in $(echo "$found" | sed -n 's/^extra //p'); do
		fail "$library defines $name for everyone, but $map does not name it: make it static or hidden"
	done
	;;
*)
	echo "check-symbols: no mode '$mode'; see the top of this script" >&2
	exit 2
	;;
esac
exit $status
