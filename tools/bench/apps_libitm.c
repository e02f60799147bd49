/* SPDX-License-Identifier: MIT */
/* apps_libitm.c - the applications as transactions of gcc's own: -fgnu-tm, libitm */
#define IMPL libitm
#define IMPL_LIBITM
#ifdef __clang__
#define __transaction_atomic    /* clang has none: apps_team.h says that they are missing */
#define __transaction_pure__
#endif
int _ITM_inTransaction(void) __attribute__((__transaction_pure__)); /* 1: instrumented, 2: serial */
#include "apps_list.h"
