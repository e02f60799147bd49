/* SPDX-License-Identifier: MIT */
/* mutex.c - the workloads under one mutex */
#define IMPL mutex
#define IMPL_MUTEX
#include "workloads.h"
