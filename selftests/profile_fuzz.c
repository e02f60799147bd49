// SPDX-License-Identifier: MIT
/*
 * profile_fuzz.c - any bytes as a profile, by libFuzzer: see profile_fuzz.sh. Linked with lib/profile.c alone.
 */
#include <stdarg.h>
#include <stdlib.h>

#include "message.h"
#include "profile_check.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static unsigned int lines;

/* What the library would say: one line of plain letters, about the file. */
void stm_complain(const char *format, ...)
{
	char line[1000];
	va_list args;

	va_start(args, format);
	vsnprintf(line, sizeof(line), format, args);
	va_end(args);
	for (const char *c = line; *c; c++)
		if (*c < ' ' || *c > '~')
			abort();
	if (strncmp(line, "first:", 6) && strncmp(line, "second:", 7))
		abort();
	lines++;
}

/* The first byte says where the text is cut in two: a second file over the first one. */
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct stm_profile profile = { .given = { false } };
	size_t cut = size ? data[0] * (size - 1) / 255 : 0;
	const char *wrong;
	char *text;

	if (!size)
		return 0;
	lines = 0;
	for (int part = 0; part < 2; part++) {
		size_t from = part ? cut : 0, len = (part ? size - 1 : cut) - from;

		/* As long as the text, so that a sanitizer sees a byte too much. */
		text = malloc(len ? len : 1);
		memcpy(text, data + 1 + from, len);
		stm_profile_parse(&profile, part ? "second" : "first", text, len);
		free(text);
	}
	stm_profile_settle(&profile);
	/* Eight lines of each file, and two about the rest of it; two about what does not go together. */
	wrong = lines > 2 * (8 + 2) + 2 ? "too many lines" : profile_is_wrong(&profile);
	if (wrong) {
		fprintf(stderr, "profile_fuzz: %s\n", wrong);
		abort();
	}
	return 0;
}
