"""Clients on lists: what they are told, at which pace, and what -4, -5, -b and -B change."""
import concurrent.futures
import re
import statistics
import time

import topology
from client import Client
from control import ask
from daemon import Mired
from world import check, marked, wait_for

ENVELOPE = ("HELO spam.example\r\nMAIL FROM:<a@spam.example>\r\n"
            "RCPT TO:<b@mx.example>\r\nDATA\r\n")
MAIL = "Subject: buy\r\n\r\nnow\r\n.\r\n"
DEFERRAL = "451 Temporary failure, please try again later."
ONE4, BOTH4, NONE4 = (topology.client4(n) for n in (1, 2, 3))
ONE6, BOTH6, NONE6 = (topology.client6(n) for n in (1, 2, 3))
NET4, NET6 = "198.19.0.0/30", "2001:db8:c::/46"  # the first three of each family
LISTS = {
    "one": (r'%A is on list \"one\"\nask there', [f"{ONE4}/32", f"{BOTH4}/32"],
            [f"{ONE6}/128", f"{BOTH6}/128"]),
    "two": ("100%% spam", [f"{BOTH4}/32"], ["2001:db8:c:2::/64"]),
}
TOLD_BY_ONE = ['%s is on list "one"', "ask there"]
TOLD_BY_BOTH = [*TOLD_BY_ONE, "100% spam"]


def put_lists(mired, lists):
    """Puts lists in force as mired-setup does."""
    lines = [f'{tag};"{text}";inet;{len(v4)};{";".join(v4)};inet6;{len(v6)};{";".join(v6)};\n'
             for tag, (text, v4, v6) in lists.items()]
    answer = ask(mired, "list-put", "".join(lines))
    check(answer.get("lists") == len(lists), "every list is in force:", answer)


def start(world, *options, lists=None, **settings):
    """A daemon that is quick where the test does not measure its pace."""
    net = topology.gateway(world)
    mired = Mired(world, net, **{"stutter": "20ms", **settings}).start(*options)
    put_lists(mired, lists or LISTS)
    return net, mired


def whole_mail(net, source, port=25, target=None):
    """A mail to a server that reads it; the final reply without its codes, and its code."""
    is_v6 = ":" in source
    with Client(net.out, target or net.target(is_v6), source=source, port=port) as client:
        client.expect("220")
        client.send(ENVELOPE)
        for command in ("HELO", "MAIL", "RCPT"):
            client.expect("250", command)
        client.expect("354", "DATA")
        client.send(MAIL)
        reply = client.reply()
        check(client.line() is None, "the server closes")
    lines = reply.split("\n")
    codes = [line[:4] for line in lines]
    code = codes[-1][:3]
    check(codes == [f"{code}-"] * (len(lines) - 1) + [f"{code} "], "one multi-line reply:", reply)
    return code, [line[4:] for line in lines]


def check_told(net, source, code, texts):
    wanted = [text % source if "%s" in text else text for text in texts]
    got = whole_mail(net, source)
    check(got == (code, wanted), f"{source} is told:", got, wanted)


# --- pace -----------------------------------------------------------------------------------------

def told_slowly(net, source):
    """Everything that a listed client hears, with the time of each arrival."""
    with Client(net.out, net.target(":" in source), source=source) as client:
        client.send("DATA\r\n.\r\n")
        return client.bytes_until_eof(110)


def check_pace(got):
    text = b"".join(data for _, data in got)
    check(re.fullmatch(rb"220 g\r\n354 [^\r]*\r\n450 no\r\n", text), "the whole dialogue:", text)
    check(all(len(data) == 1 for _, data in got), "one byte at a time")
    gaps = [b[0] - a[0] for a, b in zip(got, got[1:])]
    print(f"{len(text)} bytes in {got[-1][0]:.1f} s; gaps {min(gaps):.3f} to {max(gaps):.3f} s, "
          f"median {statistics.median(gaps):.3f}")
    check(abs(statistics.median(gaps) - 1) <= 0.1, "their median is 1 s:", gaps)
    check(min(gaps) > 0.8 and max(gaps) < 1.5, "from the first to the last:", gaps)
    # the first byte comes at any time of the first second
    check(len(text) - 1.5 < got[-1][0] < len(text) + 5, "a second a byte:", got[-1][0])


