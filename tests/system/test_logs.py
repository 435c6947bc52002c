"""Where lines go and what they say: journald with fields, rsyslogd and logrotate with the package's
files, the bound of a flood, and what clients can make of a line."""
import concurrent.futures
import os
import re
import time

import gateways
import logdaemons as ld
import topology
from client import Client, attempt
from control import ask
from test_listed import put_lists
from world import BUILD, check, marked, run, wait_for

QUICK = {"stutter": "0s", "grey-stutter": "0s", "passtime": "1s"}
SOURCE, LISTED = topology.client4(1), topology.client4(2)
PRINTABLE = re.compile(r"[ -~]*")


def start_with_journal(world, **settings):
    ld.need(ld.JOURNALD, "journalctl")
    net = topology.local(world)
    host = ld.LogHost(world)
    host.start_journald()
    mired = ld.LoggingMired(world, net, host, **{**QUICK, **settings}).start()
    return net, host, mired


def try_mail(net, source, **words):
    with Client(net.out, net.target(False), source=source) as client:
        return attempt(client, **words)


# --- the journal ----------------------------------------------------------------------------------

@marked(tags=("once", "sanitize"))
def test_the_journal_has_events_with_fields(world):
    net, host, mired = start_with_journal(world)
    put_lists(mired, {"uatraps": ("no", [f"{LISTED}/32"], ["2001:db8::1/128"]),
                      "nixspam": ("no", [f"{LISTED}/32"], ["2001:db8::1/128"])})
    words = {"sender": "<a@sender.example>", "recipient": "<b@mx.example>", "helo": "mail.example"}
    try_mail(net, SOURCE, **words)
    time.sleep(2.1)
    try_mail(net, SOURCE, **words)
    try_mail(net, LISTED, subject="buy", **words)
    wait_for("the end of the listed client",
             lambda: host.entries("EVENT=disconnected", f"CLIENT={LISTED}"), 10)
    wanted = {
        "listening": {"PRIORITY": "4", "MESSAGE": "listening for incoming connections."},
        "connected": {"PRIORITY": "6", "CLIENT": SOURCE, "VERDICT": "GREY",
                      "MESSAGE": f"{SOURCE}: connected (1/0)"},
        "attempt": {"PRIORITY": "6", "CLIENT": SOURCE, "SENDER": "<a@sender.example>",
                    "RECIPIENT": "<b@mx.example>", "VERDICT": "GREY",
                    "MESSAGE": f"(GREY) {SOURCE}: <a@sender.example> -> <b@mx.example>"},
        "tuple": {"PRIORITY": "7", "CLIENT": SOURCE, "HELO": "mail.example",
                  "MESSAGE": f"new entry {SOURCE} from <a@sender.example> to <b@mx.example>, "
                             "helo mail.example"},
        "whitelisted": {"PRIORITY": "7", "CLIENT": SOURCE, "VERDICT": "WHITE",
                        "MESSAGE": f"whitelisting {SOURCE} in {mired.settings['state-dir']}/db"},
    }
    for event, fields in wanted.items():
        found = host.entries(f"EVENT={event}")
        check(found, "the journal has", event)
        entry = found[0]
        check({name: entry.get(name) for name in fields} == fields, "its fields are",
              fields, entry)
        check(entry["SYSLOG_IDENTIFIER"] == "mired" and entry["SYSLOG_FACILITY"] == "3",
              "as a daemon's", entry)
        check(len(host.entries(f"MESSAGE_ID={entry['MESSAGE_ID']}")) == len(found),
              "one id an event", event)
    black = host.entries("LIST=nixspam", "EVENT=attempt")
    check(len(black) == 1 and black[0]["CLIENT"] == LISTED and black[0]["VERDICT"] == "BLACK"
          and black[0]["LIST"] == ["uatraps", "nixspam"], "each list is a value of LIST", black)
    check(host.entries("EVENT=header", f"CLIENT={LISTED}")[0]["LINE"] == "Subject: buy", "a header")
    check([entry["MESSAGE"] for entry in host.entries("EVENT=body")] == [f"{LISTED}: Body: hello"],
          "a line of a body")
    code, _ = mired.stop()
    check(code == 0 and host.entries("EVENT=stopped"), "the end is in the journal")


