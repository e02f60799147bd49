/* SPDX-License-Identifier: MIT */
/* apps_omp.c - the applications with what OpenMP has: one critical section, and atomic additions */
#define IMPL omp
#define IMPL_OMP
#ifndef _OPENMP
#pragma GCC diagnostic ignored "-Wunknown-pragmas"
#endif
#include "apps_list.h"
