// SPDX-License-Identifier: MIT
/*
 * tune_report.c - the table, the reasons, and the profile's text, which holds both as comments.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/utsname.h>
#include <uffdstm.h>

#include "tune.h"

#define WIDTH 78

/* ---- the table ---- */

static void print_cells(FILE *out, const struct figures *f, size_t offset, bool bulk)
{
	for (unsigned int second = 0; second < 2 && second < f->cpus; second++) {
		fprintf(out, second ? " |" : "");
		for (unsigned int i = 0; i < ENGINES; i++) {
			const char *costs = (const char *)&f->engines[i].costs[second];

			if (f->engines[i].works)
				fprintf(out, "%*.*f", 8, bulk ? 2 : 1, *(const double *)(costs + offset) / 1000);
			else
				fprintf(out, "%8s", "-");
		}
	}
	fprintf(out, "\n");
}

static void print_pages(FILE *out, const char *prefix, const struct figures *f)
{
	static const char *const names[EVENTS] = { "fault", "store", "copy", "continue", "protect", "zap" };

	fprintf(out, "%sMicroseconds for a page%s\n%s%-18s", prefix,
		f->cpus > 1 ? ": alone | with a second thread running" : "", prefix, "");
	for (unsigned int second = 0; second < 2 && second < f->cpus; second++) {
		fprintf(out, second ? " |" : "");
		for (unsigned int i = 0; i < ENGINES; i++)
			fprintf(out, "%8s", f->engines[i].name);
	}
	fprintf(out, "\n");
	for (unsigned int e = 0; e < EVENTS; e++) {
		fprintf(out, "%s%-18s", prefix, names[e]);
		print_cells(out, f, offsetof(struct page_costs, one) + e * sizeof(double), false);
	}
	for (unsigned int e = EVENT_COPY; e < EVENTS; e++) {
		fprintf(out, "%s%s%-*s", prefix, names[e], 18 - (int)strlen(names[e]), ", 512 pages");
		print_cells(out, f, offsetof(struct page_costs, bulk) + e * sizeof(double), true);
	}
	fprintf(out, "%s%-18s", prefix, "page copy");
	print_cells(out, f, offsetof(struct page_costs, page_copy), true);
	for (unsigned int i = 0; i < ENGINES; i++)
		if (!f->engines[i].works)
			fprintf(out, "%sengine %s does not work here: %.*s\n", prefix, f->engines[i].name, WIDTH - 40,
				f->engines[i].why_not);
}

static void print_patterns(FILE *out, const char *prefix, const char *name, const struct pattern_costs *costs)
{
	fprintf(out, "%s%-18s", prefix, name);
	for (unsigned int p = 0; p < PATTERNS; p++)
		fprintf(out, " %7.2f", costs->ns[p] / 1000);
	fprintf(out, "\n");
}

void print_table(FILE *out, const char *prefix, const struct figures *f)
{
	char name[64];

	print_pages(out, prefix, f);
	fprintf(out, "%s\n%sMicroseconds for a transaction that touches a new page%s\n", prefix, prefix,
		f->cpus > 1 ? "; another thread runs" : "");
	fprintf(out, "%s%-18s %23s %23s %7s\n", prefix, "", "reads  ", "writes  ", "of");
	fprintf(out, "%s%-18s", prefix, "");
	for (unsigned int i = 0; i < 2; i++)
		fprintf(out, " %7s %7s %7s", "sparse", "dense", "scan");
	fprintf(out, " %7s\n", "others");
	for (unsigned int i = 0; i < ENGINES; i++) {
		snprintf(name, sizeof(name), "engine %s", f->engines[i].name);
		if (f->engines[i].works)
			print_patterns(out, prefix, name, &f->engines[i].patterns);
	}
	for (unsigned int i = 0; i < LEASTS; i++) {
		snprintf(name, sizeof(name), "clusters from %u", least_pages(i));
		print_patterns(out, prefix, name, &f->least[i]);
	}
	for (unsigned int i = 0; i < MOSTS; i++) {
		snprintf(name, sizeof(name), "clusters to %u", most_pages(i));
		print_patterns(out, prefix, name, &f->most[i]);
	}
	fprintf(out, "%s\n%sNanoseconds for a commit, others standing still for %d ms: %.1f MiB of log\n", prefix,
		prefix, STANDSTILL_MS, (double)f->log_standstill / (1 << 20));
	fprintf(out, "%s%-18s", prefix, "MiB of log kept");
	for (unsigned int i = 0; i < KEEPS; i++)
		fprintf(out, " %7u", (unsigned int)(keep_bytes(i) >> 20));
	fprintf(out, "\n%s%-18s", prefix, "");
	for (unsigned int i = 0; i < KEEPS; i++)
		fprintf(out, " %7.0f", f->keep[i]);
	fprintf(out, "\n%snone kept: %.0f with small pages, %.0f with huge ones\n", prefix, f->huge[0], f->huge[1]);
}

/* ---- choices ---- */

/* Words of @text in lines after @prefix. */
static void print_words(FILE *out, const char *prefix, const char *text)
{
	size_t column = 0;

	while (*text) {
		size_t len = strcspn(text, " ");

		if (column && column + 1 + len > WIDTH - strlen(prefix)) {
			fprintf(out, "\n");
			column = 0;
		}
		fprintf(out, "%s%.*s", column ? " " : prefix, (int)len, text);
		column += len + (column > 0);
		text += len + (text[len] == ' ');
	}
	fprintf(out, "\n");
}

static void print_choice(FILE *out, const struct choice *choice, enum stm_profile_key key)
{
	char value[24], standard[24];

	stm_profile_print(value, sizeof(value), key, choice->value);
	stm_profile_print(standard, sizeof(standard), key, choice->standard);
	fprintf(out, "%s = %s", stm_profile_name(key), value);
	if (choice->value != choice->standard)
		fprintf(out, " # without a profile: %s", standard);
	fprintf(out, "\n");
}

void print_choices(FILE *out, const struct choice *choices, bool explain)
{
	for (unsigned int key = 0; key < STM_PROFILE_KEYS; key++) {
		if (!choices[key].made)
			continue;
		print_choice(out, &choices[key], key);
		if (explain)
			print_words(out, "    ", choices[key].reason);
	}
}

char *profile_text(const struct figures *f, const struct choice *choices)
{
	char *text = NULL, date[32];
	struct utsname kernel;
	struct tm tm;
	size_t size;
	FILE *out = open_memstream(&text, &size);

	if (!out)
		return NULL;
	uname(&kernel);
	if (!localtime_r(&f->when, &tm) || !strftime(date, sizeof(date), "%Y-%m-%d", &tm))
		*date = 0;
	fprintf(out, PROFILE_MARK ", which replaces it when it runs again: take this line\n"
		"# away to keep what you change. uffdstm.conf(5) tells what the keys mean.\n#\n");
	fprintf(out, "# libuffdstm %s, Linux %.40s, %u CPU%s, %s%s\n#\n", stm_version(), kernel.release, f->cpus,
		f->cpus > 1 ? "s" : "", date, f->rounds == 1 ? ", quick" : "");
	print_table(out, "# ", f);
	for (unsigned int key = 0; key < STM_PROFILE_KEYS; key++) {
		if (!choices[key].made)
			continue;
		fprintf(out, "\n");
		print_words(out, "# ", choices[key].reason);
		print_choice(out, &choices[key], key);
	}
	if (ferror(out)) {
		fclose(out);
		free(text);
		return NULL;
	}
	if (fclose(out)) {
		free(text);
		return NULL;
	}
	return text;
}
