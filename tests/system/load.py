"""The C load generator, smtpload, run inside a namespace."""
import json
import pathlib

from world import BUILD, PATIENCE, check


class Load:
    """One run of smtpload; it always stops by itself."""

    def __init__(self, world, ns, target, *options, port=25, seconds=60):
        self.out = pathlib.Path(world.dir) / f"smtpload-{id(self):x}.out"
        address = f"[{target}]" if ":" in target else target
        self.process = world.spawn(
            [program(), "--connect", f"{address}:{port}", "--seconds", int(seconds * PATIENCE),
             *options], ns=ns, log=self.out)

    def is_running(self):
        return self.process.poll() is None

    def end(self):
        """Asks it to stop early and waits."""
        self.process.terminate()
        self.process.wait(timeout=20)

    def result(self, timeout_secs):
        """Waits for the end and returns its summary."""
        code = self.process.wait(timeout=timeout_secs * PATIENCE)
        check(code == 0, "smtpload ended with", code, self.out.read_text()[-2000:])
        return self.summary()

    def summary(self):
        """What it said at its end, also when it did not hold or finish all."""
        text = self.out.read_text()
        check("{" in text, "smtpload printed a summary:", text[-2000:])
        return json.loads(text[text.index("{"):])


def program():
    """Where the build put it."""
    found = sorted(BUILD.rglob("smtpload"))
    check(found, "the build has smtpload:", str(BUILD))
    return found[0]
