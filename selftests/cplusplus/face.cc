// SPDX-License-Identifier: MIT
/*
 * face.cc - uffdstm.hpp, case by case, with C code beside it (shared.c). Prints "ok CASE" or "bad CASE: WHY" for each,
 * and "end"; cplusplus_test.sh compiles it with both compilers.
 */
#include <cstring>
#include <ctime>
#include <functional>
#include <memory>
#include <stdexcept>
#include <string>
#include <vector>

#include "cases.h"

namespace face
{

// ---- pointers ----

struct sizes {
	char c;
	short s[3];
	double d;
	account pair[2];
	char text[40];
};

void pointers(const char *name)
{
	static_assert(sizeof(stm::ptr<account>) == 8 && std::is_trivially_copyable_v<stm::ptr<account>>);

	auto one = stm::atomic([] { return stm::alloc<account>(5, 6); });
	auto many = stm::atomic([] { return stm::alloc_array<sizes>(10); });

	stm::atomic([&] {
		CHECK(one && one->balance == 5 && (*one).number == 6);
		CHECK(many[9].d == 0 && many[9].text[39] == 0);
		many.write(3).d = 1.5;
		many.write(3).s[2] = -7;
		(many + 4).write(&sizes::c) = 'x';
		(many + 4).write(&sizes::text)[39] = 'y';
		std::strcpy((many + 4).at(&sizes::text).write(), "text");
		one.write() = account{ 7, 8 };
	});
	stm::atomic([&] {
		CHECK(many[3].d == 1.5 && many[3].s[2] == -7 && many.read(4).c == 'x');
		CHECK((many + 4)->text[39] == 'y' && !std::strcmp((many + 4).read(&sizes::text), "text"));
		CHECK((many + 3).read(&sizes::d) == 1.5 && many[2].d == 0 && many[4].d == 0);
		CHECK(one->balance == 7 && one->number == 8);
		CHECK(many + 4 - many == 4 && many + 1 != many && many < many + 1 && many + 1 - 1 == many);

		std::memset(many.write_array(10), 1, 10 * sizeof(sizes));
		CHECK(many.read_array(10)[9].c == 1 && many[0].s[0] == 0x101);
		many.write_array(0);
		many.read_array(0);
	});

	stm::ptr<const account> constant(one.value());
	stm::ptr<account> none;

	stm::atomic([&] {
		CHECK(constant->number == 8 && !none && none == nullptr);
		stm::free(one);
		stm::free(many);
		stm::free(none);
	});
}

void allocation(const char *name)
{
	int caught = 0;

	try {
		stm::atomic([] { stm::alloc_array<account>(std::size_t(1) << 60); });
	} catch (const std::bad_alloc &) {
		caught++;
	}
	try {
		stm::atomic([] { stm::alloc_array<account>(1 << 24); });
	} catch (const std::bad_alloc &) {
		caught++;
	}
	CHECK(caught == 2);
	// A constructor may throw: nothing has been allocated then.
	struct picky {
		int n;
		explicit picky(int k) : n(k)
		{
			if (k < 0)
				throw std::invalid_argument("negative");
		}
	};
	long n = stm::atomic([&] {
		try {
			stm::alloc<picky>(-1);
		} catch (const std::invalid_argument &) {
			caught++;
		}
		auto p = stm::alloc<picky>(3);
		int value = p->n;
		stm::free(p);
		return value;
	});
	CHECK(caught == 3 && n == 3);
	try {
		stm::root<account>(64);
	} catch (const std::system_error &e) {
		caught += e.code().value() == EINVAL;
	}
	CHECK(caught == 4);
}

void with_c(const char *name)
{
	stm::ptr<stm::ptr<item>> list = stm::root<item>(1);

	c_push(1, "one");
	stm::atomic([&] {
		stm::ptr<item> first = *list;

		CHECK(first && first->number == 1 && !std::strcmp(first->name, "one") && !first->next);
		list.write() = stm::alloc<item>(item{ first, 20, "twenty" });
		c_push(300, "three");
	});
	CHECK(c_sum() == 321);
	long sum = stm::atomic([&] {
		long n = 0;

		for (stm::ptr<item> i = *list; i; i = i->next)
			n += i->number;
		return n;
	});
	CHECK(sum == 321);
}

// ---- barriers: each size and alignment that they know ----

template <std::size_t len, std::size_t align> struct alignas(align) block {
	unsigned char bytes[len];
};

// What is instantiated for each size: the barrier itself.
struct barrier {
	std::size_t len, align;
	unsigned char (*read)(std::uintptr_t a);
	void (*write)(std::uintptr_t a);
};

template <std::size_t len, std::size_t align> constexpr barrier barrier_of()
{
	using T = block<len, align>;

	return { sizeof(T), align, [](std::uintptr_t a) -> unsigned char { return stm::ptr<T>(a)->bytes[0]; },
		 [](std::uintptr_t a) { std::memset(stm::ptr<T>(a).write().bytes, 7, len); } };
}

int attempts_if_written(const barrier &b, stm::ptr<unsigned char> area, std::size_t at, std::size_t byte)
{
	int attempts = 0;

	stm::atomic([&] {
		if (b.read((area + at).value()) == 99)
			std::abort();
		if (++attempts == 1)
			elsewhere([&] { area.write(byte) = 5; });
		area.write(4000) = 1; // the same granule for all: what writes nothing does not fail
	});
	return attempts;
}

bool is_undone(const barrier &b, stm::ptr<unsigned char> area, std::size_t at, std::size_t before)
{
	stm::atomic([&] { std::memset(area.write_array(256), 3, 256); });
	try {
		stm::atomic([&] {
			(area + at).write_array(before);
			b.write((area + at).value());
			throw 1;
		});
	} catch (int) {
	}
	return stm::atomic([&] {
		const unsigned char *bytes = area.read_array(256);

		for (int i = 0; i < 256; i++)
			if (bytes[i] != 3)
				return false;
		return true;
	});
}

void check_barrier(const char *name, const barrier &b, stm::ptr<unsigned char> area)
{
	// at granule 2 of the area, and where it reaches into one more, if it may
	for (std::size_t at : { std::size_t(32), 48 - b.align }) {
		std::size_t last = at + b.len - 1, behind = (last / 16 + 1) * 16;

		if (attempts_if_written(b, area, at, at) != 2 || attempts_if_written(b, area, at, last) != 2 ||
		    attempts_if_written(b, area, at, behind) != 1 ||
		    attempts_if_written(b, area, at, at / 16 * 16 - 1) != 1) {
			std::printf("bad %s: read of %zu, %zu at %zu\n", name, b.len, b.align, at);
			good = false;
		}
		for (std::size_t byte = at; byte <= last; byte += 16)
			if (attempts_if_written(b, area, at, byte) != 2) {
				std::printf("bad %s: read of %zu, %zu at %zu: byte %zu\n", name, b.len, b.align, at,
					    byte);
				good = false;
			}

		// What is undone has been logged, whatever part of it had been before.
		for (std::size_t before = 0; before < b.len; before += before % 16 ? 16 - before % 16 : 8)
			if (!is_undone(b, area, at, before)) {
				std::printf("bad %s: write of %zu, %zu at %zu, %zu before\n", name, b.len, b.align, at,
					    before);
				good = false;
			}
	}
}

void barriers(const char *name)
{
	static const barrier all[] = {
		barrier_of<1, 1>(),   barrier_of<4, 4>(),   barrier_of<8, 8>(),	  barrier_of<12, 4>(),
		barrier_of<16, 16>(), barrier_of<16, 8>(),  barrier_of<17, 1>(),  barrier_of<24, 8>(),
		barrier_of<32, 16>(), barrier_of<48, 16>(), barrier_of<64, 16>(), barrier_of<80, 16>(),
	};
	auto area = stm::atomic([] { return stm::alloc_array<unsigned char>(4096); });

	for (const barrier &b : all)
		check_barrier(name, b, area);
}

// ---- exceptions, and other ways out ----

void exceptions(const char *name)
{
	auto a = stm::atomic([] { return stm::alloc<account>(100, 1); });
	int hooked = 0, dropped = 0, saved = 1;
	std::string said;

	counted::reset();
	try {
		stm::atomic([&]() -> int {
			counted c;
			auto keep = std::make_shared<int>(7);

			stm::save(saved);
			saved = 2;
			a.write().balance = 50;
			stm::on_abort([&hooked, keep] { hooked += *keep; });
			stm::on_commit([&dropped, keep] { dropped++; });
			throw std::runtime_error("no money");
		});
	} catch (const std::runtime_error &e) {
		said = e.what();
	}
	CHECK(said == "no money" && !stm_in_transaction());
	CHECK(counted::made == 1 && counted::gone == 1);
	CHECK(hooked == 7 && dropped == 0 && saved == 1);
	CHECK(stm::atomic([&] { return a->balance; }) == 100);

	// Flat nesting: caught inside, nothing is undone.
	stm::atomic([&] {
		try {
			stm::atomic([&] {
				a.write().balance = 70;
				throw 5;
			});
		} catch (int) {
			a.write().number = 70;
		}
	});
	CHECK(stm::atomic([&] { return a->balance + a->number; }) == 140);

	// From an inevitable one it passes on, too.
	int caught = 0;
	try {
		stm::atomic([&] {
			stm_become_inevitable("test");
			a.write().balance = 71;
			throw 6;
		});
	} catch (int n) {
		caught = n;
	}
	CHECK(caught == 6 && !stm_in_transaction() && stm::atomic([&] { return a->balance; }) == 71);
}

void results(const char *name)
{
	long ordinary = 4;

	long &same = stm::atomic([&]() -> long & { return ordinary; });
	CHECK(&same == &ordinary);
	auto owner = stm::atomic([] { return std::make_unique<int>(3); });
	CHECK(*owner == 3);
	std::function<int()> function = [] { return stm_in_transaction() ? 1 : 0; };
	CHECK(stm::atomic(function) == 1);
	struct {
		int operator()() const
		{
			return 2;
		}
	} const functor{};
	CHECK(stm::atomic(functor) == 2);
	CHECK(stm::atomic(stm_in_transaction));
	CHECK(stm::atomic("named", [] { return 8; }) == 8);

	struct stm_name_stats stats[64];
	int n = stm_stats_by_name(stats, 64, sizeof(stats[0]));
	long counted_ones = 0;

	for (int i = 0; i < n && i < 64; i++)
		if (stats[i].name && !std::strcmp(stats[i].name, "named"))
			counted_ones += stats[i].commits_read_only;
	CHECK(counted_ones == 1);
}

// Attempts of a transaction that another one's commit has doomed when @then is called; it returns an object.
template <class F> int attempts_if_doomed(F then)
{
	auto a = stm::atomic([] { return stm::alloc<account>(0, 0); });
	int attempts = 0;

	counted::reset();
	{
		auto kept = stm::atomic([&] {
			counted here;
			std::vector<counted> several(3);

			if (a->balance == 0)
				elsewhere([&] { a.write().balance = 1; });
			attempts++;
			a.write().number = attempts;
			then();
			return several;
		});
	}
	stm::atomic([&] { stm::free(a); });
	return counted::made == counted::gone ? attempts : -1;
}

void restarts(const char *name)
{
	volatile int again = 2;
	struct stm_stats before, after;

	stm_stats(&before, sizeof(before));
	CHECK(attempts_if_doomed([] {}) == 2);
	CHECK(attempts_if_doomed([] { stm_validate(); }) == 2);
	CHECK(attempts_if_doomed([] { stm_become_inevitable("test"); }) == 2);
	CHECK(attempts_if_doomed([&] { c_restart(&again); }) == 3);
	again = 3;
	// Who keeps what is not his leaves at the end.
	CHECK(attempts_if_doomed([&] {
		      try {
			      c_restart(&again);
		      } catch (...) {
		      }
	      }) == 4);
	stm_stats(&after, sizeof(after));
	CHECK(after.aborts[STM_ABORT_RESTART] - before.aborts[STM_ABORT_RESTART] == 5);
	CHECK(after.aborts[STM_ABORT_VALIDATE] - before.aborts[STM_ABORT_VALIDATE] == 1);
	CHECK(after.aborts[STM_ABORT_INEVITABLE] - before.aborts[STM_ABORT_INEVITABLE] == 1);
}

void cancels(const char *name)
{
	auto a = stm::atomic([] { return stm::alloc<account>(1, 0); });
	int code = 0;

	counted::reset();
	try {
		stm::atomic([&] {
			counted c;

			a.write().balance = 2;
			stm_cancel(-12);
			return std::vector<counted>(2);
		});
	} catch (const stm::cancelled &e) {
		code = e.code;
	}
	CHECK(code == -12 && stm_outcome() == -12 && counted::made == 1 && counted::gone == 1);
	CHECK(stm::atomic([&] { return a->balance; }) == 1);
}

// By stm_retry(): asleep nothing of the attempt is left.
void waits(const char *name)
{
	auto a = stm::atomic([] { return stm::alloc<account>(0, 0); });
	int attempts = 0;
	long value = 0;

	counted::reset();
	std::thread giver([&] {
		stm::thread_scope attached;

		stm::atomic([&] {
			if (!a->number) // the other's first attempt has told
				stm_retry();
			a.write().balance = 5;
		});
	});
	value = stm::atomic([&] {
		counted c;
		std::vector<counted> several(2);

		if (!attempts++) {
			elsewhere([&] { a.write().number = 1; });
			stm_restart();
		}
		if (!a->balance)
			stm_retry();
		return a->balance;
	});
	giver.join();
	CHECK(value == 5 && attempts >= 2 && counted::made == counted::gone);

	// Until a deadline, which is in a frame that is gone then.
	int code = 0;
	attempts = 0;
	value = stm::atomic([&] {
		counted c;
		timespec deadline;

		clock_gettime(CLOCK_MONOTONIC, &deadline);
		deadline.tv_nsec += attempts++ ? 0 : 20000000;
		deadline.tv_sec += deadline.tv_nsec / 1000000000;
		deadline.tv_nsec %= 1000000000;
		if (a->number == 1)
			code = stm_retry_until(&deadline);
		return a->balance;
	});
	CHECK(value == 5 && attempts <= 2 && code == -ETIMEDOUT && counted::made == counted::gone);
}

void quiet_barriers(const char *name)
{
	stm::ptr<unsigned char> area;
	int attempts = 0, ends = 0;

	elsewhere([&] { area = stm::alloc_array<unsigned char>(doomed_pages * 4096); });
	stm::atomic([&]() noexcept { write_doomed(area, attempts, ends); });
	CHECK(attempts == 2 && ends == 2);
}

void hooks(const char *name)
{
	auto keep = std::make_shared<int>(0);
	std::string order;
	int error = 0;

	stm::atomic([&] {
		stm::on_commit([&order, keep] { order += "a"; });
		stm::on_abort([&order, keep] { order += "never"; });
		stm::on_commit([&order, keep] { stm::atomic([&] { order += "b"; }); });
	});
	CHECK(order == "ab" && keep.use_count() == 1);
	try {
		stm::on_commit([] {});
	} catch (const std::system_error &e) {
		error = e.code().value();
	}
	CHECK(error == EPERM);
}

// C begins: its rules.
void inside_c(const char *name)
{
	struct arg {
		stm::ptr<account> a;
		volatile int again = 2;
	} arg;

	arg.a = stm::atomic([] { return stm::alloc<account>(0, 0); });
	int attempts = c_outermost(
		[](void *p) {
			struct arg *x = static_cast<struct arg *>(p);

			x->a.write().balance += 1;
			stm::atomic([&] { x->a.write().number += 1; });
			c_restart(&x->again);
		},
		&arg);
	CHECK(attempts == 3);
	CHECK(stm::atomic([&] { return arg.a->balance == 1 && arg.a->number == 1; }));
}

// ---- threads ----

// Of a thread that is not attached, and did not get %gs from one that is: no access, no fault.
[[gnu::noinline]] long sum_of(const stm::ptr<account> *p, int n)
{
	long sum = 0;

	for (int i = 0; i < n; i++)
		if (p[i])
			sum += p[i]->balance;
	return sum;
}

void threads(const char *name)
{
	int error = 0;

	{
		stm::thread_scope again; // attached already: stays so
	}
	CHECK(stm::atomic([] { return true; }));
	std::thread([&] {
		{
			stm::thread_scope attached;
		}
		error = stm_thread_detach();
	}).join();
	CHECK(error == -EPERM);
	try {
		stm::init();
	} catch (const std::system_error &e) {
		error = e.code().value();
	}
	CHECK(error == EALREADY);
}


void not_attached()
{
	const stm::ptr<account> none[3];

	std::puts(sum_of(none, 3) == 0 ? "ok not attached" : "bad not attached");
	std::fflush(stdout);
}

const cases all = {
	{ "pointers", pointers },
	{ "allocation", allocation },
	{ "with C", with_c },
	{ "barriers", barriers },
	{ "exceptions", exceptions },
	{ "results", results },
	{ "restarts", restarts },
	{ "cancels", cancels },
	{ "waits", waits },
	{ "hooks", hooks },
	{ "inside C", inside_c },
	{ "quiet barriers", quiet_barriers },
	{ "threads", threads },
};

} // namespace face
