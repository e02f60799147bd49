/* SPDX-License-Identifier: MIT */
/*
 * profile.h - what suits this machine: `key = value`, one a line, as `uffdstm tune` or an administrator wrote it.
 *
 * stm_init() reads it, and takes from it what the program and the environment leave open. Nothing in it is ever a
 * reason to fail: what is wrong is told, with file and line, and ignored. uffdstm.conf(5) is the manual.
 */
#ifndef STM_PROFILE_H
#define STM_PROFILE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum stm_profile_key {
	STM_PROFILE_ENGINE,             /* index of a name: see stm_profile_engine() */
	STM_PROFILE_CLUSTER,            /* pages */
	STM_PROFILE_CLUSTER_WRITES,     /* pages */
	STM_PROFILE_CLUSTER_MAX,        /* pages */
	STM_PROFILE_LOG_LIMIT,          /* bytes */
	STM_PROFILE_LOG_KEEP,           /* bytes */
	STM_PROFILE_LOG_HUGE,           /* 0, 1 */
	STM_PROFILE_TRIM_AGE,           /* ms, or UINT64_MAX: never */
	STM_PROFILE_TRIM_SHARE,         /* percent */
	STM_PROFILE_TRIM_PAGES,         /* pages */
	STM_PROFILE_EVENT_BUFFER,       /* bytes */
	STM_PROFILE_KEYS
};

#define STM_PROFILE_SYSTEM "/etc/uffdstm.conf"
#define STM_PROFILE_HOME "uffdstm.conf" /* in $XDG_CONFIG_HOME, or ~/.config */
#define STM_PROFILE_BYTES ((size_t)64 << 10) /* a longer file is none */

struct stm_profile {
	bool given[STM_PROFILE_KEYS];
	uint64_t value[STM_PROFILE_KEYS];
	/* Where it stands; the name is whoever parsed it's. */
	const char *file[STM_PROFILE_KEYS];
	unsigned int line[STM_PROFILE_KEYS];
};

/* Take what @text, which is the file @name's, says over what @profile has. Tells what it ignores. */
void stm_profile_parse(struct stm_profile *profile, const char *name, const char *text, size_t len);

/* All files are parsed: take out what does not go together. */
void stm_profile_settle(struct stm_profile *profile);

/* Find the files and parse them, as the environment says. For one thread at a time. */
void stm_profile_read(struct stm_profile *profile);
void stm_profile_tell(const struct stm_profile *profile); /* a line for each file, with what is taken from it */

const char *stm_profile_name(enum stm_profile_key key);

/* The name of the engine, or NULL. */
const char *stm_profile_engine(const struct stm_profile *profile);

/* A value as the file has it: "sigbus", "16M", "never". At most 24 bytes. */
void stm_profile_print(char *text, size_t size, enum stm_profile_key key, uint64_t value);

static inline uint64_t stm_profile_get(const struct stm_profile *profile, enum stm_profile_key key, uint64_t otherwise)
{
	return profile->given[key] ? profile->value[key] : otherwise;
}

#endif
