/* SPDX-License-Identifier: MIT */
/*
 * bank.h - accounts of one granule each: transfers between two, and the sum of all
 *
 * Included once for each implementation: see impl.h for the words.
 */
#define BANK_OPENING 1000

struct account {
	_Alignas(16) long balance;
	long number;
};

OPERATION void bank_transfer(struct account SHARED *accounts, unsigned int from, unsigned int to,
			     long amount)
{
	ATOMIC {
		struct account SHARED *a = &accounts[from], *b = &accounts[to];

		WRITE(a);
		a->balance -= amount;
		WRITE(b);
		b->balance += amount;
	}
}

/* A call of its own: in a function with a block of STM_ATOMIC the loop would have its variables in memory. */
OPERATION long bank_sum_of(const struct account SHARED *accounts, unsigned int n)
{
	long sum = 0;

	READ_RANGE(accounts, n * sizeof(*accounts));
	for (unsigned int i = 0; i < n; i++)
		sum += accounts[i].balance;
	return sum;
}

OPERATION long bank_sum(struct account SHARED *accounts, unsigned int n)
{
	ATOMIC
		return bank_sum_of(accounts, n);
	return 0;
}

static uintptr_t bank_make(unsigned int n)
{
	ATOMIC {
		struct account SHARED *a = ALLOC_ZERO(n * sizeof(*a));

		for (unsigned int i = 0; i < n; i++) {
			a[i].balance = BANK_OPENING;
			a[i].number = i;
		}
		return (uintptr_t)a;
	}
	return 0;
}

OPERATION const char *bank_check(struct account SHARED *accounts, unsigned int n)
{
	const char *volatile wrong = NULL;

	ATOMIC {
		for (unsigned int i = 0; i < n; i++)
			if (GET(accounts[i].number) != i)
				wrong = "an account has lost its number";
	}
	return wrong;
}
