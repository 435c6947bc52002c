/* Why a change may be applied while a copy is being gathered: it is newer than the old content of
 * the sets. It is kept, too, and put in again behind the copy, whose piece about the same host may
 * have been read before it.
 *
 * Old content is seldom wrong: after a crash nearly all of it is in the new copy, and mostly all.
 * So the copy is put on top of it as it comes, which refreshes what is there and holds up nobody.
 * When the sets then have as many elements as the copy and the changes come to, they hold nothing
 * else, and that was it. Only if they have others, or the kernel does not count, all is replaced in
 * one transaction, behind which every other change waits. */
#include "mired/learned.h"

#include <errno.h>
#include <string.h>

#include "base/log.h"

/* A complete copy is the one remedy for all that goes wrong. */
static void ask_anew(struct learned *learned)
{
	bool is_coming = learned->copy.state != COPY_NONE;
	copy_fini(&learned->copy);
	learned->copy.state = is_coming ? COPY_VOID : COPY_NONE;
	learned->has_elements = false;
	learned->must_ask = true;
	learned->must_tell = true;
}

/* The copy is in the kernel. */
static void have_elements(struct learned *learned)
{
	struct copy *copy = &learned->copy;
	log_info("firewall: complete copy of %llu hosts is in the kernel",
	         (unsigned long long)(copy->hosts.n + copy->n_streamed));
	if (copy->n_left_out > 0) {
		log_error("firewall: %llu hosts were left out of it",
		          (unsigned long long)copy->n_left_out);
	}
	learned->seq = copy->seq;
	learned->has_elements = true;
	learned->must_tell = true;
	copy_fini(copy);
}

/* --- messages --------------------------------------------------------------------------------- */

/* To assert is to refresh, and pays only where it can be found out what it came to. */
static bool can_assert(struct fw *fw)
{
	struct fw_stats stats;
	uint32_t counts[FW_LEARNED_ROWS];
	fw_stats_get(fw, &stats);
	return stats.has_refresh && fw_count(fw, counts) == 0;
}

/* Sets that are not known to be empty may hold somebody who is in no copy any more. */
static void begin_copy(struct learned *learned, struct fw *fw)
{
	copy_fini(&learned->copy);
	learned->copy.state = fw && fw_is_empty(fw) ? COPY_STREAMED : COPY_GATHERED;
	learned->copy.is_asserted = fw && learned->copy.state == COPY_GATHERED && can_assert(fw);
	learned->has_elements = false;
	learned->must_ask = false;
	learned->must_tell = true;
}

static size_t take_elements(const struct msg *msg, struct fw_element out[static MSG_ELEMENTS_MAX])
{
	size_t n = 0;
	for (size_t i = 0; i < msg->n_elements; i++) {
		n += copy_to_element(&msg->elements[i], &out[n]);
	}
	return n;
}

/* What the kernel refuses while a copy is gathered is remedied by that. */
static int while_gathering(struct copy *copy, int ret)
{
	copy->is_asserted &= ret == 0;
	return ret == -ENOENT ? ret : 0;
}

static int stream_hosts(struct copy *copy, struct fw *fw, const struct msg *msg)
{
	struct fw_element elements[MSG_ELEMENTS_MAX];
	size_t n = take_elements(msg, elements);
	copy->n_streamed += n;
	copy->n_left_out += msg->n_elements - n;
	return fw_fill(fw, elements, n);
}

static int gather_hosts(struct copy *copy, struct fw *fw, const struct msg *msg)
{
	struct fw_element elements[MSG_ELEMENTS_MAX];
	for (size_t i = 0; i < msg->n_elements; i++) {
		copy_add(copy, &msg->elements[i]);
	}
	if (!fw || !copy->is_asserted) {
		return 0;
	}
	return while_gathering(copy, fw_fill(fw, elements, take_elements(msg, elements)));
}

static int take_hosts(struct learned *learned, struct fw *fw, const struct msg *msg)
{
	struct copy *copy = &learned->copy;
	if (copy->state == COPY_STREAMED) {
		return stream_hosts(copy, fw, msg);
	}
	return copy->state == COPY_GATHERED ? gather_hosts(copy, fw, msg) : 0;
}

