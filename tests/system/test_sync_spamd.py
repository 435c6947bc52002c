"""mired among spamds: what it sends, byte by byte, and what it makes of what it is sent. The other
side is syncpeer.py, which knows the format from its description only."""
import struct
import time

import gateways
import syncpeer as s
from client import try_mail
from control import ask
from daemon import seconds
from gateways import LAN4, MX4, MX6
from topology import client4, client6
from world import check, marked, wait_for

PEER = "10.77.0.9"
TRAP = "bait@example.com"
DAY_SECS = 24 * 3600
WHITE_SECS, GREY_SECS, TRAP_SECS = 36 * DAY_SECS, 3600, DAY_SECS
PASSTIME = "2s"
STILL_SECS = 0.5  # in which what should not come would have come


class Company:
    """One gateway with mired, and a spamd it is in step with."""

    def __init__(self, world, key=gateways.KEY, **settings):
        self.sites = gateways.make(world)
        self.peer = s.Peer(self.sites.host(PEER), PEER, s.key_text(key))
        self.mired = gateways.gateway(self.sites, 0, key=key, passtime=PASSTIME,
                                      grey_stutter="0s", stutter="0s", sync_listen="lan",
                                      sync_peer=[PEER], **settings).start()

    def tell(self, *blocks, **oddities):
        return self.peer.send(LAN4[0], *blocks, **oddities)

    def figures(self):
        """What status says of the peer."""
        return self.mired.status()["sync"]["peers"][0]

    def rows(self, kind, address):
        return [row for row in self.mired.rows() if row[0] == kind and row[1] == address]

    def wait_row(self, kind, address, condition=lambda row: True):
        """The one record of this kind and address, once it is as wanted."""
        return wait_for(f"{kind} of {address}", lambda: [
            row for row in self.rows(kind, address) if condition(row)], 3)[0]

    def change(self, line):
        answer = ask(self.mired, "change", line + "\n")
        check(answer.get("done") == 1, f"{line}:", answer)


class Reader:
    """The datagrams of mired in their order, each compared with what the encoder makes of it."""

    def __init__(self, company):
        self.company, self.n_read = company, 0

    def next(self, what):
        """The next one: signed, numbered in order, closed by an end mark."""
        seen = wait_for(f"a datagram with {what}", lambda: self.company.peer.look()[self.n_read:],
                        3)[0]
        check(seen.is_authentic, f"{what} is signed with the key:", seen)
        check(seen.counter == self.n_read, "each datagram has its number:", seen)
        check(seen.blocks[-1] == (s.END, struct.pack("!HH", s.END, 4)), "ends with END:", seen)
        self.n_read += 1
        return seen

    def expect(self, what, make):
        """The next one is, byte for byte, the one block that make(at) encodes with its time."""
        self.expect_one_of(what, lambda at: [make(at)])

    def expect_one_of(self, what, make):
        """Likewise, one of several."""
        seen = self.next(what)
        at = struct.unpack_from("!I", seen.blocks[0][1], 4)[0]
        check(abs(at - time.time()) <= 5, f"{what} has the time of what happened:", at)
        wanted = [s.packet(self.company.peer.key, block, counter=seen.counter)
                  for block in make(at)]
        check(seen.raw in wanted, f"{what}:", seen.raw.hex(), "is in",
              [raw.hex() for raw in wanted])

    def expect_no_more(self):
        time.sleep(STILL_SECS)
        check(len(self.company.peer.look()) == self.n_read, "nothing else is sent:",
              self.company.peer.seen[self.n_read:])


def next_second():
    """Attempts in one second are one to peers."""
    time.sleep(1.05 - time.time() % 1)


# --- what it sends ------------------------------------------------------------------------------

