#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
#
# setup_test.sh [TEST...] - uffdstm setup and undo, as root: `make sudotest`. The last line is the count.
#
# Everything happens in a mount namespace of its own, most of it below a root directory of its own (--root). The tests
# of the machine's own places have private copies of these mounted over them. UFFDSTM_BUILD is the build folder.
# mktemp's names have no blanks:
# shellcheck disable=SC2086
set -u
cd "$(dirname "$0")" || exit 1

skip_all()
{
	echo "1..0 # SKIP $1"
	echo "0 passed, 0 failed, 1 skipped"
	exit 0
}

[ "$(id -u)" = 0 ] || skip_all "setup needs root: sudo make sudotest"
build=$(readlink -f "${UFFDSTM_BUILD:-../build}")
if [ -z "${SETUP_TEST_MOUNT:-}" ]; then
	unshare -m --propagation private true 2>/dev/null || skip_all "no mount namespaces here (unshare -m)"
	SETUP_TEST_MOUNT=$(mktemp -d) || exit 1
	SETUP_TEST_OUTSIDE=$(readlink /proc/self/ns/mnt)
	export SETUP_TEST_MOUNT SETUP_TEST_OUTSIDE
	unshare -m --propagation private "$PWD/setup_test.sh" "$@"
	result=$?
	rmdir "$SETUP_TEST_MOUNT"
	exit $result
fi

# Never on the machine itself.
case ${SETUP_TEST_OUTSIDE:-} in
'' | "$(readlink /proc/self/ns/mnt)")
	echo "setup_test.sh: not in a mount namespace of its own" >&2
	exit 1 ;;
esac

# A tmpfs: it takes devices and capabilities, and goes with the namespace.
tmp=$SETUP_TEST_MOUNT
mount -t tmpfs -o mode=755,dev,suid tmpfs "$tmp" || skip_all "no tmpfs can be mounted here"
cp "$build/tools/uffdstm/uffdstm" "$tmp/uffdstm" || exit 1
command=$tmp/uffdstm
helper=$tmp/setup_helper
${CC:-cc} -D_GNU_SOURCE -Wall -Wextra -Werror -O1 -o $helper setup_helper.c &&
	${CC:-cc} -D_GNU_SOURCE -DPRELOAD -Wall -Wextra -Werror -O1 -shared -fPIC -o $tmp/preload.so setup_helper.c || exit 1
root=$tmp/root log=$tmp/log

# ---- a system below a directory ----

template=$tmp/template
# shellcheck disable=SC2015
mkdir -m 755 $template &&
mkdir -p $template/{dev,etc/sysctl.d,etc/security/limits.d,var/lib,bin,proc/sys/vm,sys/kernel/mm/transparent_hugepage} &&
mknod -m 600 $template/dev/userfaultfd c 10 200 &&
echo 0 >$template/proc/sys/vm/unprivileged_userfaultfd &&
echo always >$template/sys/kernel/mm/transparent_hugepage/shmem_enabled &&
printf 'root:x:0:\nuffdstm:x:4242:\nother:x:4343:\n' >$template/etc/group &&
(umask 077 && echo "# somebody's" >$template/etc/security/limits.d/70-uffdstm.conf) &&
cp /bin/true $template/bin/program && cp /bin/true $template/bin/other &&
setcap cap_net_raw=ep $template/bin/other || skip_all "devices and capabilities cannot be made on a tmpfs here"

# Names, types, owners, modes, contents, attributes of all there is.
snapshot() { $helper snapshot $root; }

fresh()
{
	rm -rf $root && cp -a $template $root && snapshot >$tmp/before
}

as_before()
{
	snapshot | diff $tmp/before - >$log.diff && return
	echo "not as before ($1):"
	cat $log.diff
	return 1
}

# uffdstm COMMAND --root ...; its status in $status, what it said in $log.
run()
{
	local name=$1

	shift
	$command "$name" --root $root "$@" >$log 2>&1
	status=$?
}

# status(expected, text that it must have said)
expect()
{
	[ "$status" = "$1" ] && { [ -z "${2:-}" ] || grep -q -e "$2" $log; } && return
	echo "status $status instead of $1, or not said: ${2:-}"
	cat $log
	return 1
}

