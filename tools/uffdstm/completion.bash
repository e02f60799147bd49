# SPDX-License-Identifier: MIT
#
# Completion for uffdstm(8) in bash. Commands and options are those that the program's own help names.

_uffdstm()
{
	local program=${COMP_WORDS[0]} current=${COMP_WORDS[COMP_CWORD]} previous=${COMP_WORDS[COMP_CWORD - 1]}
	local command='' words

	[ "$COMP_CWORD" -lt 2 ] || command=${COMP_WORDS[1]}
	COMPREPLY=()
	# bash cuts words at "=": --group=ad is three of them
	if [ "$current" = "=" ]; then
		current=
	elif [ "$previous" = "=" ]; then
		previous=${COMP_WORDS[COMP_CWORD - 2]}
	fi
	case $previous in
	--grant | --revoke | --output | -o)
		mapfile -t COMPREPLY < <(compgen -f -- "$current")
		return
		;;
	--root)
		mapfile -t COMPREPLY < <(compgen -d -- "$current")
		return
		;;
	--group)
		mapfile -t COMPREPLY < <(compgen -g -- "$current")
		return
		;;
	--shmem-thp)
		mapfile -t COMPREPLY < <(compgen -W "advise within_size always never" -- "$current")
		return
		;;
	esac
	if [ "$command" = status ] && [ "${current#-}" = "$current" ]; then
		words=$(find /proc/[0-9]*/fd -lname '/memfd:uffdstm-status *' 2>/dev/null | sed 's,^/proc/\([0-9]*\)/.*,\1,')
		mapfile -t COMPREPLY < <(compgen -W "$words" -- "$current")
		return
	fi
	if [ "$command" = report ] && [ "${current#-}" = "$current" ]; then
		mapfile -t COMPREPLY < <(compgen -f -- "$current")
		return
	fi
	if [ -z "$command" ]; then
		words=$("$program" --help 2>/dev/null | sed -n 's/^  \([a-z]\{1,\}\)  .*/\1/p')
		[ "${current#-}" = "$current" ] || words=
	else
		words=
	fi
	# $command is empty, or one word: no command gives the program's own options
	# shellcheck disable=SC2086
	[ -n "$words" ] ||
		words=$("$program" $command --help 2>/dev/null | sed -n 's/^  \(-[a-zA-Z], \|    \)\{0,1\}\(--[a-z-]*\).*/\2/p')
	mapfile -t COMPREPLY < <(compgen -W "$words" -- "$current")
}
complete -F _uffdstm uffdstm
