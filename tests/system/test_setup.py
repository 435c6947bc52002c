"""mired-setup: lists from every kind of source reach the daemon, and bad ones do not."""
import concurrent.futures
import gzip
import json
import os
import pathlib
import pwd
import random
import signal
import subprocess
import time

import topology
import world as w
from client import Client, attempt
from control import lists
from daemon import Mired
from ftpsite import FtpSite
from website import Site, endless, give, redirect, reset
from world import check, marked, run, wait_for

LIST_SIZE = 1 << 20
TIMEOUT_SECS = 3


def start(world, **settings):
    """A daemon and a site in its namespace."""
    net = topology.gateway(world)
    mired = Mired(world, net, lists_file=world.dir / "mired" / "spamd.conf",
                  list_timeout=f"{TIMEOUT_SECS}s", list_size="1m", **settings)
    mired.out = net.out
    mired.start()
    return mired, Site(world, mired.ns)


def write_lists(mired, *records):
    """spamd.conf of (name, kind, method, file); a black list's message is its name."""
    text = "all:\\\n\t:" + ":".join(record[0] for record in records) + ":\n"
    for name, kind, method, file in dict.fromkeys(records):
        message = f':msg="{name} lists %A":\\\n\t' if kind == "black" else ""
        file = str(file).replace(":", "\\c")
        text += f"\n{name}:\\\n\t:{kind}:\\\n\t{message}:method={method}:\\\n\t:file={file}:\n"
    pathlib.Path(mired.settings["lists-file"]).write_text(text)


def command(mired, *options):
    return [w.BUILD / "mired-setup", "-f", mired.conf, *options]


def setup(mired, *options, code=0):
    """Runs it; what it says on stderr."""
    done = run(command(mired, *options), ns=mired.ns, check_code=False)
    check(done.returncode == code, f"mired-setup ends with {code}, not with", done.returncode,
          done.stderr)
    return done.stderr


def copy_of(mired, name):
    return pathlib.Path(mired.settings["state-dir"]) / "lists" / "fetched" / f"{name}.list"


def hosts(n, first=0):
    """n addresses that no two of which are neighbours."""
    return b"".join(b"203.%d.%d.1\n" % (i >> 7 & 127, (i & 127) * 2)
                    for i in range(first, first + n))


def script(world, name, text):
    path = world.dir / name
    path.write_text(f"#!/bin/sh\n{text}\n")
    path.chmod(0o755)
    return path


def left_running(mired):
    """Processes of mired-setup in the daemon's namespace."""
    return [pid for pid in mired.ns.pids()
            if any(word.endswith(b"mired-setup") for word in w.command_words(pid)[:1])]