@marked(tags=("once",))
def test_without_verbose_mails_are_not_logged_but_what_becomes_of_hosts_is(world):
    net, host, _ = start_with_journal(world, verbose="no")
    try_mail(net, SOURCE)
    time.sleep(2.1)
    try_mail(net, SOURCE)
    wait_for("both ends", lambda: len(host.entries("EVENT=disconnected")) == 2, 10)
    events = {entry.get("EVENT") for entry in host.entries("SYSLOG_IDENTIFIER=mired")}
    check({"listening", "connected", "disconnected", "tuple", "whitelisted"} <= events, "there are",
          events)
    check(not {"attempt", "header", "body"} & events, "there is no mail", events)


@marked(tags=("once", "sanitize"))
def test_a_journal_that_stands_still_or_starts_again_holds_up_no_client(world):
    net, host, mired = start_with_journal(world)
    ld.pause(host.journald, True)
    n_max = 1500  # beyond the socket's queue and the rings of the writer
    began = time.monotonic()
    with concurrent.futures.ThreadPoolExecutor(16) as pool:
        list(pool.map(lambda _: Client(net.out, net.target(False), source=SOURCE).close(),
                      range(n_max)))
    reply = try_mail(net, SOURCE)
    check(reply.startswith("451"), "clients are served", reply)
    check(time.monotonic() - began < 30, "and nobody waits for the log")
    ld.pause(host.journald, False)
    wait_for("lines that waited", lambda: host.entries("EVENT=attempt"), 10)
    host.stop_journald()
    check(try_mail(net, LISTED).startswith("451"), "clients are served without a journal")
    host.start_journald()
    wait_for("what was logged without a journal",
             lambda: host.entries("EVENT=attempt", f"CLIENT={LISTED}"), 10)
    check(mired.stop()[0] == 0, "it stops in order")


# --- a flood --------------------------------------------------------------------------------------

def suppressed(host):
    """Lines that were left out, by event, as the journal says."""
    out = {}
    for entry in host.entries("EVENT=suppressed"):
        check(re.fullmatch(rf"{entry['OF']}: {entry['COUNT']} more in the last (second|\d+ seconds)"
                           r" not logged \(log-rate\)", entry["MESSAGE"]), "it says so", entry)
        out[entry["OF"]] = out.get(entry["OF"], 0) + int(entry["COUNT"])
    return out


@marked(tags=("once", "sanitize"))
def test_of_a_flood_a_bounded_part_is_logged_and_the_rest_is_said(world):
    n, rate = 600, 20
    net, host, mired = start_with_journal(world, **{"log-rate": rate})
    began = time.monotonic()
    with concurrent.futures.ThreadPoolExecutor(16) as pool:
        list(pool.map(lambda i: Client(net.out, net.target(False),
                                       source=topology.client4(i % 200 + 1)).close(), range(n)))
    def is_told():
        told = suppressed(host)
        logged = {event: len(host.entries(f"EVENT={event}"))
                  for event in ("connected", "disconnected")}
        return all(logged[event] + told.get(event, 0) == n for event in logged) and (logged, told)
    logged, told = wait_for("each connection logged or counted", is_told, 15)
    secs = time.monotonic() - began
    for event in ("connected", "disconnected"):
        check(rate <= logged[event] <= rate * (secs + 2), "a bounded part", event, logged, secs)
        check(told[event] > 0, "the rest is said", told)
    check(mired.status()["drops"]["log_suppressed"] == sum(told.values()), "and counted",
          mired.status()["drops"], told)


# --- what clients can write -----------------------------------------------------------------------

HOSTILE = [
    "evil\x1b[2J\x07",
    "m\u00fcller\u202e",
    "%n%s%d%1000000d",
    "a\rmired[1]: 192.0.2.9: connected (1/0)",
    "x\x00y\x7fz",
    "\\x0a\\",
    "MESSAGE=forged\x0bPRIORITY=0",
    "w" * 1000,
]


