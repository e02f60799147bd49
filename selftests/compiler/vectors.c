/* SPDX-License-Identifier: MIT */
/* Tables, which must not get the %gs prefix, and loops that vectorise or that optimisers reorder. */
#include "cases.h"

/* ---- tables: rodata must not get the prefix ---- */

CASE(switch_table)
{
	long sum = 0;

	UNUSED;
	for (long i = 0; i < k; i++) {
		switch (h[i] & 15) {
		case 0: sum += 17; break;
		case 1: sum += 5; break;
		case 2: sum -= 9; break;
		case 3: sum ^= 33; break;
		case 4: sum *= 3; break;
		case 5: h[B + i] = 1; break;
		case 6: h[B + i]++; break;
		case 7: sum -= h[B + i]; break;
		case 9: sum += 90; break;
		default: sum++;
		}
	}
	return sum;
}

CASE(switch_values)
{
	UNUSED;
	for (long i = 0; i < k; i++) {
		int v;

		switch (h[i] & 7) {
		case 0: v = 11; break;
		case 1: v = 222; break;
		case 2: v = 3333; break;
		case 3: v = 4; break;
		case 4: v = 55; break;
		case 5: v = 666; break;
		default: v = 7;
		}
		H(int, B)[i] = v;
	}
	return 0;
}

CASE(constant_table)
{
	static const long table[8] = { 3, 1, 4, 1, 5, 9, 2, 6 };

	UNUSED;
	for (long i = 0; i < k; i++)
		H(long, B)[i] = table[h[i] & 7];
	for (long i = 0; i < 8; i++)
		H(long, 0)[i] = table[i];
	return 0;
}

/* ---- what vectorises ---- */

#define REDUCE(name, T, start, step)                                                    \
	CASE(name)                                                                      \
	{                                                                               \
		const T AS *p = H(T, 0);                                                \
		T r = (start);                                                          \
		UNUSED;                                                                 \
		for (long i = 0; i < k; i++)                                            \
			step;                                                           \
		return (long)r;                                                         \
	}

REDUCE(sum_char, unsigned char, 0, r += p[i])
REDUCE(sum_int, int, 0, r = (int)((unsigned int)r + (unsigned int)p[i]))
REDUCE(sum_long, unsigned long, 0, r += p[i])
REDUCE(sum_widening, unsigned int, 0, r += ((const unsigned short AS *)p)[i])
REDUCE(min_int, int, 0x7fffffff, r = p[i] < r ? p[i] : r)
REDUCE(max_short, short, -32768, r = p[i] > r ? p[i] : r)
REDUCE(xor_long, unsigned long, 0, r ^= p[i])
REDUCE(dot_int, unsigned int, 0, r += p[i] * H(unsigned int, B)[i])
REDUCE(count_if, int, 0, r += p[i] > 1000)
REDUCE(any_equal, int, 0, r |= p[i] == 12345)

CASE(sum_double)
{
	double sum = 0;

	UNUSED;
	for (long i = 0; i < k; i++)
		sum += H(int, 0)[i] * 0.5;
	return (long)sum;
}

CASE(sum_stride)
{
	long sum = 0;

	UNUSED;
	for (long i = 0; i < k; i++)
		sum += H(struct pair, 0)[i].a - 3 * H(struct pair, 0)[i].b;
	return sum;
}

CASE(map_in_place)
{
	unsigned int AS *p = H(unsigned int, 0);

	UNUSED;
	for (long i = 0; i < k; i++)
		p[i] = p[i] * 3 + n[i];
	return 0;
}

CASE(map_convert)
{
	UNUSED;
	for (long i = 0; i < k; i++)
		H(float, B)[i] = (float)H(short, 0)[i] * 0.25f;
	for (long i = 0; i < k; i++)
		N(int, 0)[i] = (int)H(float, B)[i];
	return 0;
}

CASE(map_conditional)
{
	int AS *p = H(int, 0);

	UNUSED;
	for (long i = 0; i < k; i++)
		if (p[i] < 0)
			H(int, B)[i] = ~p[i];
	return 0;
}

CASE(gather)
{
	UNUSED;
	for (long i = 0; i < k; i++)
		H(int, B)[i] = H(int, 0)[n[i]];
	return 0;
}

