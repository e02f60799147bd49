/* SPDX-License-Identifier: MIT */
/*
 * app_intruder_traffic.h - captured packets, and how an attack is known: ordinary memory, constant, one for all
 * implementations
 */
#ifndef BENCH_APP_INTRUDER_TRAFFIC_H
#define BENCH_APP_INTRUDER_TRAFFIC_H

#include <stdint.h>

#include "common.h"

#define FLOW_FRAGMENTS 8u               /* at most */
#define FLOW_BYTES 8192u                /* at most, of a whole one */

/* A fragment of what was sent in a flow. */
struct packet {
	uint32_t flow;
	uint16_t fragment, fragments;   /* which one, of how many */
	uint32_t length;
	uint32_t offset;                /* in the traffic's bytes */
};

struct traffic {
	unsigned int flows, packets;
	struct packet *packet;          /* as they came: fragments of all flows mixed */
	unsigned char *bytes;
	uint16_t (*automaton)[256];     /* of the signatures: the next state, by a byte */
	bool *accepting;                /* states in which a signature has ended */
	uint64_t attacks;               /* flows with a signature in them */
	uint64_t attackers;             /* the sum of their hashes */
	uint64_t sums;                  /* the sum of traffic_hash(flow ^ the sum of its bytes) of all flows */
};

/* @flows flows, of 1 to FLOW_FRAGMENTS fragments of up to @fragment bytes each; some are attacks. */
struct traffic *traffic_make(unsigned int flows, unsigned int fragment);
void traffic_free(struct traffic *traffic);

/* A number of a flow that depends on all of its bits. */
uint64_t traffic_hash(uint64_t flow);

/*
 * Puts the fragments of a flow together, of which @packet are the numbers in order, and looks for signatures. Whether
 * there is one. *@sum depends on all bytes.
 */
bool traffic_detect(const struct traffic *traffic, const uint32_t *packet, unsigned int n, unsigned char *buffer,
		    uint64_t *sum);

#endif
