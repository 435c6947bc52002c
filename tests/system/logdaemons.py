"""Real systemd-journald and rsyslogd in a mount namespace with /run and /dev of its own, and a mired
that logs to them."""
import json
import os
import pathlib
import shutil
import signal

import world as w
from daemon import Mired

JOURNALD = pathlib.Path("/lib/systemd/systemd-journald")
LOGGING = w.TOP / "logging"
# What a program finds in /dev besides the log.
DEVICES = ("null", "zero", "full", "random", "urandom", "tty")
JOURNALD_CONF = """[Journal]
Storage=volatile
ReadKMsg=no
Audit=no
ForwardToSyslog=no
ForwardToConsole=no
ForwardToWall=no
RateLimitIntervalSec=0
"""


class LogHost:
    """The mount namespace: /run and /dev are empty but for what a log daemon puts there."""

    def __init__(self, world):
        self.world = world
        self.dir = world.dir / "loghost"
        self.dir.mkdir()
        (self.dir / "journald.conf").write_text(JOURNALD_CONF)
        ready = self.dir / "ready"
        devices = " ".join(DEVICES)
        script = f"""
            mount -t tmpfs -o mode=755 tmpfs /run
            mkdir -p /run/dev /run/systemd/journal /run/log/journal
            for name in {devices}; do
                touch /run/dev/$name; mount --bind /dev/$name /run/dev/$name
            done
            mount --rbind /run/dev /dev
            if [ -e /etc/systemd/journald.conf ]; then
                mount --bind {self.dir}/journald.conf /etc/systemd/journald.conf
            fi
            touch {ready}
            exec sleep 600"""
        self.holder = world.spawn(["unshare", "--mount", "--propagation", "private", "sh", "-ec",
                                   script], log=self.dir / "holder")
        w.wait_for("the mount namespace", ready.exists, 10)
        self.journald = None

    def prefix(self):
        return ["nsenter", f"--mount=/proc/{self.holder.pid}/ns/mnt"]

    def path(self, inside):
        """How the test's own namespace reaches a file of this one."""
        return pathlib.Path(f"/proc/{self.holder.pid}/root{inside}")

    def run(self, argv, **options):
        return w.run([*self.prefix(), *argv], **options)

    # --- journald ------------------------------------------------------------------------------

    def start_journald(self):
        self.journald = self.world.spawn([*self.prefix(), JOURNALD], log=self.dir / "journald")
        w.wait_for("the journal's socket",
                   self.path("/run/systemd/journal/socket").exists, 10)

    def stop_journald(self):
        self.journald.send_signal(signal.SIGTERM)
        self.journald.wait(timeout=10 * w.PATIENCE)

    def entries(self, *matches):
        """The journal's entries, oldest first."""
        done = self.run(["journalctl", "--directory=/run/log/journal", "-q", "-o", "json", "--all",
                         *matches], check_code=False)
        return [json.loads(line) for line in done.stdout.splitlines()]

    # --- rsyslogd ------------------------------------------------------------------------------

    def start_rsyslogd(self, **replace):
        """With the drop-in of the package; `replace` changes words of it."""
        logs = self.dir / "var-log"
        logs.mkdir()
        text = (LOGGING / "rsyslog-mired.conf").read_text()
        for old, new in {"/var/log": str(logs), **replace}.items():
            w.check(old in text, "the drop-in has", old)
            text = text.replace(old, new)
        (self.dir / "mired.conf").write_text(text)
        (self.dir / "rsyslog.conf").write_text(f"""
            module(load="imuxsock" SysSock.Name="/dev/log")
            global(workDirectory="{self.dir}")
            include(file="{self.dir}/mired.conf")
            *.* action(type="omfile" file="{logs}/syslog")
            """)
        rsyslogd = [*self.prefix(), "rsyslogd", "-f", self.dir / "rsyslog.conf", "-i",
                    self.dir / "rsyslogd.pid"]
        w.run([*rsyslogd, "-N1"])
        self.rsyslogd = [*rsyslogd, "-n"]
        self.run_rsyslogd()
        return logs

    def run_rsyslogd(self):
        """Also again, after stop_rsyslogd."""
        self.syslogd = self.world.spawn(self.rsyslogd, log=self.dir / "rsyslogd")
        w.wait_for("the socket of syslog", self.path("/dev/log").exists, 10)

    def stop_rsyslogd(self):
        self.syslogd.send_signal(signal.SIGTERM)
        self.syslogd.wait(timeout=10 * w.PATIENCE)
        self.path("/dev/log").unlink(missing_ok=True)

    def logrotate_command(self, logs, **replace):
        """logrotate with the file of the package; `replace` changes words of it."""
        hup = self.dir / "rsyslog-rotate"
        hup.write_text(f"#!/bin/sh\nkill -HUP $(cat {self.dir}/rsyslogd.pid)\n")
        hup.chmod(0o755)
        text = (LOGGING / "logrotate-mired").read_text()
        for old, new in {"/var/log": str(logs), "/usr/lib/rsyslog/rsyslog-rotate": str(hup),
                         **replace}.items():
            w.check(old in text, "the file has", old)
            text = text.replace(old, new)
        (self.dir / "logrotate").write_text(text)
        return ["logrotate", "-v", "-s", self.dir / "state", self.dir / "logrotate"]


class LoggingMired(Mired):
    """A mired that does not log to stderr."""

    def __init__(self, world, topology, host, **settings):
        super().__init__(world, topology, program=host.prefix(), **settings)

    def command(self, *options):
        return [*self.program, w.BUILD / "mired", "-f", self.conf, *options]


def need(*programs):
    for program in programs:
        if not (shutil.which(program) or os.path.exists(program)):
            raise w.Skip(f"{program} is not installed")


def pause(process, is_on):
    """A daemon that stands still."""
    os.kill(process.pid, signal.SIGSTOP if is_on else signal.SIGCONT)
