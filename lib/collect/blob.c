// SPDX-License-Identifier: MIT
/*
 * blob.c - blobs: a block, and how many of its bytes count.
 *
 * Both stand in one granule, which all calls read. So who changes only bytes conflicts with those alone who use them.
 */
#include <errno.h>

#include <uffdstm/blob.h>

#include "collect.h"

#define SHRINK 4u                       /* a block of more than so many times what is needed is given up */

struct stm_blob {
	uint8_t STM *bytes;             /* NULL: there was none yet */
	uint64_t len;
} __attribute__((__aligned__(16)));

/* Let it have @len bytes, of which old ones are kept and new ones hold anything. 0 or -ENOMEM. */
static int provide(struct stm_blob STM *blob, size_t len)
{
	uint8_t STM *bytes = STM_GET(blob->bytes), *larger;
	size_t old = blob->len, room = stm_usable_size(bytes);

	if (len > room) {
		/* Half as much again, so that many small appends copy little. */
		larger = len < old + old / 2 ? stm_realloc(bytes, old + old / 2) : NULL;
		if (!larger)
			larger = stm_realloc(bytes, len);
		if (!larger)
			return -ENOMEM;
		STM_SET(blob->bytes, larger);
	} else if (len < room / SHRINK && len < old) {
		larger = stm_realloc(bytes, len ? len : 1);
		if (larger)
			STM_SET(blob->bytes, larger);
	}
	if (len != old)
		STM_SET(blob->len, len);
	return 0;
}

struct stm_blob STM *stm_blob_new(const void *bytes, size_t len)
{
	struct stm_blob STM *blob;

	stm_tx_self("stm_blob_new");
	blob = stm_zalloc(sizeof(*blob));
	if (!blob)
		return NULL;
	if (bytes ? stm_blob_set(blob, bytes, len) : stm_blob_resize(blob, len)) {
		stm_free(blob);
		errno = ENOMEM;
		return NULL;
	}
	return blob;
}

void stm_blob_free(struct stm_blob STM *blob)
{
	stm_tx_self("stm_blob_free");
	if (!blob)
		return;
	stm_free(STM_GET(blob->bytes));
	/* All that is done to it meanwhile conflicts. */
	stm_write(blob);
	blob->bytes = NULL;
	blob->len = 0;
	stm_free(blob);
}

size_t stm_blob_length(const struct stm_blob STM *blob)
{
	stm_tx_self("stm_blob_length");
	return STM_GET(blob->len);
}

size_t stm_blob_get(const struct stm_blob STM *blob, size_t from, void *to, size_t len)
{
	size_t have;

	stm_tx_self("stm_blob_get");
	have = STM_MUTATED(BLOB_LENGTH) ? blob->len : STM_GET(blob->len);
	if (from >= have)
		return 0;
	len = len < have - from ? len : have - from;
	if (STM_MUTATED(BLOB_BYTES))
		__builtin_memcpy(to, stm_local(blob->bytes + from), len);
	else
		stm_memcpy_out(to, blob->bytes + from, len);
	return len;
}

char *stm_blob_string(const struct stm_blob STM *blob)
{
	size_t len;
	char *string;

	stm_tx_self("stm_blob_string");
	len = STM_GET(blob->len);
	string = stm_malloc(len + 1);
	if (!string) {
		errno = ENOMEM;
		return NULL;
	}
	if (len)
		stm_memcpy_out(string, blob->bytes, len);
	string[len] = 0;
	return string;
}

int stm_blob_compare(const struct stm_blob STM *blob, const void *bytes, size_t len)
{
	size_t have, common;
	int order;

	stm_tx_self("stm_blob_compare");
	have = STM_GET(blob->len);
	common = have < len ? have : len;
	order = common ? stm_memcmp_out(blob->bytes, bytes, common) : 0;
	return order ? order : (have > len) - (have < len);
}

int stm_blob_set(struct stm_blob STM *blob, const void *bytes, size_t len)
{
	stm_tx_self("stm_blob_set");
	if (provide(blob, len))
		return -ENOMEM;
	if (len)
		stm_memcpy_in(blob->bytes, bytes, len);
	return 0;
}

int stm_blob_write(struct stm_blob STM *blob, size_t from, const void *bytes, size_t len)
{
	size_t old, end;

	stm_tx_self("stm_blob_write");
	old = STM_GET(blob->len);
	if (!len)
		return 0;
	if (__builtin_add_overflow(from, len, &end) || (end > old && provide(blob, end)))
		return -ENOMEM;
	if (from > old)
		stm_memset(blob->bytes + old, 0, from - old);
	stm_memcpy_in(blob->bytes + from, bytes, len);
	return 0;
}

int stm_blob_append(struct stm_blob STM *blob, const void *bytes, size_t len)
{
	stm_tx_self("stm_blob_append");
	return stm_blob_write(blob, STM_GET(blob->len), bytes, len);
}

int stm_blob_resize(struct stm_blob STM *blob, size_t len)
{
	size_t old;

	stm_tx_self("stm_blob_resize");
	old = STM_GET(blob->len);
	if (provide(blob, len))
		return -ENOMEM;
	if (len > old)
		stm_memset(blob->bytes + old, 0, len - old);
	return 0;
}