everything=(--group uffdstm --shmem-thp advise --memlock --grant /bin/program --grant /bin/other)

mode_of() { stat -c '%a %u %g' "$root/$1"; }

# ---- setup and undo ----

test_not_root()
{
	fresh || return 1
	chmod 755 $tmp/uffdstm
	setpriv --reuid 65534 --regid 65534 --clear-groups $command setup --root $root >$log 2>&1
	status=$?
	expect 2 'run it as root' || return 1
	setpriv --reuid 65534 --regid 65534 --clear-groups $command undo --root $root >$log 2>&1
	status=$?
	expect 2 'run it as root' || return 1
	as_before "without root"
}

test_wrong_options()
{
	fresh || return 1
	for wrong in --what "--memlock=0" "--memlock=5x" "--memlock=-1" "--memlock=99999999999999G" "--shmem-thp=force" \
		"--group" "--sysctl=1" "file"; do
		run setup $wrong
		expect 2 'see uffdstm setup --help' || return 1
	done
	run undo --what
	expect 2 'see uffdstm undo --help' || return 1
	run setup --group nobody-has-it
	expect 3 'groupadd' || return 1
	run setup --group 'x", RUN+="y'
	expect 3 'only letters' || return 1
	run setup --grant /bin/nothing
	expect 3 ENOENT || return 1
	as_before "wrong options"
}

test_dry_run()
{
	fresh || return 1
	run setup --dry-run "${everything[@]}"
	expect 0 || return 1
	for what in 'give /dev/userfaultfd to group 4242 (was 0)' 'mode of /dev/userfaultfd to 0660 (was 0600)' \
		'GROUP="uffdstm", MODE="0660"' 'write advise to .*shmem_enabled (was always)' \
		'memlock 65536' 'write /etc/security/limits.d/70-uffdstm.conf.*in place' \
		'capabilities of /bin/program to cap_sys_ptrace=ep' 'make the directory /etc/udev$' \
		'cap_chown, cap_setfcap'; do
		expect 0 "$what" || return 1
	done
	run setup -n --sysctl
	expect 0 'write 1 to /proc/sys/vm/unprivileged_userfaultfd (was 0)' || return 1
	as_before "dry run" || return 1
	run setup --sysctl && cp $root/var/lib/uffdstm/undo $tmp/record
	run undo --dry-run
	expect 0 'would write 0 to' && cmp $tmp/record $root/var/lib/uffdstm/undo &&
		[ "$(cat $root/proc/sys/vm/unprivileged_userfaultfd)" = 1 ]
}

test_says_first()
{
	fresh || return 1
	$command setup --root $root --sysctl >/dev/full 2>$log
	status=$?
	expect 3 'nothing was changed' && [ "$(wc -l <$log)" = 1 ] && as_before "without output"
}

test_each_change()
{
	fresh || return 1
	run setup "${everything[@]}" --memlock=3M
	expect 0 Done || return 1
	[ "$(mode_of dev/userfaultfd)" = "660 0 4242" ] || return 1
	grep -qx 'SUBSYSTEM=="misc", KERNEL=="userfaultfd", GROUP="uffdstm", MODE="0660"' \
		$root/etc/udev/rules.d/70-uffdstm.rules || return 1
	[ "$(cat $root/sys/kernel/mm/transparent_hugepage/shmem_enabled)" = advise ] || return 1
	grep -qx 'w /sys/kernel/mm/transparent_hugepage/shmem_enabled - - - - advise' $root/etc/tmpfiles.d/uffdstm.conf || return 1
	grep -qx '@uffdstm - memlock 3072' $root/etc/security/limits.d/70-uffdstm.conf || return 1
	for f in etc/udev/rules.d/70-uffdstm.rules etc/tmpfiles.d/uffdstm.conf etc/security/limits.d/70-uffdstm.conf; do
		[ "$(mode_of $f)" = "644 0 0" ] || return 1
	done
	getcap $root/bin/program | grep -q 'program cap_sys_ptrace=ep' || return 1
	getcap $root/bin/other | grep -q 'other cap_net_raw,cap_sys_ptrace=ep' || return 1
	[ "$(mode_of var/lib/uffdstm/undo)" = "600 0 0" ] && [ "$(mode_of var/lib/uffdstm)" = "700 0 0" ] || return 1
	[ ! -e $root/etc/sysctl.d/70-uffdstm.conf ] || return 1
	run setup --sysctl
	expect 0 Done || return 1
	[ "$(cat $root/proc/sys/vm/unprivileged_userfaultfd)" = 1 ] || return 1
	grep -qx 'vm.unprivileged_userfaultfd = 1' $root/etc/sysctl.d/70-uffdstm.conf || return 1
	# Nothing else was touched.
	snapshot | diff $tmp/before - | sed -n 's/^[<>] \([^ ]*\) .*/\1/p' | sort -u >$tmp/touched
	diff - $tmp/touched <<-END
	/bin/other
	/bin/program
	/dev/userfaultfd
	/etc/security/limits.d/70-uffdstm.conf
	/etc/sysctl.d/70-uffdstm.conf
	/etc/tmpfiles.d
	/etc/tmpfiles.d/uffdstm.conf
	/etc/udev
	/etc/udev/rules.d
	/etc/udev/rules.d/70-uffdstm.rules
	/proc/sys/vm/unprivileged_userfaultfd
	/sys/kernel/mm/transparent_hugepage/shmem_enabled
	/var/lib/uffdstm
	/var/lib/uffdstm/undo
	END
}

