/* SPDX-License-Identifier: MIT */
/* What barriers compile to: compiler_test.sh counts the instructions of each function. */
#include <uffdstm.h>

struct granule {
	long a[2];
} __attribute__((__aligned__(16)));

struct two {
	struct granule g[2];
};

struct four {
	struct granule g[4];
};

struct node {
	struct node STM *next;
	long key;
} __attribute__((__aligned__(16)));

void read_long(long STM *p);
void read_two(struct two STM *p);
void read_four(struct four STM *p);
void write_long(long STM *p);
void write_two(struct two STM *p);
long find(struct node STM *p, long key);
long get(long STM *p);

void read_long(long STM *p)
{
	stm_read(p);
}

void read_two(struct two STM *p)
{
	stm_read(p);
}

void read_four(struct four STM *p)
{
	stm_read(p);
}

void write_long(long STM *p)
{
	stm_write(p);
}

void write_two(struct two STM *p)
{
	stm_write(p);
}

long find(struct node STM *p, long key)
{
	for (; p; p = p->next) {
		stm_read(p);
		if (p->key >= key)
			return p->key;
	}
	return -1;
}

long get(long STM *p)
{
	return STM_GET(*p);
}
