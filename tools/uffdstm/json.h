/* SPDX-License-Identifier: MIT */
/* json.h - making objects where memory may run out: it is asked once, at the end. */
#ifndef UFFDSTM_TOOL_JSON_H
#define UFFDSTM_TOOL_JSON_H

#include <json-c/json.h>
#include <stdbool.h>

/* Both take @value, which is what a function of json-c returned. */
void json_put(struct json_object *object, const char *name, struct json_object *value);
void json_append(struct json_object *array, struct json_object *value);

/* As text, which is the object's; NULL: there was no memory for some of it. */
const char *json_text(struct json_object *object, bool on_one_line);

/* Print @object, and let it go. 0, or -ENOMEM: then nothing was printed. */
int json_print(struct json_object *object, bool on_one_line);

#endif
