"""Builds an initial file system for a guest: programs with their libraries, kernel modules with
what they depend on, all at the paths they have here."""
import os
import pathlib
import re
import stat
import subprocess

from world import check

ALIGN = 4
S_DIR, S_LINK = stat.S_IFDIR | 0o755, stat.S_IFLNK | 0o777


class Initramfs:
    """Collects files by their path in the guest; write() makes the cpio archive."""

    def __init__(self):
        self._entries = {}  # path in the guest: (mode, bytes or the Path they come from)

    def directory(self, path, mode=0o755):
        self._parents(path)
        self._entries[path] = (stat.S_IFDIR | mode, b"")

    def text(self, path, text, mode=0o644):
        self._parents(path)
        self._entries[path] = (stat.S_IFREG | mode, text.encode())

    def link(self, path, target):
        self._parents(path)
        self._entries[path] = (S_LINK, target.encode())

    def file(self, source, path=None):
        """A file of this machine, by default under the same path."""
        source = pathlib.Path(source)
        path = path or str(source)
        self._parents(path)
        self._entries[path] = (stat.S_IFREG | (source.stat().st_mode & 0o777), source)

    def tree(self, top, pattern="*", leave_out=()):
        """All files below a directory that match; leave_out: names of directories in it."""
        for path in sorted(pathlib.Path(top).rglob(pattern)):
            parts = path.relative_to(top).parts
            if path.is_file() and not any(part in leave_out for part in parts):
                self.file(path)

    def program(self, source, path=None):
        """An executable or shared object and the libraries it is linked with."""
        self.file(source, path)
        done = subprocess.run(["ldd", source], capture_output=True, text=True, check=False)
        for library in re.findall(r"(/\S+) \(0x", done.stdout):
            self.file(library)

    def modules(self, root, release, wanted, prefix):
        """Kernel modules by name, and all whose names begin like this, with what they need; `root`
        has the unpacked package, in which depmod has been run."""
        folder = pathlib.Path(root) / "lib/modules" / release
        needs = dict(line.split(":", 1)
                     for line in (folder / "modules.dep").read_text().splitlines())
        by_name = {pathlib.Path(path).stem.replace("-", "_"): path for path in needs}
        for name in {*wanted, *(name for name in by_name if name.startswith(prefix))}:
            check(name in by_name, "the kernel package has the module", name)
            for path in (by_name[name], *needs[by_name[name]].split()):
                self.file(folder / path, f"/lib/modules/{release}/{path}")
        for path in folder.glob("modules.*"):
            self.file(path, f"/lib/modules/{release}/{path.name}")

    def write(self, target):
        """The archive in the format "newc", not compressed: software emulation unpacks slowly."""
        with open(target, "wb") as out:
            for number, (path, (mode, content)) in enumerate(sorted(self._entries.items()), 1):
                data = content.read_bytes() if isinstance(content, os.PathLike) else content
                _put(out, number, path.lstrip("/"), mode, data)
            _put(out, 0, "TRAILER!!!", 0, b"")

    def _parents(self, path):
        for parent in pathlib.PurePosixPath(path).parents:
            if str(parent) != "/":
                self._entries.setdefault(str(parent), (S_DIR, b""))


def _put(out, number, name, mode, data):
    encoded = name.encode() + b"\0"
    fields = (number, mode, 0, 0, 1, 0, len(data), 0, 0, 0, 0, len(encoded), 0)
    out.write(b"070701" + b"".join(b"%08X" % field for field in fields) + encoded)
    out.write(bytes(-(110 + len(encoded)) % ALIGN) + data + bytes(-len(data) % ALIGN))
