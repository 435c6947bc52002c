"""The life of the Debian package in fresh minimal trees: built in one; in the other installed, booted
with systemd, configured, upgraded, broken, removed and purged."""
import contextlib
import re
import shutil
import socket
import threading

import topology
from client import Client, attempt
from machine import Debian
from world import TOP, check, marked, run, wait_for

HOME = "/root/mired"
# what a system writes while it lives, whatever is installed
NOT_OURS = ("proc", "sys", "dev", "run", "tmp", "root", "var/cache", "var/log", "var/lib/dpkg",
            "var/lib/apt", "var/lib/systemd", "usr/share/doc", "etc/ssl")
BACKUPS = re.compile(r"etc/(passwd|group|shadow|gshadow|subuid|subgid)-$|etc/\.pwd\.lock$")
UNITS = ("mired.socket", "mired", "mired-logd", "mired-setup.timer")
LIST = """all:\\
\t:mine:prog:
mine:\\
\t:black:\\
\t:msg="Listed":\\
\t:method=file:\\
\t:file=/etc/mired/mine.txt:
prog:\\
\t:black:\\
\t:msg="Printed":\\
\t:method=exec:\\
\t:file=/usr/bin/printf 198.51.100.0/24:
"""


def built(world, ns):
    """The package as the README says it is made, in a tree with nothing but compilers."""
    tree = Debian(world, ns, "builder")
    (tree.root / HOME[1:]).mkdir(parents=True)
    run(["sh", "-c", f"git -C '{TOP}' archive HEAD | tar -x -C '{tree.root / HOME[1:]}'"])
    said = tree.shell(f"cd {HOME} && ./bootstrap package", timeout_secs=900).stdout.split()
    deb = world.dir / "mired.deb"
    shutil.copy(tree.root / HOME[1:] / said[-1], deb)
    shutil.rmtree(tree.root)
    return deb


def next_version(world, deb):
    """The same package under a higher version."""
    folder = world.dir / "next"
    run(["dpkg-deb", "--raw-extract", deb, folder])
    control = folder / "DEBIAN/control"
    control.write_text(re.sub(r"^(Version: .*)$", r"\1.1", control.read_text(), flags=re.M))
    out = world.dir / "next.deb"
    run(["dpkg-deb", "--root-owner-group", "--build", folder, out])
    return out


class Host:
    """A machine in front of its own mail server, with the package."""

    def __init__(self, world, net, deb):
        self.net, self.deb = net, deb
        self.tree = Debian(world, net.gw, "host")
        self.tree.shell("apt-get update -q")
        for path in (deb, next_version(world, deb)):
            shutil.copy(path, self.tree.root / "root")

    def install(self):
        return self.tree.shell("apt-get install -y -q --no-install-recommends /root/mired.deb",
                               timeout_secs=300).stdout

    def says(self, command):
        return self.tree.says(command)

    def state(self, unit):
        return self.tree.shell(f"systemctl is-active {unit}", check_code=False).stdout.strip()

    def pid(self):
        return self.says("systemctl show --property MainPID --value mired")

    def has_table(self):
        return "table inet mired" in self.net.gw.shell("nft list tables")

    def write(self, path, text):
        (self.tree.root / path[1:]).write_text(text)

    def purge(self):
        return self.tree.shell("dpkg --purge mired")

    def traces(self):
        """Files and users of ours."""
        names = {name for name in self.tree.files(NOT_OURS) if not BACKUPS.match(name)}
        users = self.says("getent passwd; getent group").splitlines()
        return {name for name in names if "mired" in name} | {
            line.split(":")[0] for line in users if "mired" in line}, names


def first_install(host):
    """Without systemd running, as in a chroot; then away again."""
    before = host.traces()[1]
    said = host.install()
    check(said.count("mired: nothing is started yet") == 1, "says what to do next:", said[-500:])
    for name in ("mired", "mired-fw", "mired-log", "mired-fetch"):
        host.says(f"getent passwd {name}")
    for name in ("mired-stats", "mired-admin"):
        host.says(f"getent group {name}")
    check(host.says("stat -c %U:%a /var/lib/mired /var/lib/mired/db").split() ==
          ["mired:750", "mired:700"], "directories")
    check(host.says("mired --check-config 2>/dev/null") == "configuration is good", "as installed")
    check(not host.has_table(), "nothing is in the packet filter")
    host.purge()
    ours, after = host.traces()
    check(not ours, "nothing of ours is left:", ours)
    libraries = {name for name in after - before if name.startswith(("usr", "lib", "etc/ld.so"))}
    check(after - before == libraries, "nothing but libraries is new:", after - before - libraries)


