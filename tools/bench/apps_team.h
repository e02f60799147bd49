/* SPDX-License-Identifier: MIT */
/*
 * apps_team.h - how an implementation starts, and has some threads run the same function
 */
#if defined(IMPL_OMP) && !defined(_OPENMP)
#define IMPL_MISSING "built without OpenMP"
#elif defined(IMPL_LIBITM) && defined(__clang__)
#define IMPL_MISSING "built without gcc's transactions"
#else
#define IMPL_MISSING NULL
#endif

static void impl_start(void)
{
#if defined(IMPL_STM)
	struct stm_options options = STM_OPTIONS_INIT;
	int ret;

	/* Between two rounds of one process all others have theirs: that is no time for pages to grow old in. */
	options.trim_age = STM_TRIM_NEVER;
	ret = stm_init(&options);
	if (ret)
		die("stm_init: %s", stm_strerror(ret));
#elif defined(IMPL_FINE)
	locks_start();
#endif
}

static void impl_attach(void)
{
#if defined(IMPL_STM)
	const int ret = stm_thread_attach();

	if (ret)
		die("stm_thread_attach: %s", stm_strerror(ret));
#endif
}

static void impl_detach(void)
{
#if defined(IMPL_STM)
	stm_thread_detach();
#endif
}

#ifdef IMPL_OMP
#ifdef _OPENMP
#include <omp.h>
#else
#define omp_get_num_threads() 1
#define omp_get_thread_num() 0
#endif

static void impl_team(unsigned int n, void (*member)(unsigned int id, void *arg), void *arg)
{
#pragma omp parallel num_threads(n)
	{
		/* OMP_DYNAMIC and OMP_THREAD_LIMIT may have it otherwise, and the rest would wait for those who lack. */
		if (omp_get_num_threads() != (int)n)
			die("OpenMP gives %d threads instead of %u", omp_get_num_threads(), n);
		member((unsigned int)omp_get_thread_num(), arg);
	}
}

#else

struct member {
	pthread_t thread;
	unsigned int id;
	void (*main)(unsigned int id, void *arg);
	void *arg;
};

static void *member_main(void *arg)
{
	struct member *member = arg;

	member->main(member->id, member->arg);
	return NULL;
}

/*
 * With one thread its own choice would be to run transactions without instrumentation: was it told otherwise? Asked
 * before there are others: where two threads begin their first transactions together, one is serial now and then.
 */
static void team_check(void)
{
#ifdef IMPL_LIBITM
	static int how;

	__transaction_atomic {
		how = _ITM_inTransaction();
	}
	if (how != 1)
		die("libitm does not instrument transactions: ITM_DEFAULT_METHOD has no effect");
#endif
}

static void impl_team(unsigned int n, void (*main)(unsigned int id, void *arg), void *arg)
{
	struct member *members = calloc(n, sizeof(*members));
	int ret;

	if (!members)
		die("no memory for %u threads", n);
	team_check();
	for (unsigned int i = 0; i < n; i++) {
		members[i] = (struct member){ .id = i, .main = main, .arg = arg };
		if (i == 0)
			continue;       /* as in OpenMP: the caller is the first */
		ret = pthread_create(&members[i].thread, NULL, member_main, &members[i]);
		if (ret)
			die("pthread_create: %s", strerror(ret));
	}
	member_main(&members[0]);
	for (unsigned int i = 1; i < n; i++)
		pthread_join(members[i].thread, NULL);
	free(members);
}

#endif
