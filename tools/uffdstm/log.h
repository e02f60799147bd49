/* SPDX-License-Identifier: MIT */
/*
 * log.h - reading the event log: <uffdstm/event.h> has the format.
 *
 * A log may be cut anywhere, have holes, or still grow; what it says may be wrong in any way. Records come out of
 * here whole, of a possible size, and with a time and a duration that can be reckoned with; nothing else is promised.
 */
#ifndef UFFDSTM_LOG_H
#define UFFDSTM_LOG_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <uffdstm/event.h>

struct log {
	struct stm_log_header header;   /* its texts are terminated and printable */
	int fd;
	const char *name;               /* for messages */
	uint64_t size;                  /* of the file when it was opened; 0: not known */
	char *buffer;
	size_t begin, end;              /* what of the buffer is yet to be used */
	uint64_t offset;                /* where in the file that begins */
	bool file_ended;
	uint64_t latest;                /* no record can be later than this time, in ticks */

	/* What was found. */
	uint64_t records;
	uint64_t holes, hole_bytes;
	uint64_t unknown;               /* records of unknown kinds */
	uint64_t impossible;            /* records with a time that cannot be, left out */
	uint64_t impossible_offset;     /* the first of them */
	uint64_t cut_bytes;             /* of a last record that is not whole */
	bool damaged;                   /* reading ended at @offset, because: */
	char damage[100];
	int error;                      /* reading ended at @offset by this errno */
	bool whole;                     /* the program ended the log */
	uint64_t missing;               /* bytes that there were when it did */
};

/* "-" is standard input. 0, or the exit status, after a line. */
int log_open(struct log *log, const char *name);
/* Takes the descriptor; log_open() is this and open(2). */
int log_start(struct log *log, int fd, const char *name);
void log_close(struct log *log);

/*
 * The next record of a known kind, with its further units behind it, good until the next call; NULL at the end, of
 * whatever kind it is.
 */
const struct stm_record *log_next(struct log *log);

/* Its @duration is one; definitions have something else there. */
bool log_has_duration(const struct stm_record *record);

/* Makes what came from outside printable: valid UTF-8 without control characters. In place. */
void log_printable(char *text);

#endif