TRAP = "trap@mx.example"
TRAPPED = [topology.client4(10 + i) for i in range(len(HOSTILE))]
CLIENTS = {SOURCE, LISTED, *TRAPPED}


def mail_of(word, recipient=None):
    """A mail with the word in each place that gets into a line."""
    body = f"From: {word}\r\nSubject: {word}\r\nTo: {word}\r\n\r\n{word}\r\n.\r\n"
    return (f"HELO {word}\r\nMAIL FROM:<{word}@a.example>\r\n"
            f"RCPT TO:<{recipient or word + '@b.example'}>\r\nDATA\r\n{body}").encode("utf-8")


def send_hostile(net, mired):
    """Words of all kinds from a stranger (tuples), a listed host (mails) and for a spamtrap."""
    put_lists(mired, {"bad": ("no", [f"{LISTED}/32"], ["2001:db8::1/128"])})
    run([BUILD / "miredb", "-f", mired.conf, "-T", "-a", TRAP])

    def send(job):
        source, mail = job
        with Client(net.out, net.target(False), source=source) as client:
            client.send(mail)
            client.bytes_until_eof(4)
    jobs = [(source, mail_of(word)) for word in HOSTILE for source in (SOURCE, LISTED)]
    jobs += [(source, mail_of(word, TRAP)) for source, word in zip(TRAPPED, HOSTILE)]
    with concurrent.futures.ThreadPoolExecutor(len(jobs)) as pool:
        list(pool.map(send, jobs))
    return len(jobs)


def check_lines(lines):
    """Every line is in printable ASCII, has an end, and shows each kind of word where it belongs."""
    check(len(lines) > 8 * len(HOSTILE), "all words were logged", len(lines))
    for line in lines:
        check(PRINTABLE.fullmatch(line), "only what can be printed:", line)
        check(len(line) < 1024, "a line has an end:", len(line))
    text = "\n".join(lines)
    for event in (r"\(GREY\) ", r"\(BLACK\) ", r"[\d.]+: Subject: ", r"[\d.]+: From: ",
                  r"[\d.]+: Body: ", "new entry ", "Trapping ",
                  "new greytrap entry "):
        check(re.search(rf"^{event}.*evil\\x1b\[2J\\x07", text, re.M), "escaped in", event)
        check(re.search(rf"^{event}.*%n%s%d%1000000d", text, re.M), "as it is in", event)
        check(re.search(rf"^{event}.*w{{200}}", text, re.M), "long ones are there in", event)
    check(re.search(r"M\\xc3|m\\xc3\\xbcller", text), "bytes that are no ASCII are escaped")
    for line in lines:
        check(not line.startswith(("192.0.2.9", "mired[1]", "MESSAGE")), "nothing is forged:", line)


@marked(tags=("once", "sanitize"))
def test_clients_cannot_forge_lines_or_fields_of_the_journal(world):
    net, host, mired = start_with_journal(world, **{"log-rate": "off"})
    n = send_hostile(net, mired)
    wait_for("all ends", lambda: len(host.entries("EVENT=disconnected")) == n, 10)
    entries = host.entries("SYSLOG_IDENTIFIER=mired")
    check_lines([entry["MESSAGE"] for entry in entries if entry.get("CLIENT")])
    for entry in entries:
        check(isinstance(entry["MESSAGE"], str), "text, not bytes:", entry)
        check(entry["PRIORITY"] in "4567" and entry["MESSAGE"] != "forged", "not forged", entry)
        for name in ("CLIENT", "SENDER", "RECIPIENT", "HELO", "LINE", "VERDICT"):
            value = entry.get(name, "")
            check(isinstance(value, str) and PRINTABLE.fullmatch(value), "one value of", name,
                  value)
    check({entry["CLIENT"] for entry in entries if "CLIENT" in entry} == CLIENTS,
          "no other client")


# --- syslog ---------------------------------------------------------------------------------------

LINE = re.compile(r"\S.*? mired\[(\d+)\]: (.*)")


