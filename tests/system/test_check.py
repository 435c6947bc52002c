"""miredctl check beside real limits, and backup, restoring and compaction of a store in use."""
import json
import os
import pathlib
import shutil
import time

import topology
import world as w
from client import attempt, Client
from daemon import Mired
from test_miredb import miredb, own_store, seeded
from world import BUILD, check, marked, run, wait_for

CONNTRACK = pathlib.Path("/proc/sys/net/netfilter/nf_conntrack_max")


def miredctl_check(mired, *options, files=None):
    """Exit code and lines, with this hard limit of files; started in the gateway's namespace."""
    argv = [BUILD / "miredctl", "-f", mired.conf, "check", *options]
    if files:
        argv = ["prlimit", f"--nofile={files}:{files}", *argv]
    done = run(argv, ns=mired.ns, check_code=False)
    check(not done.stderr, "nothing but findings is said", done.stderr)
    return done.returncode, done.stdout.splitlines()


def lines_about(lines, text):
    return [line for line in lines if text in line]


def set_sysctl(mired, name, value):
    mired.ns.shell(f"echo {value} > /proc/sys/{name.replace('.', '/')}")


def mend_of(line):
    return line.partition(" -> ")[2]


@marked(tags=("once",))
def test_a_small_configuration_is_fine(world):
    mired = Mired(world, topology.gateway(world), max_connections=1000)
    code, lines = miredctl_check(mired)
    check(code == 0, "nothing is wrong", lines)
    check(lines[-1] == "ok: carries 1000 connections", "the last line says so", lines)
    code, lines = miredctl_check(mired, "--json")
    answer = json.loads("\n".join(lines))
    check(code == 0 and answer["ok"] and answer["connections"] == 1000, "so does JSON", answer)


@marked(tags=("once",))
def test_each_sysctl_that_is_too_small_is_named_with_what_mends_it(world):
    mired = Mired(world, topology.gateway(world), max_connections=1000)
    for name, value in (("net.core.somaxconn", 128), ("net.ipv4.tcp_syncookies", 0),
                        ("net.ipv4.tcp_max_syn_backlog", 256)):
        set_sysctl(mired, name, value)
    code, lines = miredctl_check(mired)
    check(code == 1, "there are findings", lines)
    check(not lines_about(lines, "ok:"), "it is not ok", lines)
    for name in ("net.core.somaxconn", "net.ipv4.tcp_syncookies", "net.ipv4.tcp_max_syn_backlog"):
        found = lines_about(lines, f"warning: {name} is ")
        check(len(found) == 1, "one line about", name, lines)
        check(mend_of(found[0]).startswith(f"sysctl -w {name}="), "with the command", found)
        run(["sh", "-c", mend_of(found[0])], ns=mired.ns)
    code, lines = miredctl_check(mired)
    check(code == 0, "the commands mended it", lines)


@marked(tags=("once",))
def test_a_table_of_conntrack_that_is_too_small_is_an_error_where_it_counts(world):
    if not CONNTRACK.exists():
        raise w.Skip("no conntrack here")
    n = int(CONNTRACK.read_text())
    net = topology.gateway(world)
    mired = Mired(world, net, max_connections=n, workers=64, rules="gateway",
                  mx_addresses=net.mx)
    code, lines = miredctl_check(mired)
    found = lines_about(lines, "error: net.netfilter.nf_conntrack_max")
    check(code == 1 and len(found) == 1, "redirected connections fill the table", lines)
    check(mend_of(found[0]) == f"sysctl -w net.netfilter.nf_conntrack_max={2 * n}", "the line",
          found)
    mired.write_conf(rules="none", mx_addresses=None)
    code, lines = miredctl_check(mired)
    check(lines_about(lines, "note: net.netfilter.nf_conntrack_max is"), "a note", lines)


