// SPDX-License-Identifier: MIT
/* small.c - strings, whole reads and writes, errors of places. */
#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "setup.h"

#define READ_MOST (1 << 20)

char *text(const char *format, ...)
{
	va_list arguments;
	char *s;

	va_start(arguments, format);
	if (vasprintf(&s, format, arguments) < 0) {
		/* What was begun is in the record. */
		fputs("uffdstm: no memory\n", stderr);
		exit(1);
	}
	va_end(arguments);
	return s;
}

void complain_of(int error, const char *advice, const char *tried)
{
	if (error == -EUNSAFE && !strncmp(places_reason, tried, strlen(tried)))
		complain(0, NULL, "%s", places_reason);
	else if (error == -EUNSAFE)
		complain(0, NULL, "%s: %s", tried, places_reason);
	else
		complain(error, advice, "%s", tried);
}

int write_all(int fd, const char *data, size_t size)
{
	while (size) {
		ssize_t n = write(fd, data, size);

		if (n < 0 && errno != EINTR)
			return -errno;
		if (n > 0) {
			data += n;
			size -= n;
		}
	}
	return 0;
}

int read_all(int fd, char **data, size_t *size)
{
	char *buffer = malloc(READ_MOST + 1);
	size_t have = 0;
	ssize_t n;

	if (!buffer)
		return -ENOMEM;
	while ((n = read(fd, buffer + have, READ_MOST - have))) {
		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0 || have + n == READ_MOST) {
			int error = n < 0 ? -errno : -EFBIG;

			free(buffer);
			return error;
		}
		have += n;
	}
	buffer[have] = 0;
	*data = buffer;
	*size = have;
	return 0;
}

int sync_directory(int fd)
{
	int readable = openat(fd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC), error = 0;

	if (readable < 0 || fsync(readable))
		error = -errno;
	if (readable >= 0)
		close(readable);
	return error;
}

char *hex_from_bytes(const void *bytes, size_t size)
{
	char *hex = malloc(2 * size + 1);

	if (!hex)
		return NULL;
	for (size_t i = 0; i < size; i++)
		sprintf(hex + 2 * i, "%02x", ((const unsigned char *)bytes)[i]);
	hex[2 * size] = 0;
	return hex;
}

int bytes_from_hex(const char *hex, void *bytes, size_t size)
{
	size_t n = strlen(hex) / 2;

	if (!n || strlen(hex) % 2 || n > size || strspn(hex, "0123456789abcdef") != 2 * n)
		return -EINVAL;
	for (size_t i = 0; i < n; i++) {
		unsigned int byte;

		sscanf(hex + 2 * i, "%2x", &byte);
		((unsigned char *)bytes)[i] = byte;
	}
	return n;
}

const char *path_of(int fd)
{
	static char path[40];

	snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
	return path;
}
