# SPDX-License-Identifier: MIT
# shellcheck shell=bash
#
# packages.sh - sourced by scripts that unpack Debian packages below build/, without installing them.

# Lists may be missing, or older than the archive: once, as root.
updated=
update_lists()
{
	[ -z "$updated" ] && [ "$(id -u)" = 0 ] || return 1
	updated=yes
	apt-get -o DPkg::Lock::Timeout=600 update -qq </dev/null >&2
}

# depended PACKAGE PATTERN: sets packages to those that PACKAGE depends on, of names that begin like that; fails if
# there are none.
depended()
{
	find_depended "$@" || { update_lists && find_depended "$@"; }
}
find_depended()
{
	packages=$(apt-cache depends "$1" 2>/dev/null | awk -v pattern="^$2" '$1 == "Depends:" && $2 ~ pattern { print $2 }')
	[ -n "$packages" ]
}

# unpack DIRECTORY PACKAGE...
unpack()
{
	local dir=$1

	shift
	rm -rf "$dir.new" && mkdir -p "$dir.new" || return
	(cd "$dir.new" && apt-get download -q "$@" &&
		for deb in ./*.deb; do dpkg-deb -x "$deb" . || exit; done && rm ./*.deb) </dev/null >"$dir.log" 2>&1 &&
		rm -rf "$dir" && mv "$dir.new" "$dir"
}

# fetch DIRECTORY PACKAGE...: all of them to one directory, once
fetch()
{
	[ -d "$1" ] || unpack "$@" || { update_lists && unpack "$@"; }
}

# Why fetch DIRECTORY failed
reason()
{
	local line=

	[ ! -f "$1.log" ] || line=$(grep -m 1 '^E:' "$1.log")
	echo "${line:-see $1.log}"
}