@marked(timeout_secs=120, tags=("once", "sanitize"))
def test_lists_of_every_kind_reach_clients(world):
    mired, site = start(world, stutter="0s", grey_stutter="0s")
    client, free = topology.client4(1), topology.client4(2)
    (world.dir / "file.txt").write_text(f"# ours\n{client}\n203.0.113.7 - 203.0.113.9\n")
    (world.dir / "white.txt").write_text(f"{free}\n")
    drop = [{"cidr": "198.19.0.0/24", "sblid": "SBL1"}, {"cidr": "203.0.113.0/24"},
            {"type": "metadata", "records": 2, "timestamp": 1}]
    site.pages["/plain"] = hosts(10)
    packed = f"{topology.client6(1)}\n2001:db8:dead::/48\n"
    site.pages["/packed.gz"] = gzip.compress(packed.encode())
    site.pages["/drop.json"] = "".join(json.dumps(row) + "\n" for row in drop).encode()
    site.pages["/drop6.json"] = b'{"cidr":"2001:db8:bad::/48"}\n{"type":"metadata","records":1}\n'
    maker = script(world, "maker", 'echo "$1"')
    at = f"127.0.0.1:{site.port}"
    write_lists(mired, ("file", "black", "file", world.dir / "file.txt"),
                ("plain", "black", "http", f"{at}/plain"),
                ("packed", "black", "http", f"{at}/packed.gz"),
                ("drop", "black", "http", f"{at}/drop.json"),
                ("white", "white", "file", world.dir / "white.txt"),
                ("drop6", "black", "http", f"{at}/drop6.json"),
                ("white", "white", "file", world.dir / "white.txt"),
                ("made", "black", "exec", f"{maker}  {client}\t x"))
    text = setup(mired, "-d")
    check(text.splitlines() == [
        "blacklist file 2 entries", f"Getting http://{at}/plain", "blacklist plain 10 entries",
        f"Getting http://{at}/packed.gz", "blacklist packed 2 entries",
        f"Getting http://{at}/drop.json", "blacklist drop 2 entries", "whitelist white 1 entries",
        f"Getting http://{at}/drop6.json", "blacklist drop6 1 entries",
        "whitelist white 1 entries", "blacklist made 1 entries"], "-d says what it does:", text)
    # 203.0.113.7-.9 is two networks; a /24 without one address is eight
    found = lists(mired)
    check(found == {"file": 3, "plain": 10, "packed": 2, "drop": 9, "drop6": 1, "made": 1},
          "the daemon has the lists:", found)
    out = mired.out
    with Client(out, topology.MX4, source=client) as listed:
        reply = attempt(listed)
    check(reply == f"450-file lists {client}\n450-drop lists {client}\n450 made lists {client}",
          "a host on three lists is told of all three:", reply)
    with Client(out, topology.MX6, source=topology.client6(1)) as listed:
        reply = attempt(listed)
    check(reply == f"450 packed lists {topology.client6(1)}", "an IPv6 host too:", reply)
    with Client(out, topology.MX4, source=free) as other:
        reply = attempt(other)
    check(reply.startswith("451"), "a white host is not listed:", reply)
    owner = {path.stat().st_uid for path in copy_of(mired, "x").parent.iterdir()}
    check(owner == {pwd.getpwnam("mired").pw_uid}, "copies belong to mired:", owner)


@marked(timeout_secs=60, tags=("once",))
def test_a_list_by_ftp_comes_whole_or_not_at_all(world):
    mired, _ = start(world)
    site = FtpSite(world, mired.ns)
    site.pages["/pub/lists/hosts.gz"] = gzip.compress(hosts(1000))
    write_lists(mired, ("far", "black", "ftp", f"127.0.0.1:{site.port}/pub/lists/hosts.gz"))
    setup(mired)
    check(lists(mired) == {"far": 1000}, "the daemon has the list:", lists(mired))
    site.pages["/pub/lists/hosts.gz"] = hosts(2000)
    site.cut_bytes = 5000
    text = setup(mired, code=2)
    check("far" in text and lists(mired) == {"far": 1000}, "a cut transfer is refused:", text)
    del site.pages["/pub/lists/hosts.gz"]
    text = setup(mired, code=2)
    check("far" in text and lists(mired) == {"far": 1000}, "a file that is gone, too:", text)


