#!/bin/bash
# SPDX-License-Identifier: MIT
#
# report_test.sh - uffdstm report on event logs that are known by construction (report_helper.c), whole and broken.
# shellcheck disable=SC2317 # functions are called through ok
if [ -z "${UFFDSTM_SRC:-}" ]; then
	echo "1..0 # SKIP not run from the source tree (UFFDSTM_SRC)"
	exit 4
fi
# shellcheck source=selftests/uffdstm_support.sh
. "$UFFDSTM_SRC/selftests/uffdstm_support.sh"
# shellcheck source=selftests/report_support.sh
. "$UFFDSTM_SRC/selftests/report_support.sh"
if ! build_helper 2>log; then
	sed 's/^/# /' log
	echo "Bail out! report_helper.c is not compiled"
	exit 1
fi
helper_source=$UFFDSTM_SRC/selftests/report_helper.c

# report NAME: of that log, as text (file out) and as JSON (file facts, a line "path<tab>value" each).
report()
{
	[ -e "$1.log" ] || ./helper write "$1" >"$1.log" || return
	"$tool" report "$1.log" >out 2>err && "$tool" report --json "$1.log" >json 2>>err || { cat err; return 1; }
	[ ! -s err ] || { cat err; return 1; }
	./helper json json >facts && narrow
}

narrow()
{
	awk 'length($0) > 80 { print "wide: " $0; wide = 1 } END { exit wide }' out
}

# fact PATH VALUE: of the last report
fact()
{
	local value

	value=$(awk -F'\t' -v path="$1" '$1 == path { print $2 }' facts)
	[ "$value" = "$2" ] || { echo "$1 is '$value', not '$2'"; return 1; }
}

# says PATTERN: the text does, its lines joined
says()
{
	tr -s '\n ' ' ' <out >joined
	grep -qE -- "$1" joined || { echo "not '$1':"; cat out; return 1; }
}

# hints KIND...: exactly these, in this order
hints()
{
	local kinds

	kinds=$(sed -n 's/^hints\.[0-9]*\.kind\t//p' facts | tr '\n' ' ')
	[ "$kinds" = "${*:+$* }" ] || { echo "hints: $kinds, not $*"; return 1; }
}

# line_of MARK FILE: where it is
line_of()
{
	grep -n "mark: $1 " "$2" | cut -d: -f1
}

plan 29

# ---- the format ----

kinds()
{
	./helper write kinds >kinds.log && ./helper dump kinds.log >dumped && ./helper kinds | diff - dumped
}
ok "each kind of record comes back as it was written; unknown ones are left out" kinds

# ---- sums ----

