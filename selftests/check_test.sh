#!/bin/bash
# SPDX-License-Identifier: MIT
#
# check_test.sh - uffdstm check where all is well, and where the system refuses something.
# shellcheck disable=SC2317 # functions are called through ok
if [ -z "${UFFDSTM_SRC:-}" ]; then
	echo "1..0 # SKIP not run from the source tree (UFFDSTM_SRC)"
	exit 4
fi
# shellcheck source=selftests/uffdstm_support.sh
. "$UFFDSTM_SRC/selftests/uffdstm_support.sh"
if ! "${CC:-gcc}" -Wall -Wextra -Werror -D_GNU_SOURCE= -o helper "$UFFDSTM_SRC/selftests/check_helper.c" -ljson-c 2>log; then
	sed 's/^/# /' log
	echo "Bail out! check_helper.c is not compiled"
	exit 1
fi

# check BEFORE...: runs check as text (file out) and as JSON (file features), both below the command BEFORE. Both end with
# the status $status, which is what the features mean.
check()
{
	local json

	"$@" "$tool" check >out 2>err
	status=$?
	"$@" "$tool" check --json >json 2>>err
	json=$?
	[ "$status" != 4 ] || skip "no seccomp filters" || return
	./helper json json >features || return 1
	[ ! -s err ] || { echo "on stderr:"; cat err; return 1; }
	[ "$status" = "$json" ] || { echo "status $status, of JSON $json"; return 1; }
	[ "$(sed -n 's/^result\t.*\t//p' features)" = "$status" ] || { echo "status $status:"; tail -n 1 features; return 1; }
	agree && narrow
}

# 80 columns, but for commands, which are never cut.
narrow()
{
	awk '!/^        [^ ]/ && length($0) > 80 { print "wide: " $0; wide = 1 } END { exit wide }' out
}

# Each feature has a line of the text, in order, with its verdict; the last line has the result.
agree()
{
	awk -F'\t' '
		BEGIN { text["works"] = "works"; text["limited"] = "works, with limits"; text["lacking"] = "this kernel lacks it"
			text["forbidden"] = "you may not"; text["untested"] = "not tested"
			text["result", "usable"] = "usable"; text["result", "limited"] = "usable, with limits"
			text["result", "unusable"] = "not usable" }
		FNR == 1 { file++ }
		file == 1 { line[FNR] = $0; lines = FNR; next }
		$1 == "result" { want = text["result", $2]; rest = "" }
		$1 != "result" { want = sprintf("%-27s%s", $2, text[$4]) }
		{
			for (at++; at <= lines; at++)
				if (index(line[at], want) == 1 && substr(line[at], length(want) + 1, 1) ~ /^[:]?$/)
					next
			print "no line \"" want "\""
			exit 1
		}' out features
}

# is NAME VERDICT: of the last check.
is()
{
	local verdict

	verdict=$(awk -F'\t' -v name="$1" '$1 == name { print $4 }' features)
	[ "$verdict" = "$2" ] || echo "$1 is $verdict, not $2"
	[ "$verdict" = "$2" ]
}

# About feature NAME the text says PATTERN, on any of its lines.
says()
{
	local title

	title=$(awk -F'\t' -v name="$1" '$1 == name { print $2 }' features)
	# Its lines up to the next title, joined.
	awk -v title="$title" '/^[^ ]/ { on = index($0, title "  ") == 1 } on { sub(/^ */, ""); printf "%s ", $0 }' out >about
	grep -qE -- "$2" about || { echo "about $1 not '$2':"; cat about; return 1; }
}

# Verdicts of the features other than the named, as in the file "normal", or another.
reference=normal
else_as_in_normal()
{
	local pattern

	pattern=$(printf '%s\\|' "$@")
	grep -v "^\(${pattern}result\)	" "$reference" >expected
	grep -v "^\(${pattern}result\)	" features | diff expected -
}

same_result()
{
	[ "$(tail -n 1 "$reference")" = "$(tail -n 1 features)" ] || { tail -n 1 features; return 1; }
}

