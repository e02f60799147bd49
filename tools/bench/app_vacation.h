/* SPDX-License-Identifier: MIT */
/*
 * app_vacation.h - travel reservations: customers book cars, flights and rooms
 *
 * After the description of STAMP's vacation (Cao Minh et al., IISWC 2008). Four tables are trees by number: cars,
 * flights, rooms, and customers, each with a list of what they have booked. A session is one transaction: a customer
 * looks at some items, and books the dearest of each kind that is not booked up; or a customer leaves and all they have
 * is free again; or the agency adds places, at a new price, or takes them out. All things have numbers, by which each
 * step of a session looks them up. The more items a session looks at, and the fewer there are to look at, the more
 * transactions meet. Locks of its own: a rwlock for each table, a mutex for each item.
 *
 * What a customer gets depends on who was first. What must be right at the end: the trees; each item is as often booked
 * as it says, and no more often than it has places; and the bookings that are left cost what those that were made did,
 * less those that were undone. The result is the number of sessions of each kind.
 */
#include "rbtree.h"

enum vacation_kind { CAR, FLIGHT, ROOM, KINDS, CUSTOMERS = KINDS, TABLES };

#define VACATION_QUERIES 8      /* of a session at most */
#define VACATION_PLACES 100     /* that are added or taken out at once */
#define VACATION_BIT(table) (1u << (table))
#define VACATION_ITEMS (VACATION_BIT(CAR) | VACATION_BIT(FLIGHT) | VACATION_BIT(ROOM))

struct vacation_parameters {
	unsigned int sessions, numbers; /* of each kind: so many */
	unsigned int queries;           /* of a session: 1 to this */
	unsigned int asked;             /* percent of all numbers that sessions are about */
	unsigned int bookings;          /* percent of the sessions that book */
};

struct vacation_item {
	_Alignas(16) int places;
	int booked;
	int price;
	int unused;
};

struct vacation_booking {
	_Alignas(16) struct vacation_booking SHARED *next;
	int kind, number;
	int price, unused[3];
};

struct vacation_customer {
	_Alignas(16) struct vacation_booking SHARED *first;
	long unused;
};

/* What a thread's sessions did, on its own cache line. */
struct vacation_tally {
	_Alignas(64) uint64_t sessions[3];
	int64_t spent;          /* for bookings that were made, less those that were undone */
};

struct vacation {
	struct tree SHARED *tables[TABLES];
	struct vacation_tally *tallies;
};

struct vacation_query {
	int kind, number;
	int price;              /* the agency's; 0: places are taken out */
};

/* ---- what the agency can be asked for, by numbers ---- */

/* What stands in a table under @number, or 0. */
static inline long vacation_find(struct tree SHARED *table, long number)
{
	struct tree_node SHARED *parent, *n;
	int side;

	n = tree_find(table, number, &parent, &side);
	return n ? n->s.value : 0;
}

static inline struct vacation_item SHARED *vacation_item(struct vacation *v, int kind, int number)
{
	return (struct vacation_item SHARED *)vacation_find(v->tables[kind], number);
}

/* Whether an item has a free place. */
static inline bool vacation_is_free(struct vacation *v, int kind, int number)
{
	struct vacation_item SHARED *item = vacation_item(v, kind, number);
	bool is = false;

	if (item) {
		ATOMIC_EACH(item) {
			READ(item);
			is = item->booked < item->places;
		}
	}
	return is;
}

/* What an item costs; 0: there is none. */
static inline int vacation_price(struct vacation *v, int kind, int number)
{
	struct vacation_item SHARED *item = vacation_item(v, kind, number);

	return item ? GET(item->price) : 0;
}

/* There shall be a customer of this number. */
static inline void vacation_add_customer(struct vacation *v, long number)
{
	struct tree_node SHARED *parent;
	struct vacation_customer SHARED *customer;
	int side;

	if (tree_find(v->tables[CUSTOMERS], number, &parent, &side))
		return;
	customer = ALLOC(struct vacation_customer);
	customer->first = NULL;
	tree_add(v->tables[CUSTOMERS], number, (long)customer, parent, side);
}

