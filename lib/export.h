/* SPDX-License-Identifier: MIT */
/*
 * export.h - what the public headers declare is visible outside, all else hidden. Included first
 * in each file of the library by what builds it (-include), so that none can forget it.
 */
#ifndef STM_EXPORT_H
#define STM_EXPORT_H

#pragma GCC visibility push(default)
#include <uffdstm.h>
#include <uffdstm/counter.h>
#include <uffdstm/map.h>
#include <uffdstm/vector.h>
#include <uffdstm/blob.h>
#include <uffdstm/fifo.h>
#include <uffdstm/ordered.h>
#pragma GCC visibility pop

#endif
