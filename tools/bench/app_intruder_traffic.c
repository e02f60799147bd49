/* SPDX-License-Identifier: MIT */
/*
 * app_intruder_traffic.c - packets, and a search for many signatures at once
 *
 * The automaton is that of Aho and Corasick (1975): a state for each beginning of a signature, and from each, by each
 * byte, to the longest beginning that the bytes so far end with.
 */
#include <stdlib.h>
#include <string.h>

#include "app_intruder_traffic.h"

#define SIGNATURES 64u
#define SIGNATURE_MIN 10u               /* so many of 26 letters do not occur by chance */
#define SIGNATURE_MAX 24u
#define STATES (SIGNATURES * SIGNATURE_MAX + 1)
#define ATTACKS 10u                     /* percent of all flows, as in STAMP's */

struct signatures {
	unsigned char bytes[SIGNATURES][SIGNATURE_MAX];
	unsigned int length[SIGNATURES];
};

static void make_bytes(unsigned char *bytes, size_t n, uint64_t *random)
{
	for (size_t i = 0; i < n; i++)
		bytes[i] = (unsigned char)('a' + random_below(random_next(random), 26));
}

/* Breadth first: where a state's bytes lead to that begin nothing longer is known from a shorter state. */
static void close_automaton(uint16_t (*next)[256], bool *accepting, unsigned int states)
{
	uint16_t *queue = zeroed(states * sizeof(*queue)), *shorter = zeroed(states * sizeof(*shorter));
	unsigned int head = 0, tail = 0;

	queue[tail++] = 0;
	while (head < tail) {
		const uint16_t state = queue[head++];

		for (unsigned int byte = 0; byte < 256; byte++) {
			const uint16_t longer = next[state][byte], back = state ? next[shorter[state]][byte] : 0;

			if (!longer) {
				next[state][byte] = back;
				continue;
			}
			shorter[longer] = back;
			accepting[longer] |= accepting[back];
			queue[tail++] = longer;
		}
	}
	free(queue);
	free(shorter);
}

static void make_automaton(struct traffic *traffic, struct signatures *signatures, uint64_t *random)
{
	unsigned int states = 1;

	traffic->automaton = zeroed(STATES * sizeof(*traffic->automaton));
	traffic->accepting = zeroed(STATES * sizeof(*traffic->accepting));
	for (unsigned int i = 0; i < SIGNATURES; i++) {
		const unsigned int length =
			SIGNATURE_MIN + random_below(random_next(random), SIGNATURE_MAX - SIGNATURE_MIN + 1);
		unsigned int state = 0;

		signatures->length[i] = length;
		make_bytes(signatures->bytes[i], length, random);
		for (unsigned int j = 0; j < length; j++) {
			uint16_t *next = &traffic->automaton[state][signatures->bytes[i][j]];

			if (!*next)
				*next = (uint16_t)states++;
			state = *next;
		}
		traffic->accepting[state] = true;
	}
	close_automaton(traffic->automaton, traffic->accepting, states);
}

uint64_t traffic_hash(uint64_t flow)
{
	flow = (flow ^ flow >> 32) * 0x9e3779b97f4a7c15u;
	flow = (flow ^ flow >> 29) * 0x517cc1b727220a95u;
	return flow ^ flow >> 32;
}

/* Of @length bytes, behind which there is room for a word. */
static uint64_t sum_of(unsigned char *bytes, unsigned int length)
{
	uint64_t word, hash = 0;

	memset(bytes + length, 0, sizeof(word));
	for (unsigned int i = 0; i < length; i += sizeof(word)) {
		memcpy(&word, bytes + i, sizeof(word));
		hash = (hash ^ word) * 0x9e3779b97f4a7c15u;
		hash ^= hash >> 32;
	}
	return hash ^ length;
}

/* Behind the flows before it. */
static void make_flow(struct traffic *traffic, unsigned int flow, unsigned int fragment,
		      const struct signatures *signatures, uint64_t *random)
{
	const unsigned int n = 1 + random_below(random_next(random), FLOW_FRAGMENTS);
	const struct packet *before = traffic->packets ? &traffic->packet[traffic->packets - 1] : NULL;
	const uint32_t start = before ? before->offset + before->length : 0;
	unsigned char *bytes = traffic->bytes + start;
	unsigned int length = 0;

	for (unsigned int i = 0; i < n; i++) {
		struct packet *packet = &traffic->packet[traffic->packets++];

		*packet = (struct packet){ .flow = flow, .fragment = (uint16_t)i, .fragments = (uint16_t)n,
					   .length = 1 + random_below(random_next(random), fragment),
					   .offset = start + length };
		length += packet->length;
	}
	make_bytes(bytes, length, random);
	if (random_below(random_next(random), 100) < ATTACKS) { /* anywhere, so over ends of fragments, too */
		const unsigned int which = random_below(random_next(random), SIGNATURES);
		const unsigned int size = signatures->length[which];

		if (size <= length) {
			memcpy(bytes + random_below(random_next(random), length - size + 1), signatures->bytes[which],
			       size);
			traffic->attacks++;
			traffic->attackers += traffic_hash(flow);
		}
	}
	traffic->sums += traffic_hash(flow ^ sum_of(bytes, length));
}

struct traffic *traffic_make(unsigned int flows, unsigned int fragment)
{
	struct traffic *traffic = zeroed(sizeof(*traffic));
	struct signatures signatures;
	uint64_t random = random_seed(flows);

	traffic->flows = flows;
	traffic->packet = zeroed((size_t)flows * FLOW_FRAGMENTS * sizeof(*traffic->packet));
	/* What is not used is not touched. */
	traffic->bytes = zeroed((size_t)flows * FLOW_FRAGMENTS * fragment + sizeof(uint64_t));
	make_automaton(traffic, &signatures, &random);
	for (unsigned int flow = 0; flow < flows; flow++)
		make_flow(traffic, flow, fragment, &signatures, &random);
	for (unsigned int i = traffic->packets - 1; i; i--) {
		const unsigned int j = random_below(random_next(&random), i + 1);
		const struct packet kept = traffic->packet[i];

		traffic->packet[i] = traffic->packet[j];
		traffic->packet[j] = kept;
	}
	return traffic;
}

void traffic_free(struct traffic *traffic)
{
	free(traffic->packet);
	free(traffic->bytes);
	free(traffic->automaton);
	free(traffic->accepting);
	free(traffic);
}

bool traffic_detect(const struct traffic *traffic, const uint32_t *packet, unsigned int n, unsigned char *buffer,
		    uint64_t *sum)
{
	unsigned int state = 0, length = 0;
	bool found = false;

	for (unsigned int i = 0; i < n; i++) {
		const struct packet *p = &traffic->packet[packet[i]];

		memcpy(buffer + length, traffic->bytes + p->offset, p->length);
		length += p->length;
	}
	*sum = sum_of(buffer, length);
	for (unsigned int i = 0; i < length; i++) {
		state = traffic->automaton[state][buffer[i]];
		found |= traffic->accepting[state];
	}
	return found;
}
