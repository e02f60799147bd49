/* SPDX-License-Identifier: MIT */
/*
 * uffdstm/blob.h - bytes of any length in the heap: strings, records, files
 *
 *	struct stm_blob STM *name = stm_blob_new("Ada", 3);
 *
 *	stm_blob_append(name, " Lovelace", 9);
 *	if (!stm_blob_compare(name, "Ada Lovelace", 12))
 *		...
 *
 * Bytes are read and overwritten without a conflict with those that use others, except where neighbours share a
 * granule. What changes the length, or puts other bytes in place of all, conflicts with all that looks.
 *
 * All calls are for transactions; outside one they stop the process with one line. They are undone with it.
 */
#ifndef UFFDSTM_BLOB_H
#define UFFDSTM_BLOB_H

#include <uffdstm.h>

#ifndef __cplusplus

struct stm_blob;

/* stm_blob_new - one with a copy of @len bytes at @bytes; zeros, if that is NULL. NULL with errno ENOMEM. */
struct stm_blob STM *stm_blob_new(const void *bytes, size_t len);

/* stm_blob_free - give it back. NULL is fine. */
void stm_blob_free(struct stm_blob STM *blob);

/* stm_blob_length - how many bytes it has. */
size_t stm_blob_length(const struct stm_blob STM *blob);

/* stm_blob_get - copy @len bytes from byte @from on to @to, or as many as there are. How many that were. */
size_t stm_blob_get(const struct stm_blob STM *blob, size_t from, void *to, size_t len);

/*
 * stm_blob_string - all bytes, and a 0 behind them, in memory of stm_malloc(), for stm_mfree(). NULL with errno ENOMEM.
 */
char *stm_blob_string(const struct stm_blob STM *blob);

/*
 * stm_blob_compare - 0: it has these @len bytes, and no others. Less or more than 0: it comes before them, or behind;
 * by the first byte that is another, as memcmp(3) does, else by length.
 */
int stm_blob_compare(const struct stm_blob STM *blob, const void *bytes, size_t len);

/* stm_blob_set - these @len bytes instead of all. 0; -ENOMEM: nothing has changed. */
int stm_blob_set(struct stm_blob STM *blob, const void *bytes, size_t len);

/*
 * stm_blob_write - @len bytes over those from byte @from on. It grows as it must; bytes between its end and @from are
 * zero then. 0; -ENOMEM: nothing has changed.
 */
int stm_blob_write(struct stm_blob STM *blob, size_t from, const void *bytes, size_t len);

/* stm_blob_append - @len bytes more at the end. 0; -ENOMEM: nothing has changed. */
int stm_blob_append(struct stm_blob STM *blob, const void *bytes, size_t len);

/* stm_blob_resize - let it have @len bytes; new ones are zero. 0; -ENOMEM: nothing has changed. */
int stm_blob_resize(struct stm_blob STM *blob, size_t len);

#endif
#endif
