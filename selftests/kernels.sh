#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
#
# kernels.sh - what `make check-kernels` runs: all programs among the selftests, linked statically, on other kernels
# than this machine's, in qemu without KVM. The last line is the sum; the exit status is 1 if anything failed.
#
# KERNELS are Debian packages, each of which depends on the newest kernel of its kind. Nothing is installed: kernels and
# busybox are downloaded and unpacked below build/kernels, once. What cannot be had is skipped, with the reason.
#
# A machine has two serial ports: the kernel's console, and what the tests say (KTAP, as the kernel's runner
# prints it). kernels-init.sh is its process 1, whose environment is the rest of the kernel's command line: UFFDSTM_ENGINE, if
# it is set. TESTS: only these programs.
set -u
unset MAKEFLAGS MFLAGS MAKELEVEL
cd "$(dirname "$0")/.." || exit

KERNELS=${KERNELS:-linux-image-cloud-amd64 linux-image-6.12-cloud-amd64}
KERNEL_TIMEOUT=${KERNEL_TIMEOUT:-1500} # seconds for one; 150 are usual
DIR=build/kernels

# shellcheck source=selftests/packages.sh
. selftests/packages.sh
passed=0 failed=0 skipped=0

finish()
{
	echo "$passed passed, $failed failed, $skipped skipped"
	[ "$failed" = 0 ]
	exit
}

# skip REASON...: all kernels
skip()
{
	for kernel in $KERNELS; do
		echo "$kernel: skipped: $*"
		skipped=$((skipped + 1))
	done
	finish
}

# ---- a machine ----

list()
{
	make -s --no-print-directory -f - <<END
include selftests/Kbuild
\$(info \$($1))
all:;@:
END
}

initramfs()
{
	local root=$DIR/root

	rm -rf "$root" && mkdir -p "$root"/{bin,dev,proc,sys,tmp,usr/bin} &&
		cp "$busybox" "$root/bin/busybox" &&
		cp selftests/kernels-init.sh "$root/init" &&
		cp -r build/static/selftests/run "$root/run" &&
		(cd "$root" && find . | "$busybox" cpio -o -H newc) > "$DIR/initramfs.cpio" 2>/dev/null
}

# boot NAME VMLINUZ: leaves NAME.console, NAME.tap, NAME.qemu and NAME.status
boot()
{
	local out=$DIR/$1

	: > "$out.console"
	: > "$out.tap"
	# max: all that qemu can emulate, as cmpxchg16b. single: with a thread for each CPU of the machine, qemu 7.2 now and then
	# runs an int3 that the kernel, patching itself, has taken out again: an Oops in one of fifty boots.
	timeout -k 10 "$KERNEL_TIMEOUT" qemu-system-x86_64 -accel tcg,thread=single -cpu max -smp 2 -m 2G -nodefaults \
		-display none -no-reboot -serial "file:$out.console" -serial "file:$out.tap" \
		-kernel "$2" -initrd "$DIR/initramfs.cpio" -append "console=ttyS0 panic=-1 oops=panic ${UFFDSTM_ENGINE:+UFFDSTM_ENGINE=$UFFDSTM_ENGINE}" \
		</dev/null >"$out.qemu" 2>&1
	echo $? > "$out.status"
}

# report NAME: what came of it
report()
{
	local out=$DIR/$1 status panic count ended=

	status=$(cat "$out.status")
	tr -d '\r' < "$out.tap" > "$out.log"
	tr -d '\r' < "$out.console" > "$out.kernel"
	count=$(awk -v plans=1 -f selftests/count.awk "$out.log")
	read -r p _ f _ s _ <<<"$(tail -n 1 <<<"$count")"
	panic=$(grep -m 1 -o 'Kernel panic.*' "$out.kernel")
	if [ -n "$panic" ]; then
		ended=$panic
	elif [ "$status" = 124 ] || [ "$status" = 137 ]; then
		ended="not at an end after $KERNEL_TIMEOUT s"
	elif [ "$status" != 0 ]; then
		ended="qemu ended with status $status: $(tail -n 1 "$out.qemu")"
	elif ! grep -q '^# all programs ran$' "$out.log"; then
		ended='the machine went off before the end'
	fi
	awk -f selftests/short.awk "$out.log"
	if [ -n "$ended" ]; then
		tail -n 30 "$out.kernel"
		echo "# failed: $1: $ended"
		[ "$f" != 0 ] || f=1
	fi
	sed '$d' <<<"$count"
	echo "# $1: $p passed, $f failed, $s skipped"
	passed=$((passed + p)) failed=$((failed + f)) skipped=$((skipped + s))
}

# ---- all of them ----

command -v qemu-system-x86_64 >/dev/null || skip "no qemu-system-x86_64: install the package qemu-system-x86"
command -v apt-get >/dev/null || skip "no apt-get: kernels are taken from Debian's packages"

mkdir -p "$DIR"
busybox=$PWD/$DIR/busybox-static/bin/busybox
fetch "$DIR/busybox-static" busybox-static || skip "busybox-static cannot be downloaded: $(reason "$DIR/busybox-static")"

names=() images=()
for kernel in $KERNELS; do
	if ! depended "$kernel" 'linux-image-[0-9]'; then
		echo "$kernel: skipped: no such package in the lists of apt"
		skipped=$((skipped + 1))
	elif ! package=${packages%%$'\n'*} || ! fetch "$DIR/$package" "$package"; then
		echo "$kernel: skipped: $package cannot be downloaded: $(reason "$DIR/$package")"
		skipped=$((skipped + 1))
	else
		names+=("$package")
		images+=("$(echo "$DIR/$package"/boot/vmlinuz-*)")
	fi
done
[ ${#names[@]} != 0 ] || finish

tests=${TESTS:-$(list stm-tests) $(list stm-white-tests)}
make VARIANT=static TESTS="$tests" installed-tests || exit
initramfs || exit

for i in "${!names[@]}"; do
	echo "== ${names[i]}"
	boot "${names[i]}" "${images[i]}" &
done
wait
for name in "${names[@]}"; do
	report "$name"
done
finish
