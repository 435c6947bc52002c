/* Whether the administrator's own rules keep from mired what mired's rules lead to it. */
#pragma once

#include <stdbool.h>

#include "conf/conf.h"

enum { FW_CHAIN_TEXT_MAX = 320 };

/* Whether a chain at the input hook of another table than ours drops what no rule of it accepts;
 * `chain` then says which ("inet filter input"). What its rules accept is not looked at. False,
 * too, when the kernel cannot be asked. Any thread; needs CAP_NET_ADMIN. */
bool fw_input_drops(const struct conf *conf, char chain[static FW_CHAIN_TEXT_MAX]);
