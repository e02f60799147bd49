// SPDX-License-Identifier: MIT
/*
 * wrap.c - text in lines of 80 columns.
 */
#include <stdio.h>
#include <string.h>

#include "uffdstm.h"

size_t columns(const char *text, size_t bytes)
{
	size_t n = 0;

	for (size_t i = 0; i < bytes; i++)
		n += ((unsigned char)text[i] & 0xc0) != 0x80; /* one for each character of UTF-8 */
	return n;
}

void wrap(FILE *out, const char *text, size_t at, size_t indent)
{
	bool begun = at > indent; /* the line has a word */

	while (*text) {
		size_t len = strcspn(text, " "), width = columns(text, len);

		if (begun && at + 1 + width > COLUMNS) {
			fprintf(out, "\n%*s", (int)indent, "");
			at = indent;
		} else if (begun) {
			putc(' ', out);
			at++;
		}
		fprintf(out, "%.*s", (int)len, text);
		at += width;
		begun = true;
		text += len;
		text += strspn(text, " ");
	}
}
