/* SPDX-License-Identifier: MIT */
/* Fill, copy, string and comparison loops: memset(3), memcpy(3) and their kin in disguise. */
#include "cases.h"

/* ---- fill loops: memset(3) in disguise ---- */

#define FILL(name, T, value)                                                            \
	CASE(name)                                                                      \
	{                                                                               \
		T AS *p = H(T, 0);                                                      \
		UNUSED;                                                                 \
		for (long i = 0; i < k; i++)                                            \
			p[i] = (value);                                                 \
		return 0;                                                               \
	}

FILL(fill_char_zero, unsigned char, 0)
FILL(fill_char, unsigned char, 0x5a)
FILL(fill_char_variable, unsigned char, n[0])
FILL(fill_short, short, 0x1212)
FILL(fill_int_zero, int, 0)
FILL(fill_int_ones, int, -1)
FILL(fill_int_pattern, int, 0x12345678)
FILL(fill_long_zero, long, 0)
FILL(fill_double_zero, double, 0.0)
FILL(fill_pointer_null, struct node AS *, NULL)
FILL(fill_pair_zero, struct pair, ((struct pair){ 0, 0 }))
FILL(fill_pair, struct pair, ((struct pair){ 1, -1 }))
FILL(fill_nested_zero, struct nested, (struct nested){ 0 })

CASE(fill_fixed_64)
{
	UNUSED;
	for (int i = 0; i < 64; i++)
		h[i] = 7;
	return 0;
}

CASE(fill_fixed_8192)
{
	UNUSED;
	for (int i = 0; i < 8192; i++)
		h[i] = 0;
	return 0;
}

CASE(fill_down)
{
	UNUSED;
	for (long i = k; i-- > 0;)
		h[i] = 3;
	return 0;
}

CASE(fill_pointer_walk)
{
	unsigned char AS *p = h, *end = h + k;

	UNUSED;
	while (p < end)
		*p++ = 0;
	return p - h;
}

CASE(fill_pair_fields)
{
	struct pair AS *p = H(struct pair, 0);

	UNUSED;
	for (long i = 0; i < k; i++) {
		p[i].a = 0;
		p[i].b = 0;
	}
	return 0;
}

CASE(fill_two_dimensions)
{
	unsigned int AS (*m)[M] = MATRIX(0);

	UNUSED;
	for (int i = 0; i < M; i++)
		for (int j = 0; j < M; j++)
			m[i][j] = 0;
	return 0;
}

CASE(fill_both_memories)
{
	UNUSED;
	for (long i = 0; i < k; i++)
		h[i] = 0, n[i] = 0;
	return 0;
}

CASE(fill_straight_line)
{
	long AS *p = H(long, 0);

	UNUSED;
	p[0] = p[1] = p[2] = p[3] = p[4] = p[5] = p[6] = p[7] = 0;
	p[8] = p[9] = p[10] = p[11] = p[12] = p[13] = p[14] = p[15] = 0;
	p[16] = p[17] = p[18] = p[19] = p[20] = p[21] = p[22] = p[23] = 0;
	p[24] = p[25] = p[26] = p[27] = p[28] = p[29] = p[30] = p[31] = 0;
	return 0;
}

/* ---- copy loops: memcpy(3) and memmove(3) in disguise ---- */

#define COPY(name, T, to, from)                                                         \
	CASE(name)                                                                      \
	{                                                                               \
		UNUSED;                                                                 \
		for (long i = 0; i < k; i++)                                            \
			to(T, 0)[i] = from(T, B + 16)[i];                               \
		return 0;                                                               \
	}

COPY(copy_char_in_heap, unsigned char, H, H)
COPY(copy_char_out, unsigned char, N, H)
COPY(copy_char_in, unsigned char, H, N)
COPY(copy_int_in_heap, int, H, H)
COPY(copy_int_out, int, N, H)
COPY(copy_int_in, int, H, N)
COPY(copy_long_in_heap, long, H, H)
COPY(copy_long_out, long, N, H)
COPY(copy_long_in, long, H, N)
COPY(copy_pair_in_heap, struct pair, H, H)
COPY(copy_pair_out, struct pair, N, H)
COPY(copy_pair_in, struct pair, H, N)

#define COPY_RESTRICT(name, D, S, to, from)                                             \
	NOINLINE void name##_loop(unsigned char D *restrict t, const unsigned char S *restrict f, long k) \
	{                                                                               \
		for (long i = 0; i < k; i++)                                            \
			t[i] = f[i];                                                    \
	}                                                                               \
	CASE(name)                                                                      \
	{                                                                               \
		UNUSED;                                                                 \
		name##_loop((to), (from), k);                                           \
		return 0;                                                               \
	}

COPY_RESTRICT(copy_restrict_in_heap, AS, AS, h, h + B)
COPY_RESTRICT(copy_restrict_out, , AS, n, h)
COPY_RESTRICT(copy_restrict_in, AS, , h, n)

CASE(copy_fixed_4096)
{
	UNUSED;
	for (int i = 0; i < 4096; i++)
		h[i] = h[i + B];
	return 0;
}

CASE(copy_overlap_left)
{
	UNUSED;
	for (long i = 0; i < k; i++)
		h[i] = h[i + 1];
	return 0;
}

