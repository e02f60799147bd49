#!/bin/sh
# SPDX-License-Identifier: MIT
#
# plots.sh DIRECTORY - SVG plots of the figures in DIRECTORY (sweeps.json, scale.json, apps.json: those that are there),
# by gnuplot. Each row of these files is a line of its own, which awk can take apart.
set -eu
export LC_ALL=C

dir=${1:?usage: plots.sh DIRECTORY}
command -v gnuplot >/dev/null || { echo "plots.sh: gnuplot is not installed: apt-get install gnuplot-nox" >&2; exit 1; }
tmp=$(mktemp -d)
trap 'rm -rf "$tmp"' EXIT

# field("name") of the row in $0
# shellcheck disable=SC2016
awk_field='function field(name,	rest) {
	if (!match($0, "\"" name "\": ")) return ""
	rest = substr($0, RSTART + RLENGTH)
	if (rest ~ /^"/) { rest = substr(rest, 2); sub(/".*/, "", rest) } else sub(/[,}].*/, "", rest)
	return rest
}'

# series FILE AWK: what this prints for the rows, sorted by name and x
series()
{
	awk "$awk_field"' { '"$2"' }' "$1" | sort -t'	' -k1,1 -k2,2g
}

# draw SVG TITLE X-LABEL Y-LABEL SETTINGS < series: name, x, y, min, max, tabs between
draw()
{
	cat >"$tmp/data"
	[ -s "$tmp/data" ] || return 0
	cut -f1 "$tmp/data" | uniq >"$tmp/names"
	{
		printf 'set terminal svg size 800,500 background "white"\nset output "%s"\nset title "%s"\n' "$1" "$2"
		printf 'set xlabel "%s"\nset ylabel "%s"\nset key left top\nset grid\n%s\n' "$3" "$4" "$5"
		printf 'set datafile separator "\\t"\nplot '
		i=0 comma=
		while read -r name; do
			i=$((i + 1))
			awk -F'\t' -v OFS='\t' -v name="$name" '$1 == name { print $2, $3, $4, $5 }' "$tmp/data" >"$tmp/series$i"
			printf '%s"%s" using 1:2:3:4 with yerrorlines title "%s"' "$comma" "$tmp/series$i" "$name"
			comma=', '
		done <"$tmp/names"
		echo
	} >"$tmp/script"
	gnuplot "$tmp/script"
	echo "$1 written"
}

drawn=0
if [ -e "$dir/sweeps.json" ]; then
	drawn=1
	for sweep in $(series "$dir/sweeps.json" 'if (field("sweep")) print field("sweep") "\t0"' | cut -f1 | uniq); do
		per=$(series "$dir/sweeps.json" "if (field(\"sweep\") == \"$sweep\") print field(\"per\")" | head -n 1)
		scales='set logscale xy'
		x='accesses in a transaction'
		case $sweep in
		readers) scales='set logscale y' x='transactions that only read, percent' ;;
		conflict) scales='set logscale y' x='transactions that update the shared cell, percent' ;;
		writes) x='granules updated' ;;
		object) x='bytes of an object' ;;
		esac
		series "$dir/sweeps.json" "if (field(\"sweep\") == \"$sweep\")
			print field(\"impl\") \" \" field(\"threads\") \"\t\" field(\"at\") \"\t\" field(\"ns\") \"\t\" \
				field(\"min\") \"\t\" field(\"max\")" |
			draw "$dir/sweep-$sweep.svg" "$sweep" "$x" "ns per $per" "$scales"
	done
fi
if [ -e "$dir/scale.json" ]; then
	drawn=1
	for what in instructions foreign-lines bytes-applied; do
		series "$dir/scale.json" "if (field(\"what\") == \"$what\")
			print field(\"workload\") \"\t\" field(\"segments\") \"\t\" field(\"count\") \"\t\" field(\"min\") \"\t\" \
				field(\"max\")" |
			draw "$dir/scale-$what.svg" "$what for each transaction" "segments" "$what" ""
	done
fi
if [ -e "$dir/apps.json" ]; then
	drawn=1
	for threads in 1 2; do
		# one place on the x axis for each application, one line for each implementation
		series "$dir/apps.json" "if (field(\"threads\") == $threads) {
			app = field(\"app\"); if (!(app in at)) at[app] = ++n
			print field(\"impl\") \"\t\" at[app] \"\t\" field(\"seconds\") \"\t\" field(\"min\") \"\t\" field(\"max\") }" |
			draw "$dir/apps-$threads.svg" "applications, threads: $threads" "" "seconds" \
				"set xtics ($(awk "$awk_field"' { a = field("app") } a && !(a in at) { at[a] = ++n
					printf "%s\"%s\" %d", n > 1 ? ", " : "", a, n }' "$dir/apps.json")); set logscale y"
	done
fi
[ "$drawn" = 1 ] || { echo "plots.sh: no sweeps.json, scale.json or apps.json in $dir: make bench first" >&2; exit 1; }
