// SPDX-License-Identifier: MIT
/*
 * cases.h - what the C++ tests have in common: cases that print "ok CASE" or "bad CASE: WHY", and "end" when all is
 * taken down. Each file has a namespace and a list of cases; all.cc makes one program of them.
 */
#ifndef CASES_H
#define CASES_H

#include <atomic>
#include <cstdio>
#include <cstdlib>
#include <functional>
#include <initializer_list>
#include <thread>
#include <vector>

#include "shared.h"

inline bool good;

#define CHECK(x)                                                                  \
	do {                                                                      \
		if (!(x)) {                                                       \
			std::printf("bad %s: line %d: %s\n", name, __LINE__, #x); \
			good = false;                                             \
		}                                                                 \
	} while (0)

// A file's cases.
struct cases {
	struct one {
		const char *name;
		void (*fn)(const char *name);
	};
	static inline std::vector<one> all;

	cases(std::initializer_list<one> some)
	{
		all.insert(all.end(), some);
	}
};

// STM_SEED
inline unsigned int seed()
{
	const char *text = std::getenv("STM_SEED");

	return text ? static_cast<unsigned int>(std::strtoul(text, nullptr, 0)) : 1;
}

// Something with a destructor: all that are made must go.
struct counted {
	static inline std::atomic<int> made, gone;

	counted()
	{
		made++;
	}
	counted(const counted &)
	{
		made++;
	}
	~counted()
	{
		gone++;
	}
	static bool balanced()
	{
		return made == gone && made > 0;
	}
	static void reset()
	{
		made = gone = 0;
	}
};

struct account {
	long balance;
	long number;
};

inline stm::ptr<account> new_account(long balance = 0, long number = 0)
{
	return stm::atomic([=] { return stm::alloc<account>(balance, number); });
}

// Another thread's transaction, meanwhile.
inline void elsewhere(const std::function<void()> &f)
{
	std::thread([&] {
		stm::thread_scope attached;

		stm::atomic(f);
	}).join();
}

constexpr int doomed_pages = 64;

// For a transaction whose first attempt is doomed, and then writes new pages of @area. In C it would be left by the
// barrier.
template <class Count> void write_doomed(stm::ptr<unsigned char> area, Count &attempts, Count &ends)
{
	counted c;

	if (area[0] == 0)
		elsewhere([&] {
			for (int i = 0; i < doomed_pages; i++)
				area.write(i * 4096) = 1;
		});
	attempts++;
	for (int i = 0; i < doomed_pages; i++)
		area.write(i * 4096 + 100) = 2;
	ends++;
}

#endif
