// SPDX-License-Identifier: MIT
/* tasks.cc - lambdas as tasks of queues and pieces of loops: each once, in order, exceptions, destructors. */
#include <cmath>
#include <memory>
#include <stdexcept>
#include <string>
#include <vector>

#include "cases.h"

namespace tasks
{

stm_loop_options grain(std::size_t n, const stm_run_options *run = nullptr)
{
	stm_loop_options o = {};

	o.grain = n;
	o.run = run;
	return o;
}

template <class T> T get(stm::ptr<T> p)
{
	return stm::atomic([=] { return *p; });
}

void each_once(const char *name)
{
	constexpr int n = 300;
	auto ran = stm::atomic([] { return stm::alloc_array<int>(3 * n); });

	counted::reset();
	{
		stm::queue queue;
		auto token = std::make_unique<counted>();

		for (int i = 0; i < n; i++)
			queue.add([=, &queue, c = counted()] {
				counted local;
				ran.write(i)++;
				queue.add([=, c = counted()] { ran.write(i + n)++; }, i % 4);
				if (i % 10 == 0) { // an addition that is undone
					try {
						stm::nested([&] {
							queue.add([=, c = counted()] { ran.write(0) += 1000; });
							throw 1;
						});
					} catch (int) {
					}
				}
			});
		queue.add([ran, token = std::move(token)] { ran.write(2 * n)++; });
		CHECK(queue.run(2) == 0 && queue.counts().executed == 2 * n + 1);
		CHECK(counted::balanced());
		CHECK(queue.run() == 0);

		struct stm_queue_counts c;
		CHECK(!stm_queue_counts(queue.get(), &c) && c.executed == 2 * n + 1);
		queue.add([c = counted()] {}); // never to run
	}
	CHECK(counted::balanced());
	stm::atomic([&] {
		for (int i = 0; i < 2 * n; i++)
			CHECK(ran[i] == 1);
		CHECK(ran[2 * n] == 1);
	});

	// A bad priority takes nothing.
	int error = 0;
	stm::queue queue;
	counted::reset();
	try {
		queue.add([c = counted()] {}, 99);
	} catch (const std::system_error &e) {
		error = e.code().value();
	}
	CHECK(error == EINVAL && counted::balanced() && queue.run() == 0);
}

// Attempts that end in the middle destroy what they had.
void restarts(const char *name)
{
	auto a = new_account();
	std::atomic<int> attempts{ 0 }, steps{ 0 };
	stm::queue queue;

	counted::reset();
	for (int i = 0; i < 50; i++)
		queue.add([&, c = counted()] {
			std::vector<counted> several(2);
			auto text = std::make_unique<std::string>(100, 'x');

			a.write().balance++;
			if (attempts++ % 3 == 0)
				stm_restart();
			stm::nested([&] {
				counted d;
				if (attempts++ % 3 == 0)
					stm_restart();
			});
		});
	queue.add([&] {
		counted c;
		if (a->balance < 50)
			stm_retry();
		a.write().number = 1;
	});
	queue.add([&, n = 0, c = counted()]() mutable {
		counted d;
		stm::save(n);
		if (steps++ == 1) {
			a.write().number = 1000;
			stm_cancel(STM_QUEUE_AGAIN); // undone, and put off
		}
		return ++n < 3 ? stm::step::again : stm::step::done;
	});
	CHECK(queue.run(2) == 0 && counted::balanced());
	CHECK(get(a).balance == 50 && get(a).number == 1 && steps == 4);
}

void quiet_barriers(const char *name)
{
	auto area = stm::atomic([] { return stm::alloc_array<unsigned char>(doomed_pages * 4096); });
	std::atomic<int> attempts{ 0 }, ends{ 0 };
	stm::queue queue;

	counted::reset();
	queue.add([&] { write_doomed(area, attempts, ends); });
	CHECK(queue.run(1) == 0 && attempts == 2 && ends == 2 && counted::balanced());
}

void failures(const char *name)
{
	auto a = new_account();
	std::string thrown;
	int codes = 0;
	stm::queue queue;

	counted::reset();
	for (int i = 0; i < 100; i++)
		queue.add([=, c = counted()] {
			counted d;
			a.write().balance++;
			if (i % 20 == 5)
				throw std::runtime_error("task " + std::to_string(i));
			if (i % 20 == 15)
				stm_cancel(i);
		});
	for (int runs = 0; runs < 11; runs++)
		try {
			codes += queue.run(2) == 0 ? 1000 : 5000;
		} catch (const std::runtime_error &e) {
			thrown += e.what() + std::string(";");
		} catch (const stm::cancelled &e) {
			codes += e.code;
		}
	// Each is told once, by a run of its own, in some order; with two workers not that of the additions.
	CHECK(codes == 1000 + 15 + 35 + 55 + 75 + 95);
	for (int i = 5; i < 100; i += 20)
		CHECK(thrown.find("task " + std::to_string(i) + ";") != thrown.npos);
	CHECK(get(a).balance == 90 && counted::balanced());

	// An inevitable one commits, and passes it on.
	queue.add([=] {
		stm_become_inevitable("test");
		a.write().balance = 7;
		throw 7;
	});
	int caught = 0, error = 0;
	try {
		queue.run(1);
	} catch (int n) {
		caught = n;
	}
	CHECK(caught == 7 && get(a).balance == 7);

	stm::atomic([&] {
		try {
			queue.run();
		} catch (const std::system_error &e) {
			error = e.code().value();
		}
	});
	CHECK(error == EBUSY);

	// Told to stop: not an error, and what is left stays.
	for (int i = 0; i < 20; i++)
		queue.add([&] {
			a.write().balance = 8;
			if (!queue.stopping())
				stm::on_commit([&] { queue.cancel(); });
		});
	CHECK(queue.run(1) == -ECANCELED && !queue.cancel() && queue.stopping());
	stm_run_options options = {};
	options.threads = 1;
	options.progress = [](const stm_progress *, void *) { return 17; };
	options.progress_ms = 1;
	queue.add([&] {
		while (!queue.stopping())
			std::this_thread::yield();
	}, STM_PRIORITY_MAX);
	CHECK(queue.run(options) == 17);
}

void ordered(const char *name)
{
	auto log = stm::atomic([] { return stm::alloc_array<int>(201); });
	stm_queue_options options = {};
	std::string why;

	// A task that runs ahead sees what is not so yet: what it throws then counts as little as what it writes.
	options.ordered = true;
	stm::queue queue(options);
	counted::reset();
	for (int i = 0; i < 100; i++)
		queue.add([=, c = counted()] {
			if (log[0] != i)
				throw std::logic_error("out of order");
			if (i == 60)
				throw std::runtime_error("task 60");
			log.write(++log.write(0)) = i;
		});
	try {
		queue.run(2);
	} catch (const std::exception &e) {
		why = e.what();
	}
	CHECK(why == "task 60" && get(log) == 60);
	why.clear();
	try {
		queue.run(2);
	} catch (const std::exception &e) {
		why = e.what();
	}
	CHECK(why == "out of order" && get(log) == 60);
}

void loops(const char *name)
{
	constexpr std::size_t n = 3000;
	auto ran = stm::atomic([] { return stm::alloc_array<int>(n); });
	std::atomic<int> attempts{ 0 };
	std::string why;

	counted::reset();
	CHECK(stm::parallel_for(0, n, [&](std::size_t i) {
		      counted c;
		      ran.write(i)++;
		      if (attempts++ % 1000 == 0)
			      stm_restart();
	      }) == 0);
	CHECK(stm::parallel_for(10, n, [&](std::size_t from, std::size_t to) {
		      counted c;
		      for (std::size_t i = from; i < to; i++)
			      ran.write(i) += 2;
	      }, grain(7)) == 0);
	CHECK(counted::balanced());
	stm::atomic([&] {
		for (std::size_t i = 0; i < n; i++)
			CHECK(ran[i] == (i < 10 ? 1 : 3));
	});

	// In order: all before the piece that fails have committed, none behind it has.
	try {
		stm::parallel_for_ordered(0, n, [&](std::size_t i) {
			if (i == 1234)
				throw std::runtime_error("index " + std::to_string(i));
			if (i && ran[i - 1] != 9)
				throw std::logic_error("out of order");
			ran.write(i) = 9;
		}, grain(10));
	} catch (const std::exception &e) {
		why = e.what();
	}
	CHECK(why == "index 1234");
	stm::atomic([&] {
		for (std::size_t i = 0; i < n; i++)
			CHECK((ran[i] == 9) == (i < 1230));
	});

	int code = 0;
	try {
		stm::parallel_for(0, 10, [](std::size_t) { stm_cancel(33); });
	} catch (const stm::cancelled &e) {
		code = e.code;
	}
	CHECK(code == 33);
	try {
		stm::parallel_for(10, 0, [](std::size_t) {});
	} catch (const std::system_error &e) {
		code = e.code().value();
	}
	CHECK(code == EINVAL);
}

void reductions(const char *name)
{
	struct digits {
		char text[40];
		int n;
	};
	auto append = [](std::size_t i, digits &d) { d.text[d.n++] = static_cast<char>('0' + i % 10); };
	auto join = [](digits a, const digits &b) {
		for (int i = 0; i < b.n; i++)
			a.text[a.n++] = b.text[i];
		return a;
	};
	auto all = stm::parallel_reduce(0, 30, digits{}, append, join, grain(4));
	int thrown = 0;

	CHECK(all.n == 30 && !std::string(all.text, 30).compare("012345678901234567890123456789"));
	CHECK(stm::parallel_reduce(1, 1001, 0L, [](std::size_t i, long &sum) { sum += long(i); }) == 500500);

	// An attempt that is undone begins with the identity.
	std::atomic<int> attempts{ 0 };
	long n = stm::parallel_reduce(0, 100, 0L, [&](std::size_t from, std::size_t to, long &sum) {
		counted c;
		sum += static_cast<long>(to - from);
		if (attempts++ % 2 == 0)
			stm_restart();
	}, std::plus<>(), grain(10));
	CHECK(n == 100);

	try {
		stm::parallel_reduce(0, 30, 0, [](std::size_t i, int &) {
			if (i == 20)
				throw 20;
		});
	} catch (int i) {
		thrown += i;
	}
	try {
		stm::parallel_reduce(0, 30, 0, [](std::size_t, int &) {}, [](int, int) -> int { throw 3; });
	} catch (int i) {
		thrown += i;
	}
	CHECK(thrown == 23);

	std::timespec past = { 0, 1 };
	stm_run_options run = {};
	run.size = sizeof(run);
	run.deadline = &past;
	try {
		stm::parallel_reduce(0, 30, 0, [](std::size_t, int &) {}, std::plus<>(), grain(1, &run));
	} catch (const std::system_error &e) {
		thrown = e.code().value();
	}
	CHECK(thrown == ETIMEDOUT);
}


const cases all = {
	{ "each task once", each_once },
	{ "restarts of tasks", restarts },
	{ "quiet barriers in tasks", quiet_barriers },
	{ "failures", failures },
	{ "tasks in order", ordered },
	{ "loops", loops },
	{ "reductions", reductions },
};

} // namespace tasks
