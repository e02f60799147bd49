// SPDX-License-Identifier: MIT
/* tune_helper.c - a program that uses the library, for tune_test.sh: which engine runs, and why. */
#include <stdio.h>
#include <uffdstm.h>

int main(void)
{
	struct stm_stats stats;

	if (stm_init(NULL) || stm_stats(&stats, sizeof(stats)))
		return 1;
	printf("%s: %s\n", stats.engine, stats.engine_why);
	return stm_fini() ? 1 : 0;
}
