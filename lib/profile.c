// SPDX-License-Identifier: MIT
/*
 * profile.c - the text of a profile: keys, values, and what is wrong with a line.
 */
#include <stdio.h>
#include <string.h>

#include "message.h"
#include "profile.h"

#define COMPLAINTS_MAX 8u               /* of one file; more of them are one line */
#define SHOWN 40                        /* bytes of a key or value in a line about it */
#define NAME_SHOWN 200                  /* of a file's name: its end */

enum kind {
	ENGINE,
	POWER,                          /* of two */
	BYTES,                          /* K, M and G may follow */
	NUMBER,
	YES_NO,
	AGE,                            /* a number, or "never" */
};

static const struct key {
	const char *name;
	enum kind kind;
	uint64_t min, max;
	const char *rule;
} keys[STM_PROFILE_KEYS] = {
	[STM_PROFILE_ENGINE] = { "engine", ENGINE, 0, 0, "sigbus, thread or async" },
	[STM_PROFILE_CLUSTER] = { "cluster", POWER, 1, 512, "a power of two, 1 to 512" },
	[STM_PROFILE_CLUSTER_WRITES] = { "cluster_writes", POWER, 1, 512, "a power of two, 1 to 512" },
	[STM_PROFILE_CLUSTER_MAX] = { "cluster_max", POWER, 1, 512, "a power of two, 1 to 512" },
	[STM_PROFILE_LOG_LIMIT] = { "log_limit", BYTES, (uint64_t)4 << 20, (uint64_t)1 << 40, "bytes, 4M to 1024G" },
	[STM_PROFILE_LOG_KEEP] = { "log_keep", BYTES, 0, (uint64_t)1 << 30, "bytes, 0 to 1G" },
	[STM_PROFILE_LOG_HUGE] = { "log_huge", YES_NO, 0, 1, "yes or no" },
	[STM_PROFILE_TRIM_AGE] = { "trim_age", AGE, 1, (uint64_t)24 * 3600 * 1000,
				   "milliseconds, 1 to 86400000, or never" },
	[STM_PROFILE_TRIM_SHARE] = { "trim_share", NUMBER, 1, 100, "percent, 1 to 100" },
	[STM_PROFILE_TRIM_PAGES] = { "trim_pages", NUMBER, 1, UINT64_MAX, "pages, 1 or more" },
	[STM_PROFILE_EVENT_BUFFER] = { "event_buffer", BYTES, (uint64_t)16 << 10, (uint64_t)256 << 20,
				       "bytes, 16K to 256M" },
};

static const char *const engines[] = { "sigbus", "thread", "async" };

#define ENGINES (sizeof(engines) / sizeof(engines[0]))

/* A part of the text. */
struct words {
	const char *at;
	size_t len;
};

struct file {
	const char *name;
	unsigned int line, complaints;
};

/* ---- what is said ---- */

/* Whose text it is we do not know: nothing of it goes to a terminal that is no plain letter. */
static const char *shown(struct words w, char *text)
{
	size_t len = w.len < SHOWN ? w.len : SHOWN;

	for (size_t i = 0; i < len; i++)
		text[i] = w.at[i] >= ' ' && w.at[i] <= '~' ? w.at[i] : '?';
	strcpy(text + len, len < w.len ? "..." : "");
	return text;
}

static const char *end_of_name(const char *name)
{
	size_t len = strlen(name);

	return len > NAME_SHOWN ? name + len - NAME_SHOWN : name;
}

static void complain(struct file *file, struct words about, const char *why)
{
	char text[SHOWN + 4];

	if (file->complaints++ < COMPLAINTS_MAX)
		stm_complain("%s:%u: \"%s\" is ignored: %s", end_of_name(file->name), file->line, shown(about, text),
			     why);
}

static void complain_of_value(struct file *file, const struct key *key, struct words value)
{
	char text[SHOWN + 4];

	if (file->complaints++ < COMPLAINTS_MAX)
		stm_complain("%s:%u: %s = \"%s\" is ignored: it takes %s", end_of_name(file->name), file->line,
			     key->name, shown(value, text), key->rule);
}

/* ---- words ---- */

static bool is_space(char c)
{
	return c == ' ' || c == '\t' || c == '\r';
}

static struct words trimmed(const char *at, const char *end)
{
	while (at < end && is_space(*at))
		at++;
	while (at < end && is_space(end[-1]))
		end--;
	return (struct words){ at, (size_t)(end - at) };
}

static bool is(struct words w, const char *word)
{
	return w.len == strlen(word) && !memcmp(w.at, word, w.len);
}

static bool is_text(struct words w)
{
	for (size_t i = 0; i < w.len; i++)
		if ((unsigned char)w.at[i] < ' ' && !is_space(w.at[i]))
			return false;
	return true;
}

/* ---- values ---- */

static bool read_number(struct words w, unsigned int shift, uint64_t *value)
{
	uint64_t n = 0;

	if (!w.len)
		return false;
	for (size_t i = 0; i < w.len; i++) {
		unsigned int digit = (unsigned int)(unsigned char)w.at[i] - '0';

		if (digit > 9 || __builtin_mul_overflow(n, 10, &n) || __builtin_add_overflow(n, digit, &n))
			return false;
	}
	*value = n << shift;
	return *value >> shift == n;
}

