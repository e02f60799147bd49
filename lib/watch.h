/* SPDX-License-Identifier: MIT */
/*
 * watch.h - which code reads a contended granule: UFFDSTM_LOG_READERS=1.
 */
#ifndef STM_WATCH_H
#define STM_WATCH_H

#include "internal.h"

int stm_watch_open(void);               /* 0 or -errno */
void stm_watch_close(void);

void stm_watch_want(struct stm_seg *seg, size_t granule, uint32_t site); /* it cost an attempt: let the next one tell */
void stm_watch_begin(struct stm_seg *seg);      /* this is the next one */
void stm_watch_end(struct stm_seg *seg);        /* the attempt is over, if one is watched */
bool stm_watch_fault(struct stm_seg *seg, size_t offset, const struct stm_fault *fault); /* true: it was that */

#endif