def configured(host):
    """Edited, enabled, at work."""
    check(host.state("mired") == "inactive", "nothing is started:", host.state("mired"))
    check(host.says("systemctl is-enabled mired || true") == "disabled", "nor enabled")
    conf = (host.tree.root / "etc/mired/mired.conf").read_text()
    host.write("/etc/mired/mired.conf", conf.replace(
        'rules = "none"', 'rules = "local-mta"\ninterface = {"ext"}\nstutter = "20ms"\n'
        'grey-stutter = "0s"'))
    host.write("/etc/mired/spamd.conf", LIST)
    host.write("/etc/mired/mine.txt", "192.0.2.0/24\n")
    host.says("chmod 600 /etc/mired/mine.txt")
    host.says(f"miredctl sync-key; systemctl enable --now {' '.join(UNITS)}")
    for unit in UNITS:
        check(host.state(unit) == "active", f"{unit} runs:", host.state(unit))
    with Client(host.net.out, topology.GW4, source=topology.client4(1)) as client:
        check(attempt(client).startswith("451"), "an unknown client is deferred")
    users = set(host.says("ps -eo user:32=,args= | grep '[m]ired' | cut -d' ' -f1").split())
    check(users == {"mired", "mired-fw", "mired-log"}, "nobody is root:", users)


def at_work(host):
    """All services do what they are for inside their sandboxes."""
    host.says("systemctl start mired-setup")
    lists = host.says("miredctl lists")
    check(re.search("^mine +1 ", lists, re.M) and re.search("^prog +1 ", lists, re.M),
          "both lists are in force:", lists)
    host.write("/etc/mired/mine.txt", "192.0.2.0/24\n198.51.100.0/24\n")
    host.says("systemctl reload mired")
    wait_for("the list as it is now", lambda: re.search("^mine +2 ", host.says("miredctl lists"),
                                                        re.M), 20, step_secs=0.5)
    host.says("kill -9 $(pgrep -f '^mired: engine')")
    wait_for("a new engine", lambda: host.tree.shell("miredctl status", check_code=False)
             .returncode == 0, 10, step_secs=0.5)
    host.says("systemctl restart mired")
    host.says("miredb -a 203.0.113.77")
    wait_for("mired-logd to find mired again", lambda: host.state("mired-logd") == "active", 5)


def restarted(host):
    """systemd holds the ports meanwhile: no client is refused."""
    ending, answers = threading.Event(), []

    def connect():
        while not ending.is_set():
            with contextlib.closing(host.net.out.socket(socket.AF_INET)) as sock:
                answers.append(sock.connect_ex((topology.GW4, 25)))
    clients = threading.Thread(target=connect)
    clients.start()
    for _ in range(3):
        host.says("systemctl restart mired")
    ending.set()
    clients.join()
    check(len(answers) > 10 and not any(answers), "all were accepted:", len(answers), set(answers))


def others_at_work(host):
    """The services that few enable work in their sandboxes, too."""
    conf = host.says("cat /etc/mired/mired.conf")
    host.write("/etc/mired/mired.conf", conf + "\nmetrics-port = 9625\n")
    host.write("/etc/default/mired-shape", 'MIRED_SHAPE_OPTIONS="--rate 100mbit"\n')
    host.says("systemctl restart mired; systemctl start mired-metrics mired-shape")
    with host.net.gw.socket(socket.AF_INET) as sock:
        sock.connect(("127.0.0.1", 9625))
        sock.sendall(b"GET /metrics HTTP/1.0\r\n\r\n")
        answer = sock.recv(4096)
    check(answer.startswith(b"HTTP/1.") and b" 200 " in answer[:20], "metrics:", answer[:100])
    check("htb 1:25 " in host.says("tc class show dev ext"), "the class of what is held")
    host.says("systemctl stop mired-shape mired-metrics")
    check("htb" not in host.says("tc class show dev ext"), "and gone")
    host.write("/etc/mired/mired.conf", conf.replace(
        '\nrules = "local-mta"\n', '\nrules = "gateway-tproxy"\nmx-addresses = {"192.0.2.25"}\n') + "\n")
    host.says("systemctl restart mired")
    check("IPv4: ext" in host.says("mired-tproxy status"), "routes for TPROXY")
    host.write("/etc/mired/mired.conf", conf + "\n")
    host.says("rm /etc/default/mired-shape; systemctl restart mired")
    check("not set up" in host.tree.shell("mired-tproxy status", check_code=False).stdout,
          "no routes with other rules")