CASE(copy_overlap_right)
{
	UNUSED;
	for (long i = k; i-- > 0;)
		h[i + 8] = h[i];
	return 0;
}

CASE(copy_pointer_walk)
{
	unsigned char AS *to = h;
	const unsigned char AS *from = h + B;

	UNUSED;
	while (k--)
		*to++ = *from++;
	return to - h;
}

CASE(copy_pair_fields)
{
	struct pair AS *to = H(struct pair, 0), *from = H(struct pair, B);

	UNUSED;
	for (long i = 0; i < k; i++) {
		to[i].a = from[i].a;
		to[i].b = from[i].b;
	}
	return 0;
}

CASE(copy_reverse)
{
	UNUSED;
	for (long i = 0; i < k; i++)
		h[i] = h[B + k - i];
	return 0;
}

CASE(copy_swap)
{
	long AS *p = H(long, 0), *q = H(long, B);

	UNUSED;
	for (long i = 0; i < k; i++) {
		long t = p[i];

		p[i] = q[i];
		q[i] = t;
	}
	return 0;
}

/* ---- string loops ---- */

CASE(string_length)
{
	long i = 0;

	UNUSED;
	while (h[i])
		i++;
	return i;
}

CASE(string_length_wide)
{
	const int AS *p = H(int, 0);

	UNUSED;
	H(int, 0)[k] = 0;
	while (*p)
		p++;
	return p - H(int, 0);
}

CASE(string_copy)
{
	unsigned char AS *to = h + B;
	const unsigned char AS *from = h;

	UNUSED;
	while ((*to++ = *from++))
		;
	return to - h;
}

CASE(string_compare)
{
	const unsigned char AS *p = h, *q = h + B;

	UNUSED;
	h[B] = h[0];
	while (*p && *p == *q)
		p++, q++;
	return *p - *q;
}

CASE(string_find)
{
	UNUSED;
	for (long i = 0; i < CASE_WINDOW; i++)
		if (h[i] == 0x7f)
			return i;
	return -1;
}

CASE(compare_loop)
{
	UNUSED;
	for (long i = 0; i < 64; i++)
		h[B + i] = h[i];
	for (long i = 0; i < k; i++)
		if (h[i] != h[B + i])
			return i;
	return -1;
}

CASE(compare_with_literal)
{
	static const char text[] = "not here";

	UNUSED;
	for (unsigned int i = 0; i < sizeof(text); i++)
		if (h[i] != (unsigned char)text[i])
			return i;
	return -1;
}

/* clang merges chains of equal comparisons into memcmp(3). */
CASE(compare_fields)
{
	struct mixed AS *p = H(struct mixed, 0), *q = H(struct mixed, B);

	UNUSED;
	p->s = q->s;
	p->i = q->i;
	p->l = q->l;
	return p->s == q->s && p->i == q->i && p->l == q->l;
}

CASE(compare_fields_adjacent)
{
	struct eight AS *p = H(struct eight, 0), *q = H(struct eight, B);
	long same;

	UNUSED;
	for (int i = 0; i < 8; i++)
		H(long, 0)[i] = H(long, B)[i] = 77;
	same = p->a == q->a && p->b == q->b && p->c == q->c && p->d == q->d &&
	       p->e == q->e && p->f == q->f && p->g == q->g && p->h == q->h;
	q->h = 78;
	return same * 2 + (p->a == q->a && p->b == q->b && p->c == q->c && p->d == q->d &&
			   p->e == q->e && p->f == q->f && p->g == q->g && p->h == q->h);
}

CASE(compare_fields_out)
{
	struct eight AS *p = H(struct eight, 0);
	struct eight *q = N(struct eight, 0);

	UNUSED;
	p->a = q->a, p->b = q->b, p->c = q->c, p->d = q->d, p->e = q->e;
	return p->a == q->a && p->b == q->b && p->c == q->c && p->d == q->d && p->e == q->e;
}

#define CASES(X) \
	X(fill_char_zero) X(fill_char) X(fill_char_variable) X(fill_short) \
	X(fill_int_zero) X(fill_int_ones) X(fill_int_pattern) X(fill_long_zero) \
	X(fill_double_zero) X(fill_pointer_null) X(fill_pair_zero) X(fill_pair) \
	X(fill_nested_zero) X(fill_fixed_64) X(fill_fixed_8192) X(fill_down) \
	X(fill_pointer_walk) X(fill_pair_fields) X(fill_two_dimensions) \
	X(fill_both_memories) X(fill_straight_line) X(copy_char_in_heap) X(copy_char_out) \
	X(copy_char_in) X(copy_int_in_heap) X(copy_int_out) X(copy_int_in) \
	X(copy_long_in_heap) X(copy_long_out) X(copy_long_in) X(copy_pair_in_heap) \
	X(copy_pair_out) X(copy_pair_in) X(copy_restrict_in_heap) X(copy_restrict_out) \
	X(copy_restrict_in) X(copy_fixed_4096) X(copy_overlap_left) X(copy_overlap_right) \
	X(copy_pointer_walk) X(copy_pair_fields) X(copy_reverse) X(copy_swap) \
	X(string_length) X(string_length_wide) X(string_copy) X(string_compare) \
	X(string_find) X(compare_loop) X(compare_with_literal) X(compare_fields) \
	X(compare_fields_adjacent) X(compare_fields_out)

CASE_TABLE(CASES);
