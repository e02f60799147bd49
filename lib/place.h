/* SPDX-License-Identifier: MIT */
/*
 * place.h - code addresses in words that addr2line(1) understands: MODULE(+0xOFFSET).
 */
#ifndef STM_PLACE_H
#define STM_PLACE_H

#include <stddef.h>
#include <stdint.h>

/* Outside of signal handlers, before stm_place_of(). */
void stm_place_open(void);

/*
 * In a signal handler that interrupted the thread at @next: the place to blame for what the instruction at @pc did,
 * which is that one or the one before. It is @pc itself, or, if that is the C library's or our own, the call in the
 * program's code that led there.
 */
uintptr_t stm_place_of(const void *pc, const void *next);

/* As snprintf(3). */
int stm_place_print(char *text, size_t len, uintptr_t address);

#endif
