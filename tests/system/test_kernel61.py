"""mired on Debian 12's own kernel, which lacks some of what newer ones offer: a guest under
software emulation boots the kernel package with an initial file system of the built programs, and
runs the unit tests of engine and firewall and some of the system tests there (kernel61_guest.py).
"""
import os
import pathlib
import re
import subprocess
import sys
import sysconfig

import debs
from initramfs import Initramfs
from world import BUILD, PATIENCE, TOP, check, marked, run

GUEST_SECS = 300
N_GOOD_MIN = 25  # life of mired, unit tests, system tests
SLOWER = 4  # an emulated processor, at most, where clocks are concerned
MEMORY_MB, CORES = 2048, 2
KERNEL_PACKAGES = ("linux-image-amd64", "qemu-system-x86", "busybox-static")
KERNEL_PARTS = {"linux-image-6.1": ["./boot/vmlinuz*", *(
    f"./lib/modules/*/{part}" for part in ("kernel/net/*", "kernel/lib/*", "kernel/crypto/*",
                                           "kernel/arch/*", "kernel/drivers/net/veth.ko",
                                           "modules.*"))]}
MODULES = ("veth", "nf_tables", "nfnetlink_log", "nf_log_syslog", "crc32c_generic")
ALL_LIKE = "nft_"  # expressions of rules: all of them, so that this list need not know which
PROGRAMS = ("mired", "miredctl", "miredb", "tests/system/seedstore", "tests/support/smtpload")
UNIT_TESTS = ("test_engine_*", "test_fw_*")
# thousands of connections, or a pace, against the clock
TOO_SLOW = {"test_engine_worker_limits", "test_engine_worker_pace"}
# timeout, too: busybox's would run its own shell, and that its own ip(8)
TOOLS = ("ip", "nft", "nsenter", "mount", "umount", "timeout")
STDLIB_NOT = ("test", "tests", "idlelib", "lib2to3", "tkinter", "turtledemo", "ensurepip",
              "site-packages", "dist-packages", "pydoc_data", "unittest", "distutils")
USERS = ("root", "nobody", "mired", "mired-fw", "mired-log", "mired-fetch")
GROUPS = ("root", "nogroup", "mired", "mired-fw", "mired-log", "mired-fetch", "mired-stats",
          "mired-admin")
INIT = """#!/bin/sh
/bin/busybox mkdir -p /proc /sys /dev /run /tmp /var /root
/bin/busybox --install -s /bin 2>/tmp/applets
mount -t proc proc /proc
mount -t sysfs sysfs /sys
mount -t devtmpfs dev /dev
mount -t tmpfs -o mode=1777 tmpfs /tmp
mount -t tmpfs tmpfs /run
mkdir -p /dev/shm /run/netns
export PATH=/usr/sbin:/usr/bin:/sbin:/bin HOME=/root PYTHONDONTWRITEBYTECODE=1
ip link set lo up
MIRED_TEST_BUILD={build} MIRED_TEST_PATIENCE={patience} {python} -B {guest}
echo "the guest ends with $?"
poweroff -f
"""


def entries(path, names):
    """The lines of /etc/passwd or /etc/group that the tests need."""
    lines = pathlib.Path(path).read_text().splitlines()
    return "".join(line + "\n" for line in lines if line.split(":")[0] in names)


def add_python(image):
    image.program(os.path.realpath(sys.executable))
    stdlib = pathlib.Path(sysconfig.get_path("stdlib"))
    image.tree(stdlib, "*.py", leave_out=STDLIB_NOT)
    image.tree(stdlib, "*.pyc", leave_out=STDLIB_NOT)
    for module in sorted((stdlib / "lib-dynload").glob("*.so")):
        image.program(module)


def add_tests(image):
    for name in PROGRAMS:
        image.program(BUILD / name)
    for pattern in UNIT_TESTS:
        for path in sorted((BUILD / "tests").glob(pattern)):
            if path.is_file() and path.name not in TOO_SLOW:
                image.program(path)
    for pattern in ("nft/*.nft", "systemd/mired-tproxy", "tests/system/*.py", "tests/system/run"):
        for path in TOP.glob(pattern):
            image.file(path)


def which(name):
    path = run(["sh", "-c", f"command -v {name}"]).stdout.strip()
    return pathlib.Path(path)


def build_image(packages, release, target):
    image = Initramfs()
    image.program(packages.path("bin/busybox"), "/bin/busybox")
    image.program(which("sh").resolve(), "/bin/sh")  # busybox's would prefer its own ip(8)
    for name in TOOLS:
        image.program(which(name))
    image.modules(packages.root, release, MODULES, ALL_LIKE)
    add_python(image)
    add_tests(image)
    image.text("/etc/passwd", entries("/etc/passwd", USERS))
    image.text("/etc/group", entries("/etc/group", GROUPS))
    image.text("/etc/nsswitch.conf", "passwd: files\ngroup: files\n")
    image.text("/init", INIT.format(
        build=BUILD, python=os.path.realpath(sys.executable), patience=SLOWER * PATIENCE,
        guest=TOP / "tests/system/kernel61_guest.py"), 0o755)
    image.link("/sbin/modprobe", "/bin/busybox")
    image.link("/var/run", "/run")
    image.write(target)


def guest_command(packages, image):
    """qemu without a disk or network; what the guest says comes out here."""
    firmware = [word for place in ("qemu", "seabios")
                for word in ("-L", packages.path(f"usr/share/{place}"))]
    return [packages.path("usr/bin/qemu-system-x86_64"), *firmware,
            "-accel", "tcg,thread=multi", "-m", MEMORY_MB, "-smp", CORES, "-nodefaults",
            "-nographic", "-no-reboot", "-serial", "stdio", "-kernel",
            packages.path("boot/vmlinuz-6.1*"), "-initrd", image,
            "-append", "console=ttyS0 quiet panic=-1"]


def boot(world, packages, image):
    """Runs the guest to its end, or to the end of its time, and returns what it said."""
    console = world.dir / "console"
    guest = world.spawn(guest_command(packages, image), log=console, env=packages.env())
    try:
        guest.wait(timeout=GUEST_SECS * PATIENCE)
    except subprocess.TimeoutExpired:
        guest.kill()
    text = console.read_text(errors="replace")
    return re.sub(r"\x1b[\[(]?[0-9;?]*[a-zA-Z]|\r", "", text)


@marked(timeout_secs=GUEST_SECS + 120, tags=("long", "once"), alone=True)
def test_mired_runs_on_debian_12s_kernel(world):
    packages = debs.unpacked("kernel61", KERNEL_PACKAGES, KERNEL_PARTS)
    release = packages.path("lib/modules/6.1*").name
    run([packages.path("bin/busybox"), "depmod", "-b", packages.root, release])
    image = world.dir / "initramfs"
    build_image(packages, release, image)
    text = boot(world, packages, image)
    said = re.findall(r"^guest: (.*)$", text, re.M)
    print("\n".join(said))
    check("through" in said, "the guest came to its end; its last words:", text[-1500:])
    failed = [line for line in said if "FAILED" in line]
    check(not failed, "everything passed there:\n" + text[-12000:])
    n_good = sum(" ok (" in line for line in said)
    check(n_good >= N_GOOD_MIN, "all that ought to run there did:", n_good)
