#!/bin/sh
# SPDX-License-Identifier: MIT
#
# finddup_test.sh - the program on top: finddup's own tests, from beside its source.
set -u

if [ -z "${UFFDSTM_SRC:-}" ]; then
	echo "1..0 # SKIP not run from the source tree (UFFDSTM_SRC)"
	exit 4
fi
FINDDUP=$UFFDSTM_BUILD/tools/samples/finddup exec "$UFFDSTM_SRC/tools/samples/finddup_test.sh"
