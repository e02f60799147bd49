#!/bin/sh
# SPDX-License-Identifier: MIT
#
# run.sh DIRECTORY - run the selftests installed there by the kernel's runner, and count.
#
# The last line is the count; the exit status is 1 if any failed, or none ran: see count.awk.
set -u

dir=$1
log=$dir/output.tap

# What this machine's profile says shall not matter.
export UFFDSTM_PROFILE=

# A pipe, not a file: the runner opens its standard output anew to append to it.
# KSELFTEST_TIMEOUT: seconds a program may take, other than in settings.
"$dir/run_kselftest.sh" ${KSELFTEST_TIMEOUT:+-o "$KSELFTEST_TIMEOUT"} 2>&1 | tee "$log"

awk -f "$(dirname "$0")/count.awk" "$log"
