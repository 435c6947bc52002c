"""Programs from Debian packages without installing them: fetched with their dependencies from the
configured archive and unpacked below the build directory. Nothing is configured or started."""
import fcntl
import os
import pathlib
import shutil
import subprocess

from world import BUILD, Skip

FETCH_SECS = 300


class Unpacked:
    """A directory with the files of some packages and of what they need beyond this system."""

    def __init__(self, root):
        self.root = root

    def path(self, pattern):
        """The one file that this pattern finds."""
        found = sorted(self.root.glob(pattern))
        if not found:
            raise Skip(f"no {pattern} in the packages")
        return found[-1]

    def env(self):
        """Variables with which an unpacked program finds its libraries."""
        places = ("usr/lib/x86_64-linux-gnu", "lib/x86_64-linux-gnu")
        return {"LD_LIBRARY_PATH": ":".join(str(self.root / place) for place in places)}


def unpacked(name, packages, only=None):
    """These packages in a directory called `name`, from an earlier call if there was one.
    only: of a package, the patterns of its files that are wanted."""
    place = BUILD / "debs" / name
    place.mkdir(parents=True, exist_ok=True)
    with open(place / "lock", "w", encoding="ascii") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not (place / "complete").exists():
            _fetch(place / "archives", packages)
            shutil.rmtree(place / "root", ignore_errors=True)
            (place / "root").mkdir()
            for archive in sorted((place / "archives").glob("*.deb")):
                _unpack(archive, place / "root", only or {})
            shutil.rmtree(place / "archives")
            (place / "complete").touch()
    return Unpacked(place / "root")


def _fetch(archives, packages):
    shutil.rmtree(archives, ignore_errors=True)
    (archives / "partial").mkdir(parents=True)
    command = ["apt-get", "install", "--download-only", "--reinstall", "--no-install-recommends",
               "-y", "-q", "-o", f"Dir::Cache::archives={archives}", "-o", "Debug::NoLocking=1",
               "-o", "APT::Sandbox::User=root", *packages]
    if not _try(command):
        _try(["apt-get", "update", "-q"])
        if not _try(command):
            raise Skip(f"the archive does not give {' '.join(packages)}")


def _try(command):
    if not shutil.which(command[0]):
        raise Skip(f"there is no {command[0]} here")
    done = subprocess.run(command, capture_output=True, timeout=FETCH_SECS, check=False,
                          env={**os.environ, "DEBIAN_FRONTEND": "noninteractive"})
    return done.returncode == 0


def _unpack(archive: pathlib.Path, root, only):
    patterns = next((only[key] for key in only if archive.name.startswith(key)), None)
    tar = ["tar", "-x", "-C", root]
    if patterns:
        tar += ["--wildcards", *patterns]
    with subprocess.Popen(["dpkg-deb", "--fsys-tarfile", archive],
                          stdout=subprocess.PIPE) as source:
        subprocess.run(tar, stdin=source.stdout, capture_output=True, check=not patterns)
