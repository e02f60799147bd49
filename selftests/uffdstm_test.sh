#!/bin/bash
# SPDX-License-Identifier: MIT
#
# uffdstm_test.sh - uffdstm check where all is well, and where the system refuses something.
# shellcheck disable=SC2317 # functions are called through ok
set -u
export LC_ALL=C

if [ -z "${UFFDSTM_SRC:-}" ]; then
	echo "1..0 # SKIP not run from the source tree (UFFDSTM_SRC)"
	exit 4
fi
: "${UFFDSTM_BUILD:?set it to the build folder}"
tmp=$(mktemp -d)
trap 'rm -rf "$tmp"' EXIT
chmod 755 "$tmp"
cd "$tmp" || exit 1
# Copies: an unprivileged user need not reach the build folder.
cp "$UFFDSTM_BUILD/tools/uffdstm/uffdstm" uffdstm || exit 1
if ! "${CC:-gcc}" -Wall -Wextra -Werror -D_GNU_SOURCE= -o helper "$UFFDSTM_SRC/selftests/uffdstm_helper.c" -ljson-c 2>log; then
	sed 's/^/# /' log
	echo "1..0 # SKIP no compiler for uffdstm_helper.c"
	exit 4
fi
tool=$tmp/uffdstm
unset UFFDSTM_ENGINE UFFDSTM_STRICT UFFDSTM_VERBOSE

number=0
failed=0

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

# Verdicts of the features other than the named, as in the file "normal".
else_as_in_normal()
{
	local pattern

	pattern=$(printf '%s\\|' "$@")
	grep -v "^\(${pattern}result\)	" normal >expected
	grep -v "^\(${pattern}result\)	" features | diff expected -
}

same_result()
{
	[ "$(tail -n 1 normal)" = "$(tail -n 1 features)" ] || { tail -n 1 features; return 1; }
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

echo "TAP version 13"
echo "1..35"

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
	is device forbidden && says device 'EACCES.*sudo uffdstm setup'
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
	limited '-S -l 0' && is memlock forbidden && { ! io_uring_works || says io-uring 'ENOMEM.*locked memory: see below'; } && says memlock 'mlock.*RLIMIT_MEMLOCK is 0 bytes.*LimitMEMLOCK' &&
		else_as_in_limits memlock io-uring
}
# What else nobody gets, whatever the limit.
else_as_in_limits()
{
	local name

	for name; do
		grep -v "^$name	" unlimited >u && mv u unlimited
		grep -v "^$name	" features >f && mv f features
	done
	diff unlimited features
}
reference()
{
	as_nobody || return
	cp features unlimited
}
if reference >log 2>&1; then
	ok "no locked memory" memlock
else
	ok "no locked memory" skip "no nobody"
fi
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

	for name in $(cut -f 1 normal | grep -vx result); do
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
		complete_is "" uffdstm frobnicate -- && complete_is --help uffdstm check --json --he
}
ok "completion" completion
installed()
{
	local where

	env -u MAKEFLAGS -u MAKELEVEL make -s -C "$UFFDSTM_SRC" -n install DESTDIR="$tmp/root" prefix=/usr >commands || return 1
	for where in "tools/uffdstm/uffdstm .*/usr/bin/" "uffdstm.8 .*/usr/share/man/man8/" \
		"completion.bash .*/usr/share/bash-completion/completions/uffdstm"; do
		grep -q "$where" commands || { echo "not installed: $where"; return 1; }
	done
}
ok "program, manual and completion are installed" installed

exit $((failed > 0))
