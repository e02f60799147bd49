/* SPDX-License-Identifier: MIT */
/* apps_rwlock.c - the applications as plain code under one lock for many readers or one writer */
#define IMPL rwlock
#define IMPL_RWLOCK
#include "apps_list.h"
