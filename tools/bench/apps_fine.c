/* SPDX-License-Identifier: MIT */
/* apps_fine.c - the applications as plain code under locks made for each application */
#define IMPL fine
#define IMPL_FINE
#include "apps_list.h"