def failures(site, world):
    """(page, what is said of it) of downloads that must not be believed."""
    bomb = gzip.compress(bytes(64 << 20))
    return [
        (b"", "it is empty"),
        (b"\n \n", "it is empty"),
        (b"# nothing here\n", "it holds no entry"),
        (b"service unavailable\n", "no line of it is an address"),
        (b"<html><body>203.0.113.1</body></html>", "it is a web page"),
        (lambda h: give(h, hosts(100), Content_Type="text/html"), "calls it text/html"),
        (None, "404"),
        (lambda h: h.send_error(500), "500"),
        (lambda h: (h.send_response(204), h.end_headers()), "status 204"),
        (lambda h: give(h, hosts(90), length=5000), "transfer closed"),
        (reset, "reset by peer"),
        (lambda h: h.connection.close(), "Empty reply"),
        (endless(lambda: time.sleep(0.1)), "timed out"),
        (endless(lambda: None), "larger than 1048576 bytes (list-size)"),
        (lambda h: give(h, hosts(100), length=2 << 30), "larger than 1048576 bytes (list-size)"),
        (b"1" * (LIST_SIZE + 1), "larger than 1048576 bytes (list-size)"),
        (bomb, "unpacks to more than 1048576 bytes (list-size)"),
        (gzip.compress(hosts(100))[:-20], "cannot be unpacked"),
        (b'{"cidr":"192.0.2.0/24"}\n{"type":"metadata","records":90}\n', "promise 90 records"),
        (hosts(9), "shrank from 100 to 9 entries"),
        (hosts(1001), "grew from 100 to 1001 entries"),
        (redirect("/list"), "redirects"),
        (redirect("file:///etc/passwd"), "not supported"),
        (redirect(f"ftp://127.0.0.1:{site.port}/"), "not supported"),
    ]


@marked(timeout_secs=180, tags=("once", "sanitize"))
def test_a_bad_download_leaves_the_old_list_in_force_and_says_why(world):
    mired, site = start(world)
    source = f"127.0.0.1:{site.port}/list"
    write_lists(mired, ("bad", "black", "http", source))
    site.pages["/list"] = hosts(100)
    setup(mired)
    good = copy_of(mired, "bad").read_bytes()
    for page, reason in failures(site, world):
        site.pages["/list"] = page
        began = time.monotonic()
        text = setup(mired, code=2)
        check(text.startswith(f"mired-setup: bad: http://{source}: ") or "line 1" in text,
              "list and source are named:", text)
        check(reason in text, f"the reason is said, {reason!r}:", text)
        check("using the last good copy (100 entries, 0 min old)" in text, "and the copy:", text)
        check(lists(mired) == {"bad": 100}, f"the old list is in force after {reason!r}:",
              lists(mired))
        check(copy_of(mired, "bad").read_bytes() == good, f"the copy stays, {reason!r}")
        took = time.monotonic() - began
        check(took < (TIMEOUT_SECS + 3) * w.PATIENCE, f"{reason!r} ends in time:", took)
    site.pages["/list"] = hosts(50)
    setup(mired)
    check(lists(mired) == {"bad": 50}, "a good list is believed again:", lists(mired))
    wait_for("helpers to end", lambda: not left_running(mired), 5)


@marked(timeout_secs=120, tags=("once", "sanitize"))
def test_without_a_copy_the_daemon_keeps_what_it_has(world):
    mired, site = start(world)
    at = f"127.0.0.1:{site.port}"
    site.pages.update({"/black": hosts(10), "/white": hosts(2)})
    records = [("black", "black", "http", f"{at}/black"), ("white", "white", "http", f"{at}/white"),
               ("other", "black", "http", f"{at}/black")]
    write_lists(mired, *records)
    setup(mired)
    check(lists(mired) == {"black": 8, "other": 10}, "white is taken out:", lists(mired))
    site.pages.update({"/white": b"", "/black": hosts(12)})
    copy_of(mired, "white").unlink()
    text = setup(mired, code=2)
    check("there is no usable copy (none was kept)" in text, "it says so:", text)
    check("black: not given to mired" in text, "the set lacks its white list:", text)
    check(lists(mired) == {"black": 8, "other": 12}, "the others are new:", lists(mired))
    copy_of(mired, "other").write_bytes(b"mired-list 1\ndamaged")
    site.pages["/black"] = None
    text = setup(mired, code=2)
    check(lists(mired) == {"black": 8, "other": 12}, "a damaged copy is not used:", text)


