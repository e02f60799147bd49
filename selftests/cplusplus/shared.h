/* SPDX-License-Identifier: MIT */
/* shared.h - what C and C++ have in common: the heap's types, and the functions of shared.c. */
#ifndef SHARED_H
#define SHARED_H

#ifdef __cplusplus
#include <uffdstm.hpp>
#define POINTER(type) stm::ptr<type>
#define STATIC_ASSERT static_assert
extern "C" {
#else
#include <stdbool.h>
#include <uffdstm.h>
#define POINTER(type) struct type STM *
#define STATIC_ASSERT _Static_assert
#endif

struct item {
	POINTER(item) next;
	long number;
	char name[12];
};

STATIC_ASSERT(sizeof(struct item) == 32, "as in the other language");

/* Root slot 1 is a list of items, the newest first. */
void c_push(long number, const char *name);
long c_sum(void);                       /* of the numbers in the list */

/* Call stm_restart() if there is something to count down, from C. */
void c_restart(volatile int *count);

/* The same in a transaction of C, which calls C++: its attempts. */
int c_outermost(void (*fn)(void *arg), void *arg);

/* Of a map of uint64_t to long: the sum for the keys up to @keys; then key @keys is 1000, and key 0 gone. */
long c_map_sum(uintptr_t map, uint64_t keys);
/* Of an ordered map of int64_t to long: the values as digits, in order. */
long c_ordered_sum(uintptr_t map);

#ifdef __cplusplus
}
#endif

#endif
