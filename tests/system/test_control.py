"""The control socket, the spamd-cfg port and miredctl: who may do what, and what becomes of it."""
import json
import os
import re
import shutil
import signal
import sys
import threading
import time

import topology
import world as w
from control import (CFG_PORT, Control, ask, ask_as, cfg_connect, lists, slowest_status_secs)
from daemon import Mired
from world import check, marked, wait_for

N_NETWORKS = 1_000_000
STATUS_SECS = 0.1 * w.PATIENCE
ONE = 'one;"You are on one";inet;1;192.0.2.0/24;\n'


def start(world, **settings):
    return Mired(world, topology.gateway(world), **settings).start()


@marked(timeout_secs=90, tags=("once", "sanitize"))
def test_each_verb_is_for_those_who_have_its_right(world):
    mired = start(world)
    change = "white 192.0.2.1\n"
    seen = "in 192.0.2.2 1 3600\n"
    verbs = {
        "read": [("status",), ("version",), ("lists",), ("held 1",)],
        "admin": [("clock-ok",), ("reload",), ("list-put", ONE), ("list-drop one",),
                  ("change", change)],
        "event": [("seen", seen)],
    }
    who = [
        (("root",), {"read", "admin", "event"}),
        (("mired",), {"read"}),
        (("mired-log",), {"event"}),
        (("nobody", ["mired-stats"]), {"read"}),
        (("nobody", ["mired-admin"]), {"read", "admin"}),
        (("mired-fetch",), set()),
        (("nobody",), set()),
    ]
    n_refused = 0
    for user, granted in who:
        for right, requests in verbs.items():
            answers = ask_as(mired, requests, *user)
            for request, answer in zip(requests, answers):
                is_refused = answer == {"error": "permission denied"}
                check(is_refused == (right not in granted), f"{user} asks {request}:", answer)
                check(is_refused or "error" not in answer, f"{user} gets {request}:", answer)
                n_refused += is_refused
    counted = ask(mired, "status")["control"]["refused"]
    check(counted == n_refused, "refusals are counted:", counted, n_refused)


@marked(timeout_secs=90, tags=("once", "sanitize"))
def test_bodies_that_are_wrong_are_refused_and_the_socket_goes_on(world):
    mired = start(world)
    for request in ("list-put", "list-put x", f"list-put {(512 << 20) + 1}", "change 4194305",
                    "seen 131073", "list-put -1"):
        with Control(mired) as control:
            control.send(request)
            check("length" in control.answer()["error"], "refused:", request)
            check(control.sock.recv(1) == b"", "and closed:", request)
    with Control(mired) as control:
        check(control.ask("change", "\n" * 1001) == {"error": "more than 1000 lines"}, "too many")
        check("error" in control.ask("list-put", "nonsense"), "no list")
        refused = control.ask("list-put", 'mine;"no";192.0.2.1/32\r\n')
        check(refused["error"] == 'line 1: "192.0.2.1/32\\x0d": no network',
              "what cannot be printed is shown escaped, once:", refused)
        check(control.ask("version")["protocol"] == 2, "the connection goes on")
    check(ask(mired, "status")["control"]["bad_requests"] == 6, "counted")


@marked(timeout_secs=240, tags=("once",), alone=True)
def test_a_list_of_a_million_is_put_while_status_answers(world):
    mired = start(world, list_prefixes=2 * N_NETWORKS)
    networks = ";".join(f"{10 + (n >> 16)}.{n >> 8 & 255}.{n & 255}.0/24"
                        for n in range(N_NETWORKS))
    body = f'big;"You are on the big one";inet;{N_NETWORKS};{networks};\n'
    answers = []

    def put():
        answers.append(ask(mired, "list-put", body))

    ask(mired, "list-put", ONE)
    began = time.monotonic()
    thread = threading.Thread(target=put)
    thread.start()
    slowest, n = slowest_status_secs(mired, lambda: not thread.is_alive())
    thread.join()
    took = time.monotonic() - began
    check(answers == [{"lists": 1, "networks": N_NETWORKS}], "in force:", answers)
    check(lists(mired) == {"one": 1, "big": N_NETWORKS}, "in load order:", lists(mired))
    check(n > 3, "status was asked meanwhile:", n)
    print(f"{len(body) >> 20} MiB, {N_NETWORKS} networks in force after {took:.1f} s; "
          f"slowest of {n} status answers {slowest * 1000:.0f} ms")
    check(slowest < STATUS_SECS, "status answers in time, slowest:", slowest)


