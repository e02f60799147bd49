#!/bin/bash
# SPDX-License-Identifier: MIT
#
# finddup_test.sh - finddup on small directories made for it: TAP on standard output.
#
# FINDDUP names the program. Files that change meanwhile are rewritten all the time by a process
# in the background; they are small enough for some to stay the same for the length of a run.
# shellcheck disable=SC2317 # functions are called through ok
set -u
export LC_ALL=C

finddup=${FINDDUP:-$(dirname "$0")/../../build/tools/samples/finddup}
[ -x "$finddup" ] || { echo "1..0 # SKIP no $finddup: run make first"; exit 4; }
finddup=$(realpath "$finddup")
scratch=$(mktemp -d)
writer=
finish()
{
	[ -z "$writer" ] || kill "$writer" 2>/dev/null
	chmod -R u+rwx "$scratch"
	rm -rf "$scratch"
}
trap finish EXIT
cd "$scratch" || exit 1

number=0
failed=0

# ok NAME COMMAND...: the command succeeds.
ok()
{
	local name=$1

	shift
	number=$((number + 1))
	if "$@"; then
		echo "ok $number $name"
	else
		echo "not ok $number $name"
		failed=$((failed + 1))
		sed 's/^/# /' out err 2>/dev/null | head -n 40
	fi
}

skip()
{
	number=$((number + 1))
	echo "ok $number $1 # SKIP $2"
}

# Runs finddup; its exit status is the first argument, its output goes to out and err.
gives()
{
	local expected=$1 status

	shift
	"$finddup" "$@" >out 2>err
	status=$?
	[ "$status" = "$expected" ] || echo "# exit status $status, not $expected: finddup $*"
	[ "$status" = "$expected" ]
}

# The JSON number called $1 in out is $2.
is()
{
	local value

	value=$(sed -n "s/^ *\"$1\": *\([0-9]*\),*\$/\1/p" out | head -n 1)
	[ "$value" = "$2" ] || echo "# $1 is $value, not $2"
	[ "$value" = "$2" ]
}

results()
{
	sed '/^  "run":/,$d' out
}

# The same bytes each time: what cut points and hashes are tested with must not vary.
random()
{
	awk -v seed="$1" -v n="$2" 'BEGIN {
		srand(seed)
		for (i = 0; i < n; i++)
			printf "%c", 32 + int(rand() * 95)
	}'
}

echo "TAP version 13"
echo "1..24"

mkdir -p tree/sub tree/deep/er
random 1 100000 >tree/one
cat tree/one tree/one >tree/two
{ echo inserted; cat tree/one; } >tree/sub/shifted
random 2 300000 >tree/alone
head -c 500000 /dev/zero >tree/zeros
: >tree/empty
printf x >"$(printf 'tree/bad\377name\n')"
ln tree/one tree/zz_hard_link

ok "counts" gives 0 -q -j -t 2 --verify tree
ok "bytes of all files, each inode once" is bytes $((100000 + 200000 + 100009 + 300000 + 500000 + 1))
ok "files" is files 7
ok "further names" is further_names 1
ok "a chunk's first holder is the smallest path" grep -q '"first_path": "tree/one"' out

mkdir names
cp tree/one names/copy
cp tree/one "$(printf 'names/bad\377\nname')"
bad_name()
{
	gives 0 -q -j -t 2 --verify names &&
		grep -q '"first_path_hex": "6e616d65732f626164ff0a6e616d65"' out &&
		gives 0 -q -t 2 names && grep -q 'names/bad.\\012name' out
}
ok "a path that is not UTF-8, with a line end" bad_name

# Identical content is found; what is shifted by a few bytes is, but for the first chunks.
shares()
{
	gives 0 -q -j -t 2 tree/one tree/sub/shifted || return 1
	local unique

	unique=$(sed -n 's/^ *"unique_bytes": *\([0-9]*\),*$/\1/p' out)
	[ "$unique" -lt 130000 ]
}
ok "shifted content shares its chunks" shares

same_for_all_threads()
{
	local threads

	gives 0 -q -j --sequential tree && results >expected || return 1
	for threads in 1 2 3 8; do
		gives 0 -q -j --threads="$threads" --verify tree || return 1
		results | cmp - expected || return 1
	done
}
ok "results do not depend on the number of threads" same_for_all_threads

# ---- what is left out ----

