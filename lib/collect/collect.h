/* SPDX-License-Identifier: MIT */
/*
 * collect.h - arrays for maps and vectors: see uffdstm/array.h
 */
#ifndef STM_COLLECT_H
#define STM_COLLECT_H

#include <uffdstm/array.h>

#include "../internal.h"

/* Let there be item @i, zeroed: 0 or -ENOMEM. */
int stm_array_make(struct stm_array STM *array, uint64_t i, struct stm_array_shape shape);
void stm_array_free(struct stm_array STM *array, struct stm_array_shape shape);

#endif