@marked(timeout_secs=90, tags=("once", "sanitize"))
def test_a_thousand_changes_are_on_disk_when_the_answer_comes(world):
    mired = start(world)
    lines = [f"white 198.19.{n >> 8}.{n & 255}" for n in range(997)]
    lines[10:10] = ["delete 192.0.2.99", "white nonsense"]
    lines.append("trapped 198.19.255.1")
    with Control(mired) as control:
        began = time.monotonic()
        answer = control.ask("change", "\n".join(lines))
        took = time.monotonic() - began
        check(answer["done"] == 998, "done:", answer)
        check([row["line"] for row in answer["failed"]] == [11, 12], "failed:", answer["failed"])
        check(answer["failed"][0]["error"] == "not found", "the reason:", answer["failed"])
        check("nonsense" in answer["failed"][1]["error"], "the reason:", answer["failed"])
        print(f"{len(lines)} changes on disk after {took * 1000:.0f} ms")
        mired.kill9()  # on disk means on disk
    wait_for("the end", lambda: mired.process.poll() is not None, 10)
    check(len(mired.whites()) == 997, "stored:", len(mired.whites()))
    mired.start()
    trapped = [row[1] for row in mired.rows() if row[0] == "TRAPPED"]
    check(trapped == ["198.19.255.1"], "stored:", trapped)
    check(mired.has_white("198.19.3.200"), "and in the kernel")


@marked(timeout_secs=90, tags=("once", "sanitize"))
def test_many_clients_change_at_once_and_a_gone_ones_changes_are_made(world):
    mired = start(world)
    controls = [Control(mired) for _ in range(20)]
    for i, control in enumerate(controls):
        control.send("change", "".join(f"white 198.19.{i}.{n}\n" for n in range(200)))
    controls[0].sock.close()
    for control in controls[1:]:
        check(control.answer() == {"done": 200, "failed": []}, "all are made")
        control.sock.close()
    wait_for("the changes of who has gone", lambda: len(mired.whites()) == 4000, 5)
    check(ask(mired, "version")["protocol"] == 2, "the socket goes on")


@marked(timeout_secs=90, tags=("once", "sanitize"))
def test_seen_traffic_whitelists_and_is_answered_at_once(world):
    mired = start(world)
    body = "in 198.19.0.1 3 3600\nnonsense\nout 2001:db8:c:7::9 1 3600\n"
    answer = ask_as(mired, [("seen", body)], "mired-log")
    check(answer == [{"ok": True, "dropped": 0, "refused": 1}], "answer:", answer)
    wait_for("both", lambda: set(mired.whites()) == {"198.19.0.1", "2001:db8:c:7::"}, 5)
    wait_for("the kernel set", lambda: mired.has_white("198.19.0.1"), 5)


