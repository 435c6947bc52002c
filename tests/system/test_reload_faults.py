"""Reloads that go wrong: files of every kind, roles that are away or stand still, and storms."""
import concurrent.futures
import os
import pathlib
import signal
import time

import topology
import world as w
from client import Client
from control import ask
from daemon import Mired
from world import BUILD, check, marked, run, wait_for

N_STORM, N_WARM = 500, 50
GROWTH_BYTES_MAX = 2 << 20
NOTHING = "nothing has changed"


def greeting(net, n=1):
    with Client(net.out, net.target(False), source=topology.client4(n)) as client:
        return client.line()


def reload(mired):
    return run([BUILD / "miredctl", "-f", mired.conf, "--socket", mired.socket_path, "reload"],
               check_code=False)


def put_directory(path):
    path.mkdir()


def put_nothing(_):
    pass


# What may stand where the configuration was, and what is said of it.
KINDS = (
    (put_directory, "Is a directory"),
    (os.mkfifo, "not supported"),
    (put_nothing, "No such file"),
    (lambda path: path.symlink_to(path.name), "Too many levels"),
    (lambda path: path.write_bytes(b"# x\n" * 100_000), "too long"),
    (lambda path: path.write_bytes(b'banner = "a\0b"\n'), ":1: "),
    (lambda path: path.write_bytes(b'banner = "never ends\n\n'), ":"),
    (lambda path: path.write_bytes(b"banner = one\nbanner = {\n"), ":"),
    (lambda path: path.write_bytes(b"include(\"/etc/passwd\")\n"), ":1: "),
)


def remove(path):
    if path.is_dir() and not path.is_symlink():
        path.rmdir()
    else:
        path.unlink(missing_ok=True)


@marked(timeout_secs=90, tags=("once", "sanitize"))
def test_whatever_stands_where_the_file_was_changes_nothing(world):
    net = topology.gateway(world)
    mired = Mired(world, net, grey_stutter="0", stutter="0", banner="good").start()
    good = mired.conf.read_text()
    before = mired.status()["conf"]
    for put, wanted in KINDS:
        mired.conf.unlink()
        put(mired.conf)
        said = ask(mired, "reload")
        remove(mired.conf)
        mired.conf.write_text(good)
        error = said.get("error", "")
        check(error.startswith(str(mired.conf)) and wanted in error, "file and fault:", wanted, said)
    wait_for("each in the log", lambda: mired.log_text().count(NOTHING) == len(KINDS), 5)
    check(mired.status()["conf"] == before, "the same configuration:", mired.status()["conf"])
    check(greeting(net) == "220 good", "the old greeting")
    done = reload(mired)
    check(done.returncode == 0 and done.stdout.startswith("no key has changed"), "it is back:", done)


class UsualMired(Mired):
    """A mired without -f: its own /etc/mired is a directory of the test's."""

    def __init__(self, world, net, **settings):
        super().__init__(world, net, **settings)
        self.etc = world.dir / "etc-mired"
        self.etc.mkdir()
        old = world.dir / "old-etc"
        old.mkdir()
        script = f"""
            mount --rbind /etc {old} && mount -t tmpfs -o mode=755 tmpfs /etc || exit 1
            for file in {old}/*; do
                [ "$file" = {old}/mired ] || ln -s "$file" /etc/
            done
            ln -s {self.etc} /etc/mired
            exec "$@" """
        self.program = ["unshare", "-m", "--propagation", "private", "sh", "-c", script, "sh"]
        self.write_usual()

    def write_usual(self):
        (self.etc / "mired.conf").write_text(self.conf.read_text())

    def command(self, *options):
        return [*self.program, BUILD / "mired", "-d", *options]


@marked(timeout_secs=60, tags=("once", "sanitize"))
def test_the_usual_file_may_be_missing_at_the_start_but_not_vanish(world):
    net = topology.gateway(world)
    mired = UsualMired(world, net, grey_stutter="0", stutter="0", banner="mine",
                       passtime="7s").start()
    (mired.etc / "mired.conf").unlink()
    said = ask(mired, "reload")
    check("/etc/mired/mired.conf: No such file" in said.get("error", ""), "it is a fault:", said)
    check(greeting(net) == "220 mine", "and nothing has changed")
    mired.write_conf(banner="other")
    mired.write_usual()
    said = ask(mired, "reload")
    check([row["key"] for row in said.get("changes", [])] == ["banner"], "it is back:", said)