@marked(timeout_secs=60, tags=("once",))
def test_attempts_and_traps_are_sent_as_spamd_would(world):
    company = Company(world)
    reader = Reader(company)
    company.change(f"spamtrap {TRAP}")
    reader.expect("a spamtrap", lambda at: s.manual(at, s.KIND_SPAMTRAP, TRAP))
    words = ("<Ann@Sender.example>", "<Bob@mx.example>", "Mail.Example")

    def attempt(source, target, recipient=words[1]):
        reply = try_mail(company.sites.bots, target, source, sender=words[0], recipient=recipient,
                         helo=words[2])
        check(reply.startswith("45"), "put off:", reply)

    for what in ("a new tuple", "its next attempt"):
        attempt(client4(1), MX4[0])
        reader.expect(what, lambda at: s.grey(at, client4(1), *words))
        next_second()
    attempt(client6(1), MX6[0])
    reader.expect("a tuple of IPv6", lambda at: s.grey6(at, client6(1, 0), *words))
    attempt(client4(2), MX4[0], f"<{TRAP.upper()}>")
    reader.expect("a trapped host",
                  lambda at: s.host(s.TRAPPED, at, at + TRAP_SECS, client4(2)))
    attempt(client6(2), MX6[0], f"<{TRAP}>")
    reader.expect("a trapped host of IPv6",
                  lambda at: s.host6(s.TRAPPED6, at, at + TRAP_SECS, client6(2)))
    reader.expect_no_more()
    check(company.figures()["out"] == {"manual": 1, "grey": 2, "grey6": 1, "trapped": 1,
                                       "trapped6": 1}, "counted by type:", company.figures())


@marked(timeout_secs=60, tags=("once",))
def test_a_promotion_is_sent_in_a_datagram_of_its_own(world):
    company = Company(world)
    words = ("<a@sender.example>", "<b@mx.example>", "mail.example")
    for wait_secs in (seconds(PASSTIME) + 1.1, 0):
        try_mail(company.sites.bots, MX4[0], client4(3))
        time.sleep(wait_secs)
    wait_for("three datagrams", lambda: len(company.peer.look()) == 3, 3)
    first, promoted, last = company.peer.seen
    at = struct.unpack_from("!I", promoted.blocks[0][1], 4)[0]
    check(promoted.raw == s.packet(company.peer.key,
                                   s.host6(s.PROMOTE, at, at + WHITE_SECS, client4(3)), counter=1),
          "PROMOTE, alone:", promoted)
    for n, seen in ((0, first), (2, last)):
        at = struct.unpack_from("!I", seen.blocks[0][1], 4)[0]
        check(seen.raw == s.packet(company.peer.key, s.grey(at, client4(3), *words), counter=n),
              "each attempt as a tuple:", seen)


@marked(timeout_secs=60, tags=("once",))
def test_a_tuple_too_long_for_a_datagram_is_kept_counted_and_said(world):
    company = Company(world)
    reader = Reader(company)
    head = s.HEADER_BYTES + 18 + 4  # all but the texts of the longest datagram

    def names(n_bytes):
        """Texts of together so many bytes with their NULs."""
        words = ["<" + "s" * 600 + "@a.example>", "<b@mx.example>", "mail.example"]
        words[1] = "<" + "b" * (n_bytes - len("".join(words)) - 3) + words[1][1:]
        return words

    def attempt(source, n_bytes):
        sender, recipient, helo = names(n_bytes)
        reply = try_mail(company.sites.bots, MX4[0], source, sender=sender, recipient=recipient,
                         helo=helo)
        check(reply.startswith("451"), "put off:", reply)

    fits = (s.BYTES_MAX - head + 18) // 16 * 16 - 18  # a block is a multiple of 16
    attempt(client4(7), fits)
    reader.expect("the longest", lambda at: s.grey(at, client4(7), *names(fits)))
    attempt(client4(8), fits + 1)
    wait_for("it to be counted", lambda: company.mired.status()["sync"]["too_long"] == 1, 3)
    company.wait_row("GREY", client4(8))
    check(f"a tuple of {client4(8)} fits no datagram" in company.mired.log_text(), "and said",
          company.mired.log_text())
    reader.expect_no_more()


