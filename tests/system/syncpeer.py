"""OpenBSD spamd's synchronisation protocol and mired's blocks, written a second time from their
description, to play a spamd against mired and to see what mired sends."""
import dataclasses
import hashlib
import hmac
import ipaddress
import socket
import struct
import time

PORT = 8025
GROUP = "224.0.1.240"
BYTES_MAX = 1408
IP_RECVTTL = 12  # <linux/in.h>; the module socket has no name for it
END, GREY, WHITE, TRAPPED, DELETE_WHITE, DELETE_TRAPPED = range(6)
GREY6, WHITE6, TRAPPED6, DELETE, MANUAL, PROMOTE = range(64, 70)
KIND_WHITE, KIND_TRAPPED, KIND_SPAMTRAP = 1, 2, 4
MAC_AT, MAC_BYTES, HEADER_BYTES = 8, 20, 32


def key_text(file):
    """What signs datagrams: the hex digits of the file's SHA-1; None is spamd's empty key."""
    return b"" if file is None else hashlib.sha1(file).hexdigest().encode()


# --- blocks -------------------------------------------------------------------------------------

def padded(block):
    return block + bytes(-len(block) % 16)


def with_length(kind, body):
    """A block whose length includes its padding to 16."""
    return struct.pack("!HH", kind, len(padded(bytes(4) + body))) + padded(bytes(4) + body)[4:]


def texts(*strings):
    ended = [string.encode() + b"\0" for string in strings]
    return struct.pack("!HHH", *map(len, ended)) + b"".join(ended)


def ip4(address):
    return ipaddress.IPv4Address(address).packed


def ip16(address):
    """16 bytes, IPv4 as ::ffff:a.b.c.d."""
    packed = ipaddress.ip_address(address).packed
    return packed if len(packed) == 16 else bytes(10) + b"\xff\xff" + packed


def grey(at, address, sender, recipient, helo):
    return with_length(GREY, struct.pack("!I", at) + ip4(address) + texts(sender, recipient, helo))


def grey6(at, address, sender, recipient, helo):
    return with_length(GREY6,
                       struct.pack("!I", at) + ip16(address) + texts(sender, recipient, helo))


def host(kind, at, expire, address):
    """WHITE, TRAPPED and greyd's two deletions."""
    return struct.pack("!HHII", kind, 16, at, expire) + ip4(address)


def host6(kind, at, expire, address):
    """WHITE6, TRAPPED6 and PROMOTE."""
    return struct.pack("!HHII", kind, 28, at, expire) + ip16(address)


def _about(kind, key):
    """The bytes kind and family, and the key's own, of a DELETE or MANUAL."""
    if kind == KIND_SPAMTRAP:
        return struct.pack("!BBH", kind, 0, 0), struct.pack("!H", len(key)) + key.encode()
    family = 6 if ":" in key else 4
    return struct.pack("!BBH", kind, family, 0), ip16(key)


def delete(at, kind, key):
    head, tail = _about(kind, key)
    return struct.pack("!HHI", DELETE, 8 + len(head + tail), at) + head + tail


def manual(at, kind, key, expire=0):
    head, tail = _about(kind, key)
    return struct.pack("!HHI", MANUAL, 12 + len(head + tail), at) + head + struct.pack(
        "!I", expire) + tail


# --- datagrams ----------------------------------------------------------------------------------

def mac_of(packet, key):
    zeroed = packet[:MAC_AT] + bytes(MAC_BYTES) + packet[MAC_AT + MAC_BYTES:]
    return hmac.new(key, zeroed, hashlib.sha1).digest()


def packet(key, *blocks, counter=0, version=2, family=2, length=None, end=True):
    """A signed datagram; the named arguments are for those that should be refused."""
    body = b"".join(blocks) + (struct.pack("!HH", END, 4) if end else b"")
    length = HEADER_BYTES + len(body) if length is None else length
    bare = struct.pack("!BBHI", version, family, length, counter) + bytes(24) + body
    mac = mac_of(bare[:length], key)
    return bare[:MAC_AT] + mac + bare[MAC_AT + MAC_BYTES:]


@dataclasses.dataclass
class Seen:
    """A datagram that arrived; blocks as (type, bytes)."""
    at: float  # time.time()
    source: str
    raw: bytes
    counter: int
    is_authentic: bool
    blocks: list
    ttl: int = 0

    def types(self):
        return [kind for kind, _ in self.blocks]


def split(raw, key, source="", ttl=0):
    """Takes a datagram apart as a spamd would."""
    version, family, length, counter = struct.unpack_from("!BBHI", raw)
    is_authentic = (version, family) == (2, 2) and length <= len(raw) and hmac.compare_digest(
        mac_of(raw[:length], key), raw[MAC_AT:MAC_AT + MAC_BYTES])
    blocks, at = [], HEADER_BYTES
    while at + 4 <= min(length, len(raw)):
        kind, size = struct.unpack_from("!HH", raw, at)
        if size < 4 or at + size > min(length, len(raw)):
            break
        blocks.append((kind, raw[at:at + size]))
        at += size
    return Seen(time.time(), source, raw, counter, is_authentic, blocks, ttl)


class Peer:
    """A socket on the sync port of a namespace that sends and records."""

    def __init__(self, ns, address, key, group_at=None):
        """address "": any; group_at: the address of the interface where it joins the group."""
        self.key, self.counter = key, 0
        self.sock = ns.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 20)
        self.sock.setsockopt(socket.IPPROTO_IP, IP_RECVTTL, 1)
        if group_at:
            self.sock.setsockopt(socket.IPPROTO_IP, socket.IP_ADD_MEMBERSHIP,
                                 socket.inet_aton(GROUP) + socket.inet_aton(group_at))
        self.sock.bind((address, PORT))
        self.seen = []

    def send(self, target, *blocks, **oddities):
        """Signs and sends one datagram; returns it."""
        raw = packet(self.key, *blocks, counter=self.counter, **oddities)
        self.counter += 1
        self.sock.sendto(raw, (target, PORT))
        return raw

    def send_raw(self, target, raw):
        self.sock.sendto(raw, (target, PORT))

    def look(self):
        """Takes what has arrived; returns all that was ever seen."""
        self.sock.setblocking(False)
        while True:
            try:
                raw, extra, _, source = self.sock.recvmsg(65536, 64)
            except BlockingIOError:
                return self.seen
            ttl = next((struct.unpack("@i", data)[0] for level, kind, data in extra
                        if (level, kind) == (socket.IPPROTO_IP, socket.IP_TTL)), 0)
            self.seen.append(split(raw, self.key, source[0], ttl))

    def blocks(self, *types):
        """The blocks of these types seen so far, in order."""
        return [block for seen in self.look() for kind, block in seen.blocks if kind in types]
