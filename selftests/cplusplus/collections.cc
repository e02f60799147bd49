// SPDX-License-Identifier: MIT
/*
 * collections.cc - the collections in C++: each call, random walks beside std::map, and maps that C code looks into.
 * STM_SEED is the seed.
 */
#include <chrono>
#include <cstdlib>
#include <map>
#include <random>
#include <string>
#include <string_view>

#include <uffdstm/blob.hpp>
#include <uffdstm/counter.hpp>
#include <uffdstm/fifo.hpp>
#include <uffdstm/map.hpp>
#include <uffdstm/ordered.hpp>
#include <uffdstm/vector.hpp>

#include "cases.h"

namespace collections
{

void maps(const char *name)
{
	using ages = stm::map<std::uint64_t, long>;
	constexpr std::uint64_t n = 5000;

	stm::atomic([] { stm::root_of<ages>(3).write() = ages::make(); });
	ages map = stm::atomic([] { return *stm::root_of<ages>(3); });
	CHECK(map && map == ages(map.value()) && map != ages());
	for (std::uint64_t i = 0; i < n; i++) // small transactions, while it grows
		stm::atomic([&] { CHECK(map.insert(i, static_cast<long>(i))); });
	CHECK(c_map_sum(map.value(), n) == n * (n - 1) / 2);
	stm::atomic([&] {
		CHECK(map.get(n) == 1000 && !map.get(0) && !map.find(0) && map.size() == n);
		CHECK(!map.insert(1, 7) && map.get(1) == 1);
		map.put(1, 7);
		map.put(n + 1, 8);
		map.find(2).write() = 9;
		CHECK(map.get(1) == 7 && *map.find(n + 1) == 8 && map.get(2) == 9);
		CHECK(map.remove(n + 1) && !map.remove(n + 1) && !map.get(n + 1));
	});
	long sum = 0, entries = 0;
	stm::atomic([&] {
		sum = entries = 0;
		for (auto &[key, value] : map) {
			sum += key == n ? 0 : value - static_cast<long>(key);
			entries++;
		}
	});
	CHECK(sum == 6 + 7 && entries == n);
	try {
		stm::atomic([&] {
			map.put(1, 0);
			map.remove(3);
			throw 1;
		});
	} catch (int) {
	}
	stm::atomic([&] {
		CHECK(map.get(1) == 7 && map.get(3) == 3);
		map.free();
	});
}

// Two keys are one that differ in their case.
struct word {
	char text[7];
	bool unused;
};
struct by_case {
	static std::uint64_t hash(const word &w, std::uint64_t seed)
	{
		return stm_hash(w.text, 0, seed); // the same for all: equal() tells them apart
	}
	static bool equal(const word &a, const word &b)
	{
		return (a.text[0] | 32) == (b.text[0] | 32);
	}
};
struct large {
	long n[12];
};

void walks(const char *name)
{
	std::mt19937 random(seed());
	std::map<int, long> model;
	auto map = stm::atomic([] { return stm::map<int, large>::make(); });
	auto ordered = stm::atomic([] { return stm::ordered<int, long, std::greater<int>>::make(); });
	auto words = stm::atomic([] { return stm::map<word, int, by_case>::make(); });

	for (int i = 0; i < 3000; i++) {
		int key = static_cast<int>(random() % 400) - 200;
		long value = static_cast<long>(random() % 1000);
		bool was = model.count(key);

		if (i % 3) {
			bool is_new = stm::atomic([&] {
				map.put(key, { { value, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, key } });
				return ordered.put(key, value);
			});
			CHECK(is_new == !was);
			model[key] = value;
		} else {
			std::optional<long> old;
			CHECK(stm::atomic([&] {
				old = ordered.take(key);
				return map.remove(key);
			}) == was);
			CHECK(old.has_value() == was && (!was || *old == model[key]));
			model.erase(key);
		}
	}
	stm::atomic([&] {
		auto at = model.rbegin();

		for (auto [key, value] : ordered) {
			CHECK(at != model.rend() && key == at->first && value == at->second);
			at++;
		}
		CHECK(at == model.rend() && ordered.count() == model.size() && map.size() == model.size());
		for (auto [key, value] : model) {
			auto found = map.get(key);
			CHECK(found && found->n[0] == value && found->n[11] == key && *ordered.get(key) == value);
			CHECK(ordered.remove(key));
		}
		CHECK(!ordered.first() && !ordered.last() && !ordered.remove(1));
		ordered.free();
		map.free();

		words.put({ "a", false }, 1);
		words.put({ "B", false }, 2);
		words.put({ "A", true }, 3);
		CHECK(!words.get({ "c", false }) && words.size() == 2);
		CHECK(words.get({ "a", true }) == 3 && words.get({ "b", false }) == 2);
		words.free();
	});
}

void ordered_maps(const char *name)
{
	auto map = stm::atomic([] { return stm::ordered<std::int64_t, long>::make(); });
	auto places = stm::atomic([] { return stm::ordered<std::uint64_t, account>::make(); });

	stm::atomic([&] {
		for (long i : { 30, -10, 20 })
			map.put(i, i == 30 ? 3 : i == 20 ? 2 : 1);
		CHECK(map.first().key() == -10 && map.last().key() == 30 && map.last().value() == 3);
		CHECK(map.lower(20).key() == -10 && map.floor(20).key() == 20 && map.floor(19).key() == -10);
		CHECK(map.ceiling(20).key() == 20 && map.higher(20).key() == 30 && !map.higher(30) && !map.lower(-10));
		long digits = 0;
		for (auto [key, value] : map.from(0))
			digits = digits * 10 + value;
		CHECK(digits == 23);
		auto c = map.last();
		c.previous();
		CHECK(c && c.key() == 20 && c.value() == 2);
		c.in_heap().write() = 5;
		CHECK(map.get(20) == 5 && *map.find(20) == 5 && !map.find(21) && !map.get(21));
		c.next();
		c.next();
		CHECK(!c);
		CHECK(!map.put(20, 2) && map.put(40, 4));
		// unsigned: a key with its highest bit comes last
		places.put(std::uint64_t(1) << 63, { 1, 2 });
		places.put(5, { 3, 4 });
		CHECK(places.first().key() == 5 && places.last().value().number == 2 && places.find(5)->number == 4);
		places.free();
	});
	CHECK(c_ordered_sum(map.value()) == 1234);
}

void vectors(const char *name)
{
	auto vector = stm::atomic([] { return stm::vector<account>::make(); });

	stm::atomic([&] {
		CHECK(vector.size() == 0 && !vector.pop() && !vector.at(0) && !vector.get(0) && !vector.set(0, {}));
		for (long i = 0; i < 1000; i++)
			vector.push({ i, -i });
		vector.at(500).write(&account::balance) = 7;
		CHECK(vector.set(501, { 8, 9 }) && vector.size() == 1000);
		CHECK(vector.get(500)->balance == 7 && vector.at(501)->number == 9 && vector.get(999)->number == -999);
		CHECK(vector.pop()->balance == 999 && vector.size() == 999);
		vector.resize(10);
		vector.resize(11);
		CHECK(vector.get(10)->balance == 0 && vector.get(9)->balance == 9 && !vector.get(11));
		vector.free();
	});
	int caught = 0;
	try {
		stm::atomic([&] { stm::vector<account>::make().resize(std::size_t(1) << 30); });
	} catch (const std::bad_alloc &) {
		caught++;
	}
	CHECK(caught == 1);
}

void blobs(const char *name)
{
	using namespace std::string_view_literals;
	stm::blob blob = stm::atomic([] { return stm::blob::make("Ada"); });

	stm::atomic([&] {
		blob.append(" Lovelace"sv);
		CHECK(blob.length() == 12 && blob.string() == "Ada Lovelace" && blob.string(4) == "Lovelace");
		CHECK(blob.string(4, 4) == "Love" && blob.string(99).empty());
		CHECK(!blob.compare("Ada Lovelace") && blob.compare("Ada") > 0 && blob.compare("B") < 0);
		blob.write(1, "ge");
		blob.resize(4);
		CHECK(blob.string() == "Age ");
		blob.set("\0x"sv);
		CHECK(blob.string() == std::string("\0x", 2));
		stm::blob none = stm::blob::make();
		CHECK(none.length() == 0 && none.string().empty());
		none.free();
		blob.free();
	});
}

void fifos(const char *name)
{
	auto todo = stm::atomic([] { return stm::fifo<int>::make(2); });
	auto done = stm::atomic([] { return stm::priority<int>::make(3, 1); });
	const auto past = std::chrono::steady_clock::now();
	long sum = 0;
	int error = 0;

	stm::atomic([&] {
		CHECK(!todo.try_get() && !todo.peek() && !todo.get_until(past));
		todo.put(1);
		CHECK(todo.put_until(2, past) && !todo.put_until(3, past) && !todo.try_put(3));
		CHECK(todo.length() == 2 && todo.peek() == 1 && todo.try_get() == 1 && todo.get_until(past) == 2);
		CHECK(todo.try_put(3) && todo.get() == 3);

		unsigned int level = 9;
		CHECK(!done.try_get() && !done.get_until(past) && done.try_put(2, 20) && done.put_until(1, 10, past));
		CHECK(!done.try_put(1, 11) && !done.put_until(1, 11, past) && done.length() == 2);
		CHECK(done.try_get(&level) == 10 && level == 1 && done.get_until(past, &level) == 20 && level == 2);
		done.put(0, 1);
		CHECK(done.get() == 1);
		try {
			done.put(3, 1);
		} catch (const std::system_error &e) {
			error = e.code().value();
		}
	});
	CHECK(error == EINVAL);

	// Full and empty ones make who uses them wait.
	std::thread worker([&] {
		stm::thread_scope attached;

		for (int n = 1; n;)
			n = stm::atomic([&] {
				counted c;
				int item = todo.get();

				done.put(item % 3, item);
				return item;
			});
	});
	counted::reset();
	for (int i = 1; i <= 500; i++) {
		stm::atomic([&] { todo.put(i); });
		sum += stm::atomic([&] { return done.get(); });
	}
	stm::atomic([&] { todo.put(0); });
	worker.join();
	CHECK(sum == 500 * 501 / 2 && counted::balanced());
	stm::atomic([&] {
		todo.free();
		done.free();
	});
}

void counters(const char *name)
{
	struct owner {
		stm_counter hits;
	};
	auto sum = stm::atomic([] { return stm::counter::make(); });
	auto most = stm::atomic([] { return stm::counter::make(STM_COUNTER_MAX); });

	stm::parallel_for(0, 1000, [&](std::size_t i) {
		sum.add(2);
		most.add(static_cast<long>(i));
	});
	stm::atomic([&] {
		CHECK(sum.get() == 2000 && most.get() == 999);
		sum.set(-1);
		sum.add(-1);
		CHECK(sum.get() == -2);
		auto p = stm::alloc_array<owner>(1);
		auto part = stm::counter::init(p.at(&owner::hits), STM_COUNTER_MIN);
		part.add(5);
		part.add(7);
		CHECK(part.get() == 5);
		stm::free(p);
		sum.free();
		most.free();
	});
}


const cases all = {
	{ "maps", maps },
	{ "random walks", walks },
	{ "ordered maps", ordered_maps },
	{ "vectors", vectors },
	{ "blobs", blobs },
	{ "FIFO queues", fifos },
	{ "counters", counters },
};

} // namespace collections
