// SPDX-License-Identifier: MIT
/*
 * tune_json.c - figures and choices as JSON: uffdstm(8) has the schema. Times are in ns.
 */
#include <errno.h>
#include <stdio.h>
#include <uffdstm.h>

#include "json.h"
#include "tune.h"

/* What was put there; NULL: no memory, which json_print() tells, or no object for the same reason. */
static struct json_object *put(struct json_object *object, const char *name, struct json_object *value)
{
	if (object)
		json_put(object, name, value);
	else
		json_object_put(value);
	return object ? json_object_object_get(object, name) : NULL;
}

static struct json_object *append(struct json_object *array, struct json_object *value)
{
	size_t n = array ? json_object_array_length(array) : 0;

	if (array)
		json_append(array, value);
	else
		json_object_put(value);
	return array && json_object_array_length(array) > n ? value : NULL;
}

static struct json_object *number(double value)
{
	char text[32];

	snprintf(text, sizeof(text), "%.1f", value);
	return json_object_new_double_s(value, text);
}

static struct json_object *fraction(double value)
{
	char text[32];

	snprintf(text, sizeof(text), "%.3f", value);
	return json_object_new_double_s(value, text);
}

static void put_pages(struct json_object *object, const char *name, const struct page_costs *costs)
{
	static const char *const names[EVENTS] = { "fault", "store", "copy", "continue", "protect", "zap" };
	struct json_object *pages = put(object, name, json_object_new_object());
	char bulk[32];

	for (unsigned int e = 0; e < EVENTS; e++) {
		put(pages, names[e], number(costs->one[e]));
		snprintf(bulk, sizeof(bulk), "%s_bulk", names[e]);
		if (e >= EVENT_COPY)
			put(pages, bulk, number(costs->bulk[e]));
	}
	put(pages, "page_copy", number(costs->page_copy));
	put(pages, "together", fraction(costs->together));
}

static void put_patterns(struct json_object *object, const struct pattern_costs *costs)
{
	static const char *const names[PATTERNS] = { "sparse_read", "dense_read", "scan_read", "sparse_write",
						     "dense_write", "scan_write", "foreign" };
	struct json_object *patterns = put(object, "patterns", json_object_new_object());

	for (unsigned int p = 0; p < PATTERNS; p++)
		put(patterns, names[p], number(costs->ns[p]));
}

static void put_engines(struct json_object *object, const struct figures *f)
{
	struct json_object *engines = put(object, "engines", json_object_new_array());

	for (unsigned int i = 0; i < ENGINES; i++) {
		struct json_object *engine = append(engines, json_object_new_object());

		put(engine, "name", json_object_new_string(f->engines[i].name));
		put(engine, "works", json_object_new_boolean(f->engines[i].works));
		if (!f->engines[i].works) {
			put(engine, "why_not", json_object_new_string(f->engines[i].why_not));
			continue;
		}
		put_pages(engine, "alone", &f->engines[i].costs[0]);
		if (f->cpus > 1)
			put_pages(engine, "second_thread", &f->engines[i].costs[1]);
		put_patterns(engine, &f->engines[i].patterns);
	}
}

static void put_clusters(struct json_object *object, const struct figures *f)
{
	struct json_object *clusters = put(object, "clusters", json_object_new_array());

	for (unsigned int i = 0; i < LEASTS + MOSTS; i++) {
		struct json_object *cluster = append(clusters, json_object_new_object());
		bool least = i < LEASTS;
		unsigned int pages = least ? least_pages(i) : most_pages(i - LEASTS);

		put(cluster, least ? "least" : "most", json_object_new_int64(pages));
		put_patterns(cluster, least ? &f->least[i] : &f->most[i - LEASTS]);
	}
}

static void put_log(struct json_object *object, const struct figures *f)
{
	struct json_object *log = put(object, "log", json_object_new_object());
	struct json_object *keep = put(log, "keep", json_object_new_array());

	put(log, "standstill_bytes", json_object_new_int64((int64_t)f->log_standstill));
	for (unsigned int i = 0; i < KEEPS; i++) {
		struct json_object *one = append(keep, json_object_new_object());

		put(one, "bytes", json_object_new_int64((int64_t)keep_bytes(i)));
		put(one, "commit", number(f->keep[i]));
	}
	put(log, "small_pages", number(f->huge[0]));
	put(log, "huge_pages", number(f->huge[1]));
}

static void put_choices(struct json_object *object, const struct choice *choices)
{
	struct json_object *array = put(object, "profile", json_object_new_array());
	char value[24];

	for (unsigned int key = 0; key < STM_PROFILE_KEYS; key++) {
		struct json_object *choice;

		if (!choices[key].made)
			continue;
		choice = append(array, json_object_new_object());
		put(choice, "key", json_object_new_string(stm_profile_name(key)));
		stm_profile_print(value, sizeof(value), key, choices[key].value);
		put(choice, "value", json_object_new_string(value));
		stm_profile_print(value, sizeof(value), key, choices[key].standard);
		put(choice, "default", json_object_new_string(value));
		put(choice, "reason", json_object_new_string(choices[key].reason));
	}
}

int print_json(const struct figures *f, const struct choice *choices, const char *path)
{
	struct json_object *object = json_object_new_object();

	if (!object)
		return -ENOMEM;
	put(object, "version", json_object_new_string(stm_version()));
	put(object, "cpus", json_object_new_int64(f->cpus));
	put(object, "rounds", json_object_new_int64(f->rounds));
	put(object, "seconds", number(f->seconds));
	put(object, "disturbance", fraction(f->disturbance));
	put(object, "file", json_object_new_string(path));
	put_engines(object, f);
	put_clusters(object, f);
	put_log(object, f);
	put_choices(object, choices);
	return json_print(object, false);
}
