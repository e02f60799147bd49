// SPDX-License-Identifier: MIT
/*
 * check_json.c - what was found, as JSON: uffdstm(8) has the schema.
 */
#include <errno.h>
#include <string.h>
#include <uffdstm.h>

#include "check.h"
#include "json.h"

static struct json_object *commands(const char *line)
{
	struct json_object *array = json_object_new_array();

	while (array && *line) {
		size_t len = strcspn(line, "\n");

		json_append(array, json_object_new_string_len(line, (int)len));
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
	json_put(object, "name", json_object_new_string(probe->name));
	json_put(object, "title", json_object_new_string(probe->title));
	json_put(object, "need", json_object_new_string(needs[probe->need]));
	json_put(object, "verdict", json_object_new_string(verdicts[finding->verdict]));
	if (finding->error)
		json_put(object, "errno", json_object_new_string(errno_name(finding->error)));
	if (*finding->detail)
		json_put(object, "detail", json_object_new_string(finding->detail));
	if (*finding->advice)
		json_put(object, "advice", json_object_new_string(finding->advice));
	if (*finding->commands)
		json_put(object, "commands", commands(finding->commands));
	return object;
}

int check_json(const struct result *results, size_t n, enum usable usable)
{
	static const char *const sums[] = { "usable", "limited", "unusable" };
	struct json_object *object = json_object_new_object(), *features = json_object_new_array();

	if (!object || !features) {
		json_object_put(object);
		json_object_put(features);
		return -ENOMEM;
	}
	json_put(object, "version", json_object_new_string(stm_version()));
	json_put(object, "result", json_object_new_string(sums[usable]));
	for (size_t i = 0; i < n; i++)
		json_append(features, feature(results[i].probe, &results[i].finding));
	json_put(object, "features", features);
	return json_print(object, false);
}
