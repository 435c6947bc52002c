/* Pointers to immutable data that one thread replaces while others read it (RCU, quiescent-state
 * based). The one place that knows liburcu; sanitizers are told what its barriers order. A reader
 * thread registers, says once a loop turn that it holds nothing, and goes offline while it sleeps.
 */
#pragma once

/* The owner's place of a published pointer; all zero is an empty one. */
struct qsbr_ptr {
	void *value; /* only through the functions below */
};

/* Each reading thread, once each. */
void qsbr_register(void);
void qsbr_unregister(void);
/* This thread holds no pointer it has loaded. */
void qsbr_quiescent(void);
/* Around a sleep: nothing is loaded in between. */
void qsbr_offline(void);
void qsbr_online(void);

/* Registered and online threads; valid until the next qsbr_quiescent or qsbr_offline. NULL while
 * nothing was published. */
void *qsbr_load(const struct qsbr_ptr *ptr);
/* One writer thread. Publishes value and returns the one before, which may be freed after
 * qsbr_wait. */
void *qsbr_exchange(struct qsbr_ptr *ptr, void *value);
/* Waits until every reader has passed a quiescent state. The caller may be a reader itself. */
void qsbr_wait(void);
