// SPDX-License-Identifier: MIT
/*
 * The report as text, and as JSON (by json-c). "results" depends on the files alone; "run" is
 * how it went.
 */
#include "report.h"

#include <errno.h>
#include <inttypes.h>
#include <json-c/json.h>
#include <stdlib.h>
#include <string.h>
#include <uffdstm.h>

static double percent(uint64_t part, uint64_t whole)
{
	return whole ? 100.0 * (double)part / (double)whole : 0;
}

static double rate(const struct report *report)
{
	const double seconds = report->build->seconds;

	return seconds > 0 ? (double)report->summary->bytes / 1e6 / seconds : 0;
}

/* ---- text ---- */

static void print_lists(const struct report *report, FILE *out)
{
	const struct summary *s = report->summary;
	const struct file *files = report->walk->files;

	if (s->nr_chunks) {
		fprintf(out, "\nmost duplicated chunks\n");
		fprintf(out, "%10s %8s %7s  first holder, offset\n", "copies", "files", "bytes");
	}
	for (unsigned int i = 0; i < s->nr_chunks; i++) {
		const struct chunk *chunk = s->chunks[i].chunk;
		const struct holder *first = &report->table->holders[chunk->first];

		fprintf(out, "%10" PRIu64 " %8" PRIu32 " %7" PRIu32 "  ", s->chunks[i].copies,
			chunk->nr, chunk->size);
		print_path(files[first->file].path, out);
		fprintf(out, ", %" PRIu64 "\n", first->offset);
	}
	if (s->nr_pairs)
		fprintf(out, "\npairs of files that share most\n%10s\n", "bytes");
	for (unsigned int i = 0; i < s->nr_pairs; i++) {
		fprintf(out, "%10" PRIu64 "  ", s->pairs[i].bytes);
		print_path(files[s->pairs[i].a].path, out);
		fprintf(out, "\n%10s  ", "");
		print_path(files[s->pairs[i].b].path, out);
		putc('\n', out);
	}
	if (s->crowded)
		fprintf(out, "(of %" PRIu64 " chunks in more than %d files, only the first %d files"
			" count for the pairs)\n", s->crowded, PAIR_HOLDERS, PAIR_HOLDERS);
}

static void print_run(const struct report *report, FILE *out)
{
	const struct stm_stats *stats = report->build->stats;

	if (report->threads)
		fprintf(out, "\nrun by %u thread%s\n", report->threads,
			report->threads == 1 ? "" : "s");
	else
		fprintf(out, "\nrun sequentially\n");
	fprintf(out, "%15" PRIu64 "  files\n", report->summary->files);
	fprintf(out, "%15.3f  seconds (and %.3f to find the files)\n", report->build->seconds,
		report->walk_seconds);
	fprintf(out, "%15.3f  seconds of CPU\n", report->build->cpu_seconds);
	fprintf(out, "%15.1f  MB/s\n", rate(report));
	if (!stats)
		return;
	fprintf(out, "%15" PRIu64 "  commits, and %" PRIu64 " that wrote nothing\n",
		stats->commits, stats->commits_read_only);
	fprintf(out, "%15" PRIu64 "  inevitable\n", stats->inevitable);
	for (unsigned int i = 0; i < STM_ABORT_REASONS; i++)
		fprintf(out, "%15" PRIu64 "  aborts: %s\n", stats->aborts[i], stm_abort_name(i));
	for (unsigned int i = 0; i < STM_FAULT_KINDS; i++)
		fprintf(out, "%15" PRIu64 "  page faults: %s\n", stats->faults[i],
			stm_fault_name(i));
	fprintf(out, "%15" PRIu64 "  pages mapped, %" PRIu64 " copied, %" PRIu64 " dropped\n",
		stats->pages_mapped, stats->pages_copied, stats->pages_dropped);
	fprintf(out, "%15" PRIu64 "  system calls of the library\n", stats->system_calls);
}

