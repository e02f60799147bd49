#!/bin/bash
# SPDX-License-Identifier: MIT
#
# status_test.sh - uffdstm status: figures of programs that are told what to do, and memfds that are not what they seem.
# shellcheck disable=SC2317,SC2154,SC2015 # functions are called through ok; start sets pid_NAME; A && B || C is meant
if [ -z "${UFFDSTM_SRC:-}" ]; then
	echo "1..0 # SKIP not run from the source tree (UFFDSTM_SRC)"
	exit 4
fi
# shellcheck source=selftests/uffdstm_support.sh
. "$UFFDSTM_SRC/selftests/uffdstm_support.sh"
source=$UFFDSTM_SRC/selftests/status_helper.c
if ! "${CC:-gcc}" -std=gnu11 -O2 -Wall -Wextra -Werror -Wno-clobbered -Wno-unknown-warning-option -pthread \
	-D_GNU_SOURCE= -I"$UFFDSTM_SRC/lib/include" \
	-fno-tree-vectorize -fno-ivopts -fno-builtin-memset -fno-builtin-memcpy -Wno-ignored-optimization-argument \
	-o helper "$source" "$UFFDSTM_BUILD/libuffdstm.a" -luring -ljson-c 2>log ||
	! "${CC:-gcc}" -Wall -Wextra -Werror -D_GNU_SOURCE= -DPRELOAD -shared -fPIC -o preload.so "$source" 2>>log; then
	sed 's/^/# /' log
	echo "Bail out! status_helper.c is not compiled"
	exit 1
fi

# ---- programs: their input is a pipe, and each line of it is answered by one ----

pids=()
start()
{
	local name=$1

	shift
	rm -f "in.$name" "out.$name"
	mkfifo "in.$name" "out.$name"
	"$@" ./helper run <"in.$name" >"out.$name" 2>"err.$name" &
	exec {fd}>"in.$name"
	declare -g "to_$name=$fd" "pid_$name=$!"
	exec {fd}<"out.$name"
	declare -g "from_$name=$fd"
	pids+=($!)
}

# tell NAME COMMAND...: the answer, without "done", is in $answer
tell()
{
	local to=to_$1 from=from_$1

	shift
	echo "$*" >&"${!to}" && read -r answer <&"${!from}" || return
	[ "${answer##* }" = "done" ] || { echo "$*: $answer"; return 1; }
	answer=${answer%done}
}

# The program ends.
finish_program()
{
	local to=to_$1 from=from_$1 pid=pid_$1

	echo quit >&"${!to}"
	eval "exec ${!to}>&- ${!from}<&-"
	wait "${!pid}"
}

stop_all()
{
	for pid in "${pids[@]}"; do
		kill -9 "$pid" && wait "$pid"
	done 2>/dev/null
	rm -rf "$tmp"
}
trap stop_all EXIT

# begin_garbage COMMAND...: runs it until it is ready; its id is $garbage
begin_garbage()
{
	rm -f ready
	mkfifo ready
	"$@" >ready 2>err &
	garbage=$!
	pids+=("$garbage")
	read -r line <ready && [ "$line" = ready ] || { cat err; return 1; }
}
end_garbage()
{
	kill "$garbage"
	wait "$garbage" 2>/dev/null
	return 0
}

# ---- the tool, for which no time passes while it sleeps ----

