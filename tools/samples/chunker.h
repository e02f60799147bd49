/* SPDX-License-Identifier: MIT */
/*
 * Content-defined chunks: where a file is cut depends on the bytes around the cut only, so
 * a byte inserted at the front moves the chunks behind it, but does not change them.
 */
#ifndef FINDDUP_CHUNKER_H
#define FINDDUP_CHUNKER_H

#include <stddef.h>

#define CHUNK_MIN 1024          /* bytes; only the end of a file gives less */
#define CHUNK_MEAN 4096         /* bytes, over random data */
#define CHUNK_MAX 16384         /* bytes */

/* chunker_init - once, before the first chunk_cut() and before other threads start. */
void chunker_init(void);

/*
 * chunk_cut - the length of the chunk that begins at @p.
 *
 * @len: bytes there, at least 1; at least CHUNK_MAX unless the file ends there.
 */
size_t chunk_cut(const unsigned char *p, size_t len);

#endif