@marked(timeout_secs=60, tags=("once",))
def test_a_problem_is_in_the_journal_once(world):
    mired, _ = start(world)
    write_lists(mired, ("gone", "black", "file", world.dir / "gone"))
    check("mired-setup: gone: " in setup(mired, code=2), "stderr has it")
    streams = {"the journal's": "{0.st_dev}:{0.st_ino}", "another's": "{0.st_dev}:1"}
    for whose, form in streams.items():
        path = world.dir / "stderr"
        with open(path, "wb") as file:
            stream = form.format(os.fstat(file.fileno()))
            subprocess.run([*mired.ns.prefix(), *map(str, command(mired))], check=False,
                           stderr=file, env={**os.environ, "JOURNAL_STREAM": stream}, timeout=30)
        check(("gone: " in path.read_text()) == (whose == "another's"),
              f"where stderr is {whose}:", path.read_text())


@marked(timeout_secs=60, tags=("once", "sanitize"))
def test_a_white_list_that_takes_everything_clears_its_black_list_only(world):
    mired, _ = start(world)
    host, white = world.dir / "host", world.dir / "white"
    host.write_text("203.0.113.7\n")
    write_lists(mired, ("one", "black", "file", host), ("white", "white", "file", white),
                ("two", "black", "file", host))
    text = setup(mired, code=2)
    check("one: not given to mired" in text and lists(mired) == {"two": 1},
          "without its white list a black one is not sent:", text, lists(mired))
    white.write_text("")
    setup(mired)
    check(lists(mired) == {"one": 1, "two": 1}, "an empty one takes nothing:", lists(mired))
    white.write_text("203.0.113.0/24\n")
    setup(mired)
    check(lists(mired) == {"one": 0, "two": 1}, "all of it is white:", lists(mired))


@marked(timeout_secs=120, tags=("once", "sanitize"))
def test_programs_that_fail_hang_or_flood_are_ended(world):
    mired, _ = start(world)
    maker = script(world, "maker", "echo 203.0.113.1; id -un >&2; exit 0")
    write_lists(mired, ("made", "black", "exec", maker))
    text = setup(mired)
    check("mired-fetch" in text, "it runs as the fetch user:", text)
    for body, reason in [("echo 203.0.113.2; exit 3", "ended with status 3"),
                         ("kill -9 $$", "ended by signal 9"),
                         ("echo 203.0.113.2; sleep 60 & sleep 60", "was not done after 3 s"),
                         ("setsid sh -c 'sleep 60; :' & exit 3", "was not done after 3 s"),
                         ("setsid sleep 60 >&- 2>&- & exit 3", "ended with status 3"),
                         ("exec yes 203.0.113.2", "larger than 1048576 bytes")]:
        script(world, "maker", body)
        text = setup(mired, code=2)
        check(reason in text, f"the reason is said, {reason!r}:", text)
        check(lists(mired) == {"made": 1}, "the old list is in force:", lists(mired))
        sleeping = [pid for pid in mired.ns.pids() if b"sleep" in w.command_words(pid)]
        check(not sleeping, "nothing of it is left:", sleeping)
    maker.unlink()
    check("No such file" in setup(mired, code=2), "a missing program is said")
    script(world, "maker", "exit 0")
    setup(mired)
    check(not lists(mired).get("made"), "an empty list from a program that ended well clears:",
          lists(mired))


@marked(timeout_secs=60, tags=("once", "sanitize"))
def test_an_unchanged_list_is_not_sent_again_by_its_server(world):
    mired, site = start(world)
    etag, date = '"v 1"', "Sun, 22 Nov 2026 10:00:00 GMT"

    def page(handler):
        if handler.headers["If-None-Match"] == etag:
            handler.send_response(304)
            handler.end_headers()
        else:
            give(handler, hosts(20), ETag=etag, Last_Modified=date)
    site.pages["/list"] = page
    write_lists(mired, ("bad", "black", "http", f"127.0.0.1:{site.port}/list"))
    setup(mired)
    os.utime(copy_of(mired, "bad"), (1000, 1000))
    check("blacklist bad 20 entries" in setup(mired, "-d"), "the copy is the list")
    asked = site.seen[-1][1]
    check(asked.get("If-None-Match") == etag and asked.get("If-Modified-Since") == date,
          "the request is conditional:", asked)
    check(copy_of(mired, "bad").stat().st_mtime > 1000, "the copy is current again")
    check(lists(mired) == {"bad": 20}, "it is in force:", lists(mired))
    # a copy that is damaged must not be confirmed
    copy_of(mired, "bad").write_bytes(copy_of(mired, "bad").read_bytes()[:-1])
    setup(mired)
    check("If-None-Match" not in site.seen[-1][1], "a damaged copy is fetched whole")