@marked(timeout_secs=90, tags=("once", "sanitize"))
def test_a_foreign_tool_puts_lists_by_the_spamd_cfg_port(world):
    mired = start(world, spamd_cfg_port=CFG_PORT)
    with cfg_connect(mired) as tool:
        tool.sendall(b'new;"text \\"new\\"; %A";inet;2;192.0.2.0/24;198.51.100.1/32;'
                     b"inet6;1;2001:db8::/32;\n\n")
        time.sleep(0.3)
        check(lists(mired) == {}, "nothing happens before the end:", lists(mired))
        tool.sendall(b'old;"text";192.0.2.0/25;2001:db8:1::/48;\n')
    wait_for("both lists", lambda: lists(mired) == {"new": 3, "old": 2}, 5)
    with cfg_connect(mired) as tool:
        tool.sendall(b'bad;"text";inet;2;192.0.2.0/24;\nnew;\nold;"text";192.0.2.0/0\n')
    wait_for("the list to be cleared", lambda: lists(mired) == {"new": 0, "old": 2} or
             lists(mired) == {"old": 2}, 5)
    check("line 1" in mired.log_text() and "line 3" in mired.log_text(), "refused lines are told")
    with cfg_connect(mired, port_below_1024=False) as tool:
        tool.settimeout(10)
        check(tool.recv(1) == b"", "a port above 1023 is closed at once")
    control = ask(mired, "status")["control"]
    check((control["cfg_sessions"], control["cfg_refused"]) == (2, 2), "counted:", control)


@marked(timeout_secs=90, tags=("once", "sanitize"))
def test_a_program_killed_midway_changes_nothing(world):
    mired = start(world, spamd_cfg_port=CFG_PORT)
    ask(mired, "list-put", ONE)
    half = 'one;"text";inet;1;192.0.2.0/2'
    sender = ("import os, signal, socket, sys, time\n"
              "family, target = eval(sys.argv[1])\n"
              "s = socket.socket(family)\n"
              "if family == socket.AF_INET: s.bind(('127.0.0.1', 1001))\n"
              "s.connect(target); s.sendall(sys.argv[2].encode()); time.sleep(60)\n")
    targets = [("socket.AF_INET, ('127.0.0.1', 8026)", f"two;\n{half}"),
               (f"socket.AF_UNIX, {mired.socket_path!r}", f"list-put 42\n{half}"),
               (f"socket.AF_UNIX, {mired.socket_path!r}", f"change 50\nwhite 198.19.0.1\nwhi")]
    for target, text in targets:
        process = world.spawn([sys.executable, "-c", sender, target, text], ns=mired.ns)
        time.sleep(1)
        process.send_signal(signal.SIGKILL)
        process.wait(timeout=10)
    wait_for("the cut to be told", lambda: "cut off inside a line" in mired.log_text(), 5)
    wait_for("both refusals", lambda: ask(mired, "status")["control"]["bad_requests"] == 2, 5)
    check(lists(mired) == {"one": 1}, "nothing has changed:", lists(mired))
    check(mired.whites() == [], "and nobody is white")


@marked(timeout_secs=120, tags=("once",))
def test_status_answers_while_the_store_is_out_and_changes_wait(world):
    small = world.dir / "small"
    world.tmpfs(small, "16m")
    mired = start(world, store_retry="1s", state_dir=small / "state")
    ballast = small / "ballast"
    w.fill(ballast)
    n = 0
    waiting = [Control(mired) for _ in range(33)]
    for control in waiting:
        control.send("change", "".join(f"white 10.{n}.{i >> 8}.{i & 255}\n" for i in range(1000)))
        n += 1
    wait_for("the store to notice", lambda: ask(mired, "status")["store"]["degraded"], 30)
    over = time.monotonic() + 2
    slowest, n_asked = slowest_status_secs(mired, lambda: time.monotonic() > over)
    print(f"slowest of {n_asked} status answers {slowest * 1000:.0f} ms")
    check(slowest < STATUS_SECS, "status answers at once, slowest:", slowest)
    os.unlink(ballast)
    answers = [control.answer() for control in waiting]
    n_done = sum(answer.get("done", 0) for answer in answers)
    n_refused = sum("error" in answer for answer in answers)
    check(n_refused == 1, "one more than may wait is refused:", n_refused)
    check(n_done == 32_000, "all others are made in the end:", n_done)
    check(len(mired.whites()) == 32_000, "and stored")