@marked(timeout_secs=60, tags=("once",))
def test_what_is_changed_by_hand_is_told_to_other_mireds_alone(world):
    company = Company(world)
    reader = Reader(company)
    def expect_manual(what, kind, address, life_secs):
        # a change may be stamped later than the ones before it in the same second; its end is not
        reader.expect_one_of(what, lambda at: [
            s.manual(at, kind, address, at + life_secs - n) for n in range(5)])

    for address in ("192.0.2.7", "2001:db8:77::7"):
        white = "2001:db8:77::" if ":" in address else address
        company.change(f"white {address}")
        expect_manual("white", s.KIND_WHITE, white, WHITE_SECS)
        company.change(f"trapped {address}")
        expect_manual("trapped", s.KIND_TRAPPED, address, TRAP_SECS)
        company.change(f"delete {address}")
        reader.expect("deleted", lambda at, a=address: s.delete(at, s.KIND_TRAPPED, a))
        company.change(f"white {address}")
        expect_manual("white", s.KIND_WHITE, white, WHITE_SECS)
        company.change(f"delete {address}")
        reader.expect("deleted", lambda at, a=white: s.delete(at, s.KIND_WHITE, a))
    company.change(f"spamtrap {TRAP}")
    reader.expect("spamtrap", lambda at: s.manual(at, s.KIND_SPAMTRAP, TRAP))
    company.change(f"delete {TRAP}")
    reader.expect("spamtrap deleted", lambda at: s.delete(at, s.KIND_SPAMTRAP, TRAP))
    ask(company.mired, "seen", "in 192.0.2.8 1 3600\n")
    company.change("put WHITE|192.0.2.9|||1|1|4000000000|1|0")
    reader.expect_no_more()


# --- what it takes ------------------------------------------------------------------------------

@marked(timeout_secs=60, tags=("once", "sanitize"))
def test_tuples_of_a_spamd_age_here_and_an_attempt_counts_once(world):
    company = Company(world)
    company.change(f"spamtrap {TRAP}")
    words = ("<Ann@Sender.example>", "<Bob@mx.example>", "Mail.Example")
    now = int(time.time())
    first = company.tell(s.grey(now - 5, "192.0.2.1", *words))
    row = company.wait_row("GREY", "192.0.2.1")
    check(row[2:5] == [words[2], words[0], words[1]], "verbatim:", row)
    check(abs(int(row[5]) - now) <= 2, "first seen when it came, by this host's clock:", row)
    check(int(row[6]) == int(row[7]) == int(row[5]) + GREY_SECS, "pass and expire:", row)
    check(row[8:] == ["1", "0"], "one attempt:", row)
    company.peer.send_raw(LAN4[0], first)
    company.tell(s.grey6(now, "2001:db8:9::1", *words))
    company.wait_row("GREY", "2001:db8:9::")
    company.tell(s.grey(now, "192.0.2.2", "<x@y.example>", f"<{TRAP}>", "bait.example"))
    trapped = company.wait_row("TRAPPED", "192.0.2.2")
    check(abs(int(trapped[2]) - now - TRAP_SECS) <= 2, "a trap here traps for spamd's hosts, too")

    time.sleep(seconds(PASSTIME) + 1.1)
    for _ in range(3):
        company.peer.send_raw(LAN4[0], first)
    time.sleep(STILL_SECS)
    check(company.rows("GREY", "192.0.2.1") == [row], "what was recorded changes nothing:",
          company.mired.rows())
    check(company.mired.whites() == [], "and promotes nobody:", company.mired.whites())
    company.tell(s.grey(int(time.time()), "192.0.2.1", *words))
    white = company.wait_row("WHITE", "192.0.2.1")
    check(abs(int(white[6]) - time.time() - WHITE_SECS) <= 2, "a later attempt promotes:", white)
    wait_for("the element", lambda: company.mired.has_white("192.0.2.1"), 3)
    check(not company.peer.blocks(s.GREY, s.TRAPPED, s.PROMOTE, s.GREY6),
          "nothing that came from a peer is sent on:", company.peer.seen)


def is_in(company, name, address):
    return bool(company.mired.in_set(name, [address]))


