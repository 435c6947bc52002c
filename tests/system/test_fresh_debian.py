"""The README's two commands, as written, in a fresh minimal Debian with a network of its own.

The tree has no way out but a relay to its package mirror, which listens inside its namespace."""
import pathlib
import re
import shutil
import socket
import threading
import time
import urllib.parse

import topology
from client import Client, attempt
from test_bootstrap import interrupt
from world import TOP, Skip, check, marked, run, wait_for

SUITE = "bookworm"
HOME = "root/mired"


def mirror():
    """URL of the package mirror that this machine uses for the suite itself."""
    sites = run(["apt-get", "indextargets", "--format", "$(RELEASE) $(SITE)"]).stdout.splitlines()
    found = [line.split()[1] for line in sites if line.split()[0] == SUITE]
    if not found or not found[0].startswith("http://"):
        raise Skip(f"apt has no http mirror of {SUITE}")
    return found[0]


def relay(ns, host, port=80):
    """Carries connections to the namespace's loopback on to the same port of the real host."""
    listener = ns.socket(socket.AF_INET)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    listener.bind(("127.0.0.1", port))
    listener.listen(64)

    def pump(source, sink):
        try:
            while data := source.recv(65536):
                sink.sendall(data)
        except OSError:
            pass
        finally:
            for sock in (source, sink):
                try:
                    sock.shutdown(socket.SHUT_RDWR)
                except OSError:
                    pass

    def serve():
        while True:
            inner, _ = listener.accept()
            try:
                outer = socket.create_connection((host, port), timeout=60)
            except OSError:
                inner.close()
                continue
            for pair in ((inner, outer), (outer, inner)):
                threading.Thread(target=pump, args=pair, daemon=True).start()
    threading.Thread(target=serve, daemon=True).start()


def make_tree(world, url):
    """A minbase tree with this machine's apt settings and a copy of the sources."""
    if not shutil.which("debootstrap"):
        raise Skip("debootstrap is not installed")
    root = world.dir / "debian"
    run(["debootstrap", "--variant=minbase", SUITE, root, url],
        timeout_secs=900)
    for path in (*pathlib.Path("/etc/apt/apt.conf.d").glob("99*"),
                 *pathlib.Path("/etc/apt/sources.list.d").glob("debian.sources")):
        shutil.copy(path, root / str(path.parent)[1:])
    if (root / "etc/apt/sources.list.d/debian.sources").exists():
        (root / "etc/apt/sources.list").unlink()
    (root / "etc/hosts").write_text(f"127.0.0.1 localhost {urllib.parse.urlsplit(url).hostname}\n")
    (root / HOME).mkdir(parents=True)
    run(["sh", "-c", f"git -C '{TOP}' archive HEAD | tar -x -C '{root / HOME}'"])
    return root


def inside(root, command):
    """argv that runs a shell command in the tree, with process and mount namespaces of its own."""
    # a file system of its own, as a machine's root is: tests inside change its mounts
    script = (f"mount --bind '{root}' '{root}'; mount -t proc proc '{root}/proc'; "
              f"mount --rbind /sys '{root}/sys'; "
              f"mount --rbind /dev '{root}/dev'; mount -t tmpfs tmpfs '{root}/run'; "
              f"exec chroot '{root}' /usr/bin/env -i HOME=/root TERM=dumb "
              f"PATH=/usr/sbin:/usr/bin:/sbin:/bin sh -c 'cd /{HOME} && {command}'")
    return ["unshare", "--mount", "--pid", "--fork", "--kill-child", "sh", "-ec", script]


def run_and_stop(world, net, root, times):
    """./bootstrap run until it serves, a deferral from outside, Ctrl-C."""
    log = world.dir / f"run{times}.log"
    process = world.spawn(inside(root, "exec ./bootstrap run"), ns=net.gw, log=log)

    def is_serving():
        check(process.poll() is None, "bootstrap run goes on:", log.read_text()[-3000:])
        return "serving on" in log.read_text()
    wait_for("bootstrap run to serve", is_serving, 1200, step_secs=1)
    wait_for("its rules", lambda: "mired" in net.gw.shell("nft list tables"), 20)
    with Client(net.out, topology.GW4) as client:
        check(attempt(client).startswith("451"), "an unknown client is deferred")
    wait_for("the figures", lambda: re.search(r"connections", log.read_text()), 30, step_secs=1)
    interrupt(net.gw)
    process.wait(timeout=30)
    check("mired" not in net.gw.shell("nft list tables"), "the table is removed")
    print(log.read_text()[-2500:])


def fresh(world):
    """A network whose gateway has a default route and the relay, and the tree."""
    net = topology.local(world)
    net.gw.shell(f"ip route add default via {topology.OUT4}")
    url = mirror()
    relay(net.gw, urllib.parse.urlsplit(url).hostname)
    began = time.monotonic()
    root = make_tree(world, url)
    print(f"debootstrap: {time.monotonic() - began:.0f} s")
    return net, root


@marked(timeout_secs=3000, alone=True, tags=("once", "long"))
def test_run_twice_and_the_demo(world):
    net, root = fresh(world)
    for times in (1, 2):
        began = time.monotonic()
        run_and_stop(world, net, root, times)
        print(f"./bootstrap run, time {times}: {time.monotonic() - began:.0f} s")
    demo = run(inside(root, "./bootstrap run --demo"), ns=net.gw, timeout_secs=600)
    print(demo.stdout[-3000:])


@marked(timeout_secs=4800, alone=True, tags=("once", "long"))
def test_all_tests(world):
    net, root = fresh(world)
    began = time.monotonic()
    log = world.dir / "test.log"
    process = world.spawn(inside(root, "exec ./bootstrap test"), ns=net.gw, log=log)
    code = process.wait(timeout=4000)
    lines = log.read_text(errors="replace").splitlines()
    print("\n".join(line for line in lines if re.match("FAILED|ctest|system tests", line)))
    print(f"{lines[-1]}\n./bootstrap test: {time.monotonic() - began:.0f} s")
    check(code == 0, "./bootstrap test passes, exit code", code)
