"""What is installed, and the Debian package made of it."""
import contextlib
import fcntl
import os
import re

import topology
from daemon import Mired
from test_listed import put_lists
from world import BUILD, TOP, check, marked, run

OUT = BUILD / "package"  # a build of its own: the prefix is compiled into it
SCORE_MAX = 2.0  # systemd-analyze security
PROGRAMS = {"sbin": ("mired", "mired-logd", "mired-setup", "mired-tproxy", "mired-shape"),
            "bin": ("miredb", "miredctl")}
DATA = ("nft/gateway.nft", "nft/gateway-tproxy.nft", "nft/local-mta.nft", "spamd.conf.example",
        "systemd/mired.service.d/limits.conf", "sysctl/mired-million.conf",
        "dashboards/mired.json", "dashboards/mired.rules.yml",
        "logging/rsyslog-mired.conf", "logging/logrotate-mired")
FOR_SYSTEMD = ("sysusers.d/mired.conf", "tmpfiles.d/mired.conf", "modules-load.d/mired.conf",
               "sysctl.d/50-mired.conf")
COMPLETED = ("mired", "miredctl", "miredb", "mired-setup", "mired-logd", "mired-tproxy",
             "mired-shape")
CONFFILES = ("/etc/mired/mired.conf", "/etc/mired/nospamd", "/etc/mired/override.txt",
             "/etc/mired/spamd.conf", "/etc/rsyslog.d/30-mired.conf", "/etc/logrotate.d/mired")
SPAMD_NAMES = {
    "usr/sbin/spamd": "mired", "usr/sbin/spamlogd": "mired-logd",
    "usr/sbin/spamd-setup": "mired-setup", "usr/bin/spamdb": "miredb",
    "lib/systemd/system/spamd.service": "mired.service",
    "lib/systemd/system/spamlogd.service": "mired-logd.service",
    "lib/systemd/system/spamd-setup.service": "mired-setup.service",
    "lib/systemd/system/spamd-setup.timer": "mired-setup.timer",
    "usr/share/man/man8/spamd.8.gz": "mired.8.gz",
    "usr/share/man/man8/spamdb.8.gz": "miredb.8.gz",
    "usr/share/man/man8/spamlogd.8.gz": "mired-logd.8.gz",
    "usr/share/man/man8/spamd-setup.8.gz": "mired-setup.8.gz",
}


def units():
    """The names of all units in the sources."""
    return sorted(path.name for pattern in ("*.service", "*.socket", "*.timer")
                  for path in (TOP / "systemd").glob(pattern))


def pages():
    return sorted(path.name for path in (TOP / "src/man").glob("*.[578]"))


# --- the build ------------------------------------------------------------------------------------

def is_fresh(deb, names):
    """Whether this package was made of the sources as they are now, with this switch."""
    sources = [TOP / "CMakeLists.txt", TOP / "CMakePresets.json", TOP / "README.md",
               TOP / "CHANGELOG.md"]
    for folder in ("cmake", "dashboards", "include", "logging", "nft", "packaging", "src",
                   "sysctl", "systemd"):
        sources += [TOP / folder, *(TOP / folder).rglob("*")]
    made_at = deb.stat().st_mtime
    return (f"MIRED_SPAMD_NAMES:BOOL={names}\n" in (OUT / "CMakeCache.txt").read_text() and
            all(path.stat().st_mtime < made_at for path in sources))


@contextlib.contextmanager
def package(with_spamd_names=False):
    """The package, made if it is not there; nobody else makes it meanwhile."""
    OUT.mkdir(parents=True, exist_ok=True)
    with open(OUT / "test.lock", "w", encoding="ascii") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        names = "ON" if with_spamd_names else "OFF"
        found = list(OUT.glob("mired_*.deb"))
        if len(found) != 1 or not is_fresh(found[0], names):
            for path in found:
                path.unlink()
            run(["cmake", "-S", TOP, "--preset", "package", "-B", OUT,
                 f"-DMIRED_SPAMD_NAMES={names}"], timeout_secs=60)
            run(["nice", "cmake", "--build", OUT, "--target", "package"], timeout_secs=600)
        found = list(OUT.glob("mired_*.deb"))
        check(len(found) == 1, "one package:", found)
        yield found[0]


