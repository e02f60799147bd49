/* SPDX-License-Identifier: MIT */
/*
 * app_intruder.h - network intrusion detection, in the manner of STAMP's intruder
 *
 * Packets are fragments of flows, which come in any order. Included once for each implementation: see words.h.
 *
 * 1. Capture: a thread takes some of the packets that have come, as from a ring that the network card fills.
 * 2. Reassembly: each goes to its flow in a dictionary. When a flow is complete, it leaves this for a queue.
 * 3. Detection: as long as there are flows in the queue, a thread takes one, puts its bytes together and looks for the
 *    signatures of attacks.
 *
 * All three are short transactions; packets themselves are constant. Flows are chained in buckets. Who changes a link
 * writes the bucket's word, too: so one barrier for that is enough for a look-up.
 *
 * The check: each flow was looked at once, and its bytes were those that were sent; the attacks that were put into the
 * traffic, and no others, were found.
 */
#include "app_intruder_traffic.h"

#define INTRUDER_CAPTURE 16u            /* packets taken at once */

/* 48 bytes: one granule, and two of which one packet changes one. */
struct intruder_flow {
	struct intruder_head {
		_Alignas(16) struct intruder_flow SHARED *next; /* in its bucket, or in the queue */
		uint32_t flow;
		uint16_t missing, fragments;
	} head;
	uint32_t packet[FLOW_FRAGMENTS];        /* numbers of its packets, by fragment */
};

struct intruder_bucket {
	_Alignas(16) struct intruder_flow SHARED *first;
};

/* Each has a granule of its own. */
struct intruder_shared {
	_Alignas(16) unsigned int captured;     /* packets */
	_Alignas(16) struct intruder_flow SHARED *first;        /* of the queue, or NULL */
	_Alignas(16) struct intruder_flow SHARED *last;         /* if there is a first one */
};

/* What one thread has. */
struct intruder_worker {
	unsigned int captured;                  /* the first packet of those taken */
	unsigned int end;                       /* behind the last one */
	unsigned int completed;
	struct intruder_flow SHARED *complete[INTRUDER_CAPTURE];
	uint32_t packet[FLOW_FRAGMENTS];        /* of the flow in detection */
	uint32_t fragments, flow;
	uint64_t flows, attacks, attackers, sums;
	unsigned char buffer[FLOW_BYTES + 8];
};

/* Ordinary memory, constant. */
struct intruder {
	struct traffic *traffic;
	uint64_t mask;                          /* buckets - 1 */
	struct intruder_bucket SHARED *bucket;
	struct intruder_shared SHARED *shared;
	struct intruder_worker *worker;         /* of each thread */
};

OPERATION void intruder_capture(struct intruder *in, struct intruder_worker *w)
{
	ATOMIC_ADD(w->captured, in->shared->captured, INTRUDER_CAPTURE);
}

static inline struct intruder_bucket SHARED *intruder_bucket_of(struct intruder *in, const struct packet *packet)
{
	return &in->bucket[(packet->flow * 0x9e3779b97f4a7c15u >> 32) & in->mask];
}

/* The @i-th packet is with its flow. The flow, if that is complete now, and in no bucket any more; or NULL. */
static inline struct intruder_flow SHARED *intruder_add(struct intruder_bucket SHARED *bucket,
							const struct packet *packet, uint32_t i)
{
	struct intruder_flow SHARED *SHARED *link = &bucket->first;
	struct intruder_flow SHARED *f = GET(*link);

	while (f && f->head.flow != packet->flow) {
		link = &f->head.next;
		f = f->head.next;
	}
	if (!f) {
		f = ALLOC(struct intruder_flow);
		f->head.next = bucket->first;
		f->head.flow = packet->flow;
		f->head.missing = f->head.fragments = packet->fragments;
		f->packet[packet->fragment] = i;
		link = &bucket->first;
		SET(bucket->first, f);
	} else {
		WRITE(&f->head);
		SET(f->packet[packet->fragment], i);
	}
	if (--f->head.missing)
		return NULL;
	WRITE(bucket);
	SET(*link, f->head.next);
	f->head.next = NULL;
	return f;
}

OPERATION void intruder_reassemble(struct intruder *in, struct intruder_worker *w)
{
	ATOMIC_ALL {
		w->completed = 0;
		for (unsigned int i = w->captured; i < w->end; i++) {
			const struct packet *packet = &in->traffic->packet[i];
			struct intruder_bucket SHARED *bucket = intruder_bucket_of(in, packet);

			ATOMIC_EACH(bucket) {
				struct intruder_flow SHARED *f = intruder_add(bucket, packet, i);

				if (f)
					w->complete[w->completed++] = f;
			}
		}
	}
}