def upgraded(host):
    """What the administrator wrote and what mired learnt stays; what ran runs anew."""
    conf, pid = host.says("cat /etc/mired/mired.conf"), host.pid()
    host.tree.shell("dpkg -i /root/next.deb")
    check(host.says("cat /etc/mired/mired.conf") == conf, "the configuration is kept")
    check(host.pid() not in ("0", pid), "it runs anew:", pid, host.pid())
    check("203.0.113.77" in host.says("miredb"), "the store is kept:", host.says("miredb"))
    check("mine" in host.says("miredctl lists"), "the lists, too")
    for unit in UNITS:
        check(host.state(unit) == "active", f"{unit} runs:", host.state(unit))
        host.says(f"systemctl is-enabled {unit}")


def upgraded_with_a_bad_file(host):
    """A new version that would not start leaves the old one at work."""
    conf, pid = host.says("cat /etc/mired/mired.conf"), host.pid()
    host.write("/etc/mired/mired.conf", conf + "\nnonsense = 1\n")
    said = host.tree.shell("dpkg -i /root/next.deb").stdout
    check("mired.conf:" in said and "goes on" in said, "says which line is bad:", said)
    check(host.pid() == pid and host.has_table(), "the running one goes on")
    host.write("/etc/mired/mired.conf", conf + "\n")
    host.says("chmod 600 /etc/mired/mired.conf")
    said = host.tree.shell("dpkg -i /root/next.deb").stdout
    check("mired.conf: Permission denied" in said, "says what its user cannot read:", said)
    check(host.pid() == pid and host.has_table(), "the running one goes on")


def checked(host):
    """What the unit's user cannot read is found while root can, and mended by what is said."""
    for path in ("/etc/mired/mired.conf", "/etc/mired/nospamd"):
        host.says(f"chmod 600 {path}")
        done = host.tree.shell("miredctl check", check_code=False)
        found = re.search(f"^error: {path} cannot be read by mired.* -> (.*)$", done.stdout, re.M)
        check(done.returncode == 1 and found, "said:", done.returncode, done.stdout)
        host.says(found.group(1))
        host.says("systemctl restart mired")
    done = host.tree.shell("miredctl check", check_code=False)
    check("cannot be read" not in done.stdout, "mended:", done.stdout)


def removed(host):
    """Rules go with the programs, those of a killed daemon, too; the rest stays for a new install."""
    folder = "/etc/systemd/system/mired.service.d"
    host.says(f"mkdir {folder}; printf '[Service]\\nRestart=no\\n' >{folder}/never.conf")
    host.says("systemctl daemon-reload; systemctl kill --signal=KILL mired")
    wait_for("its end", lambda: host.state("mired") == "failed", 10)
    check(host.has_table(), "a killed daemon leaves its rules")
    host.tree.shell("dpkg --remove mired")
    check(not host.has_table(), "a removal takes them away")
    check(host.state("mired-logd") == "inactive", "everything is stopped:", host.state("mired-logd"))
    check("192.0.2.0/24" in host.says("cat /etc/mired/mine.txt"), "the configuration stays")
    host.says("test -s /var/lib/mired/db/data.mdb")


def installed_again(host):
    """What was enabled before the removal is so again."""
    host.tree.shell("dpkg -i /root/mired.deb")
    check(host.says("systemctl is-enabled mired") == "enabled", "enabled as before")
    host.says("rm -r /etc/systemd/system/mired.service.d; systemctl daemon-reload")
    host.says("systemctl start mired")
    check("203.0.113.77" in host.says("miredb"), "with what it knew")


def purged_beside_one_started_by_hand(host):
    """Without the file of its process id, which the service's RuntimeDirectory= takes away."""
    host.says("systemctl stop mired.socket")
    host.says("setsid mired </dev/null >/dev/null 2>&1 &")
    wait_for("its rules", host.has_table, 20)
    host.says("rm -r /run/mired")
    host.purge()
    check(host.says("pgrep -a mired || true") == "", "no process is left:", host.says("ps ax"))
    check(not host.traces()[0], "nothing of ours is left:", host.traces()[0])
    check(not host.has_table(), "nor in the packet filter")


@marked(timeout_secs=2400, alone=True, tags=("once", "long"))
def test_built_installed_booted_upgraded_removed_and_purged(world):
    net = topology.local(world)
    deb = built(world, world.netns("build"))
    host = Host(world, net, deb)
    first_install(host)
    host.install()
    host.tree.boot()
    for step in (configured, at_work, restarted, others_at_work, upgraded,
                 upgraded_with_a_bad_file, checked, removed, installed_again,
                 purged_beside_one_started_by_hand):
        step(host)
        print(step.__name__)
    check(host.says("systemctl --failed --plain --no-legend") == "", "nothing has failed")
    check(host.says("systemctl is-system-running") == "running", "the machine is well")