void report_text(const struct report *report, FILE *out)
{
	const struct summary *s = report->summary;
	const uint64_t saved = s->bytes - s->unique_bytes;

	fprintf(out, "%15" PRIu64 "  bytes in %" PRIu64 " files, %" PRIu64 " chunks\n", s->bytes,
		s->files, s->copies);
	fprintf(out, "%15" PRIu64 "  bytes unique, in %zu chunks\n", s->unique_bytes,
		report->table->nr);
	fprintf(out, "%15" PRIu64 "  bytes (%.1f %%) are stored again\n", saved,
		percent(saved, s->bytes));
	fprintf(out, "%15zu  left out; %" PRIu64 " symbolic links not followed, %" PRIu64
		" further names of files\n", report->walk->nr_skips, report->walk->links,
		report->walk->other_names);
	print_lists(report, out);
	print_run(report, out);
	if (report->verdict == VERIFIED)
		fprintf(out, "\nverified: the sequential program builds the same table\n");
	else if (report->verdict == DIFFERENT)
		fprintf(out, "\nDIFFERENT from the table of the sequential program\n");
}

/* ---- JSON ---- */

/* Set for good when memory runs out: json-c gives NULL, which an object takes for null. */
static bool no_memory;

static void put(struct json_object *object, const char *name, struct json_object *value)
{
	if (!value || !object || json_object_object_add(object, name, value)) {
		json_object_put(value);
		no_memory = true;
	}
}

static void append(struct json_object *array, struct json_object *value)
{
	if (!value || !array || json_object_array_add(array, value)) {
		json_object_put(value);
		no_memory = true;
	}
}

static void put_count(struct json_object *object, const char *name, uint64_t value)
{
	put(object, name, json_object_new_uint64(value));
}

/* Rounded to @format, else a double's last digits are printed. */
static void put_real(struct json_object *object, const char *name, const char *format,
		     double value)
{
	char text[64];

	snprintf(text, sizeof(text), format, value);
	put(object, name, json_object_new_double_s(value, text));
}

/* The length of the well-formed UTF-8 character at @p, or 0. */
static size_t utf8_length(const unsigned char *p)
{
	static const uint32_t smallest[] = { 0, 0, 0x80, 0x800, 0x10000 };
	const size_t n = *p < 0x80 ? 1 : *p < 0xc2 ? 0 : *p < 0xe0 ? 2 : *p < 0xf0 ? 3 :
			 *p < 0xf5 ? 4 : 0;
	uint32_t c = n > 1 ? *p & (0x7f >> n) : *p;

	for (size_t i = 1; i < n; i++) {
		if ((p[i] & 0xc0) != 0x80)
			return 0;
		c = c << 6 | (p[i] & 0x3f);
	}
	if (n > 1 && (c < smallest[n] || c > 0x10ffff || (c >= 0xd800 && c < 0xe000)))
		return 0;
	return n;
}

/*
 * JSON is Unicode, a path is bytes. Where it is not UTF-8, @name has U+FFFD for each bad byte,
 * and @name_hex the bytes.
 */
static void put_path(struct json_object *object, const char *name, const char *path)
{
	const size_t len = strlen(path);
	char *text = malloc(3 * len + 1), *hex = malloc(2 * len + 1), *to = text;
	char name_hex[32];
	bool valid = true;

	if (!text || !hex) {
		no_memory = true;
		goto free;
	}
	for (size_t i = 0, n; i < len; i += n) {
		n = utf8_length((const unsigned char *)path + i);
		if (n) {
			memcpy(to, path + i, n);
			to += n;
		} else {
			memcpy(to, "\xef\xbf\xbd", 3);
			to += 3;
			n = 1;
			valid = false;
		}
	}
	put(object, name, json_object_new_string_len(text, (int)(to - text)));
	if (!valid) {
		for (size_t i = 0; i < len; i++)
			sprintf(hex + 2 * i, "%02x", (unsigned char)path[i]);
		snprintf(name_hex, sizeof(name_hex), "%s_hex", name);
		put(object, name_hex, json_object_new_string(hex));
	}
free:
	free(text);
	free(hex);
}

static struct json_object *json_chunks(const struct report *report)
{
	const struct summary *s = report->summary;
	struct json_object *array = json_object_new_array();

	for (unsigned int i = 0; i < s->nr_chunks; i++) {
		const struct chunk *chunk = s->chunks[i].chunk;
		const struct holder *first = &report->table->holders[chunk->first];
		struct json_object *entry = json_object_new_object();
		char hash[33];

		snprintf(hash, sizeof(hash), "%016" PRIx64 "%016" PRIx64, chunk->hash.high,
			 chunk->hash.low);
		put(entry, "hash", json_object_new_string(hash));
		put_count(entry, "bytes", chunk->size);
		put_count(entry, "copies", s->chunks[i].copies);
		put_count(entry, "files", chunk->nr);
		put_path(entry, "first_path", report->walk->files[first->file].path);
		put_count(entry, "first_offset", first->offset);
		append(array, entry);
	}
	return array;
}

