"""The README's first command in a world of its own: /etc, /var/lib and /run are covered, so this
machine's own mired, if there is one, is not touched. And the end of a run of tests by Ctrl-C."""
import contextlib
import os
import pathlib
import signal

import topology
from client import Client, attempt
from world import BUILD, TOP, check, command_words, marked, pid_is_alive, run, wait_for


def cover(world):
    """Where writes below the covered directories go."""
    path = world.dir / "cover"
    if not path.exists():
        world.tmpfs(path, "256m")
    return path


def covered(world, command):
    """argv that runs a shell command with private versions of what bootstrap writes."""
    script = "mount -t tmpfs -o mode=755 tmpfs /run; "
    for lower in ("/etc", "/var/lib"):
        upper = cover(world) / lower[1:].replace("/", "-")
        for part in ("up", "work"):
            (upper / part).mkdir(parents=True, exist_ok=True)
        script += (f"mount -t overlay overlay -o lowerdir={lower},upperdir={upper}/up,"
                   f"workdir={upper}/work {lower}; ")
    return ["unshare", "--mount", "sh", "-ec", f"{script} cd '{TOP}'; {command}"]


def processes(ns, *ends):
    """Processes in a namespace with a word that ends like one of these in their command line."""
    return [pid for pid in ns.pids()
            if any(word.endswith(ends) for word in command_words(pid))]


def interrupt(ns):
    """SIGINT to bootstrap and mired, as a terminal's Ctrl-C does."""
    for pid in processes(ns, b"./bootstrap", b"release/mired"):
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGINT)


def serve_once(world, net, number, look=lambda: None):
    """bootstrap run until it defers somebody and shows figures; look() then, and Ctrl-C."""
    log = world.dir / f"run{number}.log"
    process = world.spawn(covered(world, "exec ./bootstrap run"), ns=net.gw, log=log)

    def is_serving():
        check(process.poll() is None, "bootstrap run goes on:", log.read_text()[-2000:])
        return "serving on" in log.read_text() and "mired" in net.gw.shell("nft list tables")
    wait_for("bootstrap run to serve", is_serving, 240, step_secs=0.5)
    with Client(net.out, topology.GW4) as client:
        check(attempt(client).startswith("451"), "an unknown client is deferred")
    wait_for("the figures", lambda: "connections" in log.read_text().split("serving on")[1], 30)
    look()
    interrupt(net.gw)
    check(process.wait(timeout=30) == 0, "exit 0, got", process.returncode)
    check("mired" not in net.gw.shell("nft list tables"), "the table is removed")


@marked(timeout_secs=400, alone=True, tags=("once",))
def test_run_serves_stops_and_runs_again(world):
    net = topology.local(world)
    net.gw.shell(f"ip route add default via {topology.OUT4}")
    serve_once(world, net, 1)
    conf = cover(world) / "etc/up/mired/mired.conf"
    check('interface = {"ext"}' in conf.read_text(), "the default route's:", conf.read_text())
    serve_once(world, net, 2)


def routed_interfaces(net):
    return net.gw.shell("ip rule; ip -6 rule").count("iif ext ")


@marked(timeout_secs=400, alone=True, tags=("once",))
def test_run_sets_up_routes_and_takes_them_back(world):
    net = topology.local(world)
    etc = cover(world) / "etc/up/mired"
    etc.mkdir(parents=True)
    (etc / "mired.conf").write_text('rules = "gateway-tproxy"\ninterface = {"ext"}\n'
                                    f'mx-addresses = {{"{topology.GW4}"}}\n')
    serve_once(world, net, 1, lambda: check(routed_interfaces(net) == 2, "routes are there"))
    check(routed_interfaces(net) == 0, "and gone")


@marked(timeout_secs=300, alone=True, tags=("once",))
def test_run_refuses_without_an_interface(world):
    net = topology.local(world)
    done = run(covered(world, "./bootstrap run"), ns=net.gw, check_code=False, timeout_secs=240)
    check(done.returncode == 1 and "--interface" in done.stderr, "it does not guess:", done.stderr)
    check(not (cover(world) / "etc/up/mired").exists(), "and writes nothing")


@marked(timeout_secs=60, tags=("once",))
def test_an_interrupted_run_of_tests_leaves_nothing(world):
    log = world.dir / "tests"
    runner = world.spawn([TOP / "tests/system/run", "--build", BUILD, "--jobs", "2",
                          "greylist/"], log=log)

    def makers():
        return {int(child) for child in pathlib.Path(
            f"/proc/{runner.pid}/task/{runner.pid}/children").read_text().split()}

    def left_by(pids):
        return [path for place in ("/tmp", "/run/netns") for pid in pids
                for path in pathlib.Path(place).glob(f"mired-t{pid}-*")]
    wait_for("two tests to have their worlds", lambda: len(left_by(makers())) >= 4, 30)
    pids = makers()
    runner.send_signal(signal.SIGINT)
    check(runner.wait(timeout=40) == 130, "it says that it was ended:", runner.returncode)
    check("ended by a signal" in log.read_text(), log.read_text()[-500:])
    check(not [pid for pid in pids if pid_is_alive(pid)], "no test goes on:", pids)
    check(not left_by(pids), "no world is left:", left_by(pids))
