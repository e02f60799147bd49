// SPDX-License-Identifier: MIT
/* json.c - making objects where memory may run out. */
#include <errno.h>
#include <stdio.h>

#include "json.h"

/* Set for good when memory runs out: json-c gives NULL, which an object takes for null. */
static bool no_memory;

void json_put(struct json_object *object, const char *name, struct json_object *value)
{
	if (value && json_object_object_add(object, name, value) == 0)
		return;
	json_object_put(value);
	no_memory = true;
}

void json_append(struct json_object *array, struct json_object *value)
{
	if (value && json_object_array_add(array, value) == 0)
		return;
	json_object_put(value);
	no_memory = true;
}

const char *json_text(struct json_object *object, bool on_one_line)
{
	int flags = on_one_line ? JSON_C_TO_STRING_PLAIN : JSON_C_TO_STRING_PRETTY;

	if (no_memory || !object)
		return NULL;
	return json_object_to_json_string_ext(object, flags | JSON_C_TO_STRING_NOSLASHESCAPE);
}

int json_print(struct json_object *object, bool on_one_line)
{
	const char *text = json_text(object, on_one_line);

	if (text)
		puts(text);
	json_object_put(object);
	return text ? 0 : -ENOMEM;
}
