# SPDX-License-Identifier: MIT
#
# count.awk - count what the kernel's runner printed.
#
# Counted are the single tests of all programs, not the programs. A program that crashed, timed out or
# left out tests that its plan announced adds failed ones. The last line is the count; the exit status is 1
# if any failed, or none ran. -v plans=1: a program without a plan has failed, too.
function bad(what) { failed++; list[failed] = name ": " what }

# The runner puts "# " before each line of a program; a program ends with a line without.
/^1\.\.[0-9]+/ { split($0, part, /\.\./); programs += part[2] }
/^# selftests: / {
	name = $NF; plan = seen = bad_seen = 0
}
/^# 1\.\.[0-9]+/ {
	split($2, part, /\.\./); plan = part[2] + 0
}
# Numbers count up: any other "ok N" is something that a test printed.
/^# ok [0-9]+/ && $3 == seen + 1 {
	seen++
	if (/# (SKIP|XFAIL)/) skipped++
	else passed++
}
/^# not ok [0-9]+/ && $4 == seen + 1 {
	seen++; bad_seen++
	sub(/^# not ok [0-9]+ (- )?/, ""); bad($0)
}
/^(not )?ok [0-9]+ selftests: / {
	ended++
	ok = /^ok/; skip = /# SKIP/
	result = $0; sub(/^[^#]*(# *)?/, "", result)
	if (!seen && ok && skip) skipped++              # the whole program
	else if (!seen && !plan && ok && !plans) passed++ # a script without tests of its own
	else if (seen < plan) {
		for (i = seen; i < plan; i++)
			bad("a planned test did not run: " result)
	} else if (!plan && plans) bad("told no plan: " result)
	else if (!ok && !bad_seen) bad("ended badly: " result)
	name = ""
}
END {
	if (!programs || ended != programs) {
		name = "runner"; bad(ended + 0 " of " programs + 0 " programs ran")
	}
	for (i = 1; i <= failed; i++) print "# failed: " list[i]
	printf "%d passed, %d failed, %d skipped\n", passed, failed, skipped
	exit failed > 0
}
