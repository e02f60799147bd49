/* SPDX-License-Identifier: MIT */
/*
 * locks.h - what ATOMIC is without the library: nothing, locks, what OpenMP has, or gcc's transactions. See words.h
 */
#ifndef BENCH_LOCKS_H
#define BENCH_LOCKS_H

/* A block that begins with @lock, and ends with unlock(@lock) wherever it is left. */
#define LOCKED_(lock, unlock)                                                                       \
	for (__typeof__(lock) lock__ __attribute__((__cleanup__(unlock))) = (lock), run__ = lock__; \
	     run__; run__ = 0)

#if defined(IMPL_SEQ)

#define ATOMIC

#elif defined(IMPL_MUTEX) || defined(IMPL_FINE)

static _Alignas(64) pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER;

static inline pthread_mutex_t *locked(pthread_mutex_t *which)
{
	pthread_mutex_lock(which);
	return which;
}

static inline void unlock(pthread_mutex_t **which)
{
	pthread_mutex_unlock(*which);
}

#define ATOMIC LOCKED_(locked(&mutex), unlock)

#elif defined(IMPL_RWLOCK)

static _Alignas(64) pthread_rwlock_t rwlock = PTHREAD_RWLOCK_INITIALIZER;

static inline pthread_rwlock_t *locked_write(void)
{
	pthread_rwlock_wrlock(&rwlock);
	return &rwlock;
}

static inline pthread_rwlock_t *locked_read(void)
{
	pthread_rwlock_rdlock(&rwlock);
	return &rwlock;
}

static inline void unlock(pthread_rwlock_t **which)
{
	pthread_rwlock_unlock(*which);
}

#define ATOMIC LOCKED_(locked_write(), unlock)
#define ATOMIC_READ LOCKED_(locked_read(), unlock)

#elif defined(IMPL_OMP)

/* As they are: of the threads that OpenMP starts, see apps_team.h. */
#define ATOMIC _Pragma("omp critical")
#define ATOMIC_ADD(old, x, n)                   \
	do {                                    \
		_Pragma("omp atomic capture")   \
		{                               \
			(old) = (x);            \
			(x) += (n);             \
		}                               \
	} while (0)

#elif defined(IMPL_LIBITM)

#define ATOMIC __transaction_atomic

#else
#error "no IMPL_"
#endif

#ifdef IMPL_FINE

#define LOCKS 1024              /* mutexes for objects, by address */
#define PARTS 8

static struct object_lock {
	_Alignas(64) pthread_mutex_t mutex;
} object_locks[LOCKS];
static struct part_lock {
	_Alignas(64) pthread_rwlock_t lock;
} part_locks[PARTS];

static inline pthread_mutex_t *lock_of(const void *p)
{
	return &object_locks[((uintptr_t)p * 0x9e3779b97f4a7c15u) >> 54].mutex;
}

static inline unsigned int locked_parts(unsigned int read, unsigned int write)
{
	for (unsigned int i = 0; i < PARTS; i++) {
		if (write >> i & 1)
			pthread_rwlock_wrlock(&part_locks[i].lock);
		else if (read >> i & 1)
			pthread_rwlock_rdlock(&part_locks[i].lock);
	}
	return read | write;
}

static inline void unlock_parts(unsigned int *parts)
{
	for (unsigned int i = 0; i < PARTS; i++)
		if (*parts >> i & 1)
			pthread_rwlock_unlock(&part_locks[i].lock);
}

static inline void locks_start(void)
{
	for (unsigned int i = 0; i < LOCKS; i++)
		pthread_mutex_init(&object_locks[i].mutex, NULL);
	for (unsigned int i = 0; i < PARTS; i++)
		pthread_rwlock_init(&part_locks[i].lock, NULL);
}

#define ATOMIC_OF(p) LOCKED_(locked(lock_of(p)), unlock)
#define ATOMIC_ALL
#define ATOMIC_EACH(p) ATOMIC_OF(p)
#define ATOMIC_PARTS(read, write) LOCKED_(locked_parts(read, write), unlock_parts)
#define ATOMIC_ALSO(write) LOCKED_(locked_parts(0, write), unlock_parts)
#define ATOMIC_ADD(old, x, n) ((void)((old) = __atomic_fetch_add(&(x), n, __ATOMIC_SEQ_CST)))
#endif

#endif