# A user who is nobody, with a group that has a name.
if [ "$(id -u)" != 0 ]; then
	nobody=(env)
elif command -v setpriv >/dev/null; then
	nobody=(setpriv --reuid 65534 --regid 100 --clear-groups --inh-caps -all --bounding-set -all)
else
	nobody=()
fi

as_nobody()
{
	[ ${#nobody[@]} != 0 ] || skip "root, and no setpriv" || return
	check "${nobody[@]}" "$@"
}

plan 29

# ---- all is well ----

usable()
{
	check env || return
	cp features normal
	# Whatever runs these tests runs the library.
	is engine works && is userfaultfd works && [ "$status" != 2 ]
}
ok "check, as text and as JSON" usable
chosen()
{
	check env UFFDSTM_ENGINE=async && says engine 'async, asked for by UFFDSTM_ENGINE' || return
	check env UFFDSTM_ENGINE=none && is engine forbidden && says engine 'UFFDSTM_ENGINE = "none"' && [ "$status" = 2 ] &&
		else_as_in_normal engine
}
ok "the engine chosen" chosen
root()
{
	[ "$(id -u)" = 0 ] || skip "not root" || return
	check env && is call works && is system-calls works && says system-calls UFFDSTM_ENGINE=thread
}
ok "root gets faults in system calls" root

# ---- rights ----

unprivileged()
{
	as_nobody || return
	[ "$(cat /proc/sys/vm/unprivileged_userfaultfd)" = 0 ] || skip "vm.unprivileged_userfaultfd=1" || return
	"${nobody[@]}" test -w /dev/userfaultfd && { skip "/dev/userfaultfd is open to all"; return; }
	is call forbidden && says call 'EPERM.*sudo uffdstm setup --sysctl' && is user-mode works &&
		is system-calls forbidden && says system-calls 'EFAULT.*sudo uffdstm setup' && is engine works &&
		[ "$status" = 1 ] && [ "$(sed -n '$s/:.*//p' out)" = "usable, with limits" ]
}
ok "nobody: usable with limits, and what to do" unprivileged
device()
{
	[ -e /dev/userfaultfd ] || skip "no /dev/userfaultfd" || return
	as_nobody || return
	"${nobody[@]}" test -w /dev/userfaultfd && { skip "/dev/userfaultfd is open to all"; return; }
	is device forbidden && says device EACCES || return
	# advice only for who has no other way to faults in system calls
	is call works || says device 'EACCES.*sudo uffdstm setup'
}
ok "nobody: the device" device

# ---- security filters: 1 is EPERM, 38 ENOSYS, 25 ENOTTY, 22 EINVAL ----

no_userfaultfd()
{
	as_nobody ./helper deny userfaultfd "$1" || return
	"${nobody[@]}" test -w /dev/userfaultfd && { skip "/dev/userfaultfd is open to all"; return; }
	is user-mode forbidden && says user-mode "$2" && is userfaultfd forbidden && is copy untested &&
		is engine untested && is memfd works && is membarrier works && [ "$status" = 2 ] &&
		grep -q '^not usable: the best of these,' out
}
ok "userfaultfd: EPERM by a filter" no_userfaultfd 1 'EPERM, while a seccomp filter.*--security-opt'
ok "userfaultfd: ENOSYS by a filter" no_userfaultfd 38 'ENOSYS, while a seccomp filter.*--security-opt'
killed()
{
	as_nobody ./helper deny userfaultfd kill || return
	"${nobody[@]}" test -w /dev/userfaultfd && { skip "/dev/userfaultfd is open to all"; return; }
	is user-mode forbidden && says user-mode 'a seccomp filter kills' && is engine forbidden && is memfd works &&
		[ "$status" = 2 ]
}
ok "userfaultfd: killed by a filter" killed
device_alone()
{
	[ "$(id -u)" = 0 ] && [ -e /dev/userfaultfd ] || skip "not root, or no /dev/userfaultfd" || return
	check ./helper deny userfaultfd 1 && is device works && is call forbidden && is user-mode forbidden &&
		is userfaultfd works && is engine works && says engine /dev/userfaultfd && [ "$status" != 2 ]
}
ok "the device serves where the call is forbidden" device_alone

io_uring_works()
{
	grep -q '^io-uring	.*	works$' normal || skip "no io_uring" # and the kernel, or the machine, says so
}
io_uring()
{
	io_uring_works || return
	check ./helper deny io_uring_setup "$1" && is io-uring forbidden && says io-uring "$2" && else_as_in_normal io-uring && same_result
}
ok "io_uring: EPERM by a filter" io_uring 1 'io_uring_setup.*EPERM, while a seccomp filter'
ok "io_uring: ENOSYS by a filter" io_uring 38 'io_uring_setup.*ENOSYS'
io_uring_buffers()
{
	io_uring_works || return
	check ./helper deny io_uring_register 12 && is io-uring limited && says io-uring 'ENOMEM.*locked memory' &&
		else_as_in_normal io-uring && same_result
}
ok "io_uring: no registered buffers" io_uring_buffers
no_call()
{
	check ./helper deny "$1" "$2" && is "$3" "$4" && says "$3" "$5" && is engine forbidden && [ "$status" = 2 ] &&
		grep -q '^not usable' out
}
ok "membarrier: EPERM" no_call membarrier 1 membarrier forbidden 'EPERM'
ok "memfd_create: EPERM" no_call memfd_create 1 memfd forbidden 'EPERM'

# lacks REQUEST ERRNO NAME VERDICT PATTERN: an ioctl(2) that this kernel does not know.
lacks()
{
	check ./helper deny ioctl "$2" "$1" && is "$3" lacking && says "$3" "$4"
}
pagemap_scan()
{
	lacks 0xc0606610 25 pagemap-scan 'PAGEMAP_SCAN: ENOTTY.*this is Linux [0-9]' && [ "$status" = 1 ] &&
		grep -q '^usable, with limits: .*PAGEMAP_SCAN' out
}
ok "a kernel without PAGEMAP_SCAN" pagemap_scan
continues()
{
	lacks 0xc020aa07 22 continue 'UFFDIO_CONTINUE: EINVAL.*new enough' && is copy works &&
		is engine-sigbus forbidden && [ "$status" = 2 ]
}
ok "a kernel without UFFDIO_CONTINUE" continues

# ---- the system, as seen in a mount namespace of its own: nothing of it changes ----

# there COMMANDS BEFORE...: check, after COMMANDS in such a namespace
there()
{
	local commands=$1

	shift
	[ "$(id -u)" = 0 ] || skip "not root" || return
	unshare -m true 2>/dev/null || skip "no mount namespaces" || return
	check unshare -m sh -c "$commands"' && exec "$@"' - env "$@"
}
# set_to VALUE FILE: the command that lets FILE read as VALUE
set_to()
{
	echo "$1" >"value-$1"
	echo "mount --bind $tmp/value-$1 $2"
}
disabled()
{
	[ -e /proc/sys/kernel/io_uring_disabled ] || skip "no kernel.io_uring_disabled" || return
	there "$(set_to "$1" /proc/sys/kernel/io_uring_disabled)" ./helper deny io_uring_setup 1 &&
		is io-uring forbidden && says io-uring "$2" && else_as_in_normal io-uring && same_result
}
ok "kernel.io_uring_disabled=1" disabled 1 \
	'since kernel.io_uring_disabled=1.*kernel.io_uring_group.*sysctl kernel.io_uring_disabled=0'
ok "kernel.io_uring_disabled=2" disabled 2 'since kernel.io_uring_disabled=2 *allow it for everybody'
mappings()
{
	there "$(set_to 500 /proc/sys/vm/max_map_count)" && is max-map-count limited && [ "$status" = 1 ] &&
		says max-map-count '500; a thread takes [1-9][0-9]*, 64 threads [1-9][0-9]*.*sysctl vm.max_map_count=65530' &&
		else_as_in_normal max-map-count
}
ok "vm.max_map_count" mappings
no_proc()
{
	there "mount -t tmpfs none /proc" && is pagemap-scan forbidden && says pagemap-scan 'mount /proc' &&
		is engine-async forbidden && is max-map-count untested && is overcommit untested && is engine works &&
		[ "$status" = 1 ]
}
ok "no /proc" no_proc
no_device()
{
	grep -q ' userfaultfd$' /proc/misc || skip "no device in this kernel" || return
	there "mount -t tmpfs none /dev && mknod /dev/null c 1 3" && is device forbidden &&
		says device 'ENOENT, though this kernel has it.*docker run --device /dev/userfaultfd' && is call works &&
		is engine works && else_as_in_normal device
}
ok "no /dev/userfaultfd" no_device
wrong_device()
{
	[ -e /dev/userfaultfd ] || skip "no device in this kernel" || return
	there "mount --bind /dev/null /dev/userfaultfd" && is device lacking && says device ENOTTY && is engine works &&
		else_as_in_normal device
}
ok "/dev/userfaultfd is something else" wrong_device

namespace()
{
	[ ${#nobody[@]} != 0 ] && "${nobody[@]}" unshare -U -r true 2>/dev/null || skip "no user namespaces" || return
	[ "$(cat /proc/sys/vm/unprivileged_userfaultfd)" = 0 ] || skip "vm.unprivileged_userfaultfd=1" || return
	"${nobody[@]}" test -w /dev/userfaultfd && { skip "/dev/userfaultfd is open to all"; return; }
	as_nobody unshare -U -r && is call forbidden && says call 'on the host.* uffdstm setup --sysctl +# on the host'
}
ok "a user namespace" namespace

# ---- limits ----

limited()
{
	# shellcheck disable=SC2086
	(ulimit $1 && as_nobody) || return
	status=$(sed -n 's/^result\t.*\t//p' features)
}
memlock()
{
	local reference=of-nobody

	as_nobody || return
	cp features "$reference"
	limited '-S -l 0' && is memlock forbidden && says memlock 'mlock.*RLIMIT_MEMLOCK is 0 bytes.*LimitMEMLOCK' &&
		else_as_in_normal memlock io-uring && same_result || return
	! io_uring_works || says io-uring 'ENOMEM.*locked memory: see below'
}
ok "no locked memory" memlock
files()
{
	limited '-S -n 40' && is threads limited && [ "$status" = 1 ] && is engine works &&
		says threads '[0-9]+ of 64 threads.*EMFILE.*open files, now 40.*ulimit -n 1024'
}
ok "few open files" files
space()
{
	limited '-S -v 700000000' && is threads limited && [ "$status" = 1 ] &&
		says threads 'of 64 threads.*RLIMIT_AS.*ulimit -v unlimited'
}
ok "little address space" space

file_size()
{
	limited '-S -f 10' && is memfd forbidden && says memfd 'EFBIG.*ulimit -f' && is engine forbidden &&
		is membarrier works && [ "$status" = 2 ]
}
ok "little space in a file" file_size
processes()
{
	# of its own user id: the limit counts all processes of one
	[ "$(id -u)" = 0 ] && [ ${#nobody[@]} != 0 ] || skip "not root, or no setpriv" || return
	nobody=(setpriv --reuid 54321 --regid 100 --clear-groups --inh-caps -all --bounding-set -all prlimit --nproc=20)
	as_nobody && is threads limited && says threads '[0-9]+ of 64 threads.*pthread_create.*EAGAIN.*ulimit -u' &&
		is engine works && [ "$status" = 1 ]
}
ok "few processes" processes
signals()
{
	# as a careless service manager leaves them; SIGXFSZ would kill
	check env --block-signal=BUS,CHLD --ignore-signal=BUS,CHLD,SYS && else_as_in_normal || return
	check env --ignore-signal=CHLD ./helper deny membarrier kill && is membarrier forbidden &&
		says membarrier 'seccomp filter kills'
}
ok "signals blocked and ignored" signals

finish
