#!/bin/bash
# SPDX-License-Identifier: MIT
#
# tune_test.sh - uffdstm tune, and what programs make of the profile that it wrote. All is measured quickly.
# shellcheck disable=SC2317,SC2015 # functions are called through ok; of A && B || { report; return 1; } nothing is lost
if [ -z "${UFFDSTM_SRC:-}" ]; then
	echo "1..0 # SKIP not run from the source tree (UFFDSTM_SRC)"
	exit 4
fi
# shellcheck source=selftests/uffdstm_support.sh
. "$UFFDSTM_SRC/selftests/uffdstm_support.sh"
compile()
{
	"${CC:-gcc}" -Wall -Wextra -Werror -D_GNU_SOURCE= "$@" 2>log && return
	sed 's/^/# /' log
	echo "Bail out! a helper is not compiled"
	exit 1
}
compile -o helper "$UFFDSTM_SRC/selftests/tune_helper.c" -I"$UFFDSTM_SRC/lib/include" "$UFFDSTM_BUILD/libuffdstm.a" \
	-luring -pthread
compile -o denier "$UFFDSTM_SRC/selftests/check_helper.c" -ljson-c
if [ "$(id -u)" != 0 ]; then
	nobody=(env)
elif command -v setpriv >/dev/null; then
	nobody=(setpriv --reuid 65534 --regid 65534 --clear-groups --inh-caps -all --bounding-set -all)
else
	nobody=()
fi
keys="engine cluster cluster_writes cluster_max log_keep log_huge"
mark='# Written by uffdstm tune'

plan 15

# tune ARGUMENT...: quickly. Its status is in $status; a machine that is busy or has one CPU may say so.
tune()
{
	"${before[@]}" "$tool" tune --quick "$@" >out 2>all
	status=$?
	grep -v -e 'the machine was busy' -e 'one CPU:' all >err
	return "$status"
}
before=(env)

# refused PATTERN ARGUMENT...: status 3, one line that says PATTERN, nothing else.
refused()
{
	local pattern=$1

	shift
	tune "$@"
	[ "$status" = 3 ] && [ ! -s out ] && [ "$(wc -l <err)" = 1 ] && grep -q "^uffdstm tune: .*$pattern" err &&
		return
	echo "status $status, expected 3 and $pattern:"
	cat out err
	return 1
}

# whole FILE: a profile that tune wrote, and nothing beside it that is left over.
whole()
{
	local found

	head -n 1 "$1" | grep -q "^$mark" || { echo "$1 does not begin with the mark"; return 1; }
	found=$(sed -n 's/^\([a-z_]*\) = .*/\1/p' "$1" | tr '\n' ' ')
	[ "$found" = "$keys " ] || { echo "$1 has $found"; return 1; }
	none_left "$(dirname "$1")"
}
none_left()
{
	[ -z "$(find "$1" -maxdepth 1 -name '.*.conf.*')" ] || { echo "left over:"; ls -la "$1"; return 1; }
}

# ---- what is measured and chosen ----

