/* SPDX-License-Identifier: MIT */
/*
 * label.h - what an object is called, and where it was allocated: for the event log.
 */
#ifndef STM_LABEL_H
#define STM_LABEL_H

#include <uffdstm/event.h>

#include "internal.h"

void stm_labels_open(void);
void stm_labels_close(void);
void stm_label_allocated(uintptr_t block, const void *behind); /* by the code before @behind */

/* Fills in what is known of the object that the granule at conflict->address is in. */
void stm_label_describe(struct stm_log_conflict *conflict);

#endif
