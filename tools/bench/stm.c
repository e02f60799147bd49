/* SPDX-License-Identifier: MIT */
/* stm.c - the workloads as transactions */
#define IMPL stm
#define IMPL_STM
#include "workloads.h"