def installed(folder, build=OUT):
    """All files of an installation, relative to its root, with the targets of links."""
    run(["env", f"DESTDIR={folder}", "cmake", "--install", build])
    return {str(path.relative_to(folder)): os.readlink(path) if path.is_symlink() else None
            for path in folder.rglob("*") if path.is_symlink() or path.is_file()}


def expected(prefix="usr", unit_dir="lib/systemd/system", suffix=".gz"):
    """Without what is a package's only."""
    out = {f"{prefix}/{folder}/{name}" for folder in PROGRAMS for name in PROGRAMS[folder]}
    out |= {f"{prefix}/share/mired/{name}" for name in DATA}
    out |= {f"{prefix}/lib/{name}" for name in FOR_SYSTEMD}
    out |= {f"{prefix}/share/man/man{page[-1]}/{page}{suffix}" for page in pages()}
    out |= {f"{prefix}/share/bash-completion/completions/{name}" for name in COMPLETED}
    out |= {f"{unit_dir}/{unit}" for unit in units()}
    return out | {f"{prefix}/lib/mired/rotate-log",
                  f"{prefix}/share/doc/mired/examples/mired.conf"}


# --- tests ----------------------------------------------------------------------------------------

@marked(timeout_secs=600, tags=("once",))
def test_the_package_has_every_file_and_no_other(world):
    with package() as deb:
        found = set(installed(world.dir / "root"))
        packed = run(["dpkg-deb", "--contents", deb]).stdout.splitlines()
    doc = {f"usr/share/doc/mired/{name}"
           for name in ("copyright", "README.md", "changelog.gz", "changelog.Debian.gz")}
    wanted = expected() | doc | {path[1:] for path in CONFFILES} | {
        "usr/share/lintian/overrides/mired"}
    check(found == wanted, "installed: missing, stray:", wanted - found, found - wanted)
    files = {re.search(r" \./(\S+)", line).group(1) for line in packed if line[0] in "-l"}
    check(files == wanted, "packed: missing, stray:", wanted - files, files - wanted)
    check(all(line.split()[1] == "root/root" for line in packed), "all of it is root's")
    loose = [line for line in packed if line[0] != "l" and "w" in line[4:10]]
    check(not loose, "nobody else may write:", loose)


@marked(timeout_secs=600, tags=("once",))
def test_the_paths_of_the_package_are_compiled_in(world):
    with package():
        installed(world.dir / "root")
        done = run([world.dir / "root/usr/sbin/mired", "--print-config"])
        service = (world.dir / "root/lib/systemd/system/mired.service").read_text()
    check("rules-dir = '/usr/share/mired/nft'" in done.stdout, "templates:", done.stdout)
    check("\nExecStart=/usr/sbin/mired\n" in service, "the unit's program")


@marked(timeout_secs=600, tags=("once",))
def test_the_package_knows_its_dependencies_conffiles_and_section(world):
    with package() as deb:
        control = run(["dpkg-deb", "--field", deb]).stdout
        run(["dpkg-deb", "--control", deb, world.dir / "control"])
    fields = dict(re.findall(r"^([A-Za-z-]+): (.*)$", control, re.M))
    check(fields["Package"] == "mired" and fields["Section"] == "mail", "fields:", fields)
    for library in ("liburing2", "liblmdb0", "libnftables1", "libsystemd0", "libc6"):
        check(library in fields["Depends"], "depends on", library)
    check("nftables" in fields["Recommends"] and "iproute2" in fields["Recommends"],
          "recommends:", fields["Recommends"])
    check("Conflicts" not in fields, "is in nobody's way")
    conffiles = (world.dir / "control/conffiles").read_text().split()
    check(sorted(conffiles) == sorted(CONFFILES), "conffiles:", conffiles)


@marked(timeout_secs=600, tags=("once",))
def test_maintainer_scripts_know_every_unit_and_are_clean(world):
    with package() as deb:
        run(["dpkg-deb", "--control", deb, world.dir / "control"])
    for name in ("postinst", "prerm", "postrm"):
        script = world.dir / "control" / name
        run(["sh", "-n", script])
        run(["shellcheck", "-s", "sh", script])
        missing = [unit for unit in units() if unit not in script.read_text()]
        check(not missing, f"{name} knows", missing)


