"""What the benchmarks share: the build they run, the line that names the machine, figures with their
ratio to a baseline of the same run, processor time and kernel memory, and sysctls that are put back.

A benchmark never passes or fails by a time; it fails only when it could not measure.
"""
import argparse
import atexit
import contextlib
import datetime
import os
import pathlib
import platform
import resource
import shlex
import signal
import subprocess
import sys

TOP = pathlib.Path(__file__).resolve().parent.parent
sys.path.insert(0, str(TOP / "tests" / "system"))
sys.dont_write_bytecode = True


def arguments(description):
    """A parser with what every benchmark takes; after parse_args() call use_build()."""
    parser = argparse.ArgumentParser(
        description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true",
                        help="smaller and shorter: shows that it works, not what it costs")
    parser.add_argument("--build", type=pathlib.Path, default=TOP / "build" / "release",
                        help="build directory (build/release, brought up to date first)")
    return parser


def use_build(options, *targets):
    """Brings the named targets up to date; the system tests' modules find the build from then on.
    Import those (world, daemon, topology) only afterwards. What they make is removed at exit, so a
    kill or the end of the terminal is one."""
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, lambda number, _frame: sys.exit(128 + number))
    build = options.build.resolve()
    if build == TOP / "build" / "release":
        _run_quietly(["cmake", "--preset", "release"])
    _run_quietly(["cmake", "--build", str(build), "--target", *targets])
    os.environ["MIRED_TEST_BUILD"] = str(build)
    return build


def _run_quietly(argv):
    done = subprocess.run(argv, cwd=TOP, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        sys.exit(f"{shlex.join(argv)} failed:\n{done.stdout[-4000:]}{done.stderr[-2000:]}")


def machine():
    """Cores, memory, kernel and the limit on files, and nothing that names the machine."""
    pages = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    release = ".".join(platform.release().split("-")[0].split(".")[:3])
    return (f"{len(os.sched_getaffinity(0))} cores, {pages / 2**30:.0f} GiB, Linux {release}, "
            f"a hard file limit of {hard:,}")


class Report:
    """Prints as the figures come: one line each, with the ratio to a baseline and the aim."""

    def __init__(self):
        command = shlex.join([os.path.relpath(sys.argv[0], TOP), *sys.argv[1:]])
        print(f"{command}\n{machine()}, {datetime.date.today()}", flush=True)

    @staticmethod
    def section(text):
        print(f"\n{text}", flush=True)

    @staticmethod
    def figure(what, value, unit="", baseline=None, aim=None):
        """value: a number, or text as it is to be printed. baseline: the same figure of the thing
        it is compared with, in this run. aim: in words."""
        shown = value if isinstance(value, str) else _digits(value)
        line = f"  {what:<48} {shown:>12} {unit}".rstrip()
        if baseline:
            line += f", {value / baseline:.2f} x the baseline's {_digits(baseline)}"
        print(line + (f"   (aim: {aim})" if aim else ""), flush=True)

    @staticmethod
    def note(text):
        print(f"  {text}", flush=True)


def _digits(value):
    if isinstance(value, int) or abs(value) >= 1000:
        return f"{value:,.0f}"
    return f"{value:.3g}"


def cpu_secs(pid, name=""):
    """Processor time of all threads of a process so far whose name begins so, to the nanosecond;
    dead threads are not in it."""
    total = 0
    for task in pathlib.Path(f"/proc/{pid}/task").iterdir():
        with contextlib.suppress(OSError):
            if (task / "comm").read_text().startswith(name):
                total += int((task / "schedstat").read_text().split()[0])
    return total / 1e9


def memory_bytes(pid):
    """Resident anonymous memory: what the process has made its own, without files and code. From
    its pages: the figure in status lags behind by some of each thread."""
    for line in pathlib.Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
        if line.startswith("Anonymous:"):
            return int(line.split()[1]) * 1024
    return 0


def slab_bytes():
    """Bytes of the kernel's objects in use by the name of their cache. Without the free ones beside
    them, which an earlier run may have left and a later one would take."""
    sizes = {}
    for line in pathlib.Path("/proc/slabinfo").read_text().splitlines()[2:]:
        name, active, _total, size = line.split()[:4]
        sizes[name] = int(active) * int(size)
    return sizes


def available_bytes():
    """MemAvailable."""
    for line in pathlib.Path("/proc/meminfo").read_text().splitlines():
        if line.startswith("MemAvailable:"):
            return int(line.split()[1]) * 1024
    raise RuntimeError("no MemAvailable")


def set_sysctl(name, value):
    """Sets a sysctl of the whole machine, and puts it back at the end however that comes."""
    path = pathlib.Path("/proc/sys") / name.replace(".", "/")
    before = path.read_text().strip()
    if before.split() != str(value).split():
        path.write_text(str(value))
        atexit.register(path.write_text, before)
