/* Table of connections and their texts. */
#include "engine/conn.h"

#include <errno.h>
#include <string.h>
#include <sys/mman.h>

static_assert(sizeof(struct session) <= 40, "leaves room for the rest of the cache line");

static uint32_t large_max(uint32_t size)
{
	uint32_t share = size / CONN_LARGE_SHARE;
	return share > CONN_LARGE_MIN ? share : CONN_LARGE_MIN;
}

int conn_table_init(struct conn_table *table, uint32_t size)
{
	ASSERT(size > 0 && size <= CONN_TABLE_MAX);
	*table = (struct conn_table){.size = size};
	void *memory = mmap(NULL, size * sizeof(struct conn), PROT_READ | PROT_WRITE,
	                    MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	if (memory == MAP_FAILED) {
		return -ENOMEM;
	}
	table->conns = memory;
	table->small = slab_new(SESSION_TEXT_SMALL, size);
	table->large = slab_new(SESSION_TEXT_LARGE, large_max(size));
	if (!table->small || !table->large) {
		conn_table_fini(table);
		return -ENOMEM;
	}
	return 0;
}

void conn_table_fini(struct conn_table *table)
{
	slab_free(table->large);
	slab_free(table->small);
	if (table->conns) {
		(void)munmap(table->conns, table->size * sizeof(struct conn));
	}
	*table = (struct conn_table){0};
}

struct conn *conn_at(const struct conn_table *table, uint32_t slot)
{
	ASSERT(slot < table->size);
	return &table->conns[slot];
}

struct conn *conn_open(struct conn_table *table, uint32_t slot)
{
	struct conn *conn = conn_at(table, slot);
	ASSERT(conn->phase == CONN_FREE && conn->n_flight == 0);
	uint32_t generation = (conn->generation + 1) & CONN_GENERATION_MASK;
	/* still in the worker's list on behalf of its predecessor: it must not be listed twice */
	uint32_t is_ready = conn->is_ready;
	memset(conn, 0, sizeof *conn);
	conn->generation = generation & CONN_GENERATION_MASK;
	conn->is_ready = is_ready & 1U;
	conn->phase = CONN_NAMING;
	conn->cls = SESSION_UNKNOWN;
	table->n_open++;
	table->n_used = slot < table->n_used ? table->n_used : slot + 1;
	return conn;
}

static void give_text(struct conn_table *table, const struct conn *conn)
{
	if (conn->text_size == CONN_TEXT_SMALL) {
		slab_give(table->small, conn->text_idx);
	} else if (conn->text_size == CONN_TEXT_LARGE) {
		slab_give(table->large, conn->text_idx);
	}
}

void conn_release(struct conn_table *table, struct conn *conn)
{
	ASSERT(conn->phase != CONN_FREE && conn->n_flight == 0);
	conn_text_drop(table, conn);
	conn->phase = CONN_FREE;
	table->n_open--;
}

bool conn_is_current(const struct conn_table *table, uint32_t slot, uint32_t generation)
{
	return slot < table->size && table->conns[slot].phase != CONN_FREE &&
	       table->conns[slot].generation == generation;
}

struct session_text *conn_text(const struct conn_table *table, const struct conn *conn)
{
	switch ((enum conn_text_size)conn->text_size) {
	case CONN_TEXT_SMALL:
		return slab_at(table->small, conn->text_idx);
	case CONN_TEXT_LARGE:
		return slab_at(table->large, conn->text_idx);
	case CONN_TEXT_NONE:
		break;
	}
	return NULL;
}

bool conn_text_grow(struct conn_table *table, struct conn *conn)
{
	bool is_first = conn->text_size == CONN_TEXT_NONE;
	if (conn->text_size == CONN_TEXT_LARGE) {
		return false;
	}
	struct slab *pool = is_first ? table->small : table->large;
	uint32_t idx = slab_take(pool);
	if (idx == SLAB_NONE) {
		return false;
	}
	struct session_text *text = slab_at(pool, idx);
	session_text_init(text, is_first ? SESSION_TEXT_SMALL : SESSION_TEXT_LARGE);
	if (!is_first) {
		session_text_move(&conn->session, text, conn_text(table, conn));
		give_text(table, conn);
	}
	conn->text_idx = idx & (CONN_TABLE_MAX - 1U);
	conn->text_size = is_first ? CONN_TEXT_SMALL : CONN_TEXT_LARGE;
	return true;
}

void conn_text_drop(struct conn_table *table, struct conn *conn)
{
	give_text(table, conn);
	conn->text_size = CONN_TEXT_NONE;
}