@marked(tags=("once",))
def test_tproxy_needs_its_routes(world):
    net = topology.gateway(world)
    mired = Mired(world, net, max_connections=1000, rules="gateway-tproxy", mx_addresses=net.mx)
    mired.ns.shell("echo 0 > /proc/sys/net/ipv4/tcp_fwmark_accept")
    code, lines = miredctl_check(mired)
    check(code == 1, "nothing is set up", lines)
    check(lines_about(lines, "error: nobody will be held by IPv4: ") and
          lines_about(lines, "-> mired-tproxy up"), "the routes", lines)
    run(["env", f"MIRED={BUILD / 'mired'}", w.TOP / "systemd" / "mired-tproxy", "up", "-f",
         mired.conf], ns=mired.ns)
    code, lines = miredctl_check(mired)
    check(code == 0, "mired-tproxy mended it", lines)
    mired.ns.shell("echo 0 > /proc/sys/net/ipv4/tcp_fwmark_accept")
    code, lines = miredctl_check(mired)
    found = lines_about(lines, "error: replies will be tracked: net.ipv4.tcp_fwmark_accept is 0")
    check(code == 1 and mend_of(found[0]) == "mired-tproxy up", "the mark", lines)


@marked(tags=("once",))
def test_an_input_that_drops_by_default_is_a_note_with_the_rule_it_needs(world):
    net = topology.gateway(world)
    mired = Mired(world, net, max_connections=1000, rules="gateway", mx_addresses=net.mx)
    check(not lines_about(miredctl_check(mired)[1], "drops by default"), "there is none")
    net.gw.nft('''
        table inet guard {
            chain input { type filter hook input priority filter; policy drop; }
        }''')
    code, lines = miredctl_check(mired)
    found = lines_about(lines, "note: the chain inet guard input drops by default")
    check(code == 0 and len(found) == 1, "it is said", lines)
    run(["nft", f"add rule inet guard input {mend_of(found[0])}"], ns=net.gw)
    mired.write_conf(rules="gateway-tproxy")
    found = lines_about(miredctl_check(mired)[1], "drops by default")
    run(["nft", f"add rule inet guard input {mend_of(found[0])}"], ns=net.gw)
    rules = run(["nft", "list", "chain", "inet", "guard", "input"], ns=net.gw).stdout
    check("tcp dport 8025 accept" in rules and "0x02000000" in rules, "both are rules", rules)


@marked(tags=("once",))
def test_the_limit_of_files_is_the_daemons_when_one_runs(world):
    mired = Mired(world, topology.gateway(world), max_connections=3000, workers=2,
                  program=["prlimit", "--nofile=1900:1900"])
    code, lines = miredctl_check(mired, files=4000)
    check(code == 0, "this shell's limit would do", lines)
    mired.start()
    code, lines = miredctl_check(mired, files=4000)
    found = lines_about(lines, "the mired that runs has a limit of 1900 files")
    check(code == 1 and len(found) == 1, "the daemon's does not", lines)
    check("; or workers = 3" in found[0], "three workers would do", found)
    mired.stop()
    mired.write_conf(workers=3)
    mired.start()
    code, lines = miredctl_check(mired, files=1000)
    check(code == 0, "they do", lines)
    mired.stop()
    code, lines = miredctl_check(mired, files=1000)
    check(code == 1 and lines_about(lines, "this shell, and a mired it starts"), "this shell's",
          lines)


@marked(tags=("once",))
def test_what_check_config_says_is_part_of_it(world):
    mired = Mired(world, topology.gateway(world), max_connections=1000)
    mired.write_nospamd("192.0.2.0/33\n")
    code, lines = miredctl_check(mired)
    check(code == 1 and lines_about(lines, "error: ") and lines_about(lines, "192.0.2.0/33"),
          "a bad line of a list", lines)
    odd = os.fsencode(mired.dir) + b"/nospamd\xff"
    with open(odd, "wb") as file:
        file.write(b"192.0.2.0/33\n")
    mired.write_conf(nospamd_file=None)
    with open(mired.conf, "ab") as file:
        file.write(b'nospamd-file = "' + odd + b'"\n')
    code, lines = miredctl_check(mired, "--json")
    texts = [finding["text"] for finding in json.loads(lines[0])["findings"]]
    check(code == 1 and lines_about(texts, "nospamd\\xff:1: "), "in JSON whatever its name", texts)
    mired.conf.write_text("max-connections = many\n")
    done = run([BUILD / "miredctl", "-f", mired.conf, "check"], ns=mired.ns, check_code=False)
    check(done.returncode == 2 and "max-connections" in done.stderr, "not checked is 2",
          done.returncode, done.stderr)


def used_share(mired):
    store = mired.status()["store"]
    return store["used_bytes"] / store["map_bytes"]


