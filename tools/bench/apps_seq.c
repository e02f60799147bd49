/* SPDX-License-Identifier: MIT */
/* apps_seq.c - the applications as plain sequential code */
#define IMPL seq
#define IMPL_SEQ
#include "apps_list.h"
