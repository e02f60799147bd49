/* SPDX-License-Identifier: MIT */
/* Structs: assignment, by value, initialisation; scalars of all kinds; pointers. */
#include "cases.h"

/* ---- struct assignment, up to what is safe: see uffdstm-compilers(7) ---- */

#define ASSIGN(name, T)                                                                 \
	CASE(name)                                                                      \
	{                                                                               \
		UNUSED;                                                                 \
		*H(T, 0) = *H(T, B);                                                    \
		*H(T, C) = *N(T, 0);                                                    \
		*N(T, B) = *H(T, B + 4096);                                             \
		return 0;                                                               \
	}

struct s1 { char b[1]; };
struct s3 { char b[3]; };
struct s7 { char b[7]; };
struct s12 { int b[3]; };
struct s16 { char b[16]; };
struct s17 { char b[17]; };
struct s24 { long b[3]; };
struct s31 { char b[31]; };
struct s32 { long b[4]; };

ASSIGN(assign_1, struct s1)
ASSIGN(assign_3, struct s3)
ASSIGN(assign_7, struct s7)
ASSIGN(assign_12, struct s12)
ASSIGN(assign_16, struct s16)
ASSIGN(assign_17, struct s17)
ASSIGN(assign_24, struct s24)
ASSIGN(assign_31, struct s31)
ASSIGN(assign_32, struct s32)
ASSIGN(assign_int128, __int128)
ASSIGN(assign_vector, vec4)
ASSIGN(assign_vector_unaligned, vec4_unaligned)
ASSIGN(assign_complex, _Complex double)

CASE(assign_conditional)
{
	UNUSED;
	*H(struct s24, 0) = n[0] & 1 ? *H(struct s24, B) : *H(struct s24, C);
	return 0;
}

CASE(assign_swap)
{
	struct s24 t = *H(struct s24, 0);

	UNUSED;
	*H(struct s24, 0) = *H(struct s24, B);
	*H(struct s24, B) = t;
	return 0;
}

CASE(assign_field_struct)
{
	struct nested AS *p = H(struct nested, 0), *q = H(struct nested, B);

	UNUSED;
	p->p[1] = q->p[0];
	p->in = q->in;
	p->u = q->u;
	return 0;
}

NOINLINE long sum_by_value(struct s24 s)
{
	return (long)((unsigned long)s.b[0] + (unsigned long)s.b[1] * 3 + (unsigned long)s.b[2] * 5);
}

/* Through a local variable, as structs must go that do not fit into two registers. */
CASE(pass_by_value)
{
	struct s24 a = *H(struct s24, 0), b = H(struct s24, 0)[4];

	UNUSED;
	return sum_by_value(a) - sum_by_value(b);
}

NOINLINE struct s24 make_value(long k)
{
	return (struct s24){ { k, k + 1, k + 2 } };
}

CASE(return_by_value)
{
	struct s24 s = make_value(k);

	UNUSED;
	*H(struct s24, 0) = s;
	return 0;
}

CASE(init_literal)
{
	UNUSED;
	*H(struct pair, 0) = (struct pair){ 0 };
	*H(struct pair, 64) = (struct pair){ .b = 5 };
	*H(struct s32, 128) = (struct s32){ { 1, 0, 0, k } };
	*H(struct s12, 256) = (struct s12){ { 0 } };
	return 0;
}

CASE(init_variable)
{
	struct s32 zero = { { 0 } }, one = { { 1, 2 } };

	UNUSED;
	*H(struct s32, 0) = zero;
	*H(struct s32, 64) = one;
	return 0;
}

/* Larger ones, field by field: what to write where assignment is not safe. */
CASE(init_fields)
{
	struct mixed AS *p = H(struct mixed, 0);

	UNUSED;
	p->tag = 0;
	p->s = 0;
	p->i = 0;
	p->d = 0;
	for (unsigned int i = 0; i < sizeof(p->name); i++)
		p->name[i] = 0;
	p->l = 0;
	return 0;
}

