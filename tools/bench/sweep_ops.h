/* SPDX-License-Identifier: MIT */
/*
 * sweep_ops.h - the transactions of the sweeps, for one implementation
 *
 * The includer names it as impl.h says.
 */
#include <stdatomic.h>

#include "impl.h"
#include "sweep.h"

struct sweep_cell {
	_Alignas(16) uint64_t value;
	uint64_t unused;
};

#define PART_BYTES (SWEEP_CELLS * sizeof(struct sweep_cell))

/* What is read must be used. */
#define USE(value) __asm__ __volatile__("" : : "r"(value))

/*
 * The cell after cell @at: all of a part come in turn before one comes again, as the factor is 1 modulo 4 and the
 * addend odd (Hull and Dobell 1962); too far from each other for the CPU to guess. Costs all implementations the same.
 */
static inline unsigned int next_cell(unsigned int at)
{
	return (at * 0x915f77f5u + 0x6b43a9b5u) & (SWEEP_CELLS - 1);
}

/* Of the accesses the one numbered @update, and every @step-th from there on, adds 1 to its cell. */
OPERATION void access_cells(struct sweep_cell SHARED *cells, unsigned int start, unsigned int n, unsigned int update,
			    unsigned int step)
{
	ATOMIC {
		unsigned int at = start, left = update;
		uint64_t sum = 0;

		for (unsigned int i = 0; i < n; i++) {
			struct sweep_cell SHARED *cell = &cells[at];

			if (left-- == 0) {
				left = step - 1;
				WRITE(cell);
				cell->value++;
			} else {
				READ(cell);
				sum += cell->value;
			}
			at = next_cell(at);
		}
		USE(sum);
	}
}

OPERATION void update_and_read(struct sweep_cell SHARED *updated, struct sweep_cell SHARED *cells, unsigned int start,
			       unsigned int n)
{
	ATOMIC {
		unsigned int at = start;
		uint64_t sum = 0;

		WRITE(updated);
		updated->value++;
		for (unsigned int i = 1; i < n; i++) {
			at = next_cell(at);
			READ(&cells[at]);
			sum += cells[at].value;
		}
		USE(sum);
	}
}

/* Every word of @from is read, every second one of @to counts: as in a cell. */
OPERATION void update_object(const uint64_t SHARED *from, uint64_t SHARED *to, unsigned int words)
{
	ATOMIC {
		uint64_t sum = 0;

		READ_RANGE(from, words * sizeof(*from));
		for (unsigned int i = 0; i < words; i++)
			sum += from[i];
		USE(sum);
		WRITE_RANGE(to, words * sizeof(*to));
		for (unsigned int i = 0; i < words; i += 2)
			to[i]++;
	}
}

/* ---- as an implementation of workloads ---- */

static _Atomic unsigned int attached;
static _Thread_local unsigned int part;
static _Thread_local bool warm;

static int sweep_attach(void)
{
	part = atomic_fetch_add(&attached, 1) % SWEEP_PARTS;
	warm = false;
	return impl_attach();
}

static void sweep_detach(void)
{
	impl_detach();
	atomic_fetch_sub(&attached, 1);
}

/* The parts, each a region of its own, then one more for the shared cell; and one to align them. */
static uintptr_t sweep_prepare(const struct workload *w)
{
	(void)w;
	ATOMIC {
		const uintptr_t p = (uintptr_t)ALLOC_ZERO((SWEEP_PARTS + 2) * PART_BYTES);

		return (p + PART_BYTES - 1) & ~(PART_BYTES - 1);
	}
	return 0;
}

#define PAGE_CELLS (4096 / sizeof(struct sweep_cell))

OPERATION void warm_page(struct sweep_cell SHARED *cells)
{
	ATOMIC {
		WRITE_RANGE(cells, PAGE_CELLS * sizeof(*cells));
		for (unsigned int i = 0; i < PAGE_CELLS; i++)
			*(volatile uint64_t SHARED *)&cells[i].value += 0;
	}
}

/*
 * A new thread's segment has no pages yet, and none of markers. Which transaction meets them is chance, unless all
 * are met at once.
 */