@marked(timeout_secs=600, tags=("once",))
def test_lintian_finds_nothing(world):
    with package() as deb:
        done = run(["lintian", "--allow-root", deb], check_code=False, timeout_secs=120)
    found = [line for line in done.stdout.splitlines() if re.match("[EW]:", line)]
    check(done.returncode == 0 and not found, "lintian:", done.returncode, found, done.stderr)


@marked(timeout_secs=600, tags=("once",))
def test_names_of_spamd_are_there_when_asked_for_only(world):
    with package():
        plain = installed(world.dir / "plain")
    with package(with_spamd_names=True) as deb:
        named = installed(world.dir / "named")
        conflicts = run(["dpkg-deb", "--field", deb, "Conflicts"]).stdout
    names = {os.path.basename(path) for path in plain}
    check(not any(re.match(r"spam(d|db|logd)(-setup)?(\.(service|timer|8).*)?$", name)
                  for name in names), "no name of spamd without the switch:", sorted(names))
    for path, target in SPAMD_NAMES.items():
        check(named.get(path) == target, f"{path} is a link to {target}:", named.get(path))
    check("spamassassin" in conflicts, "conflicts with who has the name:", conflicts)


@marked(timeout_secs=600, tags=("once",))
def test_a_build_of_ones_own_installs_below_its_prefix_and_not_in_etc(world):
    """The system tests' own build, whose prefix is /usr/local."""
    prefix = re.search(r"^CMAKE_INSTALL_PREFIX:PATH=(.*)$",
                       (BUILD / "CMakeCache.txt").read_text(), re.M).group(1)
    found = set(installed(world.dir / "root", BUILD))
    wanted = expected(prefix[1:], f"{prefix[1:]}/lib/systemd/system", "")
    check(found == wanted, "missing, stray:", wanted - found, found - wanted)


# --- units ----------------------------------------------------------------------------------------

# What each service has, or names in a comment that says why not.
SHUT = ("NoNewPrivileges=yes", "ProtectSystem=strict", "ProtectHome=yes", "PrivateTmp=yes",
        "PrivateDevices=yes", "ProtectProc=invisible", "ProtectKernelTunables",
        "ProtectKernelModules=yes", "ProtectKernelLogs=yes", "ProtectControlGroups=yes",
        "ProtectClock=yes", "ProtectHostname=yes", "RestrictAddressFamilies=",
        "RestrictNamespaces=yes", "RestrictRealtime=yes", "RestrictSUIDSGID=yes",
        "LockPersonality=yes", "MemoryDenyWriteExecute", "SystemCallArchitectures=native",
        "SystemCallFilter=@system-service")
RIGHT = re.compile("(AmbientCapabilities|CapabilityBoundingSet)=CAP|SupplementaryGroups=")
WHO = ("User=", "Group=", "DynamicUser=", "SupplementaryGroups=", "AmbientCapabilities=",
       "CapabilityBoundingSet=")


def has_reason(lines, number):
    """Whether the lines about users and rights around this one follow a comment."""
    while lines[number - 1].startswith(WHO):
        number -= 1
    return lines[number - 1].startswith("#")


def unit_files(world):
    """The units of the package in a directory, with programs that exist here."""
    folder = world.dir / "units"
    folder.mkdir()
    with package():
        root = world.dir / "root"
        installed(root)
    for unit in units():
        text = (root / "lib/systemd/system" / unit).read_text()
        (folder / unit).write_text(re.sub(r"/usr/(s?bin/mired)", rf"{root}/usr/\1", text))
    return folder


@marked(timeout_secs=600, tags=("once",))
def test_systemd_finds_nothing_to_complain_about(world):
    folder = unit_files(world)
    done = run(["systemd-analyze", "verify", "--man=no", *sorted(folder.iterdir())],
               check_code=False)
    check(done.returncode == 0 and not done.stderr, "verify:", done.returncode, done.stderr)