/* A place of an item is a customer's, if one is free. What it costs, or 0. */
static inline int vacation_book(struct vacation *v, long who, int kind, int number)
{
	struct vacation_customer SHARED *customer =
		(struct vacation_customer SHARED *)vacation_find(v->tables[CUSTOMERS], who);
	struct vacation_item SHARED *item = vacation_item(v, kind, number);
	struct vacation_booking SHARED *booking;
	int price = 0;

	ATOMIC_EACH(item) {
		READ(item);
		if (item->booked < item->places) {
			price = item->price;
			WRITE(item);
			item->booked++;
		}
	}
	if (!price)
		return 0;
	booking = ALLOC(struct vacation_booking);
	booking->kind = kind;
	booking->number = number;
	booking->price = price;
	WRITE(customer);
	booking->next = customer->first;
	customer->first = booking;
	return price;
}

/* ---- sessions ---- */

/* A customer looks at items, and books the dearest of each kind. What that costs. */
OPERATION int vacation_reserve(struct vacation *v, const struct vacation_query *queries, unsigned int n, long customer)
{
	int spent;

	ATOMIC_PARTS(VACATION_ITEMS, 0) {
		int prices[KINDS] = { 0, 0, 0 }, numbers[KINDS] = { 0, 0, 0 };
		bool any = false;

		spent = 0;
		for (unsigned int i = 0; i < n; i++) {
			const int kind = queries[i].kind, number = queries[i].number;

			if (vacation_is_free(v, kind, number)) {
				const int price = vacation_price(v, kind, number);

				if (price > prices[kind]) {
					prices[kind] = price;
					numbers[kind] = number;
					any = true;
				}
			}
		}
		if (any) {
			ATOMIC_ALSO(VACATION_BIT(CUSTOMERS)) {
				vacation_add_customer(v, customer);
				for (int kind = 0; kind < KINDS; kind++)
					if (prices[kind])
						spent += vacation_book(v, customer, kind, numbers[kind]);
			}
		}
	}
	return spent;
}

/* A customer leaves. What the bookings were worth. */
OPERATION int vacation_leave(struct vacation *v, long number)
{
	int worth;

	ATOMIC_PARTS(VACATION_ITEMS, VACATION_BIT(CUSTOMERS)) {
		struct tree_node SHARED *parent, *n;
		int side;

		worth = 0;
		n = tree_find(v->tables[CUSTOMERS], number, &parent, &side);
		if (n) {
			struct vacation_customer SHARED *customer = (struct vacation_customer SHARED *)n->s.value;
			struct vacation_booking SHARED *booking = GET(customer->first);

			while (booking) {
				struct vacation_booking SHARED *next;
				struct vacation_item SHARED *item;

				READ(booking);
				next = booking->next;
				item = vacation_item(v, booking->kind, booking->number); /* not given up while booked */
				worth += booking->price;
				ATOMIC_EACH(item) {
					WRITE(item);
					item->booked--;
				}
				FREE(booking);
				booking = next;
			}
			tree_unlink(v->tables[CUSTOMERS], n);
			FREE(customer);
		}
	}
	return worth;
}

/* Places are added, or taken out as far as they are free; who has none left is given up. */
static inline void vacation_update_item(struct tree SHARED *table, const struct vacation_query *query)
{
	struct tree_node SHARED *parent, *n;
	struct vacation_item SHARED *item;
	int side;

	n = tree_find(table, query->number, &parent, &side);
	item = n ? (struct vacation_item SHARED *)n->s.value : NULL;
	if (query->price && !n) {
		item = ALLOC(struct vacation_item);
		item->places = VACATION_PLACES;
		item->booked = 0;
		item->price = query->price;
		tree_add(table, query->number, (long)item, parent, side);
	} else if (query->price) {
		WRITE(item);
		item->places += VACATION_PLACES;
		item->price = query->price;
	} else if (n) {
		READ(item);
		if (item->places == VACATION_PLACES && !item->booked) {
			tree_unlink(table, n);
			FREE(item);
		} else if (item->places - item->booked >= VACATION_PLACES) {
			WRITE(item);
			item->places -= VACATION_PLACES;
		}
	}
}

