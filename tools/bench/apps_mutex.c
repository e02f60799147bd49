/* SPDX-License-Identifier: MIT */
/* apps_mutex.c - the applications as plain code under one mutex */
#define IMPL mutex
#define IMPL_MUTEX
#include "apps_list.h"
