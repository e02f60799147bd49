/* SPDX-License-Identifier: MIT */
/*
 * policy.h - what a transaction does after a failed attempt: stm_policy().
 */
#ifndef STM_POLICY_H
#define STM_POLICY_H

#include "internal.h"

/* What is to be done now. Times in ns; 0: not at all. */
struct stm_rule {
	uint32_t attempts;              /* failed ones, then it gets right of way */
	uint32_t backoff_first, backoff_max;
	uint32_t wait_for_committer;
};

#define STM_POLICY_NS_MAX 1000000000u   /* a second */

void stm_policy_open(const struct stm_policy *policy); /* of all that have none of their own */
void stm_policy_close(void);

struct stm_rule stm_rule_for(const struct stm_site *site);

/* Whose commit the transaction conflicts with, or NULL. Before it is undone. */
struct stm_seg *stm_find_committer(const struct stm_seg *seg);

/* Between attempts, outside of any: wait as @rule says. @committer may be NULL. */
void stm_back_off(struct stm_seg *seg, const struct stm_rule *rule, const struct stm_seg *committer);

#endif
