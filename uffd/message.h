/* SPDX-License-Identifier: MIT */
/*
 * message.h - what the library says on stderr: one line each, from any context.
 */
#ifndef STM_MESSAGE_H
#define STM_MESSAGE_H

#include <stdbool.h>

#define STM_PRINTF(a, b) __attribute__((__format__(__printf__, a, b)))

/* Say what was tried, what the system answered, and what to do. */
void stm_complain(const char *format, ...) STM_PRINTF(1, 2);

/* The same, and stop the process: the program is broken, or cannot go on. */
void stm_die(const char *format, ...) STM_PRINTF(1, 2) __attribute__((__noreturn__, __cold__));

/* Does UFFDSTM_VERBOSE ask for lines about what is in order, too? */
bool stm_is_verbose(void);

/* "ENOMEM" for 12: names that can be looked up, without locale or locks. */
const char *stm_errno_name(int error);

#endif