# status EXPECTED ARGUMENT...
status()
{
	local expected=$1

	shift
	LD_PRELOAD=$tmp/preload.so "$tool" status "$@" >out 2>err
	got=$?
	[ "$got" = "$expected" ] && return
	echo "status $*: $got, not $expected"
	cat out err
	return 1
}
# is PATH VALUE: of the JSON in "out", of its first process unless PATH starts with a dot
is()
{
	local path=processes.0.$1 value

	[ "${1#.}" = "$1" ] || path=${1#.}
	value=$(./helper get out "$path")
	[ "$value" = "$2" ] || echo "$1 is '$value', not '$2'"
	[ "$value" = "$2" ]
}
# says PATTERN [FILE]: of the text in "out"
says()
{
	grep -qE -- "$1" "${2:-out}" || { echo "not '$1':"; cat "${2:-out}"; return 1; }
}
narrow()
{
	awk 'length($0) > 80 { print "wide: " $0; wide = 1 } END { exit wide }' out
}
# What the program $1 says of itself, the tool says, too.
agree()
{
	local pair pid=pid_$1 bad=0

	tell "$1" stats && status 0 --json "${!pid}" || return
	for pair in $answer; do
		is "${pair%%=*}" "${pair#*=}" || bad=1
	done
	return "$bad"
}

plan 24

# ---- figures ----

usage()
{
	local arguments

	for arguments in "x" "0" "-5x" "1 2x" "--watch=0" "--watch=x" "-w0.01" "--json=1" "99999999999999" "--fast"; do
		# shellcheck disable=SC2086
		"$tool" status $arguments >out 2>err
		[ $? = 2 ] && [ ! -s out ] && [ "$(wc -l <err)" = 1 ] && continue
		echo "status $arguments:"
		cat out err
		return 1
	done
}
ok "wrong usage" usage
known_counts()
{
	start a && tell a init && tell a write 1000 && tell a read 700 && tell a cancel 30 && tell a restart 4 || return
	status 0 --json "$pid_a" || return
	# one more of each: init allocates
	is commits.total 1001 && is read_only.total 704 && is aborts.total 34 && is aborts.reasons.cancel 30 &&
		is aborts.reasons.restart 4 && is aborts.reasons.conflict 0 && is pid "$pid_a" && is command helper &&
		is log.committed 1001 && is segments.attached 1 && is segments.made 1 && is segments.running 0 &&
		is commits.per_second 0.0 && is .seconds 0.5 && is .denied 0
}
ok "counts of a program that is told what to do" known_counts
ok "what stm_stats() says" agree a
text()
{
	status 0 "$pid_a" && narrow && says "^$pid_a helper\$" && says 'engine +[a-z]+, ' &&
		says 'commits +0/s, 1001 in all' && says 'read only +0/s, 704 in all' &&
		says 'aborts +0/s, 34 in all: restart 4, cancel 30' &&
		says '1 attached, 0 in a transaction, 0 parked; 1 made' &&
		says 'heap 4.0 MiB of at most 1.0 GiB' || return
	status 0 && narrow && says "^ *$pid_a helper +[a-z]+ +0/1 +0 +0 +0 "
}
ok "the same as text" text
threads()
{
	tell a attach 3 && tell a hold 2 && agree a && is segments.attached 6 && is segments.running 2 &&
		is segments.made 6
}
ok "threads" threads
log()
{
	tell a write 40000 && agree a && is log.committed 41001 && is segments.attached 6 || return
	[ "$(./helper get out processes.0.log.folded)" -le 1001 ] || { echo "folded"; return 1; }
	says '"held_by": *"holding_thread\(\) at .*status_helper.c:[0-9]+"' && status 0 "$pid_a" && narrow &&
		says 'held up last by holding_thread\(\)'
}
ok "a log that is held up" log
parked()
{
	start b && tell b init && tell b attach 2 && tell b write 200000 && agree b && is segments.parked 2 &&
		is segments.attached 3 || return
	[ "$(./helper get out processes.0.segments.parks)" -ge 2 ] || { echo "parks"; return 1; }
	[ "$(./helper get out processes.0.log.folded)" -ge 150000 ] || { echo "folded"; return 1; }
}
ok "parked threads" parked
several()
{
	local pid i=0

	start c && tell c init && status 0 --json || return
	for pid in $(printf '%s\n' "$pid_a" "$pid_b" "$pid_c" | sort -n); do
		sed -n 's/^ *"pid": *\([0-9]*\),/\1/p' out | grep -qx "$pid" || { echo "no $pid"; i=1; }
	done
	status 0 && narrow && [ "$(grep -cE "^ *($pid_a|$pid_b|$pid_c) " out)" = 3 ] || return
	bash --norc -c '. "$1" && COMP_WORDS=(uffdstm status "$2") COMP_CWORD=2 && _uffdstm && [ "${COMPREPLY[*]}" = "$2" ]' - \
		"$UFFDSTM_SRC/tools/uffdstm/completion.bash" "$pid_b" || { echo "no completion"; i=1; }
	# in the order in which they are named
	status 0 --json "$pid_c" "$pid_a" && is pid "$pid_c" && is .processes.1.pid "$pid_a" && return "$i"
}
ok "several processes" several

# ---- between two looks ----

# During each sleep of the tool: the command of the last arguments, told to program c.
during()
{
	rm -f asleep awake
	mkfifo asleep awake
	STATUS_ASLEEP=asleep STATUS_AWAKE=awake LD_PRELOAD=$tmp/preload.so "$tool" status "$@" >out 2>err &
	watcher=$!
}
asleep()
{
	read -r line <asleep && [ "$line" = asleep ]
}
wake()
{
	echo >awake
}
rates()
{
	during --json "$pid_c"
	asleep && tell c write 1000 && tell c read 500 && tell c cancel 25 && wake && wait "$watcher" || return
	is commits.per_second 2000.0 && is read_only.per_second 1000.0 && is aborts.per_second 50.0 &&
		is commits.total 1001 || return
	during
	asleep && tell c write 100 && wake && wait "$watcher" && says "^ *$pid_c helper +[a-z]+ +0/1 +200 +0 +0 "
}
ok "figures by the second" rates
watch()
{
	during --watch=2 "$pid_c"
	asleep && tell c write 100 && wake && asleep && tell c write 600 && wake && asleep && finish_program c &&
		wake &&
		wait "$watcher" || return
	[ "$(grep -c "^$pid_c helper" out)" = 2 ] && says 'commits +200/s' && says 'commits +300/s' && narrow &&
		says "$pid_c.*ESRCH" err && ! grep -q $'\033' out
}
ok "--watch, until the process has ended" watch
watch_json()
{
	start c && tell c init && during --watch --json "$pid_c"
	asleep && wake && asleep && tell c write 10 && wake && asleep && kill "$watcher" &&
		! wait "$watcher" 2>/dev/null || return
	[ "$(wc -l <out)" = 2 ] && tail -n 1 out >last &&
		[ "$(./helper get last processes.0.commits.per_second)" = 5.0 ]
}
ok "--watch --json: an object a line" watch_json
terminal()
{
	command -v script >/dev/null || skip "no script(1)" || return
	rm -f asleep awake
	mkfifo asleep awake
	STATUS_ASLEEP=asleep STATUS_AWAKE=awake \
		script -qec "stty rows 5 cols 80; LD_PRELOAD=$tmp/preload.so $tool status -w" screen >/dev/null 2>&1 &
	watcher=$!
	asleep && wake && asleep && wake && asleep || return
	kill "$watcher"
	wait "$watcher" 2>/dev/null
	# a screen each: time, heading, as many as there is room for
	[ "$(grep -o $'\033\[H\033\[J' screen | wc -l)" = 2 ] && says 'and [0-9]+ more' screen
}
ok "--watch on a terminal" terminal

# ---- beginnings and ends ----

again()
{
	tell c fini && status 1 "$pid_c" && says "^uffdstm status: $pid_c helper: it does not use libuffdstm" err &&
		[ ! -s out ] ||
		return
	tell c init && tell c write 5 && agree c && is commits.total 6 && is log.committed 6 &&
		is segments.made 1 || return
	# in between, so that nothing is known by the second
	during --json "$pid_c"
	asleep && tell c fini && tell c init && tell c write 5 && wake && wait "$watcher" && is commits.total 6 &&
		is commits.per_second ""
}
ok "stm_fini(), and stm_init() once more" again
forked()
{
	local child

	tell c fork 0 && child=${answer%% *} &&
		pids+=("$child") && status 1 "$child" && says 'does not use libuffdstm' err &&
		! grep uffdstm-status "/proc/$child/maps" || return
	tell c fork 1 && child=${answer%% *} && pids+=("$child") && status 1 "$child" &&
		says 'a child of a process that uses libuffdstm' err || return
	tell c write 5 && agree c && is commits.total 11 && status 0 && [ "$(grep -c "^ *$pid_c " out)" = 1 ] &&
		! grep -q "^ *$child " out
}
ok "children of fork(2)" forked
gone()
{
	local pid

	start d && tell d init && during "$pid_d" "$pid_c"
	pid=$pid_d
	asleep && finish_program d && wake
	wait "$watcher"
	[ $? = 1 ] && says "^uffdstm status: $pid: No such process \(ESRCH\)" err && says "^$pid_c helper" &&
		! grep -q "^$pid" out ||
		return
	status 1 "$pid" "$pid_c" && says "^$pid_c helper" && status 1 $$ && says 'does not use' err
}
ok "a process that ends meanwhile" gone
refused()
{
	NO_STATUS=1 start d && tell d init && tell d write 100 && tell d stats &&
		[[ $answer == *"commits.total=101 "* ]] &&
		status 1 "$pid_d" && says 'does not use' err && finish_program d && [ ! -s err.d ] || return
	NO_MREMAP=1 start d && tell d init && tell d fini && tell d init && tell d attach 2 && tell d write 100 &&
		tell d stats &&
		[[ $answer == *"commits.total=101 "* ]] && status 0 --json "$pid_d" && is segments.silent 3 &&
		is segments.made 0 &&
		is commits.total 0 && status 0 "$pid_d" && narrow && says 'of 3 more nothing is known' &&
		finish_program d
}
ok "where the library gets no memfd, or no second mapping" refused
inside()
{
	[ "$(id -u)" = 0 ] && unshare -p -f true 2>/dev/null || skip "no process namespaces" || return
	start d unshare -p -f --kill-child && tell d init && tell d write 10 && status 0 || return
	# its number here is that of unshare's child
	pid=$(cat "/proc/$pid_d/task/$pid_d/children")
	pids+=("${pid% }")
	status 0 --json "${pid% }" && is commits.total 11 && finish_program d
}
ok "a process namespace" inside

# ---- others ----

sealed()
{
	local did

	did=$(./helper write "$pid_c") && [ "$did" = read ] && agree c || { echo "$did"; return 1; }
}
ok "nobody can change it" sealed
others()
{
	local nobody=(setpriv --reuid 65534 --regid 65534 --clear-groups --inh-caps -all)

	[ "$(id -u)" = 0 ] && command -v setpriv >/dev/null || skip "not root, or no setpriv" || return
	cp helper helper-of-all && chmod 755 helper-of-all
	start d "${nobody[@]}" && tell d init && tell d write 20 || return
	status 0 --json "$pid_d" && is commits.total 21 || return
	"${nobody[@]}" "$tool" status --json >out 2>err || { cat err; return 1; }
	is pid "$pid_d" && [ "$(grep -c '"pid"' out)" = 1 ] && [ "$(./helper get out denied)" -ge 3 ] ||
		{ cat out; return 1; }
	"${nobody[@]}" "$tool" status >out && says 'processes may not be looked into: run it as root' && narrow ||
		return
	"${nobody[@]}" "$tool" status "$pid_c" >out 2>err
	[ $? = 1 ] && says "^uffdstm status: $pid_c helper: Permission denied \(EACCES\): run it as root" err &&
		finish_program d
}
ok "processes of other users" others

# ---- what is not what it seems ----

# bad KIND EXIT-STATUS PATTERN
bad()
{
	begin_garbage ./helper garbage "$1" && status "$2" "$garbage" &&
		says "$3" "$([ -s err ] && echo err || echo out)" && narrow &&
		status 0 && narrow && status "$2" --json "$garbage" && end_garbage && ! grep -q $'\033' out && return
	echo "garbage $1"
	return 1
}
garbage()
{
	bad good 0 'commits +0/s, 6 in all' && bad empty 1 'is too short' && bad tiny 1 'is too short' &&
		bad short 1 'is too short' &&
		bad unsealed 1 'is not sealed' && bad zeros 1 "is not the library's" && bad others 1 'a child of' &&
		bad version 1 'library 9\.\?\[1m9: its status has format 7, not 1' &&
		bad offsets 0 'commits +0/s, 0 in all' &&
		bad older 0 'commits +0/s, 0 in all' && bad older 0 'aborts +0/s, 0 in all' &&
		bad figures 0 'segments +2 attached' && bad texts 0 'engine +\?+, w+;'
}
ok "garbage" garbage
fuzz()
{
	LD_PRELOAD=$tmp/preload.so ./helper fuzz "${STM_SEED:-1}" "${STM_ROUNDS:-200}" "$tool"
}
ok "garbage of all kinds" fuzz
elsewhere()
{
	mkdir -p elsewhere
	[ "$(id -u)" = 0 ] && unshare -m true 2>/dev/null || skip "no mount namespaces" || return
	begin_garbage ./helper elsewhere "$tmp/elsewhere" &&
		readlink "/proc/$garbage/fd/"* | grep -q '^/memfd:uffdstm-status (deleted)$' ||
		return
	status 1 "$garbage" && says 'does not use libuffdstm' err && end_garbage
}
ok "a pipe of that name" elsewhere
format()
{
	# the manual tells each name in JSON
	local name missing=0

	status 0 --json "$pid_a" || return
	# shellcheck disable=SC2013 # words
	for name in $(sed -n '/"\(reasons\|faults\)":{/,/}/d; s/^ *"\([a-z_]*\)": *.*/\1/p' out | sort -u); do
		grep -qE "^\.(It )?Cm (.*, )?$name( |\$)" "$UFFDSTM_SRC/tools/uffdstm/uffdstm.8" && continue
		echo "$name"
		missing=1
	done
	return "$missing"
}
ok "every figure is in the manual" format
full()
{
	LD_PRELOAD=$tmp/preload.so "$tool" status --watch >/dev/full 2>err
	[ $? = 3 ] && says 'standard output: No space left on device \(ENOSPC\)' err
}
ok "output that cannot be written" full

finish
