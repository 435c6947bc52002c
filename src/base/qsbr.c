/* RCU by liburcu's quiescent-state flavour. The pointer itself is a C11 atomic, which every tool
 * understands; what liburcu's barriers order between a reader's last access and the writer's free()
 * is told to ThreadSanitizer, which cannot look into the library. */
#include "base/qsbr.h"

#include <stddef.h>
#include <urcu/urcu-qsbr.h>

#include "base/compiler.h"

#ifndef __has_feature
#define __has_feature(name) 0
#endif

#if defined(__SANITIZE_THREAD__) || __has_feature(thread_sanitizer)
#include <sanitizer/tsan_interface.h>

/* Stands for all grace periods; only its address counts. */
static char grace;

static void reader_is_done(void)
{
	__tsan_release(&grace);
}

static void readers_were_done(void)
{
	__tsan_acquire(&grace);
}
#else
static void reader_is_done(void)
{
}

static void readers_were_done(void)
{
}
#endif

void qsbr_register(void)
{
	urcu_qsbr_register_thread();
}

void qsbr_unregister(void)
{
	reader_is_done();
	urcu_qsbr_unregister_thread();
}

void qsbr_quiescent(void)
{
	reader_is_done();
	urcu_qsbr_quiescent_state();
}

void qsbr_offline(void)
{
	reader_is_done();
	urcu_qsbr_thread_offline();
}

void qsbr_online(void)
{
	urcu_qsbr_thread_online();
}

void *qsbr_load(const struct qsbr_ptr *ptr)
{
	ASSERT(urcu_qsbr_read_ongoing()); /* otherwise nothing keeps the value alive */
	/* acquire: with the release in qsbr_exchange */
	return __atomic_load_n(&ptr->value, __ATOMIC_ACQUIRE);
}

void *qsbr_exchange(struct qsbr_ptr *ptr, void *value)
{
	/* release: with the acquire in qsbr_load. Acquire: the old value is the caller's again */
	return __atomic_exchange_n(&ptr->value, value, __ATOMIC_ACQ_REL);
}

void qsbr_wait(void)
{
	reader_is_done(); /* the caller, if it is one */
	urcu_qsbr_synchronize_rcu();
	readers_were_done();
}