@marked(timeout_secs=60, tags=("once", "sanitize"))
def test_white_and_trapped_hosts_of_a_spamd(world):
    company = Company(world)
    now = int(time.time())
    address = "192.0.2.3"
    white = company.tell(s.host(s.WHITE, now - 9, now + 1000, address))
    row = company.wait_row("WHITE", address)
    check(row[5:] == ["0", str(now + 1000), "0", "0"], "as spamd writes it:", row)
    check(abs(int(row[4]) - now) <= 2, "first seen when it came:", row)
    wait_for("the element", lambda: company.mired.has_white(address), 3)
    company.peer.send_raw(LAN4[0], white)
    company.tell(s.host(s.WHITE, now - 8, now + 500, address))
    row = company.wait_row("WHITE", address, lambda row: row[8] == "1")
    check(int(row[6]) == now + 1000, "passed once more, the later end stays:", row)
    company.tell(s.host(s.WHITE, now - 7, now + 2000, address))
    row = company.wait_row("WHITE", address, lambda row: row[8] == "2")
    check(int(row[6]) == now + 2000, "a later end counts:", row)

    company.tell(s.host(s.TRAPPED, now - 6, now + 3000, address))
    trapped = company.wait_row("TRAPPED", address)
    check(trapped[2] == str(now + 3000), "until when the peer says:", trapped)
    wait_for("the trap element", lambda: is_in(company, "spamd-greytrap", address), 3)
    wait_for("the white element gone", lambda: not company.mired.has_white(address), 3)
    company.tell(s.host(s.WHITE, now - 5, now + 5000, address))
    company.tell(s.host(s.TRAPPED, now, now - 1, "192.0.2.4"))
    company.tell(s.host(s.WHITE, now, now - 1, "192.0.2.5"))
    time.sleep(STILL_SECS)
    check(company.mired.rows() == [trapped], "white does not free a trapped host, and what has "
          "ended is no record:", company.mired.rows())
    company.tell(s.host(s.TRAPPED, now - 4, now + 4000, address))
    company.wait_row("TRAPPED", address, lambda row: row[2] == str(now + 4000))


@marked(timeout_secs=60, tags=("once",))
def test_deletions_of_a_greyd(world):
    company = Company(world)
    now = int(time.time())
    company.tell(s.host(s.WHITE, now - 5, now + 1000, "192.0.2.6"))
    company.tell(s.host(s.TRAPPED, now - 5, now + 1000, "192.0.2.7"))
    company.wait_row("WHITE", "192.0.2.6")
    company.wait_row("TRAPPED", "192.0.2.7")
    company.tell(s.host(s.DELETE_WHITE, now, now + 1000, "192.0.2.6"),
                 s.host(s.DELETE_TRAPPED, now, now + 1000, "192.0.2.7"))
    wait_for("both to be gone", lambda: company.mired.rows() == [], 3)
    wait_for("the kernel", lambda: not company.mired.has_white("192.0.2.6"), 3)
    check(not is_in(company, "spamd-greytrap", "192.0.2.7"), "the kernel, too")
    check(company.figures()["in"] == {"white": 1, "trapped": 1, "delete_white": 1,
                                      "delete_trapped": 1}, "counted:", company.figures())


@marked(timeout_secs=60, tags=("once",))
def test_blocks_of_other_mireds(world):
    company = Company(world)
    now = int(time.time())
    v6 = "2001:db8:5::5"
    company.tell(s.host6(s.WHITE6, now - 9, now + 1000, v6),
                 s.host6(s.PROMOTE, now - 8, now + 1500, "192.0.2.20"),
                 s.manual(now - 7, s.KIND_SPAMTRAP, TRAP))
    company.wait_row("WHITE", "2001:db8:5::")
    promoted = company.wait_row("WHITE", "192.0.2.20")
    check(promoted[5:7] == [str(now - 8), str(now + 1500)], "passed when promoted:", promoted)
    wait_for("the spamtrap", lambda: ["SPAMTRAP", TRAP] in company.mired.rows(), 3)
    wait_for("both elements", lambda: company.mired.has_white(v6) and
             company.mired.has_white("192.0.2.20"), 3)
    company.tell(s.host6(s.TRAPPED6, now - 6, now + 2000, v6))
    company.wait_row("TRAPPED", v6)
    wait_for("the trap element", lambda: is_in(company, "spamd-greytrap6", v6), 3)
    company.tell(s.manual(now - 5, s.KIND_WHITE, v6, now + 3000))
    wait_for("white by hand frees it", lambda: company.rows("TRAPPED", v6) == [], 3)
    wait_for("the kernel", lambda: company.mired.has_white(v6) and
             not is_in(company, "spamd-greytrap6", v6), 3)
    company.tell(s.manual(now - 4, s.KIND_TRAPPED, "192.0.2.20", now + 3000))
    company.wait_row("TRAPPED", "192.0.2.20")
    company.tell(s.delete(now - 3, s.KIND_TRAPPED, "192.0.2.20"),
                 s.delete(now - 3, s.KIND_WHITE, v6), s.delete(now - 3, s.KIND_SPAMTRAP, TRAP))
    wait_for("all to be gone", lambda: company.mired.rows() == [], 3)


