/* Network byte order to a number and back. */
#include "policy/addrnum.h"

#include <endian.h>
#include <string.h>

addrnum addrnum_of(const struct addr *addr)
{
	uint64_t halves[2];
	memcpy(halves, addr->bytes, sizeof halves);
	return (addrnum)be64toh(halves[0]) << 64 | be64toh(halves[1]);
}

struct addr addrnum_to_addr(addrnum num)
{
	uint64_t halves[2] = {htobe64((uint64_t)(num >> 64)), htobe64((uint64_t)num)};
	struct addr addr;
	memcpy(addr.bytes, halves, sizeof addr.bytes);
	return addr;
}

addrnum addrnum_last(bool is_v4)
{
	return is_v4 ? (addrnum)0xffffffffffffU : ~(addrnum)0;
}

bool addrnum_is_mapped(addrnum num)
{
	return num >> 32 == 0xffff;
}