@marked(timeout_secs=120, tags=("once",))
def test_a_full_disk_leaves_the_old_list_in_force(world):
    mired, site = start(world)
    write_lists(mired, ("bad", "black", "http", f"127.0.0.1:{site.port}/list"))
    site.pages["/list"] = hosts(1000)
    setup(mired)
    world.tmpfs(copy_of(mired, "bad").parent, "64k")
    os.chown(copy_of(mired, "bad").parent, pwd.getpwnam("mired").pw_uid, 0)
    setup(mired)
    site.pages["/list"] = hosts(8000)
    text = setup(mired, code=2)
    check("its copy cannot be kept: No space left on device" in text, "the reason:", text)
    check(lists(mired) == {"bad": 1000}, "the old list is in force:", lists(mired))
    names = sorted(path.name for path in copy_of(mired, "bad").parent.iterdir())
    check(names == ["bad.list", "lock"], "nothing half-written is left:", names)
    site.pages["/list"] = hosts(900)
    setup(mired)
    check(lists(mired) == {"bad": 900}, "with room it goes on:", lists(mired))


@marked(timeout_secs=180, tags=("once",))
def test_kill_9_at_any_moment_leaves_whole_lists(world):
    mired, site = start(world)
    sizes = [2000, 3000]
    write_lists(mired, *[(name, "black", "http", f"127.0.0.1:{site.port}/list")
                         for name in ("one", "two", "three")])
    site.pages["/list"] = hosts(sizes[0])
    setup(mired)
    seed = random.randrange(1 << 30)
    chance = random.Random(seed)
    for turn in range(40):
        site.pages["/list"] = hosts(sizes[turn % 2])
        process = world.spawn(command(mired), ns=mired.ns)
        time.sleep(chance.uniform(0, 0.15))
        process.send_signal(signal.SIGKILL)
        process.wait()
        wait_for("the helpers to end with it", lambda: not left_running(mired), 5)
        found = lists(mired)
        check(sorted(found) == ["one", "three", "two"] and set(found.values()) <= set(sizes),
              f"lists are whole (seed {seed}, turn {turn}):", found)
    setup(mired)
    check(set(lists(mired).values()) == {sizes[1]}, "the next run goes through:", lists(mired))


@marked(timeout_secs=60, tags=("once",))
def test_one_works_at_a_time(world):
    mired, site = start(world)
    site.pages["/list"] = endless(lambda: time.sleep(0.1))
    write_lists(mired, ("bad", "black", "http", f"127.0.0.1:{site.port}/list"))
    with concurrent.futures.ThreadPoolExecutor(1) as pool:
        first = pool.submit(setup, mired, code=2)
        wait_for("the first to ask", lambda: site.seen, 5)
        text = setup(mired, code=1)
        check("another mired-setup is at work" in text, "the second says why:", text)
        first.result()