static struct json_object *json_pairs(const struct report *report)
{
	const struct summary *s = report->summary;
	struct json_object *array = json_object_new_array();

	for (unsigned int i = 0; i < s->nr_pairs; i++) {
		struct json_object *entry = json_object_new_object();

		put_count(entry, "bytes", s->pairs[i].bytes);
		put_path(entry, "first_path", report->walk->files[s->pairs[i].a].path);
		put_path(entry, "second_path", report->walk->files[s->pairs[i].b].path);
		append(array, entry);
	}
	return array;
}

static struct json_object *json_results(const struct report *report)
{
	const struct summary *s = report->summary;
	const struct walk *walk = report->walk;
	struct json_object *results = json_object_new_object();
	struct json_object *left_out = json_object_new_array();

	put_count(results, "files", s->files);
	put_count(results, "bytes", s->bytes);
	put_count(results, "unique_bytes", s->unique_bytes);
	put_count(results, "saved_bytes", s->bytes - s->unique_bytes);
	put_count(results, "chunks", s->copies);
	put_count(results, "unique_chunks", report->table->nr);
	put(results, "most_duplicated_chunks", json_chunks(report));
	put(results, "pairs_sharing_most", json_pairs(report));
	put_count(results, "pairs_count_holders", PAIR_HOLDERS);
	put_count(results, "chunks_with_more_holders", s->crowded);
	put_count(results, "symbolic_links", walk->links);
	put_count(results, "further_names", walk->other_names);
	for (size_t i = 0; i < walk->nr_skips; i++) {
		struct json_object *entry = json_object_new_object();

		put_path(entry, "path", walk->skips[i].path);
		put(entry, "reason", json_object_new_string(walk->skips[i].reason));
		append(left_out, entry);
	}
	put(results, "left_out", left_out);
	return results;
}

static struct json_object *json_run(const struct report *report)
{
	const struct stm_stats *stats = report->build->stats;
	struct json_object *run = json_object_new_object();
	struct json_object *aborts, *faults;

	put(run, "program", json_object_new_string(report->threads ? "stm" : "sequential"));
	put_count(run, "threads", report->threads ? report->threads : 1);
	put_real(run, "seconds", "%.6f", report->build->seconds);
	put_real(run, "cpu_seconds", "%.6f", report->build->cpu_seconds);
	put_real(run, "walk_seconds", "%.6f", report->walk_seconds);
	put_real(run, "megabytes_per_second", "%.3f", rate(report));
	if (report->verdict != NOT_VERIFIED)
		put(run, "verified", json_object_new_boolean(report->verdict == VERIFIED));
	if (!stats)
		return run;
	put_count(run, "commits", stats->commits);
	put_count(run, "commits_read_only", stats->commits_read_only);
	put_count(run, "restarts", report->build->restarts);
	put_count(run, "inevitable", stats->inevitable);
	aborts = json_object_new_object();
	for (unsigned int i = 0; i < STM_ABORT_REASONS; i++)
		put_count(aborts, stm_abort_name(i), stats->aborts[i]);
	put(run, "aborts", aborts);
	faults = json_object_new_object();
	for (unsigned int i = 0; i < STM_FAULT_KINDS; i++)
		put_count(faults, stm_fault_name(i), stats->faults[i]);
	put(run, "faults", faults);
	put_count(run, "pages_mapped", stats->pages_mapped);
	put_count(run, "pages_copied", stats->pages_copied);
	put_count(run, "pages_dropped", stats->pages_dropped);
	put_count(run, "system_calls", stats->system_calls);
	return run;
}

int report_json(const struct report *report, FILE *out)
{
	const int flags = JSON_C_TO_STRING_PRETTY | JSON_C_TO_STRING_SPACED |
			  JSON_C_TO_STRING_NOSLASHESCAPE;
	struct json_object *all = json_object_new_object();
	const char *text;
	int ret = 0;

	put(all, "results", json_results(report));
	put(all, "run", json_run(report));
	text = no_memory ? NULL : json_object_to_json_string_ext(all, flags);
	if (!text)
		ret = -ENOMEM;
	else if (fprintf(out, "%s\n", text) < 0)
		ret = -EIO;
	json_object_put(all);
	return ret;
}
