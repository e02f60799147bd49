// SPDX-License-Identifier: MIT
/* parts.cc - parts of a transaction in C++: nested(), or_else(), savepoints, retry; and every way out of them. */
#include <chrono>
#include <stdexcept>
#include <string>
#include <vector>

#include "cases.h"

namespace parts
{

long balance_of(stm::ptr<account> a)
{
	return stm::atomic([=] { return a->balance; });
}

void nested(const char *name)
{
	auto a = new_account(1, 1);
	std::string order;
	int caught = 0;

	counted::reset();
	long sum = stm::atomic([&] {
		a.write().balance = 10;
		long inner = stm::nested([&] {
			counted c;
			a.write().number = 5;
			return a->balance;
		});
		try {
			stm::nested([&] {
				counted c;
				stm::on_abort([&] { order += "undone"; });
				stm::on_commit([&] { order += "never"; });
				a.write().balance = 99;
				throw std::runtime_error("no");
			});
		} catch (const std::runtime_error &e) {
			caught += e.what() == std::string("no");
		}
		stm::on_commit([&] { order += ", done"; });
		return inner + a->balance + a->number;
	});
	CHECK(sum == 25 && caught == 1 && order == "undone, done" && counted::balanced());
	CHECK(balance_of(a) == 10);

	// Through two levels, and out: the whole transaction is undone.
	try {
		stm::atomic([&] {
			a.write().balance = 20;
			stm::nested([&] { stm::nested([&] { throw 7; }); });
		});
	} catch (int n) {
		caught += n;
	}
	CHECK(caught == 8 && balance_of(a) == 10);

	// Outside of one it is a transaction.
	long &same = stm::nested([&]() -> long & { return sum; });
	CHECK(&same == &sum && stm::nested(stm_in_transaction) && !stm_in_transaction());
	try {
		stm::nested([&] {
			a.write().balance = 30;
			throw 7;
		});
	} catch (int) {
		caught++;
	}
	CHECK(caught == 9 && balance_of(a) == 10);
}

// Leaves the middle of two nested parts, of an alternative and of a second one, by @leave; attempts that it took.
template <class F> int attempts_if_left(F leave)
{
	auto a = new_account();
	int attempts = 0;

	counted::reset();
	stm::atomic([&] {
		counted outer;
		std::vector<counted> several(3);

		attempts++;
		stm::nested([&] {
			counted c;
			a.write().balance++;
			stm::or_else(
				[&] {
					counted d;
					a.write().balance += 100;
					stm::retry();
				},
				[&] {
					counted e;
					a.write().balance++;
					stm::nested([&] {
						counted f;
						leave(attempts);
					});
				});
		});
	});
	return counted::balanced() && balance_of(a) == 2 ? attempts : -1;
}

void ways_out(const char *name)
{
	volatile int again = 2;
	int code = 0;

	CHECK(attempts_if_left([](int) {}) == 1);
	CHECK(attempts_if_left([](int n) {
		      if (n < 3)
			      stm_restart();
	      }) == 3);
	CHECK(attempts_if_left([&](int) { c_restart(&again); }) == 3);
	// Who keeps what is not his leaves at the end of his part.
	CHECK(attempts_if_left([](int n) {
		      try {
			      if (n < 2)
				      stm_restart();
		      } catch (...) {
		      }
	      }) == 2);
	try {
		attempts_if_left([](int) { stm_cancel(12); });
	} catch (const stm::cancelled &e) {
		code = e.code;
	}
	CHECK(code == 12 && counted::balanced());
	try {
		attempts_if_left([](int n) { throw n + 12; });
	} catch (int n) {
		code = n;
	}
	CHECK(code == 13 && counted::balanced());
}

void alternatives(const char *name)
{
	auto a = new_account(1, 2);
	int order = 0, caught = 0;

	counted::reset();
	auto choose = [&](int ready) {
		return stm::or_else(
			[&] {
				counted c;
				a.write().balance = 5;
				if (ready != 1)
					stm::nested([] {
						counted d;
						stm_retry();
					});
				return std::string("first");
			},
			[&] {
				return stm::or_else(
					[&] {
						counted c;
						order += a->balance == 1; // what the first did is undone
						a.write().number = 7;
						if (ready != 2)
							stm::retry();
						return "second";
					},
					[&] {
						order += a->number == 2;
						return "third";
					});
			});
	};
	CHECK(stm::atomic([&] { return choose(3); }) == "third" && order == 2);
	CHECK(choose(3) == "third" && balance_of(a) == 1); // outside: one of its own
	CHECK(choose(2) == "second" && stm::atomic([&] { return a->number; }) == 7);
	CHECK(choose(1) == "first" && balance_of(a) == 5 && counted::balanced());

	// An exception undoes what its function did, and is no reason to try the other.
	for (int in_second = 0; in_second < 2; in_second++)
		stm::atomic([&] {
			a.write().number = 1;
			try {
				stm::or_else(
					[&] {
						a.write().number = 2;
						if (in_second)
							stm::retry();
						throw 1;
					},
					[&] {
						a.write().number = 3;
						throw 2;
					});
			} catch (int n) {
				caught += n;
			}
			CHECK(a->number == 1);
		});
	CHECK(caught == 3);

	// Who swallows it is left at the end of the function.
	long &one = stm::or_else(
		[&]() -> long & {
			try {
				stm::retry();
			} catch (...) {
			}
			a.write().number = 9;
			return stm::ptr<long>(a.value()).write();
		},
		[&]() -> long & {
			static long other;
			return other;
		});
	CHECK(one == 0 && stm::atomic([&] { return a->number; }) == 1);

	// In C's transaction.
	struct arg {
		stm::ptr<account> a;
		int second;
	} arg = { a, 0 };
	counted::reset();
	c_outermost(
		[](void *p) {
			struct arg *x = static_cast<struct arg *>(p);

			stm::or_else(
				[&] {
					counted c;
					x->a.write().balance = 50;
					stm_retry();
				},
				[&] { x->second += x->a->balance == 5; });
		},
		&arg);
	CHECK(arg.second == 1 && counted::balanced());
}

// Both wait: for what either has read.
void waits(const char *name)
{
	for (int which = 0; which < 2; which++) {
		auto a = new_account(), b = new_account();
		std::atomic<int> attempts{ 0 };

		counted::reset();
		std::thread giver([&] {
			stm::thread_scope attached;

			while (!attempts)
				std::this_thread::yield();
			stm::atomic([&] { (which ? a : b).write().balance = 5; });
		});
		int got = stm::atomic([&] {
			counted c;

			attempts++;
			return stm::or_else(
				[&] {
					counted d;
					if (!a->balance)
						stm::retry();
					return 1;
				},
				[&] {
					counted e;
					if (!b->balance)
						stm::retry();
					return 0;
				});
		});
		giver.join();
		CHECK(got == which && counted::balanced());
	}

	// Until a time.
	auto a = new_account();
	using clock = std::chrono::steady_clock;
	const auto soon = clock::now() + std::chrono::milliseconds(20);
	long early = 0, late = stm::atomic([&] {
		return stm::or_else(
			[&] {
				long n = a->balance;
				stm::retry_until(soon);
				return n + 1;
			},
			[&] {
				early++;
				stm::retry_until(soon + std::chrono::hours(1));
				return 2L;
			});
	});
	CHECK(late == 1 && early >= 1 && clock::now() >= soon);

	int error = 0;
	for (auto fn : { +[] { stm::retry(); }, +[] { stm::retry_until(std::timespec{ 0, -1 }); } })
		try {
			fn();
		} catch (const std::system_error &e) {
			error = error * 100 + e.code().value();
		}
	CHECK(error == EPERM * 100 + EINVAL);
}

void savepoints(const char *name)
{
	auto a = new_account();
	int error = 0;

	stm::atomic([&] {
		a.write().balance = 1;
		stm::savepoint first;

		a.write().balance = 2;
		{
			stm::savepoint second;

			a.write().balance = 3;
			second.rollback();
			CHECK(a->balance == 2);
			a.write().balance = 4;
		}
		CHECK(a->balance == 4);
		first.rollback();
		CHECK(a->balance == 1);
		{
			stm::savepoint again; // as many as are left

			CHECK(stm_release(2) == 0);
			try {
				again.rollback();
			} catch (const std::system_error &e) {
				error = e.code().value();
			}
		}
		first.rollback();
		a.write().number = 1;
	});
	CHECK(error == EINVAL && stm::atomic([&] { return a->balance == 1 && a->number == 1; }));
	try {
		stm::savepoint outside;
	} catch (const std::system_error &e) {
		error = e.code().value();
	}
	CHECK(error == EPERM);
}


const cases all = {
	{ "nested", nested },
	{ "ways out", ways_out },
	{ "alternatives", alternatives },
	{ "alternatives that wait", waits },
	{ "savepoints", savepoints },
};

} // namespace parts