OPERATION void vacation_update(struct vacation *v, const struct vacation_query *queries, unsigned int n)
{
	ATOMIC_PARTS(0, VACATION_ITEMS) {
		for (unsigned int i = 0; i < n; i++)
			vacation_update_item(v->tables[queries[i].kind], &queries[i]);
	}
}

/* Session @i, the same in each run; what it is about is drawn before it begins. */
static void vacation_session(struct vacation *v, const struct vacation_parameters *p, uint64_t i,
			     struct vacation_tally *tally)
{
	const unsigned int asked = p->numbers * p->asked / 100;
	uint64_t random = random_seed(i);
	const unsigned int kind = random_below(random_next(&random), 200);
	const unsigned int n = 1 + random_below(random_next(&random), p->queries);
	const long customer = random_below(random_next(&random), asked);
	struct vacation_query queries[VACATION_QUERIES];

	for (unsigned int k = 0; k < n; k++) {
		const uint64_t r = random_next(&random);

		queries[k].kind = (int)(r % KINDS);
		queries[k].number = (int)random_below(r, asked);
		queries[k].price = r / KINDS % 2 ? 50 + (int)(r / (2 * KINDS) % 5 * 10) : 0;
	}
	if (kind < 2 * p->bookings) {
		tally->sessions[0]++;
		tally->spent += vacation_reserve(v, queries, n, customer);
	} else if (kind < 100 + p->bookings) {
		tally->sessions[1]++;
		tally->spent -= vacation_leave(v, customer);
	} else {
		tally->sessions[2]++;
		vacation_update(v, queries, n);
	}
}

#define VACATION_MADE 256       /* numbers in a transaction */

/* In ATOMIC: the items of a number, of each kind. */
static void vacation_make_items(struct vacation *v, int number)
{
	uint64_t random = random_seed((uint64_t)number);

	for (int kind = 0; kind < KINDS; kind++) {
		const uint64_t r = random_next(&random);
		const struct vacation_query query = { kind, number, 50 + (int)(r % 5 * 10) };

		for (uint64_t more = r / 8 % 5 + 1; more; more--)
			vacation_update_item(v->tables[kind], &query);
	}
}

static void vacation_make(struct run *run)
{
	const struct vacation_parameters *p = run->parameters;
	struct vacation *v = zeroed(sizeof(*v));

	v->tallies = aligned_alloc(64, run->threads * sizeof(*v->tallies));
	if (!v->tallies)
		die("no memory for %u threads", run->threads);
	memset(v->tallies, 0, run->threads * sizeof(*v->tallies));
	for (int table = 0; table < TABLES; table++) {
		ATOMIC {
			v->tables[table] = tree_new();
		}
	}
	/*
	 * In no order, as numbers come about; many in a transaction, as who fills a database would. Besides, a thread that
	 * sleeps through 150,000 commits is parked, and comes back to each page by a fault.
	 */
	for (unsigned int first = 0; first < p->numbers; first += VACATION_MADE) {
		ATOMIC_PARTS(0, VACATION_ITEMS) {
			for (unsigned int i = first; i < p->numbers && i < first + VACATION_MADE; i++)
				vacation_make_items(v, (int)(i * 7919u % p->numbers));
		}
	}
	run->data = v;
}

static void vacation_work(struct run *run, unsigned int id)
{
	const struct vacation_parameters *p = run->parameters;
	struct vacation *v = run->data;
	const uint64_t end = (uint64_t)p->sessions * (id + 1) / run->threads;

	for (uint64_t i = (uint64_t)p->sessions * id / run->threads; i < end; i++)
		vacation_session(v, p, i, &v->tallies[id]);
}

/* What customers have booked, counted into @booked by kind and number. What it costs. */
OPERATION int64_t vacation_count(struct vacation *v, const struct vacation_parameters *p, int *booked)
{
	int64_t cost;

	ATOMIC_READ {
		cost = 0;
		memset(booked, 0, KINDS * p->numbers * sizeof(*booked));
		for (struct tree_node SHARED *n = tree_first(v->tables[CUSTOMERS]); n; n = tree_next(n)) {
			const struct vacation_customer SHARED *customer =
				(const struct vacation_customer SHARED *)GET(n->s.value);

			for (const struct vacation_booking SHARED *booking = GET(customer->first); booking;
			     booking = booking->next) {
				READ(booking);
				booked[(unsigned int)booking->kind * p->numbers + (unsigned int)booking->number]++;
				cost += booking->price;
			}
		}
	}
	return cost;
}