split()
{
	report split && fact seconds 0.1 && fact thread_seconds 0.2 && fact transactions.seconds.committed 0.009 &&
		fact transactions.seconds.inevitable 0.015 && fact transactions.seconds.aborted 0.003 &&
		fact transactions.seconds.waiting 0.003 && fact transactions.seconds.system 0.004 &&
		fact threads.0.seconds.committed 0.009 && says 'inside transactions 34.0 ms 17.0 %' && says 'inevitable 15.0 ms 44.1 %'
}
ok "each moment is counted once" split
ranking()
{
	local dear cheap

	dear=$(line_of counter "$helper_source") cheap=$(line_of store "$helper_source")
	report ranking && fact pairs.0.written.line "$dear" && fact pairs.0.count 10 && fact pairs.0.seconds 0.04 &&
		fact pairs.1.written.line "$cheap" && fact pairs.1.seconds 0.01 && fact pairs.0.share 0.792079208 &&
		fact pairs.2.count 1 && fact pairs.2.seconds 0.0005 && fact lost_seconds 0.0505 && fact pairs.3.count "" &&
		says '1\. 40.0 ms, 79.2 % of what conflicts cost, 10 aborts written at .*:'"$dear"' counter_add'
}
ok "conflicts by time lost" ranking
sampled()
{
	# 5 aborts of 3 ms and 200 commits of 1 ms are timed: a mean of 215/205 ms for each of 15
	report sampled && fact transactions.commits 200 && fact transactions.seconds.committed 0.2 &&
		fact transaction_sites.0.mean_seconds 0.00104878049 && fact pairs.0.count 20 && fact pairs.0.seconds 0.0307317073 &&
		fact transactions.seconds.aborted 0.0307317073 && says 'Commits are sampled, one in 10' &&
		says 'The length of 15 aborts is not known'
}
ok "sampled commits are weighted, aborts without a length estimated" sampled
threads()
{
	report threads && fact threads.0.name first && fact threads.0.end 0.03 && fact threads.0.commits 1 &&
		fact threads.2.name third && fact threads.2.begin 0.04 && fact threads.2.commits 2 && fact threads.2.end 0.1 &&
		fact thread_seconds 0.19 && fact log.dropped 77 && fact threads.0.dropped 77 && says 'Dropped records: 77'
}
ok "threads that come and go; dropped records" threads
tasks()
{
	report tasks && fact transaction_sites.0.function counter_add && fact tasks.0.function counter_add && fact tasks.0.count 10 && fact tasks.0.seconds 0.054 &&
		fact tasks.0.longest_seconds 0.009 && says 'counter_add 10 54.0 ms 5.40 ms 9.00 ms'
}
ok "tasks by function" tasks
named()
{
	report named && fact transaction_sites.0.name transfer && fact transaction_sites.0.lost_seconds 0.015 &&
		fact transaction_sites.1.lost_seconds 0.01 && fact transaction_sites.2.lost_seconds 0.005 &&
		fact transaction_sites.2.name '' && fact pairs.0.reader.name transfer && fact pairs.0.writer.name transfer &&
		says '"transfer" known.c:10 adder 1 0 1' && says 'undone known.c:10 adder "transfer"' &&
		says '"\.\.\.[^"]*that its end is all"'
}
ok "names of transactions" named
named_tasks()
{
	report named-tasks && fact tasks.0.name load && fact tasks.0.function counter_add && fact tasks.0.count 3 &&
		fact tasks.1.count 3 && fact tasks.2.name '' && fact tasks.2.count 3 && fact tasks.3.count '' &&
		fact transaction_sites.0.name load && fact transaction_sites.0.function counter_add &&
		says '"load" counter_add 3 15.0 ms 5.00 ms' &&
		says '"\.\.\.for anything that comes behind" 3 12.0 ms' &&
		says '[^"] counter_add 3 9.00 ms 3.00 ms' && says '"a name that leaves no room' &&
		hints inevitable &&
		says 'The transaction "load" begun at [^ ]*report_helper.c:[0-9]+ becomes inevitable early'
}
ok "names of tasks" named_tasks
# slices N PATTERN: so many names of the trace are like that
slices()
{
	local n

	n=$(grep -cE "^traceEvents\.[0-9]+\.name	$2\$" facts)
	[ "$n" = "$1" ] || { echo "$n names like $2, not $1"; return 1; }
}
named_output()
{
	local log place='[^ ]*report_helper.c:[0-9]+'

	for log in named named-tasks; do
		./helper write $log >$log.log && "$tool" report --html $log.log >$log.html &&
			"$tool" report --folded $log.log >$log.folded || return
	done
	"$tool" report --trace named.log >json && ./helper json json >facts && slices 2 '"transfer" known.c:10 adder' &&
		slices 2 '"\.\.\. .* its end is all" known.c:10 adder' && slices 2 'known.c:10 adder' &&
		[ "$(grep -c 'by the transaction of	"transfer" known.c:10 adder$' facts)" = 3 ] || return
	"$tool" report --trace named-tasks.log >json && ./helper json json >facts &&
		slices 3 '"load" counter_add' && slices 6 "\"load\" $place counter_add" &&
		slices 3 counter_add && slices 6 "$place counter_add" || return
	grep -q '^"transfer" adder known.c:10;conflict;' named.folded &&
		grep -q '^adder known.c:10;conflict;' named.folded &&
		grep -qE "^\"load\" counter_add $place;waiting for inevitable" named-tasks.folded ||
		{ cat ./*.folded; return 1; }
	# what the page's script shows: report_page_test.sh looks at it in a browser
	[ "$(grep -o '"name": *"transfer"' named.html | wc -l)" = 5 ] &&
		[ "$(grep -o '"name": *"load"' named-tasks.html | wc -l)" = 4 ]
}
ok "names in each kind of output" named_output
most()
{
	report most && says 'fifteen letters 8,000,000,000 .* \*' && says ' 1\.2e\+06 s 1\.2e\+06 s 1\.2e\+06 s'
}
ok "numbers as long as they get" most
clock()
{
	local other

	report clock && fact seconds 1.0 && fact transactions.seconds.committed 0.625 || return
	for other in slow fast short known; do
		report clock-$other && fact seconds 0.8 && fact transactions.seconds.committed 0.5 || { echo "$other"; return 1; }
	done
}
ok "the clock's own records correct its rate" clock
when()
{
	# in ten bursts, 100 ms apart: 6 columns of 60
	report ranking && awk -F'\t' '
		/^pairs\.0\.when\./ { split($1, part, "."); if ($2 > 0) busy[part[4]] = 1; n++; sum += $2 }
		END { for (i = 0; i < 60; i++) if (((i % 6) == 0 || (i % 6) == 1) ? 0 : (i in busy)) { print "column " i; bad = 1 }
			exit bad || n != 60 || sum < 0.0399 || sum > 0.0401 || !(0 in busy) || !(54 in busy) }' facts && grep -qE '^    when         \|.{60}\|$' out
}
ok "when it happened" when

long()
{
	local commits aborts

	# records lie across the ends of what is read at once
	./helper big 5000000 >big.log 2>counts && read -r commits aborts <counts && report big && fact transactions.commits "$commits" &&
		fact transactions.aborts "$aborts" && fact log.whole true && fact log.impossible 0 && fact log.unknown_kinds 0
}
ok "a log longer than what is read at once" long

# ---- places ----

lines()
{
	report store && fact pairs.0.written.line "$(line_of store "$helper_source")" && fact pairs.0.written.function plain_store &&
		fact pairs.0.written.text 'uint64_t value = here(); /* mark: store */' &&
		says "written at [^ ]*report_helper.c:$(line_of store "$helper_source") plain_store"
}
ok "an address is a line, with its text" lines
fixed()
{
	mv helper helper.pie && build_helper -no-pie && rm -f store.log && lines
	local status=$?

	mv helper.pie helper
	rm -f store.log
	return "$status"
}
ok "likewise in a program at a fixed address" fixed
barrier()
{
	report barrier && fact pairs.0.written.line "$(line_of barrier "$helper_source")" && fact pairs.0.written.function by_barrier
}
ok "inlined barriers are where the program has them" barrier
library()
{
	report library && fact pairs.0.written.line "$(line_of plugin plugin.c)" && fact pairs.0.written.function plugin_store &&
		fact pairs.0.written.file "$PWD/plugin.c"
}
ok "a shared library, loaded late" library
wrong_build()
{
	report wrong-build && fact pairs.0.written.line "" && fact pairs.0.written.why "the file there has another build id" &&
		says 'written at helper\+0x[0-9a-f]+ \(the file there has another build id\)'
}
ok "a file with another build id is not believed" wrong_build
readers()
{
	local line

	line=$(line_of counter "$helper_source")
	report counter && fact pairs.0.reads.0.line "$line" && fact pairs.0.reads.0.count 100 &&
		fact pairs.0.reads.0.function counter_add && fact pairs.0.objects.0.label totals && fact pairs.0.objects.0.offset 16 &&
		report granule && fact pairs.0.reads.0.line "$(line_of look "$helper_source")" &&
		fact pairs.0.written.line "$(line_of insert "$helper_source")" &&
		fact pairs.0.objects.0.allocated.line "$(line_of store "$helper_source")" && fact pairs.0.objects.0.bytes 64
}
ok "the reader's own lines, labels and where blocks were allocated" readers
no_network()
{
	./helper write store >store.log
	ASAN_OPTIONS=detect_leaks=0 DEBUGINFOD_URLS=http://127.0.0.1:9 strace -f -e trace=network -o calls "$tool" report store.log >out || return
	! grep -E 'AF_INET|connect' calls
}
ok "no server is asked for debug information" no_network

# ---- what to do ----

rules()
{
	report counter && hints counter && report size-field && hints size-field && report granule && hints size-field granule &&
		says "lines at .*:$(line_of insert "$helper_source") and .*:$(line_of look "$helper_source") name different members" &&
		report two-labels && hints granule && says '"totals" and "limits" share 16 bytes' &&
		report restarted && hints restarted && says '120 of 150 attempts, up to 4 in a row' &&
		report inevitable && hints inevitable && says 'known.c:10 becomes inevitable early, by "printf", and stays so for 9.00 ms' &&
		report log-full && hints log-full && says 'begun at known.c:10 ran for 2.50 s; others waited 1.60 s' &&
		report page && hints page && says '40 page faults are on 1 page .* 0x203000, by 2 threads'
}
ok "hints where their rules hold" rules
no_rules()
{
	report inevitable-late && hints && report split && hints inevitable && report tasks && hints && report empty && hints &&
		says 'Nothing: no time was lost'
}
ok "and nowhere else" no_rules

# ---- broken logs ----

# broken STATUS PATTERN: of broken.log, as text and JSON; the pattern is looked for in what is said on either output
broken()
{
	local kind

	for kind in "" --json --html --folded --trace; do
		# shellcheck disable=SC2086 # none, if it is empty
		"$tool" report $kind broken.log >out.$kind 2>err
		[ $? = "$1" ] || { echo "status not $1: $kind"; cat err; return 1; }
	done
	"$tool" report broken.log >out 2>err
	cat out err | tr -s '\n ' ' ' | grep -qE -- "$2" || { echo "not '$2':"; cat out err; return 1; }
}
# patch OFFSET BYTES: as printf has them
patch()
{
	# shellcheck disable=SC2059
	printf "$2" | dd of=broken.log bs=1 seek="$1" conv=notrunc status=none
}
headers()
{
	./helper write split >good.log
	: >broken.log; broken 3 'no event log' || return
	echo "something else, long enough" >broken.log; broken 3 'no event log' || return
	head -c 447 good.log >broken.log; broken 3 'byte 447: the header is not whole' || return
	cp good.log broken.log; patch 8 '\2'; broken 3 'format 2 is newer than this program knows, 1' || return
	cp good.log broken.log; patch 8 '\0'; broken 3 'byte 8: format 0' || return
	cp good.log broken.log; patch 12 '\1\1'; broken 3 'byte 12: header size 257' || return
	cp good.log broken.log; patch 16 '\100'; broken 3 'byte 16: unit size 64' || return
	cp good.log broken.log; patch 20 '\7'; broken 3 'byte 20: clock 7' || return
	cp good.log broken.log; patch 24 '\0\0\0\0\0\0\0\0'; broken 3 'byte 24: ticks per second 0' || return
	cp good.log broken.log; patch 32 '\377\377\377\377\377\377\377\377'; broken 3 'byte 32: start' || return
	cp good.log broken.log; patch 76 '\377\377'; broken 3 'byte 76: build id size 65535' || return
	"$tool" report nowhere 2>err; [ $? = 3 ] && grep -q 'nowhere: No such file' err && "$tool" report . 2>err
	[ $? = 3 ] && grep -q EISDIR err
}
ok "headers: what is wrong, and where" headers
cut()
{
	local bytes size

	./helper write tasks >good.log
	size=$(stat -c %s good.log)
	for ((bytes = 448; bytes < size; bytes += 67)); do
		head -c "$bytes" good.log >broken.log
		broken 0 "The log ends inside a record, at byte $bytes|The program did not end the log" || return
	done
}
ok "a log may end anywhere" cut
holes()
{
	# the records between byte 448 + 3 * 32 and the next 10 are gone, or a large part that the file system knows
	./helper write threads >good.log
	{ head -c 448 good.log; head -c 320 /dev/zero; tail -c +449 good.log; } >broken.log
	broken 0 '1 part of the log was not written: 320 bytes are missing' && "$tool" report --json broken.log >json &&
		./helper json json >facts && fact threads.2.commits 2 || return
	rm broken.log
	head -c 448 good.log >broken.log && truncate -s 1099511628224 broken.log && tail -c +449 good.log >>broken.log || return
	timeout 20 "$tool" report --json broken.log >json && ./helper json json >facts && fact threads.2.commits 2 &&
		fact log.hole_bytes 1099511627776 || return
	truncate -s 2199023255552 broken.log && timeout 20 "$tool" report broken.log >out
}
ok "holes" holes
damaged()
{
	local at

	./helper write counter >good.log
	# the last record but one: a wait has no further units; the kind 0 with something behind it
	at=$(($(stat -c %s good.log) - 64))
	cp good.log broken.log; patch $((at + 9)) '\5'
	broken 1 "damaged at byte $at: a record of kind 16 with 5 further units, which it cannot have" || return
	cp good.log broken.log; patch $((at + 8)) '\0'
	broken 1 "damaged at byte $at: a record of kind 0 with 0 further units, which is neither" || return
	# what comes before is told
	grep -q '1\. 400 ms' out || { cat out; return 1; }
	cp good.log broken.log; patch "$at" '\377\377\377\377\377\377\377\377'
	broken 0 "1 records with impossible times were left out, the first at byte $at" || return
	cp good.log broken.log; patch $((at + 16)) '\377\377\377\377\377\377\377\377'
	broken 0 "1 records with impossible times were left out, the first at byte $at"
}
ok "damage: where, and what was before it" damaged
undefined()
{
	report undefined && fact pairs.0.count 1 && says 'place 5 \(its name is missing\)' && says '[0-9]+ records name places' &&
		says '0x1234567 \(no module is there\)' && says '\(its name is missing\), byte 0'
}
ok "missing definitions" undefined
harm()
{
	report harm && report long || return
	"$tool" report --html harm.log >page && [ "$(grep -c '<script' page)" = 2 ] && ! grep -q '<img' page ||
		{ echo "a tag in the page"; return 1; }
	for kind in "" --json --html --folded --trace; do
		# shellcheck disable=SC2086
		"$tool" report $kind harm.log | LC_ALL=C grep -qP '[\x00-\x08\x0b-\x1f\x7f]|\x80|\xff' && { echo "raw bytes: $kind"; return 1; }
	done
	"$tool" report --folded harm.log | grep -qE '^[^;]*;conflict;[^;]*;[^;]* [0-9]+$'
}
ok "names that mean harm" harm

# ---- output ----

output()
{
	./helper write counter >counter.log
	"$tool" report --trace counter.log >json && ./helper json json >facts && [ "$(grep -c 'ph	X' facts)" = 400 ] &&
		[ "$(grep -c 'ph	s' facts)" = 100 ] || { echo "trace"; return 1; }
	"$tool" report --folded counter.log | awk '{ sum += $NF } END { exit sum != 400000 }' || { echo "folded"; return 1; }
	# the transaction, who called, who read, why
	"$tool" report --folded counter.log | grep -qE '^reader known.c:20;by_barrier [^;]*;counter_add [^;]*;conflict;written at counter_add ' ||
		{ echo "no callers"; return 1; }
	"$tool" report counter.log >expected && "$tool" report - <counter.log | diff - expected && "$tool" report -o new counter.log &&
		diff new expected && [ "$(stat -c %a new)" = "$(printf %o $((0666 & ~$(umask))))" ] || return
	echo old >kept
	"$tool" report -o kept nowhere 2>err
	[ $? = 3 ] && [ "$(cat kept)" = old ] && "$tool" report -o /dev/full counter.log 2>err
	[ $? = 3 ] && grep -q ENOSPC err && [ -c /dev/full ] && ! ls | grep '\.......$' | grep -E '^(new|kept)' || return
	"$tool" report --json --html counter.log 2>err
	[ $? = 2 ] && "$tool" report --top 0 counter.log 2>err
	[ $? = 2 ] && "$tool" report 2>err
	[ $? = 2 ] && "$tool" report --top 1 ranking.log >out && says 'and 2 more: see --top'
}
ok "kinds of output, and where it goes" output

finish