@marked(timeout_secs=60, tags=("once",))
def test_a_spamd_without_a_key_is_spoken_to_if_that_is_wanted(world):
    company = Company(world, key=None, sync_insecure=True)
    now = int(time.time())
    try_mail(company.sites.bots, MX4[0], client4(4))
    Reader(company).expect("a tuple under the empty key", lambda at: s.grey(
        at, client4(4), "<a@sender.example>", "<b@mx.example>", "mail.example"))
    company.tell(s.host(s.TRAPPED, now, now + 1000, "192.0.2.8"))
    company.wait_row("TRAPPED", "192.0.2.8")
    check(company.mired.status()["sync"]["empty_key"], "status says so")


@marked(timeout_secs=60, tags=("once",))
def test_with_blacklists_only_peers_are_not_heard(world):
    company = Company(world, blacklist_only=True)
    now = int(time.time())
    company.tell(s.grey(now, "192.0.2.1", "<a@b.example>", "<c@d.example>", "e.example"))
    company.tell(s.host(s.TRAPPED, now, now + 1000, "192.0.2.1"))
    time.sleep(STILL_SECS)
    check(company.mired.rows() == [], "nothing is taken:", company.mired.rows())
    check(company.peer.look() == [], "nor sent")


# --- what it refuses ----------------------------------------------------------------------------

def malformed(key, now):
    """Every fault of a datagram: (what, bytes, under which reason it is counted)."""
    good = s.host(s.TRAPPED, now, now + 1000, "192.0.2.9")
    words = ("<a@b.example>", "<c@d.example>", "e.example")
    tuple_block = s.grey(now, "192.0.2.9", *words)

    def signed(*blocks, **oddities):
        return s.packet(key, *blocks, **oddities)

    def patched(at, new, block=tuple_block):
        return signed(block[:at] + new + block[at + len(new):])

    sender_end = 18 + len(words[0])
    whole = signed(good)
    return [
        ("nothing at all", b"", "short"),
        ("half a header", whole[:31], "short"),
        ("less than its length says", whole[:-1], "short"),
        ("version 1", signed(good, version=1), "version"),
        ("version 3", signed(good, version=3), "version"),
        ("family 10", signed(good, family=10), "family"),
        ("a length within the header", signed(good, length=31), "length"),
        ("a length beyond all", signed(good, bytes(1500), length=1500), "length"),
        ("a wrong signature", whole[:8] + bytes(20) + whole[28:], "mac"),
        ("another key", s.packet(s.key_text(b"other"), good), "mac"),
        ("no key", s.packet(b"", good), "mac"),
        ("one changed bit", whole[:-5] + bytes([whole[-5] ^ 1]) + whole[-4:], "mac"),
        ("a block without its length", signed(b"\0\3", end=False), "block"),
        ("a cut block", signed(good[:12], end=False), "block"),
        ("a host that is too long", signed(struct.pack("!HH", 3, 20) + good[4:] + bytes(4)),
         "block"),
        ("a block of no length", signed(struct.pack("!HH", 3, 0) + good[4:]), "block"),
        ("strings longer than the block", patched(12, b"\0\xff"), "block"),
        ("a deletion of the wrong length", signed(s.delete(now, s.KIND_WHITE, "192.0.2.9")[:-1]),
         "block"),
        ("a kind that there is not", signed(s.delete(now, 9, "192.0.2.9")), "block"),
        ("an unknown block", signed(struct.pack("!HHI", 6, 16, now) + good[8:]), "type"),
        ("an unknown block of ours", signed(struct.pack("!HHI", 70, 16, now) + good[8:]), "type"),
        ("a sender without its NUL", patched(sender_end, b"x"), "text"),
        ("a line feed in the sender", patched(19, b"\n"), "text"),
        ("no helo", signed(s.grey(now, "192.0.2.9", words[0], words[1], "")), "text"),
        ("a spamtrap with a control character",
         signed(s.manual(now, s.KIND_SPAMTRAP, "a\r@b.example")), "text"),
    ]


