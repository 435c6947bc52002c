"""Processes that die: alone, together, or by order."""
import os
import select
import time

import topology
from client import Client, try_mail
from daemon import Mired
from world import check, marked, pid_is_alive, wait_for


def new_pid(mired, role, old):
    """The pid of the role once it has been started again."""
    return wait_for(f"a new {role}", lambda: (pid := mired.pids().get(role)) != old and pid, 10)


@marked(timeout_secs=60, tags=("path", "sanitize"))
def test_a_client_that_connects_right_after_the_engines_death_is_served(world):
    net = topology.gateway(world)
    mired = Mired(world, net, grey_stutter="0s").start()
    old = mired.pids()["engine"]
    # readable when the last thread has ended; until then the ring may still take a connection
    death = os.pidfd_open(old)
    mired.kill9("engine")
    check(select.select([death], [], [], 5)[0], "the engine ends")
    os.close(death)
    reply = try_mail(net.out, net.target(False), topology.client4(1))
    check(reply.startswith("451"), "served, not refused:", reply)
    new_pid(mired, "engine", old)
    wait_for("status to answer", mired.is_ready, 10)
    check(len(mired.rows()) == 1, "its tuple is stored:", mired.rows())


@marked(timeout_secs=90)
def test_an_engine_that_dies_again_and_again_comes_back(world):
    net = topology.gateway(world)
    mired = Mired(world, net, grey_stutter="0s").start()
    for n in range(3):
        old = mired.kill9("engine")["engine"]
        new_pid(mired, "engine", old)
        wait_for("status to answer", mired.is_ready, 20)
        reply = try_mail(net.out, net.target(False), topology.client4(n))
        check(reply.startswith("451"), "served:", reply)


@marked(timeout_secs=60, tags=("path", "sanitize"))
def test_the_firewall_role_comes_back_and_goes_on(world):
    net = topology.gateway(world)
    mired = Mired(world, net, grey_stutter="0s").start()
    mired.make_white(net.out, net.target(False), topology.client4(1))
    old = mired.kill9("firewall")["firewall"]
    check(mired.has_white(topology.client4(1)), "the kernel keeps its sets meanwhile")
    new_pid(mired, "firewall", old)
    wait_for("the firewall to be complete", mired.is_ready, 10)
    mired.make_white(net.out, net.target(False), topology.client4(2))
    check(mired.has_white(topology.client4(1)), "the first host is still there")


@marked(timeout_secs=60)
def test_roles_end_with_their_supervisor_and_the_next_start_finds_everything(world):
    net = topology.gateway(world)
    mired = Mired(world, net, grey_stutter="0s").start()
    mired.make_white(net.out, net.target(False), topology.client4(1))
    pids = mired.kill9("supervisor")
    wait_for("the roles to end", lambda: not any(map(pid_is_alive, pids.values())), 5)
    check(mired.has_white(topology.client4(1)), "rules and sets stay in the kernel")
    # what a service manager does
    mired.start()
    check(mired.has_white(topology.client4(1)), "the host is white again")
    reply = try_mail(net.out, net.target(False), topology.client4(3))
    check(reply.startswith("451"), "served:", reply)


@marked(timeout_secs=60)
def test_a_second_start_on_the_same_state_directory_is_refused_naming_the_pid(world):
    net = topology.gateway(world)
    mired = Mired(world, net).start()
    pid = mired.supervisor_pid()
    second = Mired(world, net, name="second", state_dir=mired.settings["state-dir"],
                   port=8125, nft_table="second")
    done = second.run_to_end()
    check(done.returncode == 1, "exit 1, got", done.returncode, done.stderr)
    check(str(pid) in done.stdout + done.stderr, f"names {pid}:", done.stderr)
    check(mired.is_ready() and mired.supervisor_pid() == pid, "the first one is not disturbed")


@marked(timeout_secs=60)
def test_a_second_start_on_the_same_port_is_refused(world):
    net = topology.gateway(world)
    Mired(world, net).start()
    done = Mired(world, net, name="second", nft_table="second").run_to_end()
    check(done.returncode == 1 and "8025" in done.stdout + done.stderr,
          "refused, naming the port:", done.returncode, done.stderr)


@marked(timeout_secs=60, tags=("path", "sanitize"))
def test_sigterm_removes_table_socket_and_pid_file(world):
    net = topology.gateway(world)
    mired = Mired(world, net).start()
    pids = mired.pids()
    check(set(pids) == {"supervisor", "engine", "firewall"}, "three processes:", pids)
    code, secs = mired.stop()
    check(code == 0, "exit 0, got", code)
    check(secs < 2 or os.environ.get("MIRED_TEST_PATIENCE", "1") != "1", "in under 2 s:", secs)
    check(not any(map(pid_is_alive, pids.values())), "all processes are gone")
    check(not os.path.exists(mired.socket_path), "the socket is gone")
    check(not os.path.exists(mired.settings["pid-file"]), "the pid file is gone")
    tables = net.gw.shell("nft list tables")
    check("mired" not in tables, "the table is gone:", tables)


@marked(timeout_secs=60, tags=("path",))
def test_roles_run_without_rights(world):
    net = topology.gateway(world)
    mired = Mired(world, net).start()
    for role, capabilities in (("engine", 0), ("firewall", 1 << 12)):
        with open(f"/proc/{mired.pids()[role]}/status", encoding="ascii") as file:
            facts = dict(line.split(":", 1) for line in file.read().splitlines())
        check(facts["Uid"].split() != ["0"] * 4, f"{role} is not root:", facts["Uid"])
        check(int(facts["CapEff"], 16) == capabilities, f"{role}'s capabilities:", facts["CapEff"])
        check(int(facts["CapPrm"], 16) == capabilities, f"{role}'s capabilities:", facts["CapPrm"])
        check(facts["NoNewPrivs"].strip() == "1", f"{role} has no_new_privs")


@marked(timeout_secs=60, tags=("path",))
def test_connections_under_way_survive_the_firewall_roles_death(world):
    net = topology.gateway(world)
    mired = Mired(world, net, grey_stutter="0s").start()
    with Client(net.out, net.target(False), source=topology.client4(1)) as client:
        client.expect("220")
        mired.kill9("firewall")
        time.sleep(0.3)
        client.command("HELO still.here", "250")