test_again_is_nothing()
{
	fresh || return 1
	run setup "${everything[@]}"
	snapshot >$tmp/after
	run setup "${everything[@]}"
	expect 0 'nothing to do' || return 1
	snapshot | diff $tmp/after -
}

test_default()
{
	fresh || return 1
	run setup
	expect 0 Done && [ "$(mode_of dev/userfaultfd)" = "660 0 4242" ] || return 1
	run undo
	expect 0 && as_before "undo" || return 1
	# Other wishes leave the device alone.
	run setup --memlock=unlimited
	expect 0 && [ "$(mode_of dev/userfaultfd)" = "600 0 0" ] && grep -q 'memlock unlimited' \
		$root/etc/security/limits.d/70-uffdstm.conf
}

test_undo()
{
	fresh || return 1
	run setup "${everything[@]}"
	run setup --sysctl
	run undo
	expect 0 && as_before "undo" || return 1
	run undo
	expect 0 'Nothing to undo' && as_before "undo of nothing"
}

test_setup_on_setup()
{
	fresh || return 1
	run setup --group uffdstm --shmem-thp advise --memlock
	run setup --group other --shmem-thp never --memlock=unlimited --grant /bin/program --grant /bin/other
	expect 0 || return 1
	[ "$(mode_of dev/userfaultfd)" = "660 0 4343" ] || return 1
	run setup --revoke /bin/program --revoke /bin/other
	expect 0 || return 1
	[ -z "$(getcap $root/bin/program)" ] || return 1
	run setup --group uffdstm
	# Between grant and revoke is no state to go back to.
	strace -qq -o $tmp/trace -e trace=setxattr,removexattr $command undo --root $root >$log 2>&1
	status=$?
	expect 0 && as_before "undo" || return 1
	! grep xattr $tmp/trace
}

test_killed_before_record()
{
	fresh || return 1
	mkdir -m 700 $root/var/lib/uffdstm
	run undo
	expect 0 'Nothing' && as_before "directory only" || return 1
	mkdir -m 700 $root/var/lib/uffdstm && printf '# uffdstm un' >$root/var/lib/uffdstm/undo
	chmod 600 $root/var/lib/uffdstm/undo
	run undo
	expect 0 'Nothing' && as_before "torn first line" || return 1
	mkdir -m 700 $root/var/lib/uffdstm && printf '# uffdstm un' >$root/var/lib/uffdstm/undo
	run setup --sysctl
	expect 0 Done || return 1
	# A torn last line belongs to a change that was not begun; the next line takes its place.
	printf '+ value /proc/sys/vm/unprivileged_userf' >>$root/var/lib/uffdstm/undo
	run setup --shmem-thp advise
	expect 0 Done || return 1
	printf '+ val' >>$root/var/lib/uffdstm/undo
	run undo
	expect 0 && as_before "torn lines"
}

# ---- killed ----