def refused(key, now):
    """Sound blocks that must not be believed: (what, bytes, under which reason)."""
    far, words = 11 * 60, ("<a@b.example>", "<c@d.example>", "e.example")

    def signed(block):
        return s.packet(key, block)
    return [
        ("a tuple of the future", signed(s.grey(now + far, "192.0.2.9", *words)), "skew"),
        ("a tuple older than greyexp", signed(s.grey(now - GREY_SECS - 60, "192.0.2.9", *words)),
         "skew"),
        ("white of the future", signed(s.host(s.WHITE, now + far, now + 9000, "192.0.2.9")),
         "skew"),
        ("our block of the past", signed(s.host6(s.PROMOTE, now - far, now + 9000, "192.0.2.9")),
         "skew"),
        ("our block of the future", signed(s.manual(now + far, s.KIND_SPAMTRAP, TRAP)), "skew"),
        ("greyd's IPv6 client", signed(s.grey(now, "255.255.255.255", *words)), "kind"),
        ("nobody's address", signed(s.host(s.TRAPPED, now, now + 1000, "0.0.0.0")), "kind"),
    ]


@marked(timeout_secs=60, tags=("once", "sanitize"))
def test_what_is_malformed_is_counted_under_its_reason_and_changes_nothing(world):
    company = Company(world)
    now = int(time.time())
    key = company.peer.key
    for group, cases in (("dropped", malformed(key, now)), ("refused", refused(key, now))):
        for what, raw, reason in cases:
            before = company.figures()[group]
            company.peer.send_raw(LAN4[0], raw)
            wanted = before | {reason: before.get(reason, 0) + 1}
            wait_for(f"{what} to be counted as {reason}",
                     lambda g=group, x=wanted: company.figures()[g] == x, 3, 0.01)
    check(company.mired.rows() == [], "nothing was taken:", company.mired.rows())
    n_lines = company.mired.log_text().count("sync: ")
    check(n_lines <= 20, "each reason is logged once:", n_lines)


@marked(timeout_secs=60, tags=("once",))
def test_what_stands_before_a_fault_counts_and_what_stands_behind_the_end_does_not(world):
    company = Company(world)
    now = int(time.time())

    def trapped(n):
        return s.host(s.TRAPPED, now, now + 1000, f"192.0.2.{n}")
    company.tell(trapped(1), struct.pack("!HHI", 9, 8, now), trapped(2))
    company.tell(trapped(3), trapped(4), end=False)
    company.peer.send_raw(LAN4[0], s.packet(company.peer.key, trapped(5)) + b"junk")
    company.tell(trapped(6), struct.pack("!HH", s.END, 4), trapped(7))
    company.tell(trapped(8), s.host6(s.PROMOTE, now, now + 1000, "192.0.2.9"))
    wait_for("the last of them", lambda: company.rows("TRAPPED", "192.0.2.8"), 3)
    time.sleep(STILL_SECS)
    taken = sorted(row[1] for row in company.mired.rows())
    check(taken == [f"192.0.2.{n}" for n in (1, 3, 4, 5, 6, 8)], "taken:", taken)
    check(company.figures()["dropped"] == {"type": 2}, "counted:", company.figures())