/* ---- scalars of all kinds ---- */

CASE(bit_fields)
{
	struct flags AS *f = H(struct flags, 0);
	long sum = 0;

	UNUSED;
	for (int i = 0; i < 20; i++, f++) {
		f->one ^= 1;
		f->three += 3;
		f->five -= 1;
		f->big = f->big * 5 + i;
		f->wide = ((unsigned long)k << 20) + i;
		f->rest |= 0x10101;
		f->tail = -f->tail;
		sum = sum * 7 + f->three + f->five + (long)f->wide + f->tail;
	}
	return sum;
}

CASE(bit_fields_copy)
{
	struct flags AS *f = H(struct flags, 0), *g = H(struct flags, B);

	UNUSED;
	f->one = g->one, f->three = g->three, f->five = g->five, f->big = g->big;
	f->wide = g->wide, f->rest = g->rest, f->tail = g->tail;
	return f->one == g->one && f->three == g->three && f->five == g->five;
}

CASE(volatile_access)
{
	volatile int AS *p = H(volatile int, 0);
	long sum = 0;

	UNUSED;
	for (long i = 0; i < k; i++) {
		sum += p[i];
		p[i] = 0;
		p[i] += 3;
	}
	return sum;
}

CASE(unions)
{
	union pun AS *u = H(union pun, 0);
	long sum = 0;

	UNUSED;
	for (int i = 0; i < 50; i++) {
		u[i].u &= 0x000fffffffffffffUL;
		u[i].u |= 0x3ff0000000000000UL;
		u[i].d *= 1.5;
		sum += u[i].b[3] + u[i].w[1];
	}
	return sum;
}

CASE(packed_fields)
{
	struct packed AS *p = H(struct packed, 1);

	UNUSED;
	for (int i = 0; i < 30; i++) {
		p[i].l += p[i].c;
		p[i].i = (int)(p[i].l >> 3);
	}
	return 0;
}

CASE(flexible_array)
{
	struct flex AS *f = H(struct flex, 0);
	long sum = 0;

	UNUSED;
	f->count = 100;
	for (unsigned int i = 0; i < f->count; i++)
		sum += f->item[i];
	return sum;
}

CASE(read_modify_write)
{
	UNUSED;
	H(int, 0)[0]++;
	H(long, 8)[0] -= 5;
	H(short, 16)[0] <<= 2;
	H(unsigned char, 18)[0] |= 0x81;
	H(int, 20)[0] = -H(int, 20)[0];
	H(unsigned int, 24)[0] = ~H(unsigned int, 24)[0];
	H(long, 32)[0] *= k;
	H(unsigned int, 40)[0] /= (unsigned int)k;
	return H(long, 48)[0] < H(long, 56)[0];
}

CASE(wide_scalars)
{
	UNUSED;
	H(__int128, 0)[0] += H(__int128, B)[1];
	H(double, 64)[0] = (double)H(int, 72)[0];
	H(float, 80)[0] = (float)H(short, 84)[0] / 3;
	H(long double, 96)[0] = (long double)H(int, 112)[0] / 7;
	H(int, 128)[0] = (int)H(long double, 96)[0];
	*H(vec4, 160) += *H(vec4, 176);
	*H(vec4_unaligned, 196) ^= *H(vec4_unaligned, 212);
	return 0;
}

CASE(byte_order)
{
	unsigned int AS *p = H(unsigned int, B);
	unsigned int v = 0;

	UNUSED;
	v = h[0] | h[1] << 8 | h[2] << 16 | (unsigned int)h[3] << 24;   /* merged into one load */
	p[0] = v;
	p[1] = __builtin_bswap32(p[2]);
	h[C] = v >> 24, h[C + 1] = v >> 16, h[C + 2] = v >> 8, h[C + 3] = v; /* one store */
	return 0;
}

/* ---- pointers ---- */

/* gcc turns pointer parameters into loads by the caller. */
NOINLINE unsigned long helper_read(const struct eight AS *p)
{
	return (unsigned long)p->c;
}

