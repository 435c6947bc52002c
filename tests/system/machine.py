"""A Debian of its own: a minimal tree, what is installed into it, and a boot of it in namespaces,
with systemd as the first process."""
import contextlib
import fcntl
import os
import pathlib
import shutil
import urllib.parse

import world as w
from test_fresh_debian import SUITE, mirror, relay

BASE = ("systemd", "systemd-sysv", "dbus", "nftables", "iproute2", "procps")
PATH = "PATH=/usr/sbin:/usr/bin:/sbin:/bin"
DEVICES = ("null", "zero", "full", "random", "urandom", "tty")
# What a container manager gives: kernel settings of the network only, none of the machine's.
BOOT = """
mkdir {cgroup}
echo $$ >{cgroup}/cgroup.procs
exec unshare --mount --pid --fork --kill-child --uts --ipc --cgroup sh -ec '
    cd {root}
    mount --bind . . && cd {root}
    mount -t proc proc proc
    mount -t sysfs -o ro sysfs sys
    mount -t cgroup2 cgroup2 sys/fs/cgroup
    mount --bind proc/sys proc/sys
    mount --bind proc/sys/net proc/sys/net
    mount -o remount,bind,ro proc/sys
    mount -t tmpfs -o mode=755 tmpfs dev
    mount -t tmpfs -o mode=755 tmpfs run
    for name in {devices}; do touch dev/$name; mount --bind /dev/$name dev/$name; done
    mkdir dev/pts dev/shm
    mount -t devpts -o newinstance,ptmxmode=666,mode=620 devpts dev/pts
    ln -s pts/ptmx dev/ptmx
    ln -s /proc/self/fd dev/fd
    exec env -i container=other TERM=dumb {path} chroot . /lib/systemd/systemd'
"""
INSIDE = """
mount --bind '{root}' '{root}'
mount -t proc proc '{root}/proc'
mount --rbind /dev '{root}/dev'
mount -t tmpfs tmpfs '{root}/run'
exec chroot '{root}' /usr/bin/env -i HOME=/root TERM=dumb DEBIAN_FRONTEND=noninteractive {path} \
    sh -ec "$1"
"""


def _base_archive(url):
    """The minimal tree as an archive, from an earlier call if there was one."""
    place = w.BUILD / "debs"
    place.mkdir(parents=True, exist_ok=True)
    archive = place / f"{SUITE}.tar"
    with open(place / "tree.lock", "w", encoding="ascii") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not archive.exists():
            fresh = place / "fresh"
            shutil.rmtree(fresh, ignore_errors=True)
            w.run(["debootstrap", "--variant=minbase", f"--include={','.join(BASE)}", SUITE, fresh,
                   url], timeout_secs=900)
            w.run(["tar", "-C", fresh, "-cf", f"{archive}.new", "."])
            shutil.rmtree(fresh)
            os.rename(f"{archive}.new", archive)
    return archive


class Debian:
    """A tree in a network namespace from which its package mirror, and nothing else, is reached."""

    def __init__(self, world, ns, name):
        if not shutil.which("debootstrap"):
            raise w.Skip("debootstrap is not installed")
        url = mirror()
        host = urllib.parse.urlsplit(url).hostname
        self.world, self.ns, self.root = world, ns, world.dir / name
        self.root.mkdir()
        w.run(["tar", "-C", self.root, "-xf", _base_archive(url)])
        for path in (*pathlib.Path("/etc/apt/apt.conf.d").glob("99*"),
                     *pathlib.Path("/etc/apt/sources.list.d").glob("debian.sources")):
            shutil.copy(path, self.root / str(path.parent)[1:])
            if path.suffix == ".sources":
                (self.root / "etc/apt/sources.list").unlink()
        (self.root / "etc/hosts").write_text(f"127.0.0.1 localhost {host}\n")
        self.init = None
        relay(ns, host)

    def shell(self, command, check_code=True, timeout_secs=120):
        """Runs a shell script in the tree: in the booted machine, or without one."""
        if self.init:
            argv = ["nsenter", f"--target={self.init}", "--mount", "--pid", "--uts", "--ipc",
                    "--net", "--cgroup", "--root", "--wd", "env", "-i", "HOME=/root", "TERM=dumb",
                    "DEBIAN_FRONTEND=noninteractive", PATH, "sh", "-ec", command]
            return w.run(argv, check_code=check_code, timeout_secs=timeout_secs)
        return w.run(["unshare", "--mount", "--pid", "--fork", "--kill-child", "sh", "-ec",
                      INSIDE.format(root=self.root, path=PATH), "sh", command],
                     ns=self.ns, check_code=check_code, timeout_secs=timeout_secs)

    def says(self, command):
        """What a command that must succeed prints."""
        return self.shell(command).stdout.strip()

    def files(self, leave_out=()):
        """All paths in the tree but those below these."""
        found = set()
        for folder, folders, names in os.walk(self.root):
            here = os.path.relpath(folder, self.root)
            folders[:] = [name for name in folders
                          if os.path.normpath(f"{here}/{name}") not in leave_out]
            found.update(os.path.normpath(f"{here}/{name}") for name in (*folders, *names))
        return found

    # --- boot ----------------------------------------------------------------------------------

    def boot(self):
        """Starts systemd in the tree and waits until it has started all there is."""
        cgroup = _cgroup2() / f"{self.world.tag}-{self.root.name}"
        script = BOOT.format(cgroup=cgroup, root=self.root, devices=" ".join(DEVICES), path=PATH)
        process = self.world.spawn(["sh", "-ec", script], ns=self.ns,
                                   log=self.world.dir / "boot.log")
        self.world.at_close(lambda: self._end(process, cgroup))
        self.init = w.wait_for("the first process", lambda: _systemd_of(process.pid), 20)
        w.wait_for("systemd", lambda: self.shell("systemctl is-system-running",
                                                 check_code=False).stdout == "running\n", 60)

    def _end(self, process, cgroup):
        """Without its first process nothing of it is left but the groups it made."""
        process.kill()
        process.wait()
        w.wait_for("the machine's end", lambda: not w.pid_is_alive(self.init), 10)
        for folder, _, _ in os.walk(cgroup, topdown=False):
            with contextlib.suppress(OSError):
                os.rmdir(folder)


def _cgroup2():
    """Where this machine has the hierarchy that systemd wants."""
    for line in pathlib.Path("/proc/mounts").read_text().splitlines():
        if line.split()[2] == "cgroup2":
            return pathlib.Path(line.split()[1])
    raise w.Skip("no cgroup2 hierarchy is mounted")


def _systemd_of(pid):
    """The child of this process, once it is systemd."""
    for path in pathlib.Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError):
            name, _, rest = path.read_text().rpartition(")")
            if int(rest.split()[1]) == pid and name.endswith("(systemd"):
                return int(path.parent.name)
    return None
