"""miredctl why: what it says of an address is what mired then does."""
import json
import re
import shutil
import time

import topology
from client import Client, attempt, try_mail
from control import ask
from daemon import Mired, prefix64, seconds
from world import BUILD, check, marked, run, wait_for

RECIPIENT, SENDER = "<b@mx.example>", "<a@sender.example>"
LIST = 'mine;"You are on my list, %A";inet;1;198.19.0.0/16;\n'
LIST6 = 'mine6;"You are on my list, %A";inet6;1;2001:db8:c::/48;\n'


def call(mired, *words, check_code=True):
    return run([BUILD / "miredctl", "-f", mired.conf, "why", *words], ns=mired.ns,
               check_code=check_code)


def why(mired, *words):
    """What it says for programs, and the last part of what it says for people, as one line."""
    answer = json.loads(call(mired, *words, "--json").stdout)
    text = call(mired, *words).stdout
    return answer, " ".join(text.partition("\n\n")[2].split()), text


def sets(answer):
    return [row["set"].rstrip("6") for row in answer["kernel"]["sets"]]


def families(n):
    return ((topology.client4(n), False), (topology.client6(n), True))


def check_unknown(mired, source):
    answer, fate, _ = why(mired, source)
    check((answer["class"], answer["attempt"]["verdict"]) == ("grey", "new"), "unknown:", answer)
    check(fate.startswith("Never seen, and on no list. If it connects now, its first mail is "
                          "deferred"), "said in words:", fate)
    check(f"miredb -a {source}" in fate, "and how to change it:", fate)
    check(sets(answer) == [] and answer["held"] == 0, "in no set, not connected:", answer)
    attempt_ = answer["attempt"]
    check(attempt_["passes"] - answer["time"] == seconds(mired.settings["passtime"]) + 1
          and attempt_["until"] - answer["time"] == seconds(mired.settings["greyexp"]),
          "the times of a first mail:", attempt_)


def sleep_until(wall_secs):
    time.sleep(max(0, wall_secs - time.time()))


def check_retry_to_the_second(mired, net, source, is_v6):
    """One attempt right before the second that is told, one right after it."""
    target = net.target(is_v6)
    for round_ in range(3):  # the machine may be too slow for a second
        sender = f"<a{round_}@sender.example>"
        check(try_mail(net.out, target, source, sender=sender).startswith("451"), "deferred")
        answer, fate, _ = why(mired, source, sender, RECIPIENT)
        passes = answer["attempt"]["passes"]
        check(answer["attempt"]["verdict"] == "early" and "too early" in fate, "early:", fate)
        check([row["attempts"] for row in answer["tuples"] if row["asked"]] == [1], "its tuple",
              answer["tuples"])
        sleep_until(passes - 0.7)
        try_mail(net.out, target, source, sender=sender)
        if time.time() < passes:
            break
    else:
        check(False, "an attempt took longer than 0.7 s three times")
    check(not mired.has_white(source) and not mired.whites(), "right before it: not white")
    sleep_until(passes + 0.02)
    answer, fate, _ = why(mired, source, sender, RECIPIENT)
    check(answer["attempt"]["verdict"] == "passes" and "for the last time" in fate, "now:", fate)
    check(try_mail(net.out, target, source, sender=sender).startswith("451"), "this one, too")
    wait_for(f"{source} in the kernel", lambda: mired.has_white(source), 3)


def check_white_and_lost(mired, net, source, is_v6):
    answer, fate, _ = why(mired, source)
    check(sets(answer) == ["spamd-white"] and answer["white"]["live"], "white:", answer)
    left = answer["kernel"]["sets"][0]["timeout_secs"]
    check(answer["white"]["expire"] - answer["time"] <= left, "the store's end comes first")
    check("the mail server gets the connection" in fate, fate)
    check([row["event"] for row in answer["events"]][0] == "passed", "events:", answer["events"])
    time.sleep(1.1)  # in the second of its promotion it would not be put back
    element = prefix64(source) if is_v6 else source
    run(["nft", "delete", "element", "inet", "mired", "spamd-white6" if is_v6 else "spamd-white",
         f"{{ {element} }}"], ns=net.gw)
    answer, fate, _ = why(mired, source)
    check(sets(answer) == [] and "the kernel has lost its entry" in fate, "lost:", fate)
    reply = try_mail(net.out, net.target(is_v6), source, recipient="<other@mx.example>")
    check(reply.startswith("451"), "deferred, as it said:", reply)
    wait_for("its entry, as it said", lambda: mired.has_white(source), 3)
    answer, fate, _ = why(mired, source)
    check("reasserted" in [row["event"] for row in answer["events"]], "noted:", answer["events"])