@marked(tags=("once",))
def test_rsyslog_writes_a_file_of_its_own_which_logrotate_rotates(world):
    ld.need("rsyslogd", "logrotate")
    net = topology.local(world)
    host = ld.LogHost(world)
    logs = host.start_rsyslogd(adm="root")  # the group adm may not be there
    mired = ld.LoggingMired(world, net, host, **QUICK, **{"log-rate": "off"}).start()
    n = send_hostile(net, mired)
    file = logs / "mired.log"
    wait_for("all ends", lambda: file.exists() and
             file.read_text("latin-1").count(": disconnected after ") == n, 10)
    lines = file.read_bytes().decode("latin-1").split("\n")[:-1]
    found = [LINE.fullmatch(line) for line in lines]
    check(all(found), "each line has date, host, ident and pid:",
          [line for line, match in zip(lines, found) if not match])
    texts = [match[2] for match in found]
    check("listening for incoming connections." in texts, "the daemon's own lines")
    check_lines([text for text in texts if any(client in text for client in CLIENTS)])
    check("mired[" not in (logs / "syslog").read_text() if (logs / "syslog").exists() else True,
          "they are not in other files, too")
    check(oct(file.stat().st_mode & 0o777) == "0o640", "not for everybody")
    logrotate = host.logrotate_command(logs)
    run([*logrotate, "-d"])
    check(sorted(os.listdir(logs))[0] == "mired.log", "-d changes nothing")
    run([*logrotate, "-f"])
    old = [name for name in os.listdir(logs) if name.startswith("mired.log-")]
    check(len(old) == 1 and old[0].endswith(".gz"), "the old file is kept", os.listdir(logs))
    try_mail(net, SOURCE)
    wait_for("lines in the new file", lambda: file.exists() and f"{SOURCE}: connected" in
             file.read_text("latin-1"), 10)


@marked(tags=("once",))
def test_a_file_that_grows_too_large_is_rotated_before_its_time(world):
    ld.need("rsyslogd", "logrotate")
    net = topology.local(world)
    host = ld.LogHost(world)
    script = host.dir / "rotate-log"
    logs = host.start_rsyslogd(**{"adm": "root", "1073741824": "8192",
                                  "/usr/lib/mired/rotate-log": str(script)})
    command = " ".join(str(word) for word in
                       host.logrotate_command(logs, **{"maxsize 1G": "maxsize 4k"}))
    script.write_text(f"#!/bin/sh\nexec {command} >>{host.dir}/rotated 2>&1\n")
    script.chmod(0o755)
    world.show_log(host.dir / "rotated")
    ld.LoggingMired(world, net, host, **QUICK, **{"log-target": "syslog"}).start()
    with concurrent.futures.ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda i: try_mail(net, SOURCE, sender=f"<a{i}@sender.example>"), range(40)))
    wait_for("the rotation", lambda: list(logs.glob("mired.log-*.gz")), 10)
    file = logs / "mired.log"

    def goes_on():  # again and again: what still waited may have filled the new file, too
        try_mail(net, LISTED)
        return file.exists() and f"{LISTED}: connected" in file.read_text("latin-1")
    wait_for("lines in the new file", goes_on, 10)
    check(file.stat().st_size < 64 << 10, "which begins anew")


@marked(tags=("once",))
def test_a_syslog_that_comes_late_stands_still_or_starts_again_gets_every_kind_of_line(world):
    ld.need("rsyslogd")
    net = topology.local(world)
    host = ld.LogHost(world)
    mired = ld.LoggingMired(world, net, host, **QUICK).start()
    file = host.dir / "var-log" / "mired.log"

    def wait_for_mail(source):
        text = f"(GREY) {source}: "
        wait_for(text, lambda: file.exists() and text in file.read_text("latin-1"), 15)
    late, still, again = (topology.client4(n) for n in (3, 4, 5))
    check(try_mail(net, late).startswith("451"), "clients are served without a log")
    host.start_rsyslogd(adm="root")
    wait_for_mail(late)
    check("listening for incoming connections." in file.read_text("latin-1"), "from the start on")
    ld.pause(host.syslogd, True)
    with concurrent.futures.ThreadPoolExecutor(16) as pool:
        list(pool.map(lambda _: Client(net.out, net.target(False), source=SOURCE).close(),
                      range(1500)))
    check(try_mail(net, still).startswith("451"), "and beside one that takes nothing")
    ld.pause(host.syslogd, False)
    wait_for_mail(still)
    host.stop_rsyslogd()
    check(try_mail(net, again).startswith("451"), "and beside one that is gone")
    host.run_rsyslogd()
    wait_for_mail(again)
    check(mired.stop()[0] == 0, "it stops in order")


