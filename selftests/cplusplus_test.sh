#!/bin/sh
# SPDX-License-Identifier: MIT
#
# cplusplus_test.sh - a C++ file that includes uffdstm.h compiles without a warning, and links.
set -u

if [ -z "${UFFDSTM_SRC:-}" ]; then
	echo "1..0 # SKIP not run from the source tree (UFFDSTM_SRC)"
	exit 4
fi
tmp=$(mktemp -d)
trap 'rm -rf "$tmp"' EXIT

cat > "$tmp/user.cc" <<'END'
#include <uffdstm.h>
#include <uffdstm.h>

static int task(void *arg)
{
	return stm_in_transaction() && arg ? 0 : 1;
}

int main(int argc, char **)
{
	stm_options options = STM_OPTIONS_INIT;

	if (argc > 1)
		return stm_init(&options) || stm_thread_attach() || stm_atomic(task, &options);
	return stm_version() ? 0 : 1;
}
END

echo "TAP version 13"
echo "1..6"
n=0 status=0
result()
{
	n=$((n + 1))
	if [ "$1" = 0 ]; then
		echo "ok $n $2"
	else
		sed 's/^/# /' "$tmp/log"
		echo "not ok $n $2"
		status=1
	fi
}

for cxx in g++ clang++; do
	for std in c++11 c++20; do
		"$cxx" -std=$std -O2 -Wall -Wextra -Wpedantic -Werror -I"$UFFDSTM_SRC/lib/include" \
			-c -o "$tmp/user.o" "$tmp/user.cc" >"$tmp/log" 2>&1
		result $? "$cxx -std=$std compiles"
	done
	{
		"$cxx" -o "$tmp/user" "$tmp/user.o" "$UFFDSTM_BUILD/libuffdstm.so" \
			-Wl,-rpath,"$UFFDSTM_BUILD" && "$tmp/user"
	} >"$tmp/log" 2>&1
	result $? "$cxx links and runs"
done
exit $status
