// SPDX-License-Identifier: MIT
/*
 * bank.cc - four threads move money in C++, with exceptions, restarts and cancels at random, while each now and then
 * sums up all accounts: no sum is ever wrong, every hook runs as often as it should, and what has a destructor is
 * destroyed. STM_SEED is the seed.
 */
#include <atomic>
#include <cstdio>
#include <cstdlib>
#include <memory>
#include <random>
#include <stdexcept>
#include <thread>
#include <vector>

#include "cases.h"

namespace bank
{

constexpr unsigned int accounts = 64, threads = 4;
constexpr long opening = 1000;

struct refused : std::runtime_error {
	using std::runtime_error::runtime_error;
};

std::atomic<long> wrong, hooked, undone;

struct totals {
	long moved = 0, refused = 0, cancelled = 0;
};

totals teller(stm::ptr<account> all, unsigned int seed, int n)
{
	stm::thread_scope attached;
	std::mt19937 random(seed);
	totals t;

	for (int i = 0; i < n; i++) {
		unsigned int from = random() % accounts, to = random() % accounts, fate = random() % 16;
		long amount = random() % 300;
		int restarts = fate == 1;

		if (fate == 0) {
			long sum = stm::atomic([&] {
				counted c;
				long s = 0;

				for (unsigned int a = 0; a < accounts; a++)
					s += all[a].balance;
				return s;
			});
			wrong += sum != accounts * opening;
			continue;
		}
		try {
			auto shared = stm::atomic([&] {
				counted c;
				auto result = std::make_shared<counted>();
				account &a = all.write(from);

				stm::on_commit([result] { hooked++; });
				stm::on_abort([result] { undone++; });
				a.balance -= amount;
				a.number++; // of transfers
				if (a.balance < 0)
					throw refused("no money");
				if (fate == 2)
					stm_cancel(1);
				if (restarts) {
					restarts--;
					stm_restart();
				}
				if (fate == 3)
					stm_validate();
				if (fate == 4)
					stm_become_inevitable("transfer");
				all.write(to).balance += amount;
				return result;
			});
			wrong += !shared || shared.use_count() != 1;
			t.moved++;
		} catch (const refused &) {
			t.refused++;
		} catch (const stm::cancelled &) {
			t.cancelled++;
		}
	}
	return t;
}

void bank(const char *name)
{
	int n = std::getenv("UFFDSTM_STRICT") ? 400 : std::getenv("STM_LONG") ? 200000 : 10000;
	std::vector<std::thread> tellers;
	totals t[threads], sum;

	counted::reset();
	auto all = stm::atomic([] {
		auto p = stm::alloc_array<account>(accounts);

		for (unsigned int i = 0; i < accounts; i++)
			p.write(i).balance = opening;
		return p;
	});
	for (unsigned int i = 0; i < threads; i++)
		tellers.emplace_back([=, &t] { t[i] = teller(all, seed() * threads + i, n); });
	for (unsigned int i = 0; i < threads; i++) {
		tellers[i].join();
		sum.moved += t[i].moved;
		sum.refused += t[i].refused;
		sum.cancelled += t[i].cancelled;
	}
	auto [balance, transfers] = stm::atomic([&] {
		long b = 0, n = 0;

		for (unsigned int i = 0; i < accounts; i++) {
			b += all[i].balance;
			n += all[i].number;
		}
		return std::pair(b, n);
	});

	std::printf("# seed %u: bank: %ld moved, %ld refused, %ld cancelled, %ld attempts undone\n", seed(), sum.moved,
		    sum.refused, sum.cancelled, undone.load());
	// Each that was refused or cancelled has been undone for good, and may have been before.
	CHECK(!wrong && counted::balanced());
	CHECK(balance == accounts * opening && transfers == sum.moved && hooked == sum.moved);
	CHECK(sum.refused && sum.cancelled && undone >= sum.refused + sum.cancelled);
}

const cases all = {
	{ "bank", bank },
};

} // namespace bank
