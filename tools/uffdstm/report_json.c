// SPDX-License-Identifier: MIT
/*
 * report_json.c - what was found, as JSON: uffdstm(8) has the schema.
 */
#include <errno.h>
#include <json-c/json.h>
#include <stdio.h>
#include <string.h>
#include <uffdstm.h>

#include "check.h"

/* Set for good when memory runs out: json-c gives NULL, which an object takes for null. */
static bool no_memory;

static void put(struct json_object *object, const char *name, struct json_object *value)
{
	if (value && json_object_object_add(object, name, value) == 0)
		return;
	json_object_put(value);
	no_memory = true;
}

static void append(struct json_object *array, struct json_object *value)
{
	if (value && json_object_array_add(array, value) == 0)
		return;
	json_object_put(value);
	no_memory = true;
}

static struct json_object *commands(const char *line)
{
	struct json_object *array = json_object_new_array();

	while (array && *line) {
		size_t len = strcspn(line, "\n");

		append(array, json_object_new_string_len(line, (int)len));
		line += len + (line[len] == '\n');
	}
	return array;
}

static struct json_object *feature(const struct probe *probe, const struct finding *finding)
{
	static const char *const verdicts[VERDICTS] = {
		[WORKS] = "works",
		[LIMITED] = "limited",
		[LACKING] = "lacking",
		[FORBIDDEN] = "forbidden",
		[UNTESTED] = "untested",
	};
	static const char *const needs[] = { "needed", "useful", "information" };
	struct json_object *object = json_object_new_object();

	if (!object)
		return NULL;
	put(object, "name", json_object_new_string(probe->name));
	put(object, "title", json_object_new_string(probe->title));
	put(object, "need", json_object_new_string(needs[probe->need]));
	put(object, "verdict", json_object_new_string(verdicts[finding->verdict]));
	if (finding->error)
		put(object, "errno", json_object_new_string(errno_name(finding->error)));
	if (*finding->detail)
		put(object, "detail", json_object_new_string(finding->detail));
	if (*finding->advice)
		put(object, "advice", json_object_new_string(finding->advice));
	if (*finding->commands)
		put(object, "commands", commands(finding->commands));
	return object;
}

int report_json(const struct result *results, size_t n, enum usable usable)
{
	static const char *const sums[] = { "usable", "limited", "unusable" };
	struct json_object *object = json_object_new_object(), *features = json_object_new_array();
	const char *text = NULL;

	if (!object || !features) {
		json_object_put(object);
		json_object_put(features);
		return -ENOMEM;
	}
	put(object, "version", json_object_new_string(stm_version()));
	put(object, "result", json_object_new_string(sums[usable]));
	for (size_t i = 0; i < n; i++)
		append(features, feature(results[i].probe, &results[i].finding));
	put(object, "features", features);
	if (!no_memory)
		text = json_object_to_json_string_ext(object, JSON_C_TO_STRING_PRETTY | JSON_C_TO_STRING_NOSLASHESCAPE);
	if (text)
		puts(text);
	json_object_put(object);
	return text ? 0 : -ENOMEM;
}