CASE(gather_index_in_heap)
{
	long sum = 0;

	UNUSED;
	for (long i = 0; i < k; i++)
		sum += (long)N(int, 0)[h[i]] + H(int, B)[h[i]];
	return sum;
}

CASE(scatter)
{
	UNUSED;
	for (long i = 0; i < k; i++)
		H(int, B)[n[i]] += 1;
	return 0;
}

CASE(histogram_of_heap)
{
	UNUSED;
	for (long i = 0; i < k; i++)
		H(unsigned int, B)[h[i]]++;
	return 0;
}

CASE(interleave)
{
	struct pair AS *p = H(struct pair, B);

	UNUSED;
	for (long i = 0; i < k; i++) {
		p[i].a = H(long, 0)[i];
		p[i].b = H(int, 0)[i];
	}
	return 0;
}

CASE(prefix_sum)
{
	unsigned int AS *p = H(unsigned int, 0);

	UNUSED;
	for (long i = 1; i < k; i++)
		p[i] += p[i - 1];
	return 0;
}

CASE(matrix_multiply)
{
	unsigned int AS (*a)[M] = MATRIX(0);
	unsigned int AS (*b)[M] = MATRIX(B);
	unsigned int AS (*c)[M] = MATRIX(C);

	UNUSED;
	for (int i = 0; i < M; i++)
		for (int j = 0; j < M; j++) {
			c[i][j] = 0;
			for (int l = 0; l < M; l++)
				c[i][j] += a[i][l] * b[l][j];
		}
	return 0;
}

CASE(matrix_transpose)
{
	UNUSED;
	for (int i = 0; i < M; i++)
		for (int j = 0; j < M; j++)
			MATRIX(B)[j][i] = MATRIX(0)[i][j];
	return 0;
}

/* A load that gcc hoists out of both arms, and then moves along the loop by a pointer of its own. */
CASE(hoisted_load)
{
	struct packed AS *v = H(struct packed, 0);
	struct packed AS *w = H(struct packed, B);
	unsigned long sum = 0;

	UNUSED;
	for (long i = 0; i < k % 61; i++) {
		sum ^= (unsigned long)(w[h[i / 2] % 64].c == (w[i].i & n[h[i] % 64])
			? (v[i].l | w[i].i) ^ v[63 - i].i
			: (h[i] - n[5]) ^ (w[i].l | v[i].l));
		v[i].i = (int)(w[n[i] % 64].l | (w[i / 2].l ^ v[i].l));
	}
	return (long)sum;
}

CASE(insertion_sort)
{
	int AS *p = H(int, 0);

	UNUSED;
	for (int i = 1; i < 200; i++) {
		int v = p[i], j = i;

		for (; j && p[j - 1] > v; j--)
			p[j] = p[j - 1];
		p[j] = v;
	}
	return 0;
}

CASE(straight_line_vector)
{
	float AS *p = H(float, B);
	const int AS *q = H(int, 0);

	UNUSED;
	p[0] = (float)q[0], p[1] = (float)q[1], p[2] = (float)q[2], p[3] = (float)q[3];
	p[4] = (float)q[7], p[5] = (float)q[6], p[6] = (float)q[5], p[7] = (float)q[4];
	return 0;
}

CASE(hash_bytes)
{
	unsigned long v = 0xcbf29ce484222325UL;

	UNUSED;
	for (long i = 0; i < k; i++)
		v = (v ^ h[i]) * 0x100000001b3UL;
	return (long)v;
}

#define CASES(X) \
	X(switch_table) X(switch_values) X(constant_table) X(sum_char) X(sum_int) \
	X(sum_long) X(sum_widening) X(min_int) X(max_short) X(xor_long) X(dot_int) \
	X(count_if) X(any_equal) X(sum_double) X(sum_stride) X(map_in_place) \
	X(map_convert) X(map_conditional) X(gather) X(gather_index_in_heap) X(scatter) \
	X(histogram_of_heap) X(interleave) X(prefix_sum) X(matrix_multiply) \
	X(matrix_transpose) X(insertion_sort) X(straight_line_vector) X(hash_bytes) \
	X(hoisted_load)

CASE_TABLE(CASES);