@marked(timeout_secs=60, tags=("once", "sanitize"))
def test_a_dry_run_changes_nothing_and_words_are_refused(world):
    mired, site = start(world)
    site.pages["/list"] = hosts(5)
    write_lists(mired, ("bad", "black", "http", f"127.0.0.1:{site.port}/list"))
    text = setup(mired, "-n", "-d")
    check("blacklist bad 5 entries" in text, "it fetches:", text)
    check(lists(mired) == {} and not copy_of(mired, "bad").exists(), "and leaves all as it was")
    check(setup(mired, "word", code=1).startswith("usage: mired-setup"), "a word is refused")
    check("usage: mired-setup" in setup(mired, "-x", code=1), "an unknown option too")
    check("-b has no effect" in setup(mired, "-b"), "-b warns")
    site.pages["/list"] = hosts(6)
    check(setup(mired, "-D") == "", "-D is silent")
    wait_for("the detached one to be done", lambda: lists(mired) == {"bad": 6}, 10)
    wait_for("it to end", lambda: not left_running(mired), 10)
    pathlib.Path(mired.settings["lists-file"]).write_text("bad:\\\n\t:black:\n")
    check('Can\'t find "all"' in setup(mired, code=1), "a file without `all` is an error")
    mired.stop()
    write_lists(mired, ("bad", "black", "http", f"127.0.0.1:{site.port}/list"))
    text = setup(mired, code=1)
    check("can't reach mired at" in text, "without a daemon:", text)


@marked(timeout_secs=60, tags=("once",))
def test_https_is_verified_and_never_left(world):
    mired, site = start(world)
    pem = world.dir / "site.pem"
    run(["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1",
         "-nodes", "-days", "2", "-subj", "/CN=127.0.0.1", "-addext", "subjectAltName=IP:127.0.0.1",
         "-keyout", world.dir / "key", "-out", world.dir / "cert"])
    pem.write_text((world.dir / "key").read_text() + (world.dir / "cert").read_text())
    safe = Site(world, mired.ns, pem)
    safe.pages["/list"] = hosts(7)
    site.pages["/list"] = hosts(7)
    write_lists(mired, ("safe", "black", "https", f"127.0.0.1:{safe.port}/list"))
    text = setup(mired, code=2)
    check("certificate" in text, "a certificate nobody vouches for is refused:", text)
    bundle = "/etc/ssl/certs/ca-certificates.crt"
    trust = ["unshare", "-m", "sh", "-c",
             f"mount --bind {world.dir}/cert {bundle} && exec \"$@\"", "sh"]
    done = run([*trust, *command(mired)], ns=mired.ns)
    check(lists(mired) == {"safe": 7}, "a good one is not:", lists(mired), done.stderr)
    safe.pages["/list"] = redirect(f"http://127.0.0.1:{site.port}/list")
    done = run([*trust, *command(mired)], ns=mired.ns, check_code=False)
    check(done.returncode == 2 and "not supported" in done.stderr,
          "https is not left for http:", done.stderr)
    check(not site.seen, "nobody was asked over http")


# (msg= of spamd.conf, or the bytes of a message file; lines the client is told)
MESSAGES = [
    (r'"spam from %A\nsee %A"', ["spam from @", "see @"]),
    (r'"say \"no\" 50%% 50% off %B"', ['say "no" 50% 50% off %B']),
    (r'"at 12:00 a\\\\b \101 \c"', ["at 12:00 a\\b A :"]),
    ('"ends\\\n in a break\\n\\n"', ["ends in a break"]),
    (b"two\nlines of %A\r\nand one\n\n\n", ["two", "lines of @", "and one"]),
    (b"\nempty\n\none\n", ["", "empty", "", "one"]),
    (b'a "quote" \\n and 100%\nthen c:\\\\\nend\\',
     ['a "quote" ', " and 100% ", "then c:\\ ", "end\\ "]),
    ("\u00fcber\x07\ttab".encode(), [r"\xc3\xbcber  tab"]),
    (b"x" * 4000, ["x" * 4000]),
]


