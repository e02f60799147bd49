#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
#
# kbuild.sh - what `make check-kbuild` runs: the tree where people who work on kernels have it. The last line is the
# sum; the exit status is 1 if anything failed. Everything happens on copies below build/kbuild.
#
# 1. A copy is built by kbuild, as userprogs, with the headers of Debian's package KERNEL, and programs of it run. The
#    package is downloaded and unpacked, not installed, once; where it cannot be had, this is skipped, with the reason.
#    KERNEL may be a directory: `make -C` takes it as it is.
# 2. A copy of selftests/ as tools/testing/selftests/uffdstm of a kernel tree, of which there is as much as that takes,
#    is built against an installed library and run. KERNEL_TREE is where to take that from.
set -u
unset MAKEFLAGS MFLAGS MAKELEVEL CC
cd "$(dirname "$0")/.." || exit

KERNEL=${KERNEL:-linux-headers-6.12-amd64}
: "${KERNEL_TREE:?set it to a kernel tree}"
KSELFTEST=$KERNEL_TREE/tools/testing/selftests
DIR=$PWD/build/kbuild
COPY=$DIR/tree
TREE=$DIR/linux
ROOT=$DIR/installed

# shellcheck source=selftests/packages.sh
. selftests/packages.sh
passed=0 failed=0 skipped=0

# step NAME COMMAND...: the command succeeds, or ends with 4: skipped
step()
{
	local name=$1 status

	shift
	"$@" >"$DIR/log" 2>&1 </dev/null
	status=$?
	case $status in
	0)
		echo "ok: $name"
		passed=$((passed + 1))
		;;
	4) skip "$name" "$(grep -m 1 -o 'SKIP.*' "$DIR/log")" ;;
	*)
		echo "failed: $name: status $status"
		tail -n 30 "$DIR/log" | sed 's/^/# /'
		failed=$((failed + 1))
		return 1
		;;
	esac
}

skip()
{
	echo "skipped: $1: $2"
	skipped=$((skipped + 1))
}

# list NAME: of the Kbuild files
list()
{
	make -s --no-print-directory -f - <<END
include selftests/Kbuild tools/uffdstm/Kbuild tools/samples/Kbuild tools/bench/Kbuild
\$(info \$(strip \$($1)))
all:;@:
END
}

# ---- kbuild ----

# headers: sets kernel to their directory, or why to the reason that there is none
headers()
{
	local name

	kernel=$KERNEL
	[ ! -d "$KERNEL" ] || return 0
	command -v apt-get >/dev/null || { why="no apt-get: kernel headers are taken from Debian's packages" && return 1; }
	depended "$KERNEL" 'linux-headers-[0-9]' || { why="no package $KERNEL in the lists of apt" && return 1; }
	name=${packages%%$'\n'*}
	depended "$name" 'linux-(headers|kbuild)-[0-9]' || { why="no package $name in the lists of apt" && return 1; }
	# shellcheck disable=SC2086 # names have no blanks
	fetch "$DIR/$name" "$name" $packages || { why="$name cannot be downloaded: $(reason "$DIR/$name")" && return 1; }
	kernel=$DIR/$name/usr/src/$name
	# It names the place where it would be installed.
	sed -i "s|^include .*/usr/src/|include $DIR/$name/usr/src/|" "$kernel/Makefile"
}

copy()
{
	rm -rf "$COPY" && mkdir -p "$COPY" &&
		tar -c --exclude='*.o' --exclude='.*.cmd' Kbuild lib uffd tools selftests | tar -x -C "$COPY"
}

kbuild()
{
	make -C "$kernel" M="$COPY" KSELFTEST="$KSELFTEST" -j"$(nproc)" "$@"
}

# programs DIRECTORY LIST: there they are
programs()
{
	local status=0

	for program in $(list "$2"); do
		[ -x "$COPY/$1/$program" ] || { echo "$1/$program is not there" && status=1; }
	done
	return $status
}

# The tool does what the Makefile's does.
same_version()
{
	diff <(build/tools/uffdstm/uffdstm --version) <("$COPY/tools/uffdstm/uffdstm" --version)
}
same_check()
{
	local expected status

	build/tools/uffdstm/uffdstm check
	expected=$?
	"$COPY/tools/uffdstm/uffdstm" check
	status=$?
	[ $status = $expected ] && [ $status -le 2 ]
}

# linked_again FILE PROGRAM...: because FILE changed
linked_again()
{
	touch "$COPY/$1"
	kbuild >"$DIR/again" || { cat "$DIR/again" && return 1; }
	for program in "${@:2}"; do
		grep -q "LD \[U\] .*/$program\$" "$DIR/again" || { echo "$program is not linked again" && return 1; }
	done
}

nothing_again()
{
	kbuild >"$DIR/again" || { cat "$DIR/again" && return 1; }
	! grep '\[U\]' "$DIR/again"
}

# Only what was copied is there.
cleaned()
{
	kbuild clean && diff -r "$COPY/lib" lib && diff -r "$COPY/uffd" uffd && diff -r "$COPY/tools" tools &&
		diff -r "$COPY/selftests" selftests
}