OPERATION void intruder_queue(struct intruder *in, struct intruder_worker *w)
{
	struct intruder_shared SHARED *queue = in->shared;

	ATOMIC {
		for (unsigned int i = 0; i < w->completed; i++) {
			struct intruder_flow SHARED *f = w->complete[i];

			if (GET(queue->first)) {
				struct intruder_flow SHARED *last = GET(queue->last);

				SET(last->head.next, f);
			} else {
				SET(queue->first, f);
			}
			SET(queue->last, f);
		}
	}
}

/* The oldest flow of the queue is gone, and w->packet has its packets; or w->fragments is 0. */
OPERATION void intruder_take(struct intruder *in, struct intruder_worker *w)
{
	ATOMIC {
		struct intruder_flow SHARED *f = GET(in->shared->first);

		w->fragments = 0;
		if (f) {
			READ(f);
			SET(in->shared->first, f->head.next);
			w->flow = f->head.flow;
			w->fragments = f->head.fragments;
			for (unsigned int i = 0; i < FLOW_FRAGMENTS; i++)
				w->packet[i] = f->packet[i];
			FREE(f);
		}
	}
}

static void intruder_detect(struct intruder *in, struct intruder_worker *w)
{
	uint64_t sum;

	if (traffic_detect(in->traffic, w->packet, w->fragments, w->buffer, &sum)) {
		w->attacks++;
		w->attackers += traffic_hash(w->flow);
	}
	w->flows++;
	w->sums += traffic_hash(w->flow ^ sum);
}

static void intruder_work(struct run *run, unsigned int id)
{
	struct intruder *in = run->data;
	struct intruder_worker *w = &in->worker[id];
	const unsigned int packets = in->traffic->packets;

	for (;;) {
		intruder_capture(in, w);
		if (w->captured >= packets)
			break;
		w->end = w->captured + INTRUDER_CAPTURE < packets ? w->captured + INTRUDER_CAPTURE : packets;
		intruder_reassemble(in, w);
		if (w->completed)
			intruder_queue(in, w);
		for (;;) {
			intruder_take(in, w);
			if (!w->fragments)
				break;
			intruder_detect(in, w);
		}
	}
}

/* ---- as an application ---- */

struct intruder_parameters {
	unsigned int flows, fragment;   /* see traffic_make() */
};

OPERATION void intruder_make_shared(struct intruder *in)
{
	ATOMIC {
		in->bucket = ALLOC_ZERO((in->mask + 1) * sizeof(*in->bucket));
		in->shared = ALLOC_ZERO(sizeof(*in->shared));
	}
}

static void intruder_make(struct run *run)
{
	const struct intruder_parameters *p = run->parameters;
	struct intruder *in = zeroed(sizeof(*in));

	in->traffic = traffic_make(p->flows, p->fragment);
	while (in->mask < in->traffic->flows)
		in->mask = 2 * in->mask + 1;
	in->worker = zeroed(run->threads * sizeof(*in->worker));
	intruder_make_shared(in);
	run->data = in;
}

static const char *intruder_check(struct run *run, uint64_t *result)
{
	const struct intruder *in = run->data;
	uint64_t flows = 0, attacks = 0, attackers = 0;

	*result = 0;
	for (unsigned int i = 0; i < run->threads; i++) {
		flows += in->worker[i].flows;
		attacks += in->worker[i].attacks;
		attackers += in->worker[i].attackers;
		*result += in->worker[i].sums;
	}
	if (flows != in->traffic->flows)
		return "not each flow was looked at once";
	if (attacks != in->traffic->attacks || attackers != in->traffic->attackers)
		return "not the attacks that there are were found";
	if (*result != in->traffic->sums)
		return "a flow was not put together as it was sent";
	return NULL;
}

OPERATION void intruder_free_shared(struct intruder *in)
{
	ATOMIC {
		FREE(in->bucket);
		FREE(in->shared);
	}
}

static void intruder_clear(struct run *run)
{
	struct intruder *in = run->data;

	intruder_free_shared(in);
	traffic_free(in->traffic);
	free(in->worker);
	free(in);
}

#define INTRUDER_APPS                                                                                               \
	{ "intruder", APP_FINE, &(const struct intruder_parameters){ 16384, 768 },                                  \
	  &(const struct intruder_parameters){ 512, 200 }, 1.15, false, intruder_make, intruder_work,               \
	  intruder_check, intruder_clear },
