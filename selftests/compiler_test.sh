#!/bin/bash
# SPDX-License-Identifier: MIT
#
# compiler_test.sh - C constructs through STM pointers, compiled by gcc and clang at each optimisation level,
# keep their %gs prefix and their meaning.
#
# The flags are those of uffdstm.pc. compiler/run.c tells how a case is judged. Then the controls, what
# uffdstm-compilers(7) warns of: each must be found wrong, or these checks could not fail. Last, the
# instructions that barriers compile to are counted.
set -u

skip()
{
	echo "TAP version 13"
	echo "1..0 # SKIP $1"
	exit 4
}

[ -n "${UFFDSTM_SRC:-}" ] || skip "not run from the source tree (UFFDSTM_SRC)"
: "${UFFDSTM_BUILD:?set it to the build folder}"
tmp=$(mktemp -d)
trap 'rm -rf "$tmp"' EXIT

sources=$UFFDSTM_SRC/selftests/compiler
warnings=(-Wall -Wextra -Werror)
base=(-std=gnu11 -I"$UFFDSTM_SRC/lib/include")
read -ra flags <<<"$(sed -n 's/^Cflags: *-I[^ ]* *//p' "$UFFDSTM_BUILD/uffdstm.pc")"
levels=(-O0 -O1 -O2 -O3 -Os '-O3 -march=native' '-O2 -flto')
n=0 failed=0

# result(0 if passed, name, file with diagnostics)
result()
{
	n=$((n + 1))
	if [ "$1" -eq 0 ]; then
		echo "ok $n $2"
	else
		[ -z "${3:-}" ] || tail -n 20 "$3" | sed 's/^/# /'
		echo "not ok $n $2"
		failed=1
	fi
}

# model(cases, options): what is right, by plain C; once
model()
{
	[ -e "$tmp/$1$2.model.o" ] ||
		gcc "${base[@]}" -w -O0 -fno-builtin $2 -c -o "$tmp/$1$2.model.o" "$sources/$1.c"
}

# build(compiler, cases, options of both view and model, options of the view ...) -> $tmp/cases
build()
{
	local cc=$1 cases=$2 both=$3
	shift 3

	rm -f "$tmp/cases"
	model "$cases" "$both" &&
		"$cc" "${base[@]}" "$@" $both -DVIEW -c -o "$tmp/view.o" "$sources/$cases.c" &&
		"$cc" "$@" -o "$tmp/cases" "$tmp/view.o" "$tmp/$cases$both.model.o" "$tmp/run.o"
}

# check(compiler, level, cases, options of both)
check()
{
	local title="$1 $2" line
	# shellcheck disable=SC2086
	if ! build "$1" "$3" "$4" $2 "${flags[@]}" "${warnings[@]}" >"$tmp/log" 2>&1; then
		result 1 "$title: $3.c compiles" "$tmp/log"
		return
	fi
	"$tmp/cases" >"$tmp/out" 2>"$tmp/log"
	[ "$(tail -n 1 "$tmp/out")" = end ] || result 1 "$title: all of $3.c runs" "$tmp/log"
	while read -r line; do
		case $line in
		ok\ *)
			result 0 "$title: ${line#ok }" ;;
		bad\ *)
			result 1 "$title: ${line#bad }" ;;
		esac
	done <"$tmp/out"
}

# control(compiler, version that is known to fail, bad or refused, case, options)
#
# Found wrong is right here. Other versions of a compiler may have been mended.
control()
{
	local cc=$1 version=$2 want=$3 name=$4 got=good
	local title="control: $cc $5: $name"

	command -v "$cc" >/dev/null || return
	# shellcheck disable=SC2086
	if ! build "$cc" unsafe "-DUNSAFE=$name" $5 -w >"$tmp/log" 2>&1; then
		got=refused
	elif "$tmp/cases" >"$tmp/log" 2>&1 && grep -q '^bad' "$tmp/log"; then
		got=bad
	fi
	if [ $got = "$want" ]; then
		result 0 "$title is $want"
	elif [ "$version" != any ] && [ "$("$cc" -dumpversion | cut -d. -f1)" != "$version" ]; then
		result 0 "$title is $want # SKIP not by this version of $cc"
	else
		result 1 "$title is $want" "$tmp/log"
	fi
}

