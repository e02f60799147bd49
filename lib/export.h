/* SPDX-License-Identifier: MIT */
/*
 * export.h - what the public header declares is visible outside, all else hidden. Included first
 * in each file of the library by the Makefile (-include), so that none can forget it.
 */
#ifndef STM_EXPORT_H
#define STM_EXPORT_H

#pragma GCC visibility push(default)
#include <uffdstm.h>
#pragma GCC visibility pop

#endif