static bool read_bytes(struct words w, uint64_t *value)
{
	static const char units[] = "KMG";
	const char *unit = w.len ? memchr(units, w.at[w.len - 1], sizeof(units) - 1) : NULL;

	if (!unit)
		return read_number(w, 0, value);
	w.len--;
	return read_number(w, (unsigned int)(unit - units + 1) * 10, value);
}

static bool read_engine(struct words w, uint64_t *value)
{
	for (*value = 0; *value < ENGINES; ++*value)
		if (is(w, engines[*value]))
			return true;
	return false;
}

static bool read_value(const struct key *key, struct words w, uint64_t *value)
{
	switch (key->kind) {
	case ENGINE:
		return read_engine(w, value);
	case YES_NO:
		*value = is(w, "yes");
		return *value || is(w, "no");
	case AGE:
		*value = UINT64_MAX;
		if (is(w, "never"))
			return true;
		break;
	case BYTES:
		return read_bytes(w, value) && *value >= key->min && *value <= key->max;
	case POWER:
	case NUMBER:
		break;
	}
	return read_number(w, 0, value) && *value >= key->min && *value <= key->max &&
	       (key->kind != POWER || !(*value & (*value - 1)));
}

void stm_profile_print(char *text, size_t size, enum stm_profile_key key, uint64_t value)
{
	unsigned int unit = 0;

	if (keys[key].kind == ENGINE) {
		snprintf(text, size, "%s", value < ENGINES ? engines[value] : "?");
	} else if (keys[key].kind == YES_NO) {
		snprintf(text, size, "%s", value ? "yes" : "no");
	} else if (keys[key].kind == AGE && value == UINT64_MAX) {
		snprintf(text, size, "never");
	} else {
		for (; keys[key].kind == BYTES && unit < 3 && value && value % 1024 == 0; unit++)
			value /= 1024;
		snprintf(text, size, "%llu%.*s", (unsigned long long)value, unit ? 1 : 0, &"-KMG"[unit]);
	}
}

/* ---- lines ---- */

static const struct key *find_key(struct words name)
{
	for (size_t i = 0; i < STM_PROFILE_KEYS; i++)
		if (is(name, keys[i].name))
			return &keys[i];
	return NULL;
}

static void read_line(struct stm_profile *profile, struct file *file, const char *at, const char *end)
{
	const char *comment = memchr(at, '#', (size_t)(end - at));
	struct words line = trimmed(at, comment ? comment : end), value;
	const char *equals = memchr(line.at, '=', line.len);
	const struct key *key;
	uint64_t n;

	if (!line.len)
		return;
	if (!equals) {
		complain(file, line, "a line is \"key = value\", or a comment after #");
		return;
	}
	value = trimmed(equals + 1, line.at + line.len);
	line = trimmed(line.at, equals);
	key = find_key(line);
	if (!key) {
		complain(file, line, "there is no such key: see uffdstm.conf(5)");
	} else if (!read_value(key, value, &n)) {
		complain_of_value(file, key, value);
	} else {
		size_t i = (size_t)(key - keys);

		profile->given[i] = true;
		profile->value[i] = n;
		profile->file[i] = file->name;
		profile->line[i] = file->line;
	}
}

void stm_profile_parse(struct stm_profile *profile, const char *name, const char *text, size_t len)
{
	struct file file = { .name = name };
	const char *limit = text + len;

	for (const char *at = text, *end; at < limit; at = end + 1) {
		end = memchr(at, '\n', (size_t)(limit - at));
		if (!end)
			end = limit;
		file.line++;
		if (!is_text((struct words){ at, (size_t)(end - at) })) {
			stm_complain("%s:%u: this is no text: ignored from here on", end_of_name(name), file.line);
			break;
		}
		read_line(profile, &file, at, end);
	}
	if (file.complaints > COMPLAINTS_MAX)
		stm_complain("%s: %u more lines are ignored", end_of_name(name), file.complaints - COMPLAINTS_MAX);
}

/* ---- what goes together ---- */

/* Not more than the most: else the smaller number, which may come from another file, would be broken. */
static void settle_cluster(struct stm_profile *profile, enum stm_profile_key key)
{
	if (!profile->given[key] || !profile->given[STM_PROFILE_CLUSTER_MAX] ||
	    profile->value[key] <= profile->value[STM_PROFILE_CLUSTER_MAX])
		return;
	stm_complain("%s:%u: %s = %llu is ignored: it is more than cluster_max = %llu, line %u of %s",
		     end_of_name(profile->file[key]), profile->line[key], keys[key].name,
		     (unsigned long long)profile->value[key],
		     (unsigned long long)profile->value[STM_PROFILE_CLUSTER_MAX],
		     profile->line[STM_PROFILE_CLUSTER_MAX], end_of_name(profile->file[STM_PROFILE_CLUSTER_MAX]));
	profile->given[key] = false;
	profile->value[key] = 0;
}

void stm_profile_settle(struct stm_profile *profile)
{
	settle_cluster(profile, STM_PROFILE_CLUSTER);
	settle_cluster(profile, STM_PROFILE_CLUSTER_WRITES);
}

const char *stm_profile_name(enum stm_profile_key key)
{
	return keys[key].name;
}

const char *stm_profile_engine(const struct stm_profile *profile)
{
	return profile->given[STM_PROFILE_ENGINE] ? engines[profile->value[STM_PROFILE_ENGINE]] : NULL;
}
