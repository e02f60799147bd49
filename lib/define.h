/* SPDX-License-Identifier: MIT */
/*
 * define.h - what the records of the event log mean: sites, names, code.
 */
#ifndef STM_DEFINE_H
#define STM_DEFINE_H

#include <uffdstm/event.h>

#include "internal.h"

#define STM_SITES_LIMIT 16384u          /* a power of two; programs have hundreds */

void stm_define_open(struct stm_log_header *header); /* fills in what is known of the executable */
void stm_define_close(void);

uint32_t stm_define_site(const struct stm_site *site); /* its number; 0 for NULL, or if there are too many */
uint32_t stm_define_name(const char *name);     /* likewise */
void stm_define_thread(uint16_t thread, uint64_t time);
void stm_define_modules(void);          /* if any came or went */

#endif