# --- peers, and the other programs ----------------------------------------------------------------

@marked(tags=("once",))
def test_what_gateways_tell_each_other_is_logged_as_spamd_does(world):
    sites = gateways.make(world)
    here, there = gateways.pair(sites, **QUICK)
    ask(here, "change", f"spamtrap {TRAP}\n")
    wait_for("the trap at both", lambda: there.status()["traps"]["addresses"] == 1, 3)
    with Client(sites.bots, gateways.MX4[0], source=SOURCE) as client:
        attempt(client, recipient=f"<{TRAP}>")
    for mired, line in ((here, rf"sync_trap {SOURCE}"),
                        (there, rf"new TRAP from [\d.]+ for {SOURCE}, expires \d{{10}}")):
        wait_for(line, lambda: re.search(rf"\]: {line}$", mired.log_text(), re.M), 5)


@marked(tags=("once",))
def test_mired_setup_and_mired_logd_log_to_the_journal_too(world):
    _, host, mired = start_with_journal(world)
    lists = host.dir / "spamd.conf"
    lists.write_text("all:\\\n\t:good:bad:\ngood:\\\n\t:black:\\\n\t:msg=\"no\":\\\n\t:method=file:\\\n"
                     f"\t:file={host.dir}/good:\nbad:\\\n\t:black:\\\n\t:msg=\"no\":\\\n"
                     f"\t:method=file:\\\n\t:file={host.dir}/missing:\n")
    (host.dir / "good").write_text("192.0.2.0/24\n")
    mired.write_conf(lists_file=lists)
    host.run([BUILD / "mired-setup", "-f", mired.conf], ns=mired.ns, check_code=False)
    said = {entry["PRIORITY"]: entry["MESSAGE"]
            for entry in host.entries("SYSLOG_IDENTIFIER=mired-setup")}
    check(said.get("6") == "blacklist good: 1 networks given to mired", "what was done:", said)
    check("bad: " in said.get("3", ""), "what went wrong:", said)
    logd = world.spawn([*host.prefix(), BUILD / "mired-logd", "-f", mired.conf], ns=mired.ns,
                       log=host.dir / "mired-logd", env=world.sanitizer_env())
    entries = wait_for("mired-logd", lambda: host.entries("SYSLOG_IDENTIFIER=mired-logd"), 10)
    check(entries[0]["MESSAGE"].startswith("listening on all interfaces"), "its own line", entries)
    logd.terminate()
    check(logd.wait(timeout=10) == 0, "it ends")


@marked(tags=("once", "sanitize"))
def test_a_reload_puts_verbose_and_log_rate_in_force(world):
    net, host, mired = start_with_journal(world, verbose="no")
    try_mail(net, SOURCE)
    wait_for("the end", lambda: host.entries("EVENT=disconnected", f"CLIENT={SOURCE}"), 10)
    mired.write_conf(verbose="yes", **{"log-rate": 1})
    answer = ask(mired, "reload")
    check("error" not in answer, "it is in force:", answer)

    def is_verbose():
        try_mail(net, LISTED)
        return host.entries("EVENT=attempt", f"CLIENT={LISTED}")
    wait_for("a mail in the log", is_verbose, 10)
    check(not host.entries("EVENT=attempt", f"CLIENT={SOURCE}"), "none before")
    with concurrent.futures.ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda _: Client(net.out, net.target(False), source=SOURCE).close(),
                      range(40)))
    wait_for("the new bound", lambda: suppressed(host).get("connected", 0) > 0, 10)