# count(function, regular expression): matching instructions of the function in $tmp/barriers
count()
{
	awk -v name="<$1>:" '$2 == name { on = 1; next } /^$/ { on = 0 } on' "$tmp/barriers" | grep -cE "$2"
}

# expect(title, function, what, regular expression, number)
expect()
{
	local got
	got=$(count "$2" "$4")
	[ "$got" = "$5" ] || echo "$2: $got instructions match '$4', want $5" >"$tmp/log"
	[ "$got" = "$5" ]
	result $? "$1: $2: $5 $3" "$tmp/log"
}

# An operand reads "%gs:0x0(,%rdi,4)"; what follows the last comma outside parentheses is the destination.
marker='%gs:[^,]*\(.*\)'
store="mov[a-z]* +%[a-z0-9]+,$marker\$"
version='%gs:0x100000'
unmarked='%gs:0x100028'
jump='\bj[a-z]+ '
conditional='\bj(n?[ez]|n?[abgl]e?|n?[csop]) '

barriers()
{
	local cc=$1 f

	if ! "$cc" "${base[@]}" -O2 "${flags[@]}" "${warnings[@]}" -c -o "$tmp/barriers.o" \
		"$sources/barriers.c" >"$tmp/log" 2>&1; then
		result 1 "$cc -O2: barriers.c compiles" "$tmp/log"
		return
	fi
	objdump -d --no-show-raw-insn "$tmp/barriers.o" >"$tmp/barriers"
	for f in read_long read_two; do
		expect "$cc -O2" $f "store" "$store" 1
		expect "$cc -O2" $f "conditional jump" "$conditional" 1
		expect "$cc -O2" $f "other jump or call" 'jmp|call' 0
		expect "$cc -O2" $f "load of whether reads are marked" "$unmarked" 1
		expect "$cc -O2" $f "access through %gs, these and the version's included" "%gs:" 3
	done
	expect "$cc -O2" read_four "conditional jump" "$conditional" 1
	expect "$cc -O2" read_four "other jump or call" 'jmp|call' 0
	for f in write_long write_two; do
		expect "$cc -O2" $f "store" "$store" 0
		expect "$cc -O2" $f "compare" 'cmp' 1
		expect "$cc -O2" $f "conditional jump" "$conditional" 1
		expect "$cc -O2" $f "load of the version" "$version" 1
	done
	expect "$cc -O2" find "marker store" "$store" 1
	expect "$cc -O2" find "load of the version, outside the loop" "$version" 1
	expect "$cc -O2" find "load of whether reads are marked, outside the loop" "$unmarked" 1
	expect "$cc -O2" get "marker store" "$store" 1
	expect "$cc -O2" get "load of the version" "$version" 1
	expect "$cc -O2" get "load of whether reads are marked" "$unmarked" 1
}

[ -e "$UFFDSTM_BUILD/uffdstm.pc" ] || { echo "Bail out! no $UFFDSTM_BUILD/uffdstm.pc: run make"; exit 1; }
echo "TAP version 13"
gcc "${base[@]}" "${warnings[@]}" -O2 -c -o "$tmp/run.o" "$sources/run.c" || { echo "Bail out! run.c"; exit 1; }

for cc in gcc clang; do
	if ! command -v $cc >/dev/null; then
		result 0 "$cc # SKIP not installed"
		continue
	fi
	for level in "${levels[@]}"; do
		# clang's LTO needs a linker plugin that Debian's ld has for gcc only.
		[ "$cc $level" != "clang -O2 -flto" ] || continue
		for cases in loops structs vectors; do
			check $cc "$level" $cases ''
		done
		if [ $cc = gcc ]; then
			check $cc "$level" sizes -DLARGE
		else
			check $cc "$level" sizes ''
		fi
	done
	control $cc any bad lost_prefix_store '-O2'
	control $cc any bad lost_prefix_load '-O2'
	barriers $cc
done

control gcc 12 bad literal_in_loop '-O1 -DWITHOUT_FLAGS'
control gcc 12 bad transpose '-O3 -DWITHOUT_FLAGS'
control gcc 12 bad returned_struct '-O2'
control gcc 12 bad array_typedef '-O2'
control gcc 12 bad cleared_struct '-O2'
control clang 14 refused fill_loop '-O2'
control clang 14 refused copy_loop '-O2'
control clang 14 bad argument_struct '-O0'
control clang 14 bad argument_struct '-O2'
echo "1..$n"
exit $failed