@marked(timeout_secs=200, tags=("once",))
def test_a_listed_client_hears_a_byte_a_second_from_the_greeting_to_the_lists_message(world):
    net, _ = start(world, stutter="1s", hostname="g", banner="%h",
                   lists={"slow": ("no", [NET4], [NET6])})
    with concurrent.futures.ThreadPoolExecutor(2) as pool:
        for got in pool.map(lambda source: told_slowly(net, source), (ONE4, ONE6)):
            check_pace(got)


# --- what is said ---------------------------------------------------------------------------------

@marked(timeout_secs=120, tags=("once", "path", "sanitize"))
def test_a_client_on_two_lists_is_shown_both_in_reply_and_log(world):
    net, mired = start(world)
    check_told(net, ONE4, "450", TOLD_BY_ONE)
    check_told(net, BOTH4, "450", TOLD_BY_BOTH)
    check_told(net, ONE6, "450", TOLD_BY_ONE)
    check_told(net, BOTH6, "450", TOLD_BY_BOTH)
    for source, tags in ((ONE4, "one"), (BOTH4, "one two"), (ONE6, "one"), (BOTH6, "one two")):
        wait_for(f"the log of {source}", lambda: re.search(
            rf"{re.escape(source)}: disconnected after \d+ seconds\. lists: {tags}$",
            mired.log_text(), re.M), 10)
        check(re.search(rf"{re.escape(source)}: connected \((\d)/\1\), lists: {tags}$",
                        mired.log_text(), re.M), f"the log of the connect of {source}")
    check(f"(BLACK) {ONE4}: <a@spam.example> -> <b@mx.example>" in mired.log_text(), "(BLACK)")
    with Client(net.out, net.target(False), source=NONE4) as client:
        client.expect("220")
        client.send(ENVELOPE)
        replies = [client.reply() for _ in range(4)]
        check(replies[3] == DEFERRAL, "who is on no list is deferred:", replies)
    status = mired.status()
    check(status["connections"]["total_listed"] == 4, "counted:", status["connections"])
    check(status["connections"]["total_grey"] == 1, "counted:", status["connections"])
    check(mired.rows() and all(row[1] == NONE4 for row in mired.rows()), "no tuples of the listed")


@marked(timeout_secs=120, tags=("once",))
def test_the_options_4_and_5_choose_the_code(world):
    net, mired = start(world, "-5")
    check_told(net, BOTH4, "550", TOLD_BY_BOTH)
    check_told(net, BOTH6, "550", TOLD_BY_BOTH)
    mired.stop()
    mired.start("-5", "-4")
    check_told(net, BOTH4, "450", TOLD_BY_BOTH)


# --- -B and -b ------------------------------------------------------------------------------------

def singles_of(net, source, secs):
    """How many of the arrivals within these seconds were single bytes, and all of them."""
    with Client(net.out, net.target(":" in source), source=source) as client:
        got = client.bytes_until_eof(secs)
    return sum(len(data) == 1 for _, data in got), got


@marked(timeout_secs=60, tags=("once",))
def test_listed_clients_beyond_B_are_not_stuttered(world):
    net, mired = start(world, "-B", "1", stutter="1s")
    with Client(net.out, net.target(False), source=ONE4) as first:
        wait_for("the first", lambda: mired.status()["connections"]["listed"] == 1, 5)
        began = time.monotonic()
        check_told(net, BOTH4, "450", TOLD_BY_BOTH)
        check_told(net, BOTH6, "450", TOLD_BY_BOTH)
        took = time.monotonic() - began
        check(took < 5, "at once:", took)
        got = first.bytes_until_eof(2)
        check(got and all(len(data) == 1 for _, data in got[1:]), "the first one still waits:", got)
    check(mired.status()["connections"]["listed_unstuttered"] == 2, "both were counted")
    wait_for("the end of all", lambda: mired.status()["connections"]["listed"] == 0, 10)
    n_singles, got = singles_of(net, ONE4, 3)
    check(n_singles == len(got) and n_singles >= 2, "room again, and a byte a second:", got)