OPERATION const char *vacation_check_items(struct vacation *v, const struct vacation_parameters *p, const int *booked)
{
	const char *wrong;

	ATOMIC_READ {
		uint64_t size;

		wrong = NULL;
		for (int table = 0; table < TABLES && !wrong; table++)
			wrong = tree_wrong(v->tables[table], &size);
		for (unsigned int i = 0; i < KINDS * p->numbers && !wrong; i++) {
			const struct vacation_item SHARED *item =
				vacation_item(v, (int)(i / p->numbers), (int)(i % p->numbers));

			if (!item) {
				if (booked[i])
					wrong = "what was booked has been given up";
				continue;
			}
			READ(item);
			if (item->booked != booked[i])
				wrong = "an item is not booked as often as it says";
			else if (item->booked > item->places || item->places % VACATION_PLACES)
				wrong = "an item has a wrong number of places";
		}
	}
	return wrong;
}

static const char *vacation_check(struct run *run, uint64_t *result)
{
	const struct vacation_parameters *p = run->parameters;
	struct vacation *v = run->data;
	int *booked = zeroed(KINDS * p->numbers * sizeof(*booked));
	uint64_t sessions[3] = { 0 };
	int64_t spent = 0;
	const char *wrong;

	for (unsigned int i = 0; i < run->threads; i++) {
		spent += v->tallies[i].spent;
		for (int k = 0; k < 3; k++)
			sessions[k] += v->tallies[i].sessions[k];
	}
	*result = hash_bytes(sessions, sizeof(sessions), 0);
	if (vacation_count(v, p, booked) != spent)
		wrong = "the bookings do not cost what the customers have spent";
	else
		wrong = vacation_check_items(v, p, booked);
	free(booked);
	return wrong;
}

/* All nodes of a table, and what they stand for. */
static void vacation_free_below(struct tree_node SHARED *n, int table)
{
	if (!n)
		return;
	READ(n);
	vacation_free_below(n->s.child[0], table);
	vacation_free_below(n->s.child[1], table);
	if (table == CUSTOMERS) {
		struct vacation_customer SHARED *customer = (struct vacation_customer SHARED *)n->s.value;
		struct vacation_booking SHARED *booking = GET(customer->first), *next;

		for (; booking; booking = next) {
			next = GET(booking->next);
			FREE(booking);
		}
		FREE(customer);
	} else {
		FREE((struct vacation_item SHARED *)n->s.value);
	}
	FREE(n);
}

static void vacation_clear(struct run *run)
{
	struct vacation *v = run->data;

	for (int table = 0; table < TABLES; table++) {
		ATOMIC {
			vacation_free_below(GET(v->tables[table]->root), table);
			FREE(v->tables[table]);
		}
	}
	free(v->tallies);
	free(v);
}

/* Numbers, queries and shares are those of the paper's vacation-low and vacation-high. */
static const struct vacation_parameters vacation_low = { 100000, 16384, 2, 90, 98 };
static const struct vacation_parameters vacation_high = { 80000, 16384, 4, 60, 90 };
static const struct vacation_parameters vacation_low_small = { 2000, 256, 2, 90, 98 };
static const struct vacation_parameters vacation_high_small = { 2000, 64, 4, 60, 90 };

#define VACATION_APP(name_, parameters_, small_)                                                                \
	{                                                                                                       \
		.name = (name_), .has = APP_FINE, .parameters = (parameters_), .small = (small_), .bar = 1.4,   \
		.make = vacation_make, .work = vacation_work, .check = vacation_check, .clear = vacation_clear, \
	}
#define VACATION_APPS                                                   \
	VACATION_APP("vacation-low", &vacation_low, &vacation_low_small),       \
	VACATION_APP("vacation-high", &vacation_high, &vacation_high_small),
