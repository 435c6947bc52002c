"""Asks the kernel whether set elements exist, by nfnetlink get-element requests of our own: nft(8)
may read a whole set before it answers, and this is independent of the code under test."""
import errno
import socket
import struct

NETLINK_NETFILTER = 12
NFPROTO_INET = 1
MSG_GETSETELEM = 10 << 8 | 13
NLM_F_REQUEST_ACK = 0x1 | 0x4
NLMSG_ERROR = 2
NESTED = 0x8000
ATTR_TABLE, ATTR_SET, ATTR_ELEMENTS = 1, 2, 3
BATCH = 100  # keys a message


def _attr(kind, payload):
    return struct.pack("=HH", 4 + len(payload), kind) + payload + bytes(-len(payload) % 4)


def _element(address):
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    value = _attr(1, socket.inet_pton(family, address))
    return _attr(NESTED | 1, _attr(NESTED | 1, value))


class Sets:
    """The sets of one table in one namespace."""

    def __init__(self, ns, table):
        with ns:
            self.sock = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, NETLINK_NETFILTER)
        self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 20)
        self.sock.bind((0, 0))
        self.sock.settimeout(10)
        self.table = table
        self._seq = 0

    def close(self):
        self.sock.close()

    def _ask(self, name, addresses):
        """0, or the errno with which the kernel refused the request."""
        self._seq += 1
        body = struct.pack("=BBH", NFPROTO_INET, 0, 0)
        body += _attr(ATTR_TABLE, self.table.encode() + b"\0")
        body += _attr(ATTR_SET, name.encode() + b"\0")
        body += _attr(NESTED | ATTR_ELEMENTS, b"".join(_element(a) for a in addresses))
        self.sock.send(struct.pack("=IHHII", 16 + len(body), MSG_GETSETELEM, NLM_F_REQUEST_ACK,
                                   self._seq, 0) + body)
        while True:
            data = self.sock.recv(65536)
            while data:
                length, kind, _, seq, _ = struct.unpack_from("=IHHII", data)
                if kind == NLMSG_ERROR and seq == self._seq:
                    return -struct.unpack_from("=i", data, 16)[0]
                data = data[(length + 3) & ~3:]

    def has_all(self, name, addresses):
        """Whether all of these (at most BATCH) are in the set now; a missing set has none."""
        code = self._ask(name, addresses)
        if code not in (0, errno.ENOENT):
            raise OSError(code, f"get element {name}")
        return code == 0

    def found(self, name, addresses):
        """Those of the addresses that are in the set."""
        out = set()
        for start in range(0, len(addresses), BATCH):
            batch = addresses[start:start + BATCH]
            if self.has_all(name, batch):
                out.update(batch)
            else:
                out.update(a for a in batch if self.has_all(name, [a]))
        return out
