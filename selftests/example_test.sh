#!/bin/sh
# SPDX-License-Identifier: MIT
#
# example_test.sh - the README's example, as a user builds it: against the library that `make install` put below build/,
# found by pkg-config, by gcc and clang, with the shared and with the static library.
set -u

: "${UFFDSTM_SRC:?set it to the source tree}" "${UFFDSTM_BUILD:?set it to the build folder}"
root=$UFFDSTM_BUILD/installed
tmp=$(mktemp -d)
trap 'rm -rf "$tmp"' EXIT

echo "TAP version 13"
echo "1..10"
n=0 status=0
result()
{
	n=$((n + 1))
	if [ "$1" = 0 ]; then
		echo "ok $n $2"
	else
		tail -n 20 "$tmp/log" | sed 's/^/# /'
		echo "not ok $n $2"
		status=1
	fi
}

rm -rf "$root"
make -C "$UFFDSTM_SRC" install DESTDIR="$root" prefix=/opt/uffdstm >"$tmp/log" 2>&1
result $? "make install"
export PKG_CONFIG_SYSROOT_DIR="$root" PKG_CONFIG_PATH="$root/opt/uffdstm/lib/pkgconfig"
{
	cflags=$(pkg-config --cflags uffdstm) && shared=$(pkg-config --libs uffdstm) &&
		static=$(pkg-config --static --libs uffdstm)
} >"$tmp/log" 2>&1
result $? "pkg-config finds it"

# The first C block that has a main().
awk '/^```c$/ { text = ""; inside = 1; next }
     /^```$/ { if (inside && text ~ /int main\(/ && !found) { printf "%s", text; found = 1 } inside = 0 }
     inside { text = text $0 "\n" }' "$UFFDSTM_SRC/README.md" > "$tmp/example.c"
echo "no example in README.md" > "$tmp/log"
test -s "$tmp/example.c"
result $? "README.md has an example"

for cc in gcc clang; do
	for level in -O0 -O2; do
		# shellcheck disable=SC2086
		{
			$cc $level -Wall -Wextra -Werror -Wno-clobbered -Wno-unknown-warning-option $cflags -pthread \
				-o "$tmp/example" "$tmp/example.c" $shared &&
				LD_LIBRARY_PATH="$root/opt/uffdstm/lib" "$tmp/example" > "$tmp/out" &&
				grep -q '^sum 0, as before$' "$tmp/out"
		} >"$tmp/log" 2>&1
		result $? "$cc $level, shared library"
	done
	# shellcheck disable=SC2086
	{
		$cc -O2 $cflags -static -pthread -o "$tmp/example" "$tmp/example.c" $static &&
			"$tmp/example" > "$tmp/out" && grep -q '^sum 0, as before$' "$tmp/out"
	} >"$tmp/log" 2>&1
	result $? "$cc -O2, static library"
done

# What is installed is what is declared: no name but the library's own.
nm -D --defined-only "$root/opt/uffdstm/lib/libuffdstm.so" | awk '$2 != "A" { sub(/@.*/, "", $3); print $3 }' |
	grep -v '^stm_' > "$tmp/log"
test ! -s "$tmp/log"
result $? "only stm_ names are exported"
exit $status