@marked(timeout_secs=120, tags=("once", "sanitize"))
def test_a_message_reaches_the_client_as_it_was_written(world):
    mired, _ = start(world, stutter="0s", grey_stutter="0s")
    hosts4 = [topology.client4(i + 1) for i in range(len(MESSAGES))]
    text = "all:" + ":".join(f"m{i}" for i in range(len(MESSAGES))) + ":\n"
    for i, (message, _) in enumerate(MESSAGES):
        (world.dir / f"list{i}").write_text(f"{hosts4[i]}\n")
        if isinstance(message, bytes):
            (world.dir / f"message{i}").write_bytes(message)
            message = world.dir / f"message{i}"
        text += f"m{i}:black:msg={message}:file={world.dir}/list{i}:\n"
    pathlib.Path(mired.settings["lists-file"]).write_text(text)
    setup(mired)
    for host, (message, told) in zip(hosts4, MESSAGES):
        lines = [line.replace("@", host) for line in told]
        expected = "\n".join([f"450-{line}" for line in lines[:-1]] + [f"450 {lines[-1]}"])
        with Client(mired.out, topology.MX4, source=host) as client:
            reply = attempt(client)
        check(reply == expected, f"what {message!r} becomes, {expected!r}:", reply)


@marked(timeout_secs=120, tags=("once", "sanitize"))
def test_a_host_on_64_lists_is_told_of_all(world):
    mired, _ = start(world, stutter="0s", grey_stutter="0s")
    names = [f"{i}/\u00fc.{'n' * 50}" for i in range(64)]
    (world.dir / "list").write_text(f"{topology.client4(1)}\n")
    (world.dir / "message").write_text("long " * 800 + "\nfrom %A\n")
    text = "all:" + ":".join(names) + ":\n"
    for i, name in enumerate(names):
        message = world.dir / "message" if i == 63 else f'"list {i}"'
        text += f"{name}:black:msg={message}:file={world.dir}/list:\n"
    pathlib.Path(mired.settings["lists-file"]).write_text(text)
    setup(mired)
    mired.stop()
    mired.start()
    shown = [name.replace("\u00fc", r"\xc3\xbc") for name in names]
    check(list(lists(mired)) == shown, "their order outlives a restart:", lists(mired))
    with Client(mired.out, topology.MX4, source=topology.client4(1)) as client:
        reply = attempt(client)
    expected = [f"450-list {i}" for i in range(63)]
    expected += ["450-" + "long " * 800, f"450 from {topology.client4(1)}"]
    check(reply.split("\n") == expected, "all are told:", reply)
    text += "more:black:msg=\"x\":file=" + f"{world.dir}/list:\n"
    text = text.replace("all:", "all:more:")
    pathlib.Path(mired.settings["lists-file"]).write_text(text)
    check("more than 64 lists" in setup(mired, code=2), "a 65th is refused")
    check(list(lists(mired)) == shown, "and the others stay:", lists(mired))


@marked(timeout_secs=240, alone=True, tags=("once",))
def test_a_million_entries_take_less_than_300_megabytes(world):
    mired, _ = start(world)
    mired.write_conf(list_size="256m")
    path = world.dir / "large.txt"
    with open(path, "w", encoding="ascii") as out:
        for i in range(1_000_000):
            out.write(f"{11 + (i >> 16)}.{i >> 8 & 255}.{i & 255}.{i % 127 * 2 + 1}\n")
    write_lists(mired, ("large", "black", "file", path))
    began = time.monotonic()
    with mired.ns:
        process = subprocess.Popen([str(arg) for arg in command(mired)])
    _, status, usage = os.wait4(process.pid, 0)
    took = time.monotonic() - began
    print(f"1,000,000 entries: {took:.1f} s, {usage.ru_maxrss // 1024} MB")
    check(os.waitstatus_to_exitcode(status) == 0, "it ends well:", status)
    check(lists(mired) == {"large": 1_000_000}, "all are in force:", lists(mired))
    check(usage.ru_maxrss < 300 * 1024, "within 300 MB:", usage.ru_maxrss)
