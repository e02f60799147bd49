// SPDX-License-Identifier: MIT
/*
 * status_json.c - what was seen, as JSON: uffdstm(8) has the schema.
 */
#include <errno.h>

#include "json.h"
#include "status.h"

static void put_number(struct json_object *object, const char *name, uint64_t value)
{
	json_put(object, name, json_object_new_uint64(value));
}

static void put_text(struct json_object *object, const char *name, const char *value)
{
	json_put(object, name, json_object_new_string(value));
}

/* A new object in @object; or NULL, and what is put into that is lost with the rest. */
static struct json_object *put_object(struct json_object *object, const char *name)
{
	struct json_object *inner = json_object_new_object();

	json_put(object, name, inner);
	return inner;
}

/* All so far, and for each second. */
static struct json_object *put_rate(struct json_object *object, const char *name, uint64_t all,
				    bool known, double rate)
{
	struct json_object *inner = put_object(object, name);

	put_number(inner, "total", all);
	if (known)
		json_put(inner, "per_second", json_object_new_double(rate));
	return inner;
}

static void put_segments(struct json_object *object, const struct process *process)
{
	struct json_object *segments = put_object(object, "segments");

	put_number(segments, "attached", process->sum.attached);
	put_number(segments, "running", process->sum.running);
	put_number(segments, "parked", process->sum.parked);
	put_number(segments, "made", process->sum.segments);
	put_number(segments, "silent", silent_segments(process));
	put_number(segments, "limit", process->status.segments_limit);
	put_number(segments, "parks", process->status.parks);
}

static void put_counts(struct json_object *object, const struct process *process,
		       const struct rates *rates)
{
	struct json_object *inner;

	put_rate(object, "commits", process->sum.commits, rates->known, rates->commits);
	put_rate(object, "read_only", process->sum.commits_read_only, rates->known,
		 rates->read_only);
	inner = put_rate(object, "aborts", total_aborts(process), rates->known, rates->aborts);
	inner = put_object(inner, "reasons");
	for (unsigned int i = 0; i < STM_ABORT_REASONS; i++)
		put_number(inner, stm_abort_name(i), process->sum.aborts[i]);
	put_number(object, "inevitable", process->sum.inevitable);
	inner = put_object(object, "faults");
	for (unsigned int i = 0; i < STM_FAULT_KINDS; i++)
		put_number(inner, stm_fault_name(i), process->sum.faults[i]);
	put_number(object, "system_calls", process->sum.system_calls);
}

static void put_memory(struct json_object *object, const struct process *process)
{
	const struct stm_status *status = &process->status;
	const struct stm_status_sum *sum = &process->sum;
	struct json_object *inner = put_object(object, "pages");

	put_number(inner, "private", sum->pages_private);
	put_number(inner, "shared", sum->pages_shared);
	put_number(inner, "mapped_so_far", sum->pages_mapped);
	put_number(inner, "copied_so_far", sum->pages_copied);
	put_number(inner, "dropped_so_far", sum->pages_dropped);
	put_number(inner, "trimmed_so_far", sum->trimmed);
	inner = put_object(object, "heap");
	put_number(inner, "bytes", status->heap_bytes);
	put_number(inner, "limit", status->heap_limit);
	inner = put_object(object, "log");
	put_number(inner, "bytes", sum->entry_bytes + status->slot_bytes);
	put_number(inner, "fullest_segment", sum->entry_bytes_max);
	put_number(inner, "limit", status->log_limit);
	put_number(inner, "committed", committed(process));
	put_number(inner, "folded", status->folded);
	put_number(inner, "waits", sum->log_waits);
	if (*status->log_held_by)
		put_text(inner, "held_by", status->log_held_by);
}

static struct json_object *describe(const struct process *process, const struct rates *rates)
{
	const struct stm_status *status = &process->status;
	struct json_object *object = json_object_new_object();

	if (!object)
		return NULL;
	json_put(object, "pid", json_object_new_int(process->pid));
	put_text(object, "command", process->command);
	put_text(object, "program", process->program);
	if (process->seen != SEEN) {
		put_text(object, "problem", process->problem);
		return object;
	}
	put_text(object, "library", status->library);
	json_put(object, "started", json_object_new_double((double)status->started / 1e9));
	put_text(object, "engine", status->engine);
	put_text(object, "engine_why", status->engine_why);
	put_text(object, "engine_opened", status->engine_opened);
	json_put(object, "engine_in_calls", json_object_new_boolean(status->engine_in_calls != 0));
	put_segments(object, process);
	put_counts(object, process, rates);
	put_memory(object, process);
	return object;
}

int status_json(const struct report *report)
{
	struct json_object *object = json_object_new_object(), *processes = json_object_new_array();

	if (!object || !processes) {
		json_object_put(object);
		json_object_put(processes);
		return -ENOMEM;
	}
	put_text(object, "version", stm_version());
	json_put(object, "seconds", json_object_new_double(report->seconds));
	put_number(object, "denied", report->look->denied);
	for (size_t i = 0; i < report->look->n; i++)
		json_append(processes, describe(&report->look->processes[i], &report->rates[i]));
	json_put(object, "processes", processes);
	return json_print(object, report->on_one_line);
}
