#!/bin/bash
# SPDX-License-Identifier: MIT
#
# mutants.sh - the library makes one mistake at a time (enum stm_mutant in lib/testing.h); the test named below must
# fail each time it runs, and pass without the mistake.
#
# A test that hangs with the mistake counts as failed where the mistake is one that makes threads wait.
set -u
unset MAKEFLAGS MFLAGS MAKELEVEL
cd "$(dirname "$0")/.."

RUNS=3          # with each mistake
TIMEOUT=60      # seconds, for one run

# mistake, program, fixture.test
TESTS='
RECYCLE             mutant_log_test    log.fold_in_batches_reads_what_is_not_recycled
APPLY_UNMAPPED      mutant_view_test   view.apply_takes_no_unmapped_neighbour
INEVITABLE_LOCK     mutant_log_test    log.nobody_overtakes_an_inevitable_transaction
POOL                mutant_view_test   view.freed_memory_waits_for_old_snapshots
NO_REPLAY           mutant_view_test   view.a_fault_finds_what_is_not_folded
NO_MEMBARRIER       mutant_view_test   view.a_store_that_is_late_is_waited_for
THROTTLE            mutant_log_test    log.a_begin_waits_for_nothing_when_fold_is_there
WRITE_NOT_READ      mutant_view_test   view.halves_of_a_granule_are_both_kept
EARLY_SNAPSHOT      mutant_log_test    log.an_entry_stays_until_it_is_applied
UNDO_ORDER          mutant_view_test   view.actions_are_undone_newest_first
SHORT_MARKERS       mutant_view_test   view.the_last_granule_of_a_range_is_written
NO_PIN              mutant_log_test    log.a_fault_keeps_what_it_replays
PACK_EARLY          mutant_log_test    log.an_entry_half_packed_is_read_whole
TRACK_NO_MARKS      tracked_test       tracked.a_page_mapped_before_conflicts
TRACK_NO_DIFF       tracked_test       tracked.a_store_without_a_fault_is_committed
TRACK_NO_UNDO       tracked_test       tracked.a_store_without_a_fault_is_undone
STRICT_NO_COMPARE   strict_test        strict.mistakes_are_reported_once
STRICT_OLD_IMAGE    strict_use_test    strict.commits_of_others_are_no_stores
STRICT_NO_GUARD     strict_use_test    strict.commits_of_others_are_no_stores
NO_WAKE             mutant_engine_test handler.nobody_is_left_waiting
NO_COLLECT          mutant_engine_test stores.a_store_without_a_fault_is_found
DOUBT_NOTHING       mutant_engine_test handler.a_late_message_is_no_fault
PART_BEHIND         mutant_view_test   view.freed_memory_waits_though_its_segment_slept
TRIM_IN_TX          trim_test          trim.no_page_goes_while_a_transaction_runs
TRIM_WARM           trim_test          trim.pages_in_use_stay_whatever_the_limit
WAIT_LATE           retry_test         retry.no_commit_is_missed
SAVEPOINT_ORDER     savepoint_test     savepoint.two_levels_are_undone_at_once
COUNTER_CELL        counter_test       global.what_conflicts
ORDERED_DIVIDE      ordered_test       global.what_conflicts
TURN_EARLY          queue_ordered_test global.the_turn_passes_after_the_commit
TURN_PENDING        queue_ordered_test global.no_right_of_way_before_its_turn
TURN_STAYS          queue_ordered_test global.one_that_waits_holds_back_no_log
MAP_PHANTOM         map_test           global.what_conflicts
FIFO_EMPTY          fifo_test          global.what_conflicts
VECTOR_DROP         vector_test        global.what_conflicts
BLOB_LENGTH         blob_test          global.what_conflicts
COUNTER_BEYOND      counter_test       global.what_conflicts
FIFO_ROOM           ordered_history_test collections.are_serialisable
PRIORITY_EMPTY      ordered_history_test collections.are_serialisable
VECTOR_END          sequence_history_test global.four_threads
BLOB_BYTES          sequence_history_test global.four_threads
SAVEPOINT_BLOCKS    move_history_test  global.four_threads
MAP_LINK            map_test           global.a_removal_inside_a_chain_conflicts
ALONE_STAYS         alone_test         alone.who_came_keeps_its_snapshot
ALONE_NO_WAIT       alone_test         alone.who_comes_waits_for_the_commit
BLIND               alone_test         alone.a_blind_attempt_sees_that_it_was_overtaken
'

log=$(mktemp -d) || exit 1
trap 'rm -rf "$log"' EXIT

passed=0 failed=0 skipped=0

line()
{
	printf '%-4s %-17s %-55s %s\n' "$@"
}

fail()
{
	failed=$((failed + 1))
	line "$1" "$2" "$3" "NOT CAUGHT: $4"
}

# run MISTAKE-NUMBER PROGRAM FIXTURE.TEST: 0 passed, 1 failed, 4 skipped, 124 timed out, 2 did not run
run()
{
	local status

	UFFDSTM_MUTANT=$1 timeout -k 5 "$TIMEOUT" "build/mutants/selftests/$2" -t "${3#*.}" > "$log/out" 2>&1
	status=$?
	if [ $status = 124 ] || [ $status = 137 ]; then
		return 124
	elif grep -q "^not ok [0-9]* $3" "$log/out"; then
		grep -q 'terminated by timeout' "$log/out" && return 124
		return 1
	elif grep -q "^ok [0-9]* $3 *# SKIP" "$log/out"; then
		return 4
	elif grep -q "^ok [0-9]* $3" "$log/out"; then
		return 0
	fi
	return 2
}

# the mistakes that the library knows, in the order of their numbers
known=$(sed -n '/^enum stm_mutant/,/^};/s/^\tSTM_MUTANT_\([A-Z_]*\).*/\1/p' lib/testing.h)

line no. mistake test caught
programs=$(echo "$TESTS" | awk 'NF { print $2 }' | sort -u | tr '\n' ' ')
make -s VARIANT=mutants TESTS="$programs" selftests || exit 1

number=0
for mistake in $known; do
	number=$((number + 1))
	set -- $(echo "$TESTS" | awk -v m="$mistake" '$1 == m { print $2, $3 }')
	if [ $# != 2 ]; then
		fail $number "$mistake" - "no test is named for it"
		continue
	fi
	program=$1 test=$2

	run 0 "$program" "$test"
	case $? in
	0)	;;
	4)	skipped=$((skipped + 1))
		line $number "$mistake" "$test" "skipped: $(sed -n 's/.*# SKIP *//p' "$log/out" | head -n 1)"
		continue ;;
	*)	fail $number "$mistake" "$test" "it fails without the mistake"
		tail -n 20 "$log/out"
		continue ;;
	esac

	slowest=0
	for ((i = 0; i < RUNS; i++)); do
		start=$(date +%s%N)
		run "$number" "$program" "$test"
		status=$?
		took=$((($(date +%s%N) - start) / 1000000))
		[ $took -gt $slowest ] && slowest=$took
		# A hang is a failure only where the mistake makes threads wait.
		[ $status = 1 ] || { [ $status = 124 ] && [ "$mistake" = THROTTLE ]; } || break
	done
	if [ $i = $RUNS ]; then
		passed=$((passed + 1))
		line $number "$mistake" "$test" "$(printf '%d.%03d s' $((slowest / 1000)) $((slowest % 1000)))"
	else
		fail $number "$mistake" "$test" "run $((i + 1)) of $RUNS ended with status $status"
	fi
done

echo "$passed passed, $failed failed, $skipped skipped"
[ $failed = 0 ] && [ $passed -gt 0 ]