static void end_copy(struct learned *learned, uint64_t seq)
{
	struct copy *copy = &learned->copy;
	copy->seq = seq;
	if (copy->state == COPY_STREAMED) {
		have_elements(learned);
	} else if (copy->state == COPY_GATHERED) {
		copy->state = COPY_WHOLE;
	}
}

static int gather_changes(struct copy *copy, const struct fw_element *elements, size_t n)
{
	for (size_t i = 0; i < n; i++) {
		if (!copy_add_change(copy, &elements[i])) {
			return -ENOMEM;
		}
	}
	return 0;
}

/* Changes on top of no copy are worth nothing: they are part of the one that was asked for. */
static int take_changes(struct learned *learned, struct fw *fw, const struct msg *msg)
{
	struct fw_element elements[MSG_ELEMENTS_MAX];
	struct copy *copy = &learned->copy;
	size_t n = take_elements(msg, elements);
	int ret = 0;
	if (copy->state == COPY_GATHERED) {
		ret = gather_changes(copy, elements, n);
	} else if (copy->state != COPY_STREAMED && !learned->has_elements) {
		return 0;
	}
	if (!fw || ret) {
		return ret;
	}
	ret = fw_apply(fw, elements, n);
	if (ret == 0) {
		learned->seq = msg->seq;
		learned->must_tell = true;
	}
	return copy->state == COPY_GATHERED ? while_gathering(copy, ret) : ret;
}

bool learned_on_message(struct learned *learned, struct fw *fw, const struct msg *msg, int *ret)
{
	bool is_coming = learned->copy.state != COPY_NONE;
	*ret = 0;
	if (msg->type == MSG_FILL_BEGIN) {
		begin_copy(learned, fw);
	} else if (msg->type == MSG_FILL && is_coming) {
		*ret = take_hosts(learned, fw, msg);
	} else if (msg->type == MSG_FILL_END && is_coming) {
		end_copy(learned, msg->seq);
	} else if (msg->type == MSG_CHANGES) {
		*ret = take_changes(learned, fw, msg);
	} else {
		return false;
	}
	if (*ret && *ret != -ENOENT) {
		ask_anew(learned);
	}
	return true;
}

/* --- the whole -------------------------------------------------------------------------------- */

bool learned_is_pending(const struct learned *learned)
{
	return learned->copy.state == COPY_WHOLE;
}

/* All of the copy is in the sets; this says whether anything else is. */
static bool is_in_already(const struct copy *copy, struct fw *fw)
{
	uint32_t wanted[FW_LEARNED_ROWS];
	uint32_t counts[FW_LEARNED_ROWS];
	return copy->is_asserted && copy_count(copy, wanted) && fw_count(fw, counts) == 0 &&
	       memcmp(wanted, counts, sizeof counts) == 0;
}

int learned_put(struct learned *learned, struct fw *fw, char why[static FW_WHY_MAX])
{
	struct copy *copy = &learned->copy;
	if (is_in_already(copy, fw)) {
		have_elements(learned);
		return 0;
	}
	copy->is_asserted = false; /* looked at once */
	const struct fw_content content = {.elements = copy->hosts.elements,
	                                   .n = copy->hosts.n,
	                                   .changes = copy->changes.elements,
	                                   .n_changes = copy->changes.n};
	int ret = fw_replace(fw, &content, why);
	if (ret == 0) {
		have_elements(learned);
	}
	return ret;
}

bool learned_is_coming(const struct learned *learned)
{
	return learned->copy.state != COPY_NONE && learned->copy.state != COPY_VOID;
}

/* A copy which is gathered, or waits, is as good as another one. */
void learned_on_lost_table(struct learned *learned)
{
	learned->has_elements = false;
	learned->must_tell = true;
	learned->copy.is_asserted = false;
	if (learned->copy.state != COPY_GATHERED && learned->copy.state != COPY_WHOLE) {
		ask_anew(learned);
	}
}

void learned_drop_coming(struct learned *learned)
{
	if (learned->copy.state != COPY_WHOLE) {
		copy_fini(&learned->copy);
	}
}

void learned_fini(struct learned *learned)
{
	copy_fini(&learned->copy);
}