@marked(timeout_secs=60, tags=("once",))
def test_the_examples_of_the_manual_work(world):
    if not shutil.which("nc"):
        raise w.Skip("there is no nc")
    mired = start(world)
    text = (w.TOP / "src" / "man" / "mired-ctl.7").read_text()
    section = text[text.index(".Sh REQUESTS"):text.index(".Sh CHANGES")]
    section = section.replace("\\e", "\\").replace(".Dl ", "")
    # a command begins with a prompt and may go on indented; its answer follows
    examples = re.findall(r"^[#$] ((?:.*\n(?:[# ]+))*?.*nc -NU.*)\n(\{.*\})?", section, re.M)
    check(len(examples) == 13, "each verb has an example:", examples)
    for command, answer in examples:
        command = command.replace("\n# ", "\n").replace("/run/mired/mired.sock",
                                                        mired.socket_path)
        got = json.loads(w.run(["bash", "-ec", command]).stdout)
        check("error" not in got, command, got)
        if answer and "loaded" not in answer:  # when differs
            check(got == json.loads(answer), command, got)


@marked(timeout_secs=60, tags=("once", "sanitize"))
def test_reload_reads_the_allowed_domains_again(world):
    domains = world.dir / "alloweddomains"
    domains.write_text("mx.example\nnot a domain\n@other.example\n")
    mired = start(world, allowed_domains_file=domains)

    def n_domains():
        return ask(mired, "status")["traps"]["allowed_domains"]

    wait_for("the file to be read at the start", lambda: n_domains() == 2, 5)
    check("alloweddomains:2" in mired.log_text(), "the bad line is told")
    times = domains.stat()
    domains.write_text("mx.example\nmore.of.em.x\n@other.example\n")  # as long as before ...
    os.utime(domains, ns=(times.st_atime_ns, times.st_mtime_ns))  # ... and as old
    answer = ask(mired, "reload")
    check(answer == {"ok": True, "changes": [], "warnings": []}, "reload:", answer)
    wait_for("the new content", lambda: n_domains() == 3, 5)


def miredctl(mired, *words, stdin=None, code=0):
    done = w.run([w.BUILD / "miredctl", "-f", mired.conf, *words], check_code=False, stdin=stdin)
    check(done.returncode == code, f"{words} ends with {code}:", done.returncode, done.stderr)
    return done


@marked(timeout_secs=90, tags=("once", "sanitize"))
def test_miredctl_puts_shows_and_drops_lists(world):
    mired = start(world)
    file = world.dir / "lines"
    file.write_text(ONE)
    check(miredctl(mired, "put-list", file).stdout == "lists: 1, networks: 1\n", "from a file")
    two = 'two;"Two";inet;2;192.0.2.0/24;198.51.100.0/24;'
    miredctl(mired, "put-list", "-", stdin=two)
    rows = [line.split()[:2] for line in miredctl(mired, "lists").stdout.splitlines()]
    check(rows == [["LIST", "NETWORKS"], ["one", "1"], ["two", "2"]], "lists:", rows)
    check('"name":"two","networks":2' in miredctl(mired, "lists", "--json").stdout, "as JSON")
    bad = miredctl(mired, "put-list", "-", stdin=f'{ONE}two;"Two";192.0.2.0/33\n', code=1)
    check("line 2" in bad.stderr, "the bad line is told:", bad.stderr)
    check(lists(mired)["one"] == 1, "the good one is in force")
    miredctl(mired, "drop-list", "one")
    check("one" not in lists(mired), "dropped:", lists(mired))
    miredctl(mired, "drop-list", "one", code=1)
    miredctl(mired, "put-list", world.dir / "missing", code=1)
    check(miredctl(mired, "reload").returncode == 0, "reload")
    for words in (["put-list"], ["drop-list"], ["lists", "x"], ["nonsense"], []):
        miredctl(mired, *words, code=2)
    mired.stop()
    check("no mired answers" in miredctl(mired, "lists", code=1).stderr, "nobody answers")
