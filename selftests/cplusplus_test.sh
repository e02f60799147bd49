#!/bin/sh
# SPDX-License-Identifier: MIT
#
# cplusplus_test.sh - C++: uffdstm.h and uffdstm/event.h compile without a warning, and link; uffdstm.hpp and those of
# collections, by g++ and clang++, with a C object on the same heap (cplusplus/).
set -u

if [ -z "${UFFDSTM_SRC:-}" ]; then
	echo "1..0 # SKIP not run from the source tree (UFFDSTM_SRC)"
	exit 4
fi
sources=$UFFDSTM_SRC/selftests/cplusplus
tmp=$(mktemp -d)
trap 'rm -rf "$tmp"' EXIT
c_flags=$(sed -n 's/^Cflags: *-I[^ ]* *//p' "$UFFDSTM_BUILD/uffdstm.pc")
warnings='-Wall -Wextra -Wpedantic -Werror'
include=-I$UFFDSTM_SRC/lib/include

cat > "$tmp/user.cc" <<'END'
#include <uffdstm.h>
#include <uffdstm.h>
#include <uffdstm/event.h>

static_assert(sizeof(stm_log_header) == 14 * STM_LOG_UNIT, "as in C");

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

# What the heap cannot hold, and what may not be written, is refused: in these lines, and in no others.
cat > "$tmp/wrong.cc" <<'END'
#include <uffdstm/map.hpp>

struct owner {
	owner(const owner &);
	long n;
};
struct wide {
	alignas(32) long n;
};
long a(stm::ptr<owner> p) { return p->n; }                      // wrong
long b(stm::ptr<wide> p) { return p->n; }                       // wrong
void c(stm::ptr<long> p) { *p = 1; }                            // wrong
void d(stm::ptr<const long> p) { p.write() = 1; }               // wrong
void e(stm::ptr<long> p) { stm::ptr<int> q = p; (void)q; }      // wrong
void f(stm::ptr<long> p) { p.write() = 1; }
void g(stm::queue &q) { q.add([] { return 1; }); }              // wrong
void h(stm::map<double, int> m) { m.put(1, 1); }                // wrong
void i(stm::map<long, int> m) { m.put(1, 1); }
void j(owner o) { stm::parallel_reduce(0, 9, o, [](std::size_t, owner &) {}); } // wrong
END

echo "TAP version 13"
n=0 status=0
result()
{
	n=$((n + 1))
	if [ "$1" = 0 ]; then
		echo "ok $n $2"
	else
		tail -n 30 "$tmp/log" | sed 's/^/# /'
		echo "not ok $n $2"
		status=1
	fi
}

# cases TITLE PROGRAM: each line that it prints is a result
cases()
{
	title=$1
	shift
	"$@" >"$tmp/out" 2>"$tmp/log"
	grep '^#' "$tmp/out"
	while read -r verdict name; do
		case $verdict in
		ok)
			result 0 "$title: $name" ;;
		bad)
			echo "$name" >>"$tmp/log"
			result 1 "$title: $name" ;;
		esac
	done <"$tmp/out"
	[ "$(tail -n 1 "$tmp/out")" = end ]
	result $? "$title runs to its end"
}

# shellcheck disable=SC2086
for cxx in g++ clang++; do
	cc=gcc
	[ $cxx = g++ ] || cc=clang
	if ! command -v $cxx >/dev/null || ! command -v $cc >/dev/null; then
		n=$((n + 1))
		echo "ok $n $cxx # SKIP no $cxx, or no $cc"
		continue
	fi
	for std in c++11 c++20; do
		$cxx -std=$std -O2 $warnings $include -c -o "$tmp/user.o" "$tmp/user.cc" >"$tmp/log" 2>&1
		result $? "$cxx -std=$std compiles"
	done
	{
		$cxx -o "$tmp/user" "$tmp/user.o" "$UFFDSTM_BUILD/libuffdstm.so" \
			-Wl,-rpath,"$UFFDSTM_BUILD" && "$tmp/user"
	} >"$tmp/log" 2>&1
	result $? "$cxx links and runs"

	$cxx -std=c++17 -fsyntax-only $include "$tmp/wrong.cc" >"$tmp/log" 2>&1
	grep -n '// wrong' "$tmp/wrong.cc" | cut -d: -f1 >"$tmp/wanted"
	sed -n 's/.*wrong\.cc:\([0-9]*\):.*\(error\|required from here\|requested here\).*/\1/p' "$tmp/log" | sort -nu |
		diff "$tmp/wanted" - >>"$tmp/log" 2>&1
	result $? "$cxx refuses what is wrong, and nothing else"

	$cc -std=gnu11 -O2 $c_flags -Wall -Wextra -Werror -Wno-clobbered -Wno-unknown-warning-option $include \
		-c -o "$tmp/shared.o" "$sources/shared.c" >"$tmp/log" 2>&1
	result $? "$cc compiles the C side"
	# Once a compiler: compiling takes longer than all else.
	levels='-std=c++20 -O2'
	[ $cxx = g++ ] || levels='-std=c++17 -O0'
	[ -z "${STM_LONG:-}" ] || levels='-std=c++20 -O2:-std=c++17 -O0:-std=c++17 -O1 -DSTM_DEBUG'
	IFS=:
	for flags in $levels; do
		unset IFS
		title="$cxx $flags"
		$cxx $flags $warnings $include -pthread -o "$tmp/all" "$sources/all.cc" "$tmp/shared.o" \
			"$UFFDSTM_BUILD/libuffdstm.so" -Wl,-rpath,"$UFFDSTM_BUILD" >"$tmp/log" 2>&1
		result $? "$title compiles"
		[ ! -x "$tmp/all" ] || cases "$title" "$tmp/all"
		rm -f "$tmp/all"
	done
done
echo "1..$n"
exit $status
