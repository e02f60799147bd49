// SPDX-License-Identifier: MIT
/* all.cc - the C++ tests as one program, since most of the time goes into compiling the headers. */
#include "face.cc"
#include "parts.cc"
#include "tasks.cc"
#include "collections.cc"
#include "bank.cc"

int main()
{
	stm_options options = STM_OPTIONS_INIT;

	face::not_attached();
	options.heap_size = 32 << 20;
	stm::init(&options);
	{
		stm::thread_scope attached;

		for (const auto &c : cases::all) {
			good = true;
			c.fn(c.name);
			if (good)
				std::printf("ok %s\n", c.name);
			std::fflush(stdout);
		}
	}
	if (!stm_fini())
		std::puts("end");
	return 0;
}