@marked(timeout_secs=90, tags=("path", "sanitize"))
def test_from_stranger_to_white_mired_does_what_why_said(world):
    net = topology.gateway(world)
    mired = Mired(world, net, grey_stutter="0s", passtime="2s").start()
    for source, is_v6 in families(1):
        check_unknown(mired, source)
        check_retry_to_the_second(mired, net, source, is_v6)
        check_white_and_lost(mired, net, source, is_v6)
        run([BUILD / "miredb", "-f", mired.conf, "-d", source])


def check_held(mired, net, source, is_v6):
    with Client(net.out, net.target(is_v6), source=source) as client:
        client.sock.recv(1)
        answer, _, text = why(mired, source)
        check(answer["held"] == 1 and "1 connection now" in text, "it is connected:", text)
        check("connected" in [row["event"] for row in answer["events"]], answer["events"])


def check_both(mired, source, name):
    """Of one that is on a list and trapped the trap alone is no way out."""
    run([BUILD / "miredb", "-f", mired.conf, "-t", "-a", source])
    fate = why(mired, source)[1]
    check("because it is on a list and, until" in fate and "drop-list" in fate, "both:", fate)
    run([BUILD / "miredb", "-f", mired.conf, "-d", source])
    answer, fate, _ = why(mired, source)
    check(answer["lists"] == [name] and "because it is on a list. echo" in fate, "still:", fate)


def check_told_command(mired, source):
    """A spamtrap goes by the very command that is told, whatever is in its name."""
    ask(mired, "change", "spamtrap o'bait@mx.example\n")
    text = why(mired, source, SENDER, "O'Bait@mx.example")[2]
    command = re.search(r"^  miredb (-d -T .*)$", text, re.M).group(1)
    run(["sh", "-c", f"{BUILD / 'miredb'} -f {mired.conf} {command}"])
    answer = why(mired, source, SENDER, "o'bait@mx.example")[0]
    check(not answer["mail"]["spamtrap"], "it is gone after", command)


def check_trapped(mired, net, source, is_v6):
    ask(mired, "change", "spamtrap bait@mx.example\n")
    answer, fate, _ = why(mired, source, SENDER, "Bait@mx.example")
    check(answer["mail"]["spamtrap"] and fate.startswith("If it sends that mail now, it is trapped"),
          "before:", fate)
    with Client(net.out, net.target(is_v6), source=source) as client:
        client.expect("220")
        client.command("HELO mail.example", "250")
        client.command(f"MAIL FROM:{SENDER}", "250")
        client.command("RCPT TO:<bait@mx.example>", "250")
    wait_for("the trap", lambda: mired.in_set("spamd-greytrap6" if is_v6 else "spamd-greytrap",
                                              [source]), 3)
    answer, fate, text = why(mired, source)
    check(sets(answer) == ["spamd-greytrap"] and answer["class"] == "listed", answer)
    check("because it is trapped, until" in fate and f"miredb -d {source}" in fate, fate)
    check("trapped, mail to <bait@mx.example>" in text, "why it is:", text)
    run([BUILD / "miredb", "-f", mired.conf, "-d", source])
    wait_for("the end of it", lambda: "first mail is deferred" in why(mired, source)[1], 3)


@marked(timeout_secs=90, tags=("path", "sanitize"))
def test_traps_lists_and_nospamd_are_told_as_they_are(world):
    net = topology.gateway(world)
    mired = Mired(world, net, grey_stutter="0s", stutter="40ms").start()
    for source, is_v6 in families(2):
        check_held(mired, net, source, is_v6)
        check_trapped(mired, net, source, is_v6)
        check_told_command(mired, source)
        ask(mired, "list-put", LIST6 if is_v6 else LIST)
        answer, fate, text = why(mired, source)
        check(answer["lists"] == ["mine6" if is_v6 else "mine"], "on the list:", answer["lists"])
        check_both(mired, source, answer["lists"][0])
        check("because it is on a list" in fate and f"You are on my list, {source}" in text, text)
        with Client(net.out, net.target(is_v6), source=source) as client:
            n_bytes = sum(len(data) for _, data in client.bytes_until_eof(0.6))
            check(0 < n_bytes < 25, "held byte by byte, as it said:", n_bytes)
        mired.write_nospamd(f"{source}\n")
        run([BUILD / "miredctl", "-f", mired.conf, "reload"])
        wait_for("nospamd", lambda s=source: "nospamd" in sets(why(mired, s)[0]), 3)
        check("a line of nospamd exempts it" in why(mired, source)[1], "and in words")


@marked(timeout_secs=60, tags=("once",))
def test_what_is_no_single_address_is_refused_with_the_reason(world):
    net = topology.gateway(world)
    mired = Mired(world, net).start()
    for words, reason in ((["192.0.2.0/24"], "192.0.2.0/24 is a network"),
                          (["mail.example"], "mail.example is no IP address"),
                          (["192.0.2.1", "a@b.example"], "a sender without a recipient"),
                          (["192.0.2.1 x", "a@b.example", "c> d", ], "is too much")):
        done = call(mired, *words, check_code=False)
        check(done.returncode in (1, 2) and reason in done.stderr, f"{words}:", done)
    ask(mired, "change", "white 192.0.2.9\n")
    mired.stop()
    done = call(mired, "192.0.2.1", check_code=False)
    check(done.returncode == 1 and "no mired answers" in done.stderr, "without a daemon:", done)


