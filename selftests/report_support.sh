# SPDX-License-Identifier: MIT
# shellcheck shell=bash
#
# report_support.sh - sourced where event logs are made: builds report_helper.c, and what it is about, in this folder.

# Barriers are inline functions of the library's headers: this one is such, as far as a path tells.
build_helper()
{
	mkdir -p program/uffdstm
	cat >program/uffdstm/inlined.h <<-'END'
		#include <stdint.h>
		uint64_t here(void);
		static inline __attribute__((__always_inline__)) uint64_t inlined_deeper(void)
		{
			return here() + 0;
		}
		static inline __attribute__((__always_inline__)) uint64_t inlined_barrier(void)
		{
			return inlined_deeper();
		}
	END
	cat >plugin.c <<-'END'
		#include <stdint.h>
		uint64_t plugin_store(uint64_t (*here)(void));
		uint64_t plugin_store(uint64_t (*here)(void))
		{
			return here() + 0; /* mark: plugin */
		}
	END
	# a call in the last place of a function would be a jump, and be nowhere; "$@": how to make it otherwise
	"${CC:-gcc}" -g -O2 -fno-optimize-sibling-calls -shared -fPIC -o libplugin.so plugin.c -Wl,--build-id || return
	"${CC:-gcc}" -g -O2 -fno-optimize-sibling-calls -Wall -Wextra -Werror -D_GNU_SOURCE= -Wl,--build-id -Iprogram \
		-iquote "$UFFDSTM_SRC/tools/uffdstm" -I"$UFFDSTM_SRC/lib/include" "$@" -o helper \
		"$UFFDSTM_SRC/selftests/report_helper.c" "$UFFDSTM_SRC/tools/uffdstm/log_read.c" \
		"$UFFDSTM_SRC/tools/uffdstm/message.c" -ljson-c -ldl
}
