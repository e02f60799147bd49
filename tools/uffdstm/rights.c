// SPDX-License-Identifier: MIT
/*
 * rights.c - setup gives up what it does not need before it looks at anything. The process stays root (files
 * of root are its own), but root without capabilities is a user like others.
 */
#include <errno.h>
#include <stdlib.h>
#include <sys/capability.h>
#include <sys/prctl.h>

#include "setup.h"

int rights_keep(uint64_t capabilities)
{
	cap_t set = cap_get_proc(), now = cap_init();
	int error = set && now ? 0 : -ENOMEM;
	cap_flag_value_t has;

	/*
	 * Nothing is executed, so that the bounding set becomes empty. That needs CAP_SETPCAP, so it goes first; where
	 * even root lacks that, no_new_privs says the same to exec.
	 */
	if (!error && !cap_get_flag(set, CAP_SETPCAP, CAP_EFFECTIVE, &has) && has)
		for (cap_value_t c = 0; !error && c < cap_max_bits(); c++)
			if (cap_get_bound(c) == 1 && cap_drop_bound(c))
				error = -errno;
	for (cap_value_t c = 0; !error && c < cap_max_bits(); c++)
		if ((capabilities >> c & 1) && !cap_get_flag(set, c, CAP_PERMITTED, &has) && has &&
		    (cap_set_flag(now, CAP_PERMITTED, 1, &c, CAP_SET) ||
		     cap_set_flag(now, CAP_EFFECTIVE, 1, &c, CAP_SET)))
			error = -errno;
	if (!error && (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) || cap_reset_ambient() || cap_set_proc(now)))
		error = -errno;
	cap_free(set);
	cap_free(now);
	return error;
}

uint64_t rights_missing(uint64_t capabilities)
{
	cap_t set = cap_get_proc();
	cap_flag_value_t has;

	for (cap_value_t c = 0; set && c < cap_max_bits(); c++)
		if (!cap_get_flag(set, c, CAP_EFFECTIVE, &has) && has)
			capabilities &= ~((uint64_t)1 << c);
	cap_free(set);
	return capabilities;
}

char *rights_words(uint64_t capabilities)
{
	char *all = text("%s", "");

	for (cap_value_t c = 0; c < 64; c++) {
		char *name = capabilities >> c & 1 ? cap_to_name(c) : NULL, *longer;

		if (!name)
			continue;
		longer = text("%s%s%s", all, *all ? ", " : "", name);
		cap_free(name);
		free(all);
		all = longer;
	}
	return all;
}