static void warm_part(struct sweep_cell SHARED *cells, struct sweep_cell SHARED *shared)
{
	for (unsigned int i = 0; i < SWEEP_CELLS; i += PAGE_CELLS)
		warm_page(cells + i);
	warm_page(shared);
	warm = true;
}

static void run_accesses(const struct sweep_point *point, struct sweep_cell SHARED *cells, uint64_t *random,
			 unsigned int n, struct tally *tally)
{
	const uint64_t readers = ((uint64_t)point->percent << 32) / 100;
	unsigned int update = 0;

	for (unsigned int i = 0; i < n; i++) {
		const uint64_t r = random_next(random);
		const unsigned int start = (unsigned int)(r >> 32) & (SWEEP_CELLS - 1);

		if (!point->step || (uint32_t)r < readers) {
			access_cells(cells, start, point->accesses, UINT32_MAX, 0);
			continue;
		}
		access_cells(cells, start, point->accesses, update, point->step);
		/* Where there are fewer accesses than @step, every so manyth transaction has an update. */
		for (; update < point->accesses; update += point->step)
			tally->inserted++;
		update -= point->accesses;
	}
}

static void run_conflict(const struct sweep_point *point, struct sweep_cell SHARED *cells,
			 struct sweep_cell SHARED *shared, uint64_t *random, unsigned int n, struct tally *tally)
{
	const uint64_t limit = ((uint64_t)point->percent << 32) / 100;

	for (unsigned int i = 0; i < n; i++) {
		const uint64_t r = random_next(random);
		const unsigned int start = (unsigned int)(r >> 32) & (SWEEP_CELLS - 1);

		update_and_read((uint32_t)r < limit ? shared : &cells[start], cells, start, point->accesses);
	}
	tally->inserted += n;
}

static void run_objects(const struct sweep_point *point, struct sweep_cell SHARED *cells, uint64_t *random,
			unsigned int n, struct tally *tally)
{
	const unsigned int words = point->bytes / sizeof(uint64_t);
	unsigned int objects = (unsigned int)(PART_BYTES / point->bytes);

	if (objects > SWEEP_OBJECTS)
		objects = SWEEP_OBJECTS;
	for (unsigned int i = 0; i < n; i++) {
		const uint64_t r = random_next(random);
		uint64_t SHARED *first = (uint64_t SHARED *)cells;

		update_object(first + words * random_below(r, objects), first + words * random_below(r << 32, objects),
			      words);
	}
	tally->inserted += (uint64_t)n * (words / 2);
}

static void run_point(const struct workload *w, uintptr_t data, uint64_t *random, unsigned int n, struct tally *tally)
{
	const struct sweep_point *point = (const struct sweep_point *)w;
	struct sweep_cell SHARED *all = (struct sweep_cell SHARED *)data;
	struct sweep_cell SHARED *cells = all + part * SWEEP_CELLS, *shared = all + SWEEP_PARTS * SWEEP_CELLS;

	if (!warm)
		warm_part(cells, shared);
	tally->ops += n;
	if (point->kind == SWEEP_ACCESSES)
		run_accesses(point, cells, random, n, tally);
	else if (point->kind == SWEEP_CONFLICT)
		run_conflict(point, cells, shared, random, n, tally);
	else
		run_objects(point, cells, random, n, tally);
}

OPERATION uint64_t sum_cells(struct sweep_cell SHARED *cells, unsigned int n)
{
	ATOMIC {
		uint64_t sum = 0;

		READ_RANGE(cells, n * sizeof(*cells));
		for (unsigned int i = 0; i < n; i++)
			sum += cells[i].value;
		return sum;
	}
	return 0;
}

static const char *sweep_check(const struct workload *w, uintptr_t data, uint64_t *size)
{
	struct sweep_cell SHARED *cells = (struct sweep_cell SHARED *)data;

	(void)w;
	*size = sum_cells(cells, SWEEP_PARTS * SWEEP_CELLS + 1);
	return NULL;
}

const struct impl NAME(sweep) = {
	.name = STRING(IMPL),
	.max_threads = MAX_THREADS,
	.reset = impl_reset,
	.attach = sweep_attach,
	.detach = sweep_detach,
	.prepare = sweep_prepare,
	.run = run_point,
	.check = sweep_check,
};
