/* SPDX-License-Identifier: MIT */
/* seq.c - the workloads as plain sequential code */
#define IMPL seq
#define IMPL_SEQ
#include "workloads.h"
