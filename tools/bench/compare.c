/* SPDX-License-Identifier: MIT */
/*
 * compare.c - what has changed between two files of figures, beyond their spread
 *
 *     compare OLD.json NEW.json
 *
 * Both are arrays of rows, as micro, its sweeps and the applications write them. A row has a figure ("ns_per_op",
 * "seconds", "ns" or "count"), the "min" and "max" of its rounds, and is called by what else it says of itself: "app",
 * "impl", "threads" and so on. It has changed if every round of NEW lies on the same side of every round of OLD. With
 * seven rounds each of the same program, on a machine that stays as it is, chance does that to one row in 1,716.
 */
#include <errno.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <json-c/json.h>

enum status { SAME, CHANGED, TROUBLE };         /* as diff(1) */

#define NAME_MAX_LEN 160

struct row {
	char name[NAME_MAX_LEN];
	double value, min, max;
	bool verified;
	bool matched;           /* the other file has it, too */
};

struct figures {
	const char *path;
	struct row *rows;
	size_t n;
};

static enum status worst;

static void note(enum status status)
{
	if (status > worst)
		worst = status;
}

__attribute__((__noreturn__, __format__(__printf__, 1, 2))) static void stop(const char *format, ...)
{
	va_list args;

	fflush(stdout);
	fputs("compare: ", stderr);
	va_start(args, format);
	vfprintf(stderr, format, args);
	va_end(args);
	fputc('\n', stderr);
	exit(TROUBLE);
}

/* ---- reading ---- */

static bool number(struct json_object *object, const char *field, double *value)
{
	struct json_object *of;

	if (!json_object_object_get_ex(object, field, &of) ||
	    !(json_object_is_type(of, json_type_double) || json_object_is_type(of, json_type_int)))
		return false;
	*value = json_object_get_double(of);
	return true;
}

/* What it is called: those of the fields that it has, in this order. */
static void name_row(struct json_object *object, struct row *row)
{
	static const char *const fields[] = { "app", "workload", "sweep", "at", "what", "segments", "impl", "threads" };
	size_t length = 0;

	for (size_t i = 0; i < sizeof(fields) / sizeof(fields[0]); i++) {
		struct json_object *field;

		if (!json_object_object_get_ex(object, fields[i], &field))
			continue;
		length += (size_t)snprintf(row->name + length, sizeof(row->name) - length, "%s%s%s", length ? " " : "",
					   json_object_is_type(field, json_type_string) ? "" : fields[i],
					   json_object_is_type(field, json_type_string) ? "" : "=");
		if (length < sizeof(row->name))
			length += (size_t)snprintf(row->name + length, sizeof(row->name) - length, "%s",
						   json_object_get_string(field));
		if (length >= sizeof(row->name))
			stop("a row's name is longer than %d characters: %s...", NAME_MAX_LEN - 1, row->name);
	}
}

static void read_row(const char *path, size_t i, struct json_object *object, struct row *row)
{
	static const char *const values[] = { "ns_per_op", "seconds", "ns", "count" };
	struct json_object *verified;
	size_t v = 0;

	if (!json_object_is_type(object, json_type_object))
		stop("%s: row %zu is no object", path, i + 1);
	name_row(object, row);
	if (!row->name[0])
		stop("%s: row %zu does not say what it is of", path, i + 1);
	while (v < sizeof(values) / sizeof(values[0]) && !number(object, values[v], &row->value))
		v++;
	if (v == sizeof(values) / sizeof(values[0]))
		stop("%s: %s: no figure: neither ns_per_op nor seconds, ns or count", path, row->name);
	if (!number(object, "min", &row->min) || !number(object, "max", &row->max))
		stop("%s: %s: no min and max: what would be beyond the spread is not known", path, row->name);
	/* also false for what is not a number */
	if (!(row->min <= row->value && row->value <= row->max))
		stop("%s: %s: %s %g is not between min %g and max %g", path, row->name, values[v], row->value, row->min,
		     row->max);
	row->verified = !json_object_object_get_ex(object, "verified", &verified) ||
			json_object_get_boolean(verified);
}

static struct row *find(const struct figures *figures, const char *name, size_t n)
{
	for (size_t i = 0; i < n; i++)
		if (!strcmp(figures->rows[i].name, name))
			return &figures->rows[i];
	return NULL;
}

static struct figures read_figures(const char *path)
{
	struct figures figures = { .path = path };
	struct json_object *array;

	/* First, as json_object_from_file() does not tell this from a file without JSON. */
	if (access(path, R_OK))
		stop("%s: %s", path, strerror(errno));
	array = json_object_from_file(path);
	if (!array)
		stop("%s: no JSON", path);
	if (!json_object_is_type(array, json_type_array))
		stop("%s: no array of rows", path);
	figures.n = json_object_array_length(array);
	if (!figures.n)
		stop("%s: no rows", path);
	figures.rows = calloc(figures.n, sizeof(*figures.rows));
	if (!figures.rows)
		stop("no memory");
	for (size_t i = 0; i < figures.n; i++) {
		read_row(path, i, json_object_array_get_idx(array, i), &figures.rows[i]);
		if (find(&figures, figures.rows[i].name, i))
			stop("%s: two rows of %s", path, figures.rows[i].name);
	}
	json_object_put(array);
	return figures;
}

/* ---- comparing ---- */

static void compare_row(const struct row *old, const struct row *new)
{
	const bool more = new->min > old->max;

	if (!more && new->max >= old->min)
		return;
	printf("%-44s %s: %.4g (%.4g to %.4g), was %.4g (%.4g to %.4g)", new->name, more ? "more" : "less", new->value,
	       new->min, new->max, old->value, old->min, old->max);
	if (old->value > 0)
		printf(", %.2fx", new->value / old->value);
	putchar('\n');
	note(CHANGED);
}

static void say_not_verified(const struct figures *figures)
{
	for (size_t i = 0; i < figures->n; i++) {
		if (figures->rows[i].verified)
			continue;
		printf("%-44s not verified in %s\n", figures->rows[i].name, figures->path);
		note(TROUBLE);
	}
}

static void say_missing(const char *name, const char *path)
{
	printf("%-44s missing from %s\n", name, path);
	note(TROUBLE);
}

int main(int argc, char **argv)
{
	struct figures old, new;

	if (argc != 3 || argv[1][0] == '-') {
		fputs("usage: compare OLD.json NEW.json\n"
		      "\n"
		      "Says which figures are more or less than they were, beyond the spread of their rounds.\n"
		      "Exit status: 0 none, 1 some; 2: there are rows in one file only or with results that were\n"
		      "not verified, or a file cannot be read.\n", stderr);
		return TROUBLE;
	}
	old = read_figures(argv[1]);
	new = read_figures(argv[2]);
	for (size_t i = 0; i < new.n; i++) {
		struct row *before = find(&old, new.rows[i].name, old.n);

		if (before) {
			before->matched = true;
			compare_row(before, &new.rows[i]);
		} else {
			say_missing(new.rows[i].name, old.path);
		}
	}
	for (size_t i = 0; i < old.n; i++)
		if (!old.rows[i].matched)
			say_missing(old.rows[i].name, new.path);
	say_not_verified(&old);
	say_not_verified(&new);
	free(old.rows);
	free(new.rows);
	if (fflush(stdout))
		stop("standard output: %s", strerror(errno));
	return (int)worst;
}
