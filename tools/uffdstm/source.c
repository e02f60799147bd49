// SPDX-License-Identifier: MIT
/*
 * source.c - the text of a source line, where its file is at hand and is what the program was made from.
 */
#include <ctype.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "log.h"
#include "symbols.h"
#include "uffdstm.h"

#define FILE_MOST ((off_t)64 << 20)     /* bytes: more is no source */
#define TEXT_MOST 240                   /* bytes of a line */

void *need(size_t bytes)
{
	void *memory = calloc(1, bytes);

	if (memory)
		return memory;
	complain(ENOMEM, NULL, "%zu bytes", bytes);
	exit(STATUS_TROUBLE);
}

char *need_text(const char *text)
{
	size_t bytes = strlen(text) + 1;

	return memcpy(need(bytes), text, bytes);
}

/* A log names any file: only one that is one is read, and opening waits for nothing. */
static FILE *open_source(const char *path, uint64_t run_ns, const char **why)
{
	int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOCTTY | O_NONBLOCK);
	struct stat status;
	FILE *file = NULL;

	if (fd < 0)
		return NULL;
	if (fstat(fd, &status) || !S_ISREG(status.st_mode) || status.st_size > FILE_MOST)
		;
	else if ((uint64_t)status.st_mtim.tv_sec > run_ns / 1000000000)
		*why = "its file changed since";
	else
		file = fdopen(fd, "r");
	if (!file)
		close(fd);
	return file;
}

char *source_line(const char *path, unsigned int line, uint64_t run_ns, const char **why)
{
	FILE *file = open_source(path, run_ns, why);
	char *text = NULL, *start, *end;
	size_t size = 0;
	ssize_t len = -1;

	if (!file)
		return NULL;
	while (line-- && (len = getline(&text, &size, file)) >= 0)
		;
	fclose(file);
	if (len < 0) {
		free(text);
		return NULL;
	}
	for (char *c = text; *c; c++)
		if (*c == '\t')
			*c = ' ';
	start = text + strspn(text, " ");
	for (end = start + strlen(start); end > start && isspace((unsigned char)end[-1]); end--)
		;
	*end = 0;
	if (end - start > TEXT_MOST)
		start[TEXT_MOST] = 0; /* a character cut in two is made printable */
	log_printable(start);
	memmove(text, start, strlen(start) + 1);
	return text;
}

void place_free(struct place *place)
{
	free(place->file);
	free(place->function);
	free(place->name);
	free(place->code);
	free(place->text);
	*place = (struct place){ 0 };
}