mkdir odd odd/sub
mkfifo odd/fifo
ln -s loop odd/loop
ln -s .. odd/sub/up
ln -s nowhere odd/dangling
echo text >odd/text
special()
{
	gives 0 -t 2 --verify odd && grep -q 'odd/fifo: a FIFO' err &&
		grep -q 'odd/loop: a loop of symbolic links' err &&
		grep -q 'odd/sub/up: a loop' err && ! grep -q dangling err
}
ok "FIFOs and loops of links are told, and not fatal" special
quiet()
{
	gives 0 -q -t 1 odd && [ ! -s err ]
}
ok "--quiet" quiet

mkdir closed closed/directory
echo secret >closed/file
echo open >closed/other
chmod 0 closed/file closed/directory
unreadable()
{
	gives 0 -t 2 --verify closed && grep -q 'closed/file: Permission denied' err &&
		grep -q 'closed/directory: Permission denied' err && grep -q ' in 1 files' out
}
if [ "$(id -u)" != 0 ]; then
	ok "unreadable files and directories are told, and not fatal" unreadable
elif command -v setpriv >/dev/null; then
	chmod 755 "$scratch"
	cp "$finddup" reader && chmod 755 reader
	chown -R 65534 closed
	unprivileged()
	{
		setpriv --reuid 65534 --regid 65534 --clear-groups --inh-caps -all --bounding-set -all \
			./reader -t 2 --verify closed >out 2>err &&
			grep -q 'closed/file: Permission denied' err &&
			grep -q 'closed/directory: Permission denied' err && grep -q ' in 1 files' out
	}
	ok "unreadable files and directories are told, and not fatal" unprivileged
else
	skip "unreadable files and directories are told, and not fatal" "root, and no setpriv"
fi

# Files that grow, shrink and are rewritten while finddup reads them: equal tables all the same.
mkdir live
for i in 1 2 3 4 5 6 7 8; do random "$i" 200000 >live/changing$i; done
for i in 1 2 3 4 5 6 7 8; do random "$i" 50000 >live/still$i; done
(
	while :; do
		for i in 1 2 3 4 5 6 7 8; do
			cat live/still$i >>live/changing$i
			: >live/changing$i
			cat live/still1 live/still$i >live/changing$i
		done
	done
) &
writer=$!
live()
{
	local i

	for i in 1 2 3 4 5 6 7 8 9 10; do
		gives 0 -j -t 2 --verify live || return 1
		cat err >>all_err
	done
	grep -q changed all_err
}
ok "files that change meanwhile are left out, and verified" live
kill $writer
wait $writer 2>/dev/null
writer=
settled()
{
	gives 0 -q -j -t 2 --verify live && is files 16
}
ok "the same files, left in peace, are all in" settled

# Ten times longer to read than it takes to touch it.
truncate -s 64M big
(
	while :; do
		touch big
	done
) &
writer=$!
touched()
{
	local i seen=0

	for i in 1 2 3 4 5 6 7 8 9 10; do
		gives 0 -j -t 1 big || return 1
		if grep -q 'big: changed while it was read' err; then
			is files 0 || return 1
			seen=$((seen + 1))
		fi
	done
	[ "$seen" -gt 0 ]
}
ok "a file touched while it is read is left out" touched
kill $writer
wait $writer 2>/dev/null
writer=

# ---- arguments ----

mkdir none
ok "an empty directory" gives 0 -q -j -t 2 --verify none
ok "a file as argument" gives 0 -q -t 1 tree/one
ln -s tree/one link
follows()
{
	gives 0 -q -j -t 1 link && is bytes 100000
}
ok "a symbolic link as argument is followed" follows
overlap()
{
	gives 0 -q -j -t 2 tree tree/sub tree && is files 7
}
ok "directories named twice count once" overlap
ok "no directory" gives 2
ok "a directory that is not there" gives 2 nowhere
threads_checked()
{
	gives 2 -t 0 tree && gives 2 -t 64 tree && gives 2 -t two tree && gives 2 -s -t 2 tree &&
		gives 2 --sequential --verify tree && gives 2 --unknown tree
}
ok "wrong options" threads_checked
ok "--help" gives 0 --help
ok "--version" gives 0 --version
full()
{
	"$finddup" -q -j -t 1 tree >/dev/full 2>err
	[ $? = 3 ] && grep -q 'writing the report' err
}
ok "a report that cannot be written" full

exit $((failed > 0))