run_kbuild()
{
	local why

	headers || { skip kbuild "$why" && return; }
	copy || { echo "failed: kbuild: no copy in $COPY" && failed=$((failed + 1)) && return; }
	step "kbuild builds" kbuild -s || return
	step "kbuild: tools" programs tools/uffdstm stm-tools
	step "kbuild: samples" programs tools/samples stm-samples
	step "kbuild: benchmarks" programs tools/bench stm-bench
	step "kbuild: tests" programs selftests stm-tests
	step "kbuild: uffdstm --version" same_version
	step "kbuild: uffdstm check" same_check
	step "kbuild: finddup" env FINDDUP="$COPY/tools/samples/finddup" tools/samples/finddup_test.sh
	for test in version_test transaction_test unannotated_test; do
		step "kbuild: $test" "$COPY/selftests/$test"
	done
	step "kbuild builds nothing twice" nothing_again
	step "kbuild links what changed: .S" linked_again lib/checkpoint.S stm-lib uffdstm finddup micro
	step "kbuild links what changed: .c" linked_again uffd/view.c stm-uffd uffdstm finddup micro
	step "kbuild builds with schedule points" kbuild -s USERCFLAGS=-DSTM_SCHEDULE || return
	step "kbuild: white-box tests" programs selftests stm-white-tests
	for test in log_test mutant_view_test pages_test; do
		step "kbuild: $test" "$COPY/selftests/$test"
	done
	step "kbuild cleans" cleaned
}

# ---- a kernel's selftests ----

# in_tree ARGUMENT...: make in the tree's folder of selftests. A library that is installed as usual needs no paths.
in_tree()
{
	env PKG_CONFIG_PATH="$ROOT/opt/uffdstm/lib/pkgconfig" PKG_CONFIG_SYSROOT_DIR="$ROOT" \
		LD_LIBRARY_PATH="$ROOT/opt/uffdstm/lib" \
		make --no-print-directory -C "$TREE/tools/testing/selftests" TARGETS=uffdstm "$@"
}

plant()
{
	local selftests=$TREE/tools/testing/selftests

	rm -rf "$TREE" "$ROOT" && mkdir -p "$TREE/scripts" "$selftests" &&
		cp "$KERNEL_TREE/scripts/subarch.include" "$TREE/scripts/" &&
		cp -r "$KSELFTEST"/{*.h,*.mk,*.sh,Makefile,kselftest} "$selftests/" &&
		cp -r selftests "$selftests/uffdstm" &&
		make -s install DESTDIR="$ROOT" prefix=/opt/uffdstm
}

# One line, and no test runs.
without_library()
{
	env PKG_CONFIG_PATH= PKG_CONFIG_LIBDIR="$DIR" make -C "$TREE/tools/testing/selftests" TARGETS=uffdstm run_tests \
		>"$DIR/said" 2>&1
	cat "$DIR/said"
	grep -q 'pkg-config does not find the library: install it' "$DIR/said" &&
		! grep -q -e 'selftests: uffdstm' -e 'error:' "$DIR/said"
}

# Of all tests in the lists each ran, skipped with that reason, or is named as left out.
each_accounted_for()
{
	local status=0 left_out

	left_out=$(sed -n 's/^# uffdstm: left out, .*: //p' "$DIR/tree.log")
	for test in $(list stm-tests); do
		grep -q "^ok [0-9]* selftests: uffdstm: $test\$" "$DIR/tree.log" || { echo "$test did not pass" && status=1; }
	done
	for test in $(list stm-test-scripts); do
		grep -q "^ok [0-9]* selftests: uffdstm: $test # SKIP" "$DIR/tree.log" || { echo "$test did not skip" && status=1; }
	done
	[ "$left_out" = "$(list stm-white-tests)" ] || { echo "left out: $left_out" && status=1; }
	return $status
}

cleaned_tree()
{
	in_tree clean && diff -r selftests "$TREE/tools/testing/selftests/uffdstm"
}

run_tree()
{
	local count p f s _

	step "kernel tree" plant || return
	step "kernel tree: without the library" without_library
	in_tree run_tests </dev/null >"$DIR/tree.log" 2>&1
	awk -f selftests/short.awk "$DIR/tree.log"
	count=$(awk -v plans=1 -f selftests/count.awk "$DIR/tree.log")
	sed '$d' <<<"$count"
	read -r p _ f _ s _ <<<"$(tail -n 1 <<<"$count")"
	echo "# kernel tree: run_tests: $p passed, $f failed, $s skipped"
	passed=$((passed + p)) failed=$((failed + f)) skipped=$((skipped + s))
	step "kernel tree: each test is accounted for" each_accounted_for
	step "kernel tree: clean" cleaned_tree
}

mkdir -p "$DIR" || exit
run_kbuild
run_tree
echo "$passed passed, $failed failed, $skipped skipped"
[ "$failed" = 0 ]
