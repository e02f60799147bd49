/* SPDX-License-Identifier: MIT */
/*
 * task_site.h - kinds of tasks: those with the same function and the same name, or none.
 *
 * A task has no place in the source where its transaction begins. A site that is made for its kind stands for it, in
 * reports and figures.
 */
#ifndef STM_TASK_SITE_H
#define STM_TASK_SITE_H

#include "internal.h"

uint16_t stm_task_kind(stm_fn *fn, const char *name); /* @name may be NULL, and is copied. 0: no memory, or too many */
const struct stm_site *stm_task_site(uint16_t kind); /* of a kind; for ever */
stm_fn *stm_task_of(const struct stm_site *site); /* whose site it is; NULL: no task's */

#endif