usage()
{
	local arguments

	for arguments in all --fast --output --output= "--json=1" "-o - --json" "-o - --explain"; do
		# shellcheck disable=SC2086
		tune $arguments
		[ "$status" = 2 ] && [ ! -s out ] && [ "$(wc -l <err)" = 1 ] &&
			grep -q 'see uffdstm tune --help$' err && continue
		echo "tune $arguments: status $status"
		cat out err
		return 1
	done
}
ok "wrong usage" usage
explained()
{
	local key

	tune --output p.conf --explain || { cat all; return 1; }
	[ ! -s err ] || { cat err; return 1; }
	whole p.conf && grep -q '^Written to p.conf\.$' out || return
	awk 'length($0) > 80 { print "wide: " $0; wide = 1 } END { exit wide }' out p.conf || return
	# The figures are in the file, as comments; so is each reason, on the lines before its key.
	for key in fault store copy continue protect zap "page copy" "engine sigbus" "clusters from 8" \
		"clusters to 512" "none kept"; do
		grep -q "^# $key" p.conf && grep -q "^$key" out && continue
		echo "no figures: $key"
		return 1
	done
	for key in $keys; do
		sed -n "s/^$key = //p" out >value
		[ -s value ] && grep -qx "$key = $(cat value)" p.conf ||
			{ echo "$key: not that of the file"; return 1; }
		# words of the reason, however the lines are cut
		awk -v key="$key" '$0 ~ "^" key " = " { on = 1; next } /^[^ ]/ { on = 0 } on' out |
			tr -s ' \n' ' ' >reason
		awk -v key="$key" '$0 ~ "^" key " = " { print reason } /^#/ { reason = reason substr($0, 2) }
			/^$/ { reason = "" }' p.conf | tr -s ' \n' ' ' >comment
		grep -q 'as a multiple of the best: .*[0-9]' reason && cmp reason comment && continue
		echo "$key:$(cat reason), in the file$(cat comment)"
		return 1
	done
}
ok "table, reasons and profile" explained
read_by_library()
{
	local key

	UFFDSTM_PROFILE=$tmp/p.conf UFFDSTM_VERBOSE=1 ./helper >out 2>err || { cat err; return 1; }
	[ "$(wc -l <err)" = 2 ] &&
		grep -q "^$(sed -n 's/^engine = \([a-z]*\).*/\1/p' p.conf): as the profile says\$" out ||
		{ cat out err; return 1; }
	for key in $keys; do
		sed -n "s/^$key = \([^ ]*\).*/\1/p" p.conf >value
		grep -q "^libuffdstm: profile $tmp/p.conf: .*\<$key = $(cat value)\(,\|\$\)" err && continue
		echo "$key = $(cat value) is not read:"
		cat err
		return 1
	done
	UFFDSTM_ENGINE=sigbus UFFDSTM_PROFILE=$tmp/p.conf ./helper | grep -qx 'sigbus: asked for by UFFDSTM_ENGINE'
}
ok "the library reads what was written" read_by_library
json()
{
	local key

	cp p.conf before.conf
	tune -o p.conf --json && whole p.conf || { cat all; return 1; }
	[ "$(stat -c %i p.conf)" != "$(stat -c %i before.conf)" ] || return 1
	grep -q '"file":"p.conf"' out || return 1
	for key in $keys; do
		sed -n "s/^$key = \([^ ]*\).*/\1/p" p.conf >value
		grep -A 1 "\"key\":\"$key\"" out | grep -q "\"value\":\"$(cat value)\"" || { echo "$key"; return 1; }
	done
	# An engine that works has figures above 0.
	awk -F: '/"name":"sigbus"/ { on = 1 } /"name":"thread"/ { on = 0 }
		on && /: *[0-9]/ && !/together/ { n++; if ($2 + 0 <= 0) { print; bad = 1 } } END { exit bad || n < 18 }' out
}
ok "its own profile is replaced; JSON" json
to_output()
{
	tune -o - && [ ! -s err ] && head -n 1 out | grep -q "^$mark" && cp out printed.conf && whole printed.conf ||
		{ cat all; return 1; }
	"$tool" tune --quick -o - >/dev/full 2>err
	[ $? = 3 ] && grep -q 'standard output: No space left on device (ENOSPC)' err
}
ok "to standard output" to_output

# ---- what stands in the way ----