@marked(timeout_secs=90, tags=("once", "path", "sanitize"))
def test_b_reads_the_mail_of_the_unlisted_and_defers_them_without_a_record(world):
    net, mired = start(world, "-b", firewall=False, rules="none", listen=["0.0.0.0", "::"])
    for source, target in ((NONE4, topology.GW4), (NONE6, topology.GW6)):
        got = whole_mail(net, source, 8025, target)
        check(got == ("451", [DEFERRAL[4:]]), f"{source} is deferred after its mail:", got)
        check(f"(GREY) {source}: <a@spam.example> -> <b@mx.example>" in mired.log_text(), "logged")
    for source, target in ((BOTH4, topology.GW4), (BOTH6, topology.GW6)):
        got = whole_mail(net, source, 8025, target)
        check(got == ("450", [TOLD_BY_ONE[0] % source, *TOLD_BY_BOTH[1:]]), "a listed one:", got)
    status = mired.status()
    check(status["greylist"]["tuples"] == 0, "no tuples:", status["greylist"])
    check(status["connections"]["total_listed"] == 2, "counted:", status["connections"])


@marked(timeout_secs=60, tags=("once",), alone=True)
def test_b_stutters_the_unlisted_for_ever(world):
    net, _ = start(world, "-b", "-s", "1", "-S", "1", firewall=False, rules="none",
                   listen=["0.0.0.0"], stutter=None, grey_stutter=None)
    with Client(net.out, topology.GW4, source=NONE4, port=8025) as client:
        got = client.bytes_until_eof(6)
    check(all(len(data) == 1 for _, data in got), "single bytes:", got)
    check(4 <= len(got) <= 6, "one a second:", got)


# --- traps ----------------------------------------------------------------------------------------

def told_of_trap(source):
    return ("450", [f"Mail from {source} is refused for now: it was sent to an address that gets "
                    "no mail."])


@marked(timeout_secs=120, tags=("once", "sanitize"))
def test_mail_to_a_spamtrap_is_tarpitted_in_that_session_and_in_the_next(world):
    net, mired = start(world)
    answer = ask(mired, "change", "spamtrap B@mx.example\n")
    check(answer.get("done") == 1, "a spamtrap address is set:", answer)
    for source in (NONE4, NONE6):
        got = whole_mail(net, source)
        check(got == told_of_trap(source), f"{source} in the session that hits:", got)
        check(f"{source}: connected (1/0)\n" in mired.log_text(), "nobody had listed it")
        check(f"(BLACK) {source}: <a@spam.example> -> <b@mx.example>" in mired.log_text(), "log")
        got = whole_mail(net, source)
        check(got == told_of_trap(source), f"{source} in its next session:", got)
        wait_for("the log", lambda: re.search(
            rf"{source}: disconnected after \d+ seconds\. lists: spamd-greytrap$",
            mired.log_text(), re.M), 5)
        wait_for("the end", lambda: mired.status()["connections"]["now"] == 0, 10)
    status = mired.status()
    check(status["traps"]["hits"] == 4, "each RCPT was a hit:", status["traps"])
    check(status["connections"]["total_trapped"] == 2, "counted:", status["connections"])
    trapped = [row[1] for row in mired.rows() if row[0] == "TRAPPED"]
    check(sorted(trapped) == sorted([NONE4, NONE6]), "both are trapped:", mired.rows())
    got = whole_mail(net, BOTH4)
    check(got == ("450", [TOLD_BY_ONE[0] % BOTH4, *TOLD_BY_BOTH[1:], *told_of_trap(BOTH4)[1]]),
          "lists in load order, the trap last:", got)
