/* SPDX-License-Identifier: MIT */
/* sweep_mutex.c - the sweeps' transactions as plain code under one mutex */
#define IMPL mutex
#define IMPL_MUTEX
#include "sweep_ops.h"
