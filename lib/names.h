/* SPDX-License-Identifier: MIT */
/*
 * names.h - what transactions did, by name or place.
 *
 * A named transaction (STM_ATOMIC_NAMED) announces itself by STM_HEED_NAMES, so that its begin, which tests for what
 * must be heeded anyway, comes here, and by STM_ATTEND_NAMES its end. Others pay nothing, unless stats_unnamed asks for
 * them.
 */
#ifndef STM_NAMES_H
#define STM_NAMES_H

#include "internal.h"

int stm_names_open(bool unnamed);       /* 0 or -EINVAL: the environment asks for what is not */
void stm_names_close(struct stm_seg *seg);
bool stm_names_all(void);               /* those without a name are counted, too */

/* Each by the segment's own thread. */
void stm_names_begin(struct stm_seg *seg);
void stm_names_written(struct stm_seg *seg);    /* about to publish */
void stm_names_committed(struct stm_seg *seg);
void stm_names_aborted(struct stm_seg *seg, enum stm_abort_reason reason);

#endif
