/* SPDX-License-Identifier: MIT */
/* apps_stm.c - the applications as transactions */
#define IMPL stm
#define IMPL_STM
#include "apps_list.h"
