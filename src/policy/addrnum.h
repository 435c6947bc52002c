/* Addresses as numbers, where ranges are counted with. IPv4 is the mapped form's number, so that
 * one arithmetic serves both families; they are still two spaces, each with its own end. Pure. */
#pragma once

#include <stdbool.h>

#include "base/addr.h"

typedef unsigned __int128 addrnum;

addrnum addrnum_of(const struct addr *addr);
struct addr addrnum_to_addr(addrnum num);
/* The last address of a family. */
addrnum addrnum_last(bool is_v4);
/* Whether the number lies where IPv4 is mapped. A range of IPv6 that holds this block means no IPv4
 * by it, but a network that begins inside would be taken for one. */
bool addrnum_is_mapped(addrnum num);