@marked(timeout_secs=60, tags=("once",))
def test_an_admin_who_is_not_root_is_told_all_but_the_kernel(world):
    net = topology.gateway(world)
    mired = Mired(world, net).start()
    program = shutil.copy(BUILD / "miredctl", mired.dir)  # where everybody may run it
    run(["chmod", "a+rx", world.dir, mired.dir])
    for group, code in (("mired-admin", 0), ("mired-stats", 1)):
        done = run(["setpriv", "--reuid", "nobody", "--regid", "nogroup", "--groups", group,
                    program, "-f", mired.conf, "why", topology.client4(5)],
                   ns=net.gw, check_code=False)
        check(done.returncode == code, f"{group}:", done)
        if code:
            check("permission denied" in done.stderr, "it shows mail addresses:", done.stderr)
        else:
            check("not known: only root may ask it" in done.stdout and
                  "The kernel was not asked" in " ".join(done.stdout.split()), done.stdout)


@marked(timeout_secs=60, tags=("once",))
def test_after_a_reload_it_goes_by_the_new_times(world):
    net = topology.gateway(world)
    mired = Mired(world, net, grey_stutter="0s", passtime="1h", greyexp="4h").start()
    source = topology.client4(6)
    check(try_mail(net.out, net.target(False), source).startswith("451"), "deferred")
    first = why(mired, source, SENDER, RECIPIENT)[0]["tuples"][0]["first"]
    for passtime in (3600, 120):
        mired.write_conf(passtime=f"{passtime}s")
        run([BUILD / "miredctl", "-f", mired.conf, "reload"])
        answer = why(mired, source, SENDER, RECIPIENT)[0]
        check(answer["attempt"]["passes"] == first + passtime + 1, "passes", answer["attempt"])
        check(answer["settings"]["passtime"] == passtime, "settings", answer["settings"])


@marked(timeout_secs=60, tags=("once",))
def test_in_blacklist_only_mode_it_says_who_passes(world):
    net = topology.gateway(world)
    mired = Mired(world, net, blacklist_only=True).start()
    source = topology.client4(3)
    _, fate, _ = why(mired, source)
    check("it is on no list, and nobody else is held" in fate, fate)
    ask(mired, "list-put", LIST)
    wait_for("the kernel's list", lambda: sets(why(mired, source)[0]) == ["spamd"], 5)
    check("because it is on a list" in why(mired, source)[1], "listed")


@marked(timeout_secs=60, tags=("once",))
def test_a_mail_with_another_helo_is_told_apart(world):
    net = topology.gateway(world)
    mired = Mired(world, net, grey_stutter="0s").start()
    source = topology.client4(4)
    for helo in ("one.example", "two.example"):
        with Client(net.out, net.target(False), source=source) as client:
            attempt(client, sender=SENDER, recipient=RECIPIENT, helo=helo)
        time.sleep(1.1)
    answer, _, text = why(mired, source, SENDER, RECIPIENT)
    rows = {row["helo"]: row for row in answer["tuples"]}
    check(set(rows) == {"one.example", "two.example"}, "both tuples:", rows)
    check(answer["attempt"]["passes"] == rows["one.example"]["passes"], "the first to pass counts")
    check("helo one.example" in text and "helo two.example" in text, text)


@marked(timeout_secs=60, tags=("once",))
def test_where_the_kernel_holds_what_is_not_stored_a_restart_is_named_and_mends_it(world):
    net = topology.gateway(world)
    mired = Mired(world, net, grey_stutter="0s", keep_rules=True).start()
    white, stranger = topology.client4(7), topology.client4(8)
    run([BUILD / "miredb", "-f", mired.conf, "-a", white])
    wait_for("it is white", lambda: mired.has_white(white), 5)
    net.gw.nft(f"add element inet mired spamd-greytrap {{ {white} }}\n"
               f"add element inet mired spamd-white {{ {stranger} }}")
    fates = [why(mired, source)[1] for source in (white, stranger)]
    check("though it is white: the kernel has it among the trapped" in fates[0], fates[0])
    check("the mail server gets the connection" in fates[1], fates[1])
    check(all("systemctl restart mired makes them anew" in fate for fate in fates), fates)
    for _ in range(2):
        reply = try_mail(net.out, net.target(False), white)
        check(reply.startswith("451"), "not let through, as it said:", reply)
    mired.stop()
    mired.start()
    check(sets(why(mired, white)[0]) == ["spamd-white"], "as stored", why(mired, white)[2])
    check(sets(why(mired, stranger)[0]) == [], "as stored", why(mired, stranger)[2])