NOINLINE void helper_write(struct eight AS *p, unsigned long v)
{
	p->d = (long)v;
}

CASE(helpers)
{
	struct eight AS *p = H(struct eight, 0);
	unsigned long sum = 0;

	UNUSED;
	for (long i = 0; i < 100; i++) {
		sum += helper_read(p + i);
		helper_write(p + 99 - i, sum);
	}
	return (long)(sum + helper_read(p));
}

CASE(linked_list)
{
	struct node AS *head = NULL;
	long sum = 0;

	UNUSED;
	for (int i = 0; i < 100; i++) {
		struct node AS *p = H(struct node, (i * 37 % 100) * 64);

		p->key = i * i;
		p->next = head;
		p->data = h + B + i;
		head = p;
	}
	for (struct node AS *p = head; p; p = p->next)
		sum = sum * 3 + p->key + *p->data;
	return sum;
}

CASE(pointer_arithmetic)
{
	struct pair AS *p = H(struct pair, 0), *end = p + k;
	long AS *field = &p[3].b;

	UNUSED;
	*field = end - p;
	return (field > &p->a) + (p ? 2 : 0) + ((long)((unsigned char AS *)field - h) << 4);
}

CASE(pointer_to_pointer)
{
	long AS *AS *slot = (long AS *AS *)H(long, 0);

	UNUSED;
	for (int i = 0; i < 40; i++)
		slot[i] = H(long, B) + i;
	for (int i = 0; i < 40; i++)
		*slot[i] = i;
	return *slot[7] + *slot[39];
}

CASE(local_pointer)
{
	/* Through both kinds of pointers to one object, as with stm_local(). */
	int AS *p = H(int, 64);
#ifdef VIEW
	int *q = stm_local(p);
#else
	int *q = p;
#endif
	long sum = 0;

	UNUSED;
	for (int i = 0; i < 10; i++) {
		p[i] = i;
		sum += q[i];
		q[i] = 2 * i + 1;
		sum += p[i];
	}
	p[0] = 5;
	__builtin_memcpy(n, q, 40);
	__builtin_memset(q + 20, 0, 256);
	return sum + p[25];
}

NOINLINE long many_arguments(long a, long b, long c, long d, long e, long f, long g, long h, long i)
{
	return a - b + c * 3 - d + e * 5 - f + g * 7 - h + i * 11;
}

CASE(stack_arguments)
{
	long AS *p = H(long, 0);

	UNUSED;
	return many_arguments(p[0], p[1], p[2], p[3], p[4], p[5], p[6], p[7], p[8]);
}

static long twice(long x)
{
	return 2 * x;
}

static long square(long x)
{
	return x * x;
}

CASE(function_pointers)
{
	long (*AS *fn)(long) = (long (*AS *)(long))H(long, 0);

	UNUSED;
	fn[0] = twice, fn[1] = square;
	k = fn[n[0] & 1](k) + fn[n[1] & 1](k + 1);
	fn[0] = fn[1] = NULL;           /* where a function lies differs between view and model */
	return k;
}

#define CASES(X) \
	X(assign_1) X(assign_3) X(assign_7) X(assign_12) X(assign_16) X(assign_17) \
	X(assign_24) X(assign_31) X(assign_32) X(assign_int128) X(assign_vector) \
	X(assign_vector_unaligned) X(assign_complex) X(assign_conditional) X(assign_swap) \
	X(assign_field_struct) X(pass_by_value) X(return_by_value) X(init_literal) \
	X(init_variable) X(init_fields) X(bit_fields) X(bit_fields_copy) \
	X(volatile_access) X(unions) X(packed_fields) X(flexible_array) \
	X(read_modify_write) X(wide_scalars) X(byte_order) X(linked_list) \
	X(pointer_arithmetic) X(pointer_to_pointer) X(local_pointer) X(stack_arguments) \
	X(function_pointers) X(helpers)

CASE_TABLE(CASES);
