/* SPDX-License-Identifier: MIT */
/* sweep_stm.c - the sweeps' transactions as transactions */
#define IMPL stm
#define IMPL_STM
#include "sweep_ops.h"
