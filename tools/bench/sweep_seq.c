/* SPDX-License-Identifier: MIT */
/* sweep_seq.c - the sweeps' transactions as plain sequential code */
#define IMPL seq
#define IMPL_SEQ
#include "sweep_ops.h"