# points(command...): every call of it that changes something below $root, and its end, as "name number".
changing='mkdirat|openat|write|pwrite64|ftruncate|fsync|renameat|unlinkat|fchmod|fchownat|chmod|setxattr|removexattr|exit_group'
points()
{
	strace -qq -o $tmp/trace "$@" >/dev/null 2>&1
	awk -F'(' -v calls="^($changing)\$" '
		{ n[$1]++ }
		$1 !~ calls || ($1 == "openat" && !/O_CREAT/) || /^write\(1,/ { next }
		{ print $1, n[$1] }' $tmp/trace
}

# kill_at(call, number, command...)
kill_at()
{
	local call=$1 number=$2

	shift 2
	# in braces, as bash would say "Killed"
	{ strace -qq -o /dev/null -e inject="$call:signal=KILL:when=$number" "$@" >/dev/null 2>&1; } 2>/dev/null
	[ $? = 137 ] || { echo "not killed at $call $number"; return 1; }
}

killed()
{
	local n=0 call number

	fresh || return 1
	points $command setup --root $root "${everything[@]}" >$tmp/points
	while read -r call number; do
		fresh && kill_at "$call" "$number" $command setup --root $root "${everything[@]}" || return 1
		if [ "$1" = again ]; then
			run setup "${everything[@]}"
			expect 0 || return 1
		fi
		run undo
		expect 0 && as_before "setup killed at $call $number" || return 1
		n=$((n + 1))
	done <$tmp/points
	echo "# killed at $n places" >&3
	[ $n -gt 60 ]
}

test_setup_killed() { killed once; }
test_setup_killed_then_setup() { killed again; }

test_undo_killed()
{
	local n=0 call number

	fresh || return 1
	run setup "${everything[@]}"
	run setup --group other
	cp -a $root $tmp/set-up
	points $command undo --root $root >$tmp/points
	while read -r call number; do
		rm -rf $root && cp -a $tmp/set-up $root && kill_at "$call" "$number" $command undo --root $root ||
			return 1
		run undo
		expect 0 && as_before "undo killed at $call $number" || return 1
		n=$((n + 1))
	done <$tmp/points
	rm -rf $tmp/set-up
	echo "# killed at $n places" >&3
	[ $n -gt 40 ]
}

# A full disk: each call that changes something fails once.
test_setup_fails()
{
	local call number

	fresh || return 1
	points $command setup --root $root "${everything[@]}" | grep -v -e exit_group >$tmp/points
	while read -r call number; do
		fresh || return 1
		strace -qq -o /dev/null -e inject="$call:error=ENOSPC:when=$number" \
			$command setup --root $root "${everything[@]}" >$log 2>&1
		status=$?
		expect 3 ENOSPC || return 1
		run undo
		expect 0 && as_before "$call $number fails" || return 1
	done <$tmp/points
}

# ---- others ----

test_changed_since()
{
	fresh || return 1
	run setup "${everything[@]}"
	chgrp 77 $root/dev/userfaultfd
	echo mine >>$root/etc/udev/rules.d/70-uffdstm.rules
	setcap cap_kill=ep $root/bin/program
	run undo
	expect 1 'group root: others changed it since' && expect 1 'take all capabilities.*others changed' &&
		expect 1 'remove /etc/udev/rules.d/70-uffdstm.rules: others' || return 1
	[ "$(mode_of dev/userfaultfd)" = "600 0 77" ] && grep -q mine $root/etc/udev/rules.d/70-uffdstm.rules ||
		return 1
	[ "$(cat $root/sys/kernel/mm/transparent_hugepage/shmem_enabled)" = always ] || return 1
	run undo
	expect 1 || return 1
	run undo --force
	expect 0 && as_before "undo --force"
}

test_others_use_a_directory()
{
	fresh || return 1
	run setup
	echo >$root/etc/udev/rules.d/99-other.rules
	run undo
	expect 1 'others use it now' && [ -e $root/etc/udev/rules.d/99-other.rules ] || return 1
	run undo --force
	expect 0 'it stays' && [ -e $root/etc/udev/rules.d/99-other.rules ] && [ ! -e $root/var/lib/uffdstm ] ||
		return 1
	rm -r $root/etc/udev
	as_before "undo"
}

test_gone_since()
{
	fresh || return 1
	run setup "${everything[@]}"
	rm $root/dev/userfaultfd $root/bin/program
	run undo
	expect 0 '/bin/program is gone' && [ ! -e $root/var/lib/uffdstm ]
}

test_one_at_a_time()
{
	fresh || return 1
	mkdir -m 700 $root/var/lib/uffdstm
	flock $root/var/lib/uffdstm $command setup --root $root >$log 2>&1
	status=$?
	expect 3 'another setup or undo runs' || return 1
	flock $root/var/lib/uffdstm $command undo --root $root >$log 2>&1
	status=$?
	expect 3 'another setup or undo runs' || return 1
	rmdir $root/var/lib/uffdstm
	as_before "lock"
}

# ---- places ----

# refuses(reason, option...): with $root as it is now, nothing is done, $tmp/victim least of all.
refuses()
{
	local reason=$1

	shift
	snapshot >$tmp/before
	echo secret >$tmp/victim
	chmod 600 $tmp/victim
	run setup "$@"
	expect 3 "$reason" && as_before "$*" && [ "$(cat $tmp/victim)" = secret ] &&
		[ "$(stat -c %a $tmp/victim)" = 600 ]
}

test_symlinks()
{
	mkdir -p $tmp/elsewhere
	fresh && rm $root/dev/userfaultfd && ln -s /dev/null $root/dev/userfaultfd &&
		refuses '/dev/userfaultfd is a symbolic link' --group uffdstm || return 1
	fresh && mv $root/dev $root/dev2 && ln -s dev2 $root/dev &&
		refuses '/dev is a symbolic link' --group uffdstm || return 1
	fresh && mkdir -p $root/etc/udev && ln -s $tmp/elsewhere $root/etc/udev/rules.d &&
		refuses '/etc/udev/rules.d.* is a symbolic link' --group uffdstm || return 1
	fresh && ln -s $tmp/victim $root/etc/sysctl.d/70-uffdstm.conf &&
		refuses '70-uffdstm.conf is a symbolic link' --sysctl || return 1
	fresh && ln -sf $tmp/victim $root/proc/sys/vm/unprivileged_userfaultfd &&
		refuses 'unprivileged_userfaultfd is a symbolic link' --sysctl || return 1
	fresh && ln -s program $root/bin/link &&
		refuses '/bin/link is a symbolic link' --grant /bin/link || return 1
	fresh && ln -s bin $root/sbin &&
		refuses '/sbin is a symbolic link' --grant /sbin/program || return 1
	fresh && refuses 'is no plain path' --grant /etc/../bin/program || return 1
	fresh && ln -s $tmp/elsewhere $root/var/lib/uffdstm && run setup --sysctl &&
		expect 3 '/var/lib/uffdstm is a symbolic link' && [ -z "$(ls $tmp/elsewhere)" ] || return 1
	fresh && mkdir -m 700 $root/var/lib/uffdstm && ln -s $tmp/victim $root/var/lib/uffdstm/undo &&
		refuses 'ELOOP' --sysctl || return 1
	# What stands where the next version of a file is written is removed, not followed.
	fresh && echo secret >$tmp/victim && ln -s $tmp/victim $root/etc/sysctl.d/.70-uffdstm.conf.new &&
		run setup --sysctl &&
		expect 0 && [ "$(cat $tmp/victim)" = secret ] || return 1
	# A place that became one since.
	fresh && run setup "${everything[@]}" && rm $root/bin/program && cp /bin/true $tmp/victim &&
		setcap cap_sys_ptrace=ep $tmp/victim && ln -s $tmp/victim $root/bin/program && run undo &&
		expect 1 '/bin/program is a symbolic link' && [ -n "$(getcap $tmp/victim)" ]
}

test_writable_by_others()
{
	fresh && chmod 666 $root/dev/userfaultfd &&
		refuses '/dev/userfaultfd may be written by everybody' --group uffdstm || return 1
	fresh && chmod 777 $root/dev && refuses '/dev may be written by everybody' --group uffdstm || return 1
	fresh && chmod 666 $root/etc/security/limits.d/70-uffdstm.conf &&
		refuses 'limits.d/70-uffdstm.conf may be written by everybody' --memlock || return 1
	fresh && chmod 777 $root/etc/security/limits.d &&
		refuses 'limits.d may be written by everybody' --memlock || return 1
	fresh && chown 65534 $root/etc/sysctl.d && refuses 'sysctl.d does not belong to root' --sysctl || return 1
	fresh && chmod 757 $root/bin/program &&
		refuses 'program may be written by everybody' --grant /bin/program || return 1
	fresh && chgrp 77 $root/bin/program && chmod 775 $root/bin/program &&
		refuses 'program may be written by its group' --grant /bin/program || return 1
	fresh && chmod 777 $root/bin && refuses '/bin may be written by everybody' --grant /bin/program || return 1
	fresh && chgrp 77 $root/bin && chmod 775 $root/bin &&
		refuses '/bin may be written by its group' --grant /bin/program || return 1
	fresh && chown 65534 $root/bin/program &&
		refuses 'belongs neither to root nor to you' --grant /bin/program || return 1
	fresh && chown 65534 $root/bin &&
		refuses '/bin belongs neither to root nor to you' --grant /bin/program || return 1
	# /tmp is like that, and what root has there is nobody else's.
	fresh && chmod 1777 $root/bin && run setup --grant /bin/program && expect 0 || return 1
	# The user who called sudo may have built the program.
	fresh && chown -R 65534 $root/bin && chmod 700 $root/bin && SUDO_UID=65534 run setup --grant /bin/program &&
		expect 0 'cap_dac_read_search' && run undo && expect 0 || return 1
	# Undo takes capabilities from whatever program, but gives them to none that somebody may have put there since.
	fresh && setcap cap_sys_ptrace=ep $root/bin/program &&
		run setup --revoke /bin/program && chown 65534 $root/bin &&
		run undo && expect 1 '/bin belongs neither to root nor to you' &&
			[ -z "$(getcap $root/bin/program)" ] || return 1
	fresh && chmod 777 $root && refuses "$root may be written by everybody" --sysctl || return 1
	fresh && chmod 777 $root/var/lib && run setup --sysctl && expect 3 'lib may be written by everybody' &&
		[ "$(cat $root/proc/sys/vm/unprivileged_userfaultfd)" = 0 ] || return 1
	fresh && run setup --sysctl && chmod 666 $root/var/lib/uffdstm/undo && run undo &&
		expect 3 'undo may be written by everybody' &&
			[ "$(cat $root/proc/sys/vm/unprivileged_userfaultfd)" = 1 ]
}

test_not_what_they_seem()
{
	fresh && rm $root/dev/userfaultfd && echo >$root/dev/userfaultfd &&
		refuses 'is no character device' --group uffdstm || return 1
	fresh && refuses 'is no regular file' --grant /bin || return 1
	fresh && refuses 'is no regular file' --grant /dev || return 1
	fresh && refuses '/dev/userfaultfd is no program' --grant /dev/userfaultfd || return 1
	fresh && chmod 644 $root/bin/program && refuses 'nobody may execute it' --grant /bin/program || return 1
	fresh && setcap cap_kill=p $root/bin/program && refuses 'raises by itself' --grant /bin/program || return 1
	fresh && mkdir $root/etc/sysctl.d/70-uffdstm.conf && refuses 'is no regular file' --sysctl
}

# A record that names other places.
test_record_of_others()
{
	local line

	for line in '+ file /etc/group - 0644%0Ax' '+ value /etc/group 1 0' '+ mode /bin/program 0755 0600' \
		'+ directory /bin - 0755' '+ what /dev/userfaultfd 1 2' '+ group /dev/userfaultfd 1' '? group /dev/userfaultfd 1 2' \
		'+ capabilities /etc/sysctl.d/70-uffdstm.conf - 00' '+ value /proc/sys/vm/unprivileged_userfaultfd %zz 0'; do
		fresh || return 1
		run setup --sysctl
		echo "$line" >>$root/var/lib/uffdstm/undo
		snapshot >$tmp/before
		run undo
		expect 3 'line 4, is not from this program' && as_before "$line" || return 1
	done
}

test_acl()
{
	fresh || return 1
	$helper acl $root/dev/userfaultfd 2>/dev/null || { reason="no access-control lists on tmpfs"; return 4; }
	snapshot >$tmp/before
	run setup
	expect 0 'access-control list' || return 1
	[ "$(mode_of dev/userfaultfd)" = "660 0 4242" ] || return 1
	# owner rw, owning group rw (was none), group 77 r as before, mask rw (was r), others none
	list=0200000001000600ffffffff04000600ffffffff080004004d00000010000600ffffffff20000000ffffffff
	$helper attributes $root/dev/userfaultfd | grep -q "acl_access $list" || return 1
	run undo
	expect 0 && as_before "undo"
}

# ---- rights ----

# As the process itself sees them at each call that changes something.
rights()
{
	local expected=$1

	shift
	rm -f $tmp/rights
	RIGHTS_LOG=$tmp/rights LD_PRELOAD=$tmp/preload.so "$@" >$log 2>&1
	status=$?
	expect 0 || return 1
	[ "$(wc -l <$tmp/rights)" -gt 4 ] || { echo "no changes seen"; return 1; }
	grep -v "CapInh: 0000000000000000 CapPrm: $expected CapEff: $expected .* CapAmb: 0000000000000000 NoNewPrivs: 1" \
		$tmp/rights && return 1
	# The bounding set needs CAP_SETPCAP, which root has here or not.
	! setpriv --dump | grep -q 'Capability bounding set.*setpcap' || ! grep -v "CapBnd: 0000000000000000" $tmp/rights
}

test_rights()
{
	fresh || return 1
	rights 0000000000000000 $command setup --root $root --sysctl --shmem-thp advise --memlock || return 1
	rights 0000000000000000 $command undo --root $root || return 1
	rights 0000000000000001 $command setup --root $root || return 1
	rights 0000000000000001 $command undo --root $root || return 1
	rights 0000000080000000 $command setup --root $root --grant /bin/program || return 1
	rights 0000000080000004 $command undo --root $root || return 1
	rights 0000000080000001 $command setup --root $root "${everything[@]}" || return 1
	as_before "" >/dev/null && return 1
	# Nothing was looked at before.
	strace -qq -o $tmp/trace $command setup --root $root --sysctl >$log 2>&1
	grep -m 1 '^capset' $tmp/trace | grep -q 'effective=0, permitted=0, inheritable=0' || return 1
	awk -v root="\"$root" '/^capset\(/ { dropped++ } index($0, root) && !/^execve/ && !dropped { exit bad = 1 }
		END { exit bad || !dropped }' $tmp/trace
}

test_missing_right()
{
	fresh || return 1
	setpriv --bounding-set -chown --inh-caps -chown $command setup --root $root >$log 2>&1
	status=$?
	expect 3 'root lacks cap_chown' && as_before "without cap_chown" || return 1
	# What does not need it goes on.
	setpriv --bounding-set -all --inh-caps -all $command setup --root $root --sysctl >$log 2>&1
	status=$?
	expect 0 Done
}

nobody=(setpriv --reuid 65534 --regid 65534 --clear-groups)

test_grant()
{
	fresh || return 1
	cp $helper $root/bin/program
	snapshot >$tmp/before
	"${nobody[@]}" $root/bin/program open | grep -q all && { reason="every user may already"; return 4; }
	run setup --grant /bin/program
	expect 0 Done || return 1
	"${nobody[@]}" $root/bin/program open | grep -q all || { echo "the capability does not work"; return 1; }
	run setup --revoke /bin/program
	expect 0 Done || return 1
	"${nobody[@]}" $root/bin/program open | grep -q all && return 1
	run setup --revoke /bin/program
	expect 0 'nothing to do' || return 1
	run setup --grant /bin/program
	run undo
	expect 0 && as_before "undo" || return 1
	"${nobody[@]}" $root/bin/program open | grep -q all && return 1
	# Writing to a program takes its capabilities from it.
	run setup --grant /bin/program
	cat $helper >$root/bin/program
	run undo
	expect 0 && as_before "undo after a write"
}

# A program that uses the library goes on working with the capability.
test_grant_library()
{
	local test=$build/selftests/transaction_test

	[ -x "$test" ] || { reason="transaction_test is not built"; return 4; }
	fresh || return 1
	cp "$test" $root/bin/program && cp "$build"/libuffdstm.so.0 $root/ || return 1
	# a way to the library that no environment is needed for
	mount --bind $root/libuffdstm.so.0 "$(readlink -f "$build/libuffdstm.so")" || return 1
	"${nobody[@]}" $root/bin/program >$log.tap 2>&1 || { reason="nobody cannot run it from here"; return 4; }
	run setup --grant /bin/program
	expect 0 || return 1
	"${nobody[@]}" $root/bin/program >$log.tap 2>&1 || { tail -n 30 $log.tap; return 1; }
}

# ---- the machine itself: private copies are mounted over its places ----

machine()
{
	local number

	number=$(awk '$2 == "userfaultfd" { print $1 }' /proc/misc)
	[ -n "$number" ] || { reason="this kernel has no /dev/userfaultfd"; return 4; }
	mkdir -p $tmp/machine/{dev,etc,lib} && cp -a /etc/. $tmp/machine/etc/ && chmod 755 $tmp/machine/{dev,etc,lib} &&
	mknod -m 600 $tmp/machine/dev/userfaultfd c 10 "$number" && mknod -m 666 $tmp/machine/dev/null c 1 3 &&
	echo 'uffdstm:x:4242:' >>$tmp/machine/etc/group &&
	echo 0 >$tmp/machine/sysctl && echo always >$tmp/machine/shmem &&
	mount --bind $tmp/machine/dev /dev &&
		mount --bind $tmp/machine/etc /etc && mount --bind $tmp/machine/lib /var/lib &&
	mount --bind $tmp/machine/sysctl /proc/sys/vm/unprivileged_userfaultfd &&
	mount --bind $tmp/machine/shmem /sys/kernel/mm/transparent_hugepage/shmem_enabled
}

test_machine()
{
	local result member=(setpriv --reuid 65534 --regid 65534 --groups 4242)

	machine
	result=$?
	[ $result = 0 ] || return $result
	root=$tmp/machine
	snapshot >$tmp/before
	"${member[@]}" $helper open | grep -q device && return 1
	$command setup --shmem-thp advise --group uffdstm >$log 2>&1
	status=$?
	expect 0 'to group uffdstm' || return 1
	"${member[@]}" $helper open | grep -q device || return 1
	"${nobody[@]}" $helper open | grep -q device && return 1
	[ "$(cat /sys/kernel/mm/transparent_hugepage/shmem_enabled)" = advise ] || return 1
	$command setup --sysctl >$log 2>&1
	status=$?
	expect 0 Done && [ "$(cat /proc/sys/vm/unprivileged_userfaultfd)" = 1 ] || return 1
	$command undo >$log 2>&1
	status=$?
	expect 0 && as_before "undo" || return 1
	# Only the kernel's own device will do.
	rm /dev/userfaultfd && mknod -m 600 /dev/userfaultfd c 1 8
	$command setup >$log 2>&1
	status=$?
	expect 3 "is not the kernel's" && [ "$(stat -c %a /dev/userfaultfd)" = 600 ] || return 1
	rm /dev/userfaultfd
	$command setup >$log 2>&1
	status=$?
	expect 3 'a container must be given it'
}

# ---- all ----

tests=$(declare -F | sed -n 's/^declare -f test_//p')
order=$(sed -n 's/^test_\([a-z_]*\)().*/\1/p; s/^test_\([a-z_]*\)() {.*/\1/p' "$PWD/setup_test.sh" | awk '!seen[$0]++')
for t; do
	# shellcheck disable=SC2086
	grep -qx "$t" <<<"$tests" || { echo "setup_test.sh: no test '$t'; there are" $order >&2; exit 2; }
done
[ $# = 0 ] || order=$*
passed=0 failed=0 skipped=0 n=0
echo "TAP version 13"
echo "1..$(wc -w <<<"$order")"
for t in $order; do
	n=$((n + 1))
	reason=
	# Mounts of one test are not the next one's; its reason to skip comes back in a file.
	rm -f $tmp/reason
	(
		"test_$t"
		result=$?
		echo "$reason" >$tmp/reason
		exit $result
	) 3>&1 >$log.out 2>&1
	case $? in
	0)
		echo "ok $n $t"
		passed=$((passed + 1)) ;;
	4)
		echo "ok $n $t # SKIP $(cat $tmp/reason)"
		skipped=$((skipped + 1)) ;;
	*)
		sed 's/^/# /' $log.out
		echo "not ok $n $t"
		failed=$((failed + 1)) ;;
	esac
done
echo "$passed passed, $failed failed, $skipped skipped"
[ $failed = 0 ]