in_the_way()
{
	echo "cluster = 8" >other.conf
	refused 'other.conf: it is there, and tune did not write it: .*--force' -o other.conf &&
		grep -qx "cluster = 8" other.conf || return
	ln -s p.conf link.conf
	mkfifo fifo.conf
	mkdir folder.conf
	refused 'link.conf: a symbolic link is not followed' -o link.conf && [ -L link.conf ] || return
	refused 'link.conf: a symbolic link is not followed' --force -o link.conf && [ -L link.conf ] || return
	refused 'fifo.conf: not a regular file' --force -o fifo.conf || return
	refused 'folder.conf: not a regular file' --force -o folder.conf || return
	refused 'nowhere: No such file or directory (ENOENT)' -o nowhere/p.conf || return
	refused 'p.conf: Not a directory (ENOTDIR)' -o p.conf/p.conf || return
	refused 'a folder: name a file' -o "$tmp/" || return
	tune --force -o other.conf && whole other.conf || { cat all; return 1; }
}
ok "files that are not replaced" in_the_way
home()
{
	[ ${#nobody[@]} != 0 ] || skip "root, and no setpriv" || return
	mkdir home shut && chmod 755 home && chmod 555 shut || return 1
	[ "$(id -u)" != 0 ] || chown 65534:65534 home shut || return 1
	before=("${nobody[@]}" env -u XDG_CONFIG_HOME HOME="$tmp/home")
	tune || { cat all; before=(env); return 1; }
	before=("${nobody[@]}" env -u XDG_CONFIG_HOME HOME="$tmp/shut")
	refused 'shut/.config: Permission denied (EACCES)' || { before=(env); return 1; }
	before=("${nobody[@]}" env -u XDG_CONFIG_HOME -u HOME)
	refused 'HOME is not set: name the file with --output' || { before=(env); return 1; }
	before=("${nobody[@]}" env XDG_CONFIG_HOME="$tmp/shut")
	refused 'writing in .*/shut: Permission denied (EACCES)' || { before=(env); return 1; }
	before=(env)
	[ "$(stat -c %a home/.config)" = 700 ] || { ls -la home; return 1; }
	whole home/.config/uffdstm.conf || return
	"${nobody[@]}" env -u UFFDSTM_PROFILE -u XDG_CONFIG_HOME HOME="$tmp/home" UFFDSTM_VERBOSE=1 \
		./helper >out 2>err || { cat err; return 1; }
	grep -q "^libuffdstm: profile $tmp/home/.config/uffdstm.conf: engine = " err || { cat out err; return 1; }
}
ok "without root: ~/.config" home

# ---- what fails ----

# Room for a page, which something else may have.
on_small_disk()
{
	local enter=(unshare -m)

	[ "$(id -u)" = 0 ] || enter=(unshare -U -r -m)
	"${enter[@]}" sh -c "mkdir -p small && mount -t tmpfs -o size=16k,mode=755 none small" 2>/dev/null ||
		skip "no mount namespaces" || return
	# shellcheck disable=SC2016
	"${enter[@]}" sh -c 'set -e
		mkdir -p small && mount -t tmpfs -o size=16k,mode=755 none small
		printf "%s\n" "$2, long ago" "cluster = 4" >small/p.conf
		cp small/p.conf old.conf
		dd if=/dev/zero of=small/full bs=4k count=4 2>/dev/null || :
		status=0
		"$1" tune --quick -o small/p.conf >out 2>err || status=$?
		cmp small/p.conf old.conf
		ls -A small >left
		exit "$status"' - "$tool" "$mark" >log2 2>&1
	status=$?
	[ "$status" = 3 ] && [ ! -s out ] &&
		grep -q 'small/p.conf: No space left on device (ENOSPC): make room' err ||
		{ echo "status $status"; cat log2 out err; return 1; }
	[ "$(tr '\n' ' ' <left)" = "full p.conf " ] || { cat left; return 1; }
}
ok "a disk that is full" on_small_disk
interrupted()
{
	local process

	cp p.conf before.conf
	# One for each: while a measurement runs, so that there is a child.
	for signal in TERM HUP; do
		"$tool" tune -o p.conf >out 2>err &
		process=$!
		until [ -n "$(cat "/proc/$process/task/$process/children" 2>/dev/null)" ]; do
			kill -0 "$process" 2>/dev/null || { echo "ended by itself"; cat err; return 1; }
		done
		kill "-$signal" "$process"
		wait "$process" 2>/dev/null
		status=$?
		[ "$status" = $((128 + $(kill -l "$signal"))) ] ||
			{ echo "SIG$signal: status $status"; cat err; return 1; }
		grep -qx 'uffdstm tune: interrupted: no profile was written' err && [ ! -s out ] ||
			{ cat out err; return 1; }
		cmp p.conf before.conf && none_left . || return
	done
}
ok "interrupted" interrupted
denied()
{
	before=(./denier deny epoll_create1 24)
	tune -o denied.conf
	before=(env)
	[ "$status" != 4 ] || skip "no seccomp filters" || return
	[ "$status" = 0 ] && whole denied.conf && grep -q '^engine thread does not work here: .*EMFILE' out ||
		{ cat all out; return 1; }
	grep -q '^# fault  *[0-9.]*  *-  *[0-9.]*' denied.conf || { cat denied.conf; return 1; }
	before=(./denier deny userfaultfd 1 ./denier deny ioctl 13 0xaa00)
	refused 'engine sigbus: .*EPERM.*: see uffdstm check' -o denied2.conf
	status=$?
	before=(env)
	[ "$status" = 0 ] && [ ! -e denied2.conf ] && none_left .
}
ok "engines that do not work" denied
killed()
{
	before=(./denier deny membarrier kill)
	refused 'killed by SIGSYS: see uffdstm check' -o killed.conf
	status=$?
	before=(env)
	[ "$status" = 0 ] && [ ! -e killed.conf ]
}
ok "a measurement that is killed" killed
one_cpu()
{
	command -v taskset >/dev/null || skip "no taskset" || return
	before=(taskset -c "$(taskset -cp $$ | sed 's/.*: \([0-9]*\).*/\1/')")
	tune -o one.conf
	before=(env)
	[ "$status" = 0 ] && whole one.conf || { cat all; return 1; }
	grep -q '^uffdstm tune: one CPU: what a second thread costs cannot be measured' all || { cat all; return 1; }
	! grep -q -e 'second thread' -e 'another thread' out
}
ok "one CPU" one_cpu

# ---- whose profile ----

system()
{
	local enter=(unshare -m --propagation private)

	[ "$(id -u)" = 0 ] && [ ${#nobody[@]} != 0 ] || skip "not root, or no setpriv" || return
	"${enter[@]}" mount -t tmpfs none /etc 2>/dev/null || skip "no mount namespaces" || return
	# shellcheck disable=SC2016
	"${enter[@]}" sh -c 'set -e
		mount -t tmpfs -o mode=755 none /etc
		umask 077
		unset UFFDSTM_PROFILE
		"$1" tune --quick >out 2>err
		stat -c "%a %n" /etc/uffdstm.conf
		printf "log_limit = 8M\ncluster = 2\ncluster_writes = 2\n" >>/etc/uffdstm.conf
		export UFFDSTM_VERBOSE=1 XDG_CONFIG_HOME=$2/config
		mkdir -m 755 $2/config
		echo "cluster = 4" >$2/config/uffdstm.conf
		chmod 644 $2/config/uffdstm.conf
		./helper
		shift 2
		"$@" ./helper' - "$tool" "$tmp" "${nobody[@]}" >seen 2>&1 || { cat seen; cat err; return 1; }
	grep -qx '644 /etc/uffdstm.conf' seen &&
		[ "$(grep -c '^libuffdstm: profile /etc/uffdstm.conf: .*log_limit = 8M' seen)" = 2 ] &&
		[ "$(grep -c '^libuffdstm: profile /etc/uffdstm.conf: .*cluster = 2,' seen)" = 1 ] &&
		[ "$(grep -c "^libuffdstm: profile $tmp/config/uffdstm.conf: cluster = 4\$" seen)" = 1 ] ||
			{ cat seen; return 1; }
}
ok "as root: /etc, and what a user has over it" system
more_rights()
{
	[ "$(id -u)" = 0 ] && [ ${#nobody[@]} != 0 ] || skip "not root, or no setpriv" || return
	echo "cluster = nonsense" >bad.conf
	cp helper helper2 && chown 65533 helper2 && chmod 4755 helper2 || return 1
	# Without the bit it reads the environment, with it it does not.
	"${nobody[@]}" env UFFDSTM_PROFILE="$tmp/bad.conf" UFFDSTM_ENGINE=thread UFFDSTM_VERBOSE=1 ./helper >out 2>err
	grep -q 'bad.conf:1: cluster' err && grep -q '^thread: ' out || { cat out err; return 1; }
	"${nobody[@]}" env UFFDSTM_PROFILE="$tmp/bad.conf" UFFDSTM_ENGINE=thread UFFDSTM_VERBOSE=1 \
		HOME="$tmp/home" ./helper2 >out 2>err || { cat err; return 1; }
	findmnt -no OPTIONS -T . 2>/dev/null | grep -qw nosuid && { skip "no set-user-ID programs here"; return; }
	[ ! -s err ] || [ -e /etc/uffdstm.conf ] || { cat err; return 1; }
	! grep -q -e UFFDSTM_ENGINE -e 'bad.conf' out err
}
ok "a program with more rights than its user" more_rights
bar()
{
	command -v script >/dev/null || skip "no script(1)" || return
	script -qec "$tool tune --quick -o bar.conf" /dev/null </dev/null >typescript 2>&1 ||
		{ cat typescript; return 1; }
	grep -q "$(printf '\r')\[#* *\] *[0-9]* %" typescript && whole bar.conf
}
ok "a bar on a terminal, and none elsewhere" bar

finish