@marked(tags=("once",))
def test_a_store_that_fills_its_map_is_told_of(world):
    mired = Mired(world, topology.gateway(world), max_connections=1000, store_map="1m")
    mired.start()
    check(not lines_about(miredctl_check(mired)[1], "the store"), "an empty one is fine")
    n = 0
    while used_share(mired) < 0.81:
        keys = [f"203.0.{m >> 8}.{m & 255}" for m in range(n, n + 50)]
        check(miredb(mired, "-a", *keys).returncode == 0 and n < 10_000, "hosts are added")
        n += len(keys)
    code, lines = miredctl_check(mired)
    check(code == 1 and lines_about(lines, "the store uses "), "check says so", lines)
    check("-> store-map = 2m" in lines_about(lines, "the store uses ")[0], "with the line", lines)
    mired.stop()
    mired.start()
    wait_for("the log to say it", lambda: "of store-map are in use" in mired.log_text(), 10)


def restored(world, mired, backup):
    """The steps of the manual."""
    data = mired.db / "data.mdb"
    shutil.copyfile(backup, data)
    os.chmod(data, 0o600)
    own_store(mired)
    (mired.db / "lock.mdb").unlink(missing_ok=True)
    check(miredb(mired, "--check").returncode == 0, "the restored store is sound")


@marked(timeout_secs=120, tags=("once",))
def test_a_backup_made_beside_the_daemon_is_restored(world):
    net = topology.gateway(world)
    mired = Mired(world, net).start()
    keys = [f"203.0.113.{n}" for n in range(100)]
    check(miredb(mired, "-a", *keys).returncode == 0, "hosts are added")
    backup = world.dir / "backup.mdb"
    done = miredb(mired, "--backup", backup)
    check(done.returncode == 0, "a backup is made", done.stderr)
    check(backup.stat().st_mode & 0o7777 == 0o600 and backup.stat().st_uid == 0, "it is root's")
    check(miredb(mired, "-d", *keys).returncode == 0, "all are deleted")
    check(not mired.whites(), "all are gone")
    check(miredb(mired, "--compact").returncode == 1, "no compaction beside a daemon")
    mired.stop()
    restored(world, mired, backup)
    mired.start()
    check(sorted(mired.whites()) == sorted(keys), "all are back")
    wait_for("the kernel's set", lambda: mired.has_white(keys[0]), 10)
    with Client(net.out, net.target(False), source=topology.client4(7)) as client:
        check(attempt(client).startswith("451"), "it defers as before")
    wait_for("the new tuple", lambda: any(row[0] == "GREY" for row in mired.rows()), 10)
    mired.stop()
    done = miredb(mired, "--compact")
    check(done.returncode == 0 and "free pages" in done.stdout, "it is compacted", done.stderr)
    mired.start()
    check(len(mired.whites()) == len(keys), "and has all it had")


@marked(timeout_secs=180, tags=("once",))
def test_a_backup_that_is_killed_leaves_the_older_one(world):
    mired = seeded(world, 200_000)
    backup, aside = world.dir / "backup.mdb", world.dir / "backup.mdb.new"
    check(miredb(mired, "--backup", backup).returncode == 0, "the first one is made")
    before = backup.stat()
    for step in range(25):
        process = world.spawn([BUILD / "miredb", "-f", mired.conf, "--backup", backup])
        time.sleep(0.02 * step)
        process.kill()
        process.wait()
        if backup.stat().st_ino != before.st_ino:
            break  # it was done before
    check(step > 0, "it is killed while it works at least once")
    wait_for("its children to be gone",
             lambda: miredb(mired, "--backup", backup).returncode == 0, 10)
    check(not aside.exists() and backup.stat().st_size == before.st_size, "the next one is whole")
    check(miredb(mired, "--compact").returncode == 0, "nobody is left who reads the store")


@marked(timeout_secs=180, tags=("once",))
def test_compaction_gives_free_pages_back(world):
    mired = seeded(world, 300_000)
    before = (mired.db / "data.mdb").stat().st_size
    done = miredb(mired, "--compact")
    check(done.returncode == 0, "a store without free pages is compacted, too", done.stderr)
    n_hosts = len(mired.whites())
    check(n_hosts == 300_000, "nothing is lost", n_hosts)
    check((mired.db / "data.mdb").stat().st_size <= before, "it did not grow")
    check(not list(mired.db.glob("*.new")), "nothing is left beside it")
