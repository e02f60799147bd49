# SPDX-License-Identifier: MIT
#
# short.awk - what the kernel's runner printed, in short: what kernel it was, what was left out or skipped, the
# programs, and all that those said that failed.
/^# selftests: / { said = "" }
{ said = said $0 "\n" }
/^# # Linux / || /^# uffdstm: / || /^# ok .*# SKIP/ || /^# 1\.\.0 # SKIP/
/^ok [0-9]+ selftests: / { said = ""; print }
/^not ok [0-9]+ selftests: / { printf "%s", said; said = "" }
END { printf "%s", said }
