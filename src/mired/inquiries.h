/* Requests of the verb `held`: what connections there are, or which of them are of one address. One
 * question at a time goes to the workers; requests that come meanwhile wait, and those that want
 * the whole share an answer, which serves further ones for a second. Owner: the engine role's
 * thread. */
#pragma once

#include <jansson.h>
#include <stdbool.h>

#include "base/clock.h"
#include "base/compiler.h"
#include "ctl/ctl.h"
#include "engine/engine.h"

enum { INQUIRIES_MAX = 8 }; /* that wait */

struct inquiries;

/* engine is borrowed. NULL when memory is short. */
struct inquiries *inquiries_new(struct engine *engine);
void inquiries_free(struct inquiries *inquiries);
/* "[N]" or "ADDRESS": the answer, or NULL: inquiries_next_answer has it later. */
json_t *inquiries_ask(struct inquiries *inquiries, const struct ctl_request *request,
                      struct mono now);
/* Looks whether the workers have answered. */
void inquiries_turn(struct inquiries *inquiries, struct mono now);
/* An answer for ctl_server_answer, a new object. False: none is left. */
bool inquiries_next_answer(struct inquiries *inquiries, uint64_t *ticket, json_t **answer);