@marked(timeout_secs=600, tags=("once",))
def test_every_service_is_shut_in_and_says_why_where_it_is_not(world):
    folder = unit_files(world)
    for unit in units():
        if not unit.endswith(".service"):
            continue
        done = run(["systemd-analyze", "security", "--offline=true", "--no-pager", folder / unit],
                   check_code=False)
        found = re.search(r"exposure level for \S+: ([0-9.]+)", done.stdout)
        check(found and float(found.group(1)) <= SCORE_MAX, f"{unit} scores at most {SCORE_MAX}:",
              done.stdout[-100:], done.stderr)
        lines = (TOP / "systemd" / unit).read_text().splitlines()
        bare = [line for number, line in enumerate(lines)
                if RIGHT.match(line) and not has_reason(lines, number)]
        check(not bare, f"{unit}: no reason beside", bare)
        missing = [name for name in SHUT if not any(name in line for line in lines)]
        check(not missing, f"{unit} has, or says why it has not:", missing)


# --- completion -----------------------------------------------------------------------------------

COMPLETE = """
source '{file}'
COMP_WORDS=({words})
COMP_CWORD=$((${{#COMP_WORDS[@]}} - 1))
_mired "${{COMP_WORDS[0]}}"
printf '%s\\n' "${{COMPREPLY[@]}}"
"""


def completions(*words):
    """What bash would offer for the last of these words."""
    quoted = " ".join("'" + str(word) + "'" for word in words)
    script = COMPLETE.format(file=TOP / "packaging/mired.bash", words=quoted)
    done = run(["env", f"PATH={BUILD}:{os.environ['PATH']}", "bash", "-c", script])
    check(not done.stderr, "completion is silent:", done.stderr)
    return set(done.stdout.split())


def test_completion_offers_the_options_of_each_program(_world):
    for program in ("mired", "miredctl", "miredb", "mired-setup", "mired-logd"):
        found = completions(program, "-")
        said = run([BUILD / program, "--help"]).stdout
        for option in re.findall(r"^ +(?:-\w, )?(--[a-z0-9-]+)", said, re.M):
            check(option in found, f"{program} {option} is offered:", sorted(found))
    check("--sync-key" in completions("mired", "--sync"), "a key is an option")
    check("--stutter" not in completions("mired", "--sync"), "what has begun counts")


def test_completion_offers_the_commands(_world):
    said = run([BUILD / "miredctl", "--help"]).stdout
    commands = set(re.findall(r"^  ([a-z][a-z-]*) ", said, re.M))
    check({"status", "reload", "drop-list"} <= commands, "help names them:", commands)
    check(completions("miredctl", "") == commands, "all of them:", completions("miredctl", ""))
    check(completions("miredctl", "--json", "-f", "x", "st") == {"status"}, "behind options")
    check(completions("miredb", "") == {"export", "import"}, "of miredb")
    check(completions(TOP / "systemd/mired-tproxy", "") == {"up", "down", "status"}, "of a script")


def test_completion_offers_files_users_and_interfaces(world):
    (world.dir / "one.conf").touch()
    wanted = {f"{world.dir}/one.conf"}
    for words in (("mired", "-f"), ("mired", "--nospamd-file", "="), ("miredctl", "--config"),
                  ("miredctl", "put-list"), ("miredb", "export")):
        check(completions(*words, f"{world.dir}/on") == wanted, "files:", words)
    check("mired-fw" in completions("mired", "--firewall-user", "mired"), "users")
    check("mired-stats" in completions("mired", "--stats-group", "mired-"), "groups")
    check("lo" in completions("mired", "--interface", ""), "interfaces")


@marked(timeout_secs=60, tags=("once",))
def test_completion_offers_the_lists_in_force_of_the_daemon_meant(world):
    mired = Mired(world, topology.gateway(world)).start()
    put_lists(mired, {name: ("no", ["192.0.2.0/24"], ["2001:db8::/64"]) for name in ("alpha", "alps", "beta")})
    there = ("miredctl", "-f", mired.conf)
    check(completions(*there, "drop-list", "") == {"alpha", "alps", "beta"}, "all lists")
    check(completions(*there, "drop-list", "al") == {"alpha", "alps"}, "what has begun counts")
    check(completions("miredctl", "--socket", mired.socket_path, "drop-list", "b") == {"beta"},
          "of another socket")
    mired.stop()
    check(not completions(*there, "drop-list", ""), "without a daemon: none, and no complaint")
