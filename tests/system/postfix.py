"""Real Postfix instances, each with its own configuration, queue and data directory."""
import grp
import os
import pathlib
import pwd

from client import Client
from world import Failure, check, wait_for

DAEMON_DIR = "/usr/lib/postfix/sbin"
QUEUE_DIRS = ("active bounce corrupt defer deferred flush hold incoming private saved trace "
              "public maildrop").split()
MASTER_CF = """
{listen}
pickup    unix  n - n 60 1 pickup
cleanup   unix  n - n -  0 cleanup
qmgr      unix  n - n 300 1 qmgr
rewrite   unix  - - n -  - trivial-rewrite
bounce    unix  - - n -  0 bounce
defer     unix  - - n -  0 bounce
trace     unix  - - n -  0 bounce
verify    unix  - - n -  1 verify
flush     unix  n - n 1000? 0 flush
proxymap  unix  - - n -  - proxymap
smtp      unix  - - n -  - smtp
relay     unix  - - n -  - smtp
showq     unix  n - n -  - showq
error     unix  - - n -  - error
retry     unix  - - n -  - error
discard   unix  - - n -  - discard
local     unix  - n n -  - local
virtual   unix  - n n -  - virtual
anvil     unix  - - n -  1 anvil
scache    unix  - - n -  1 scache
postlog   unix-dgram n - n - 1 postlogd
{services}
"""
MAIN_CF = """
compatibility_level = 3.6
config_directory = {dir}/etc
queue_directory = {dir}/queue
data_directory = {dir}/data
daemon_directory = /usr/lib/postfix/sbin
command_directory = /usr/sbin
myhostname = {name}
mydestination =
local_recipient_maps =
mynetworks = 127.0.0.0/8
maillog_file = {dir}/log/mail.log
maillog_file_prefixes = {dir}/log
smtputf8_enable = no
smtp_dns_support_level = disabled
smtp_host_lookup = native
smtp_tls_security_level = none
smtpd_tls_security_level = none
smtpd_peername_lookup = no
smtpd_relay_restrictions = permit_mynetworks, reject_unauth_destination
minimal_backoff_time = 2s
maximal_backoff_time = 3s
queue_run_delay = 1s
bounce_queue_lifetime = 1d
maximal_queue_lifetime = 1d
transport_retry_time = 1s
alias_maps =
alias_database =
{more}
"""


class Postfix:
    """One instance in a namespace: a receiving MX or a sending relay. `more` is for its main.cf,
    `services` for its master.cf."""

    def __init__(self, world, ns, name, listen, more, services=""):
        self.dir = pathlib.Path(world.dir) / f"postfix-{name}"
        self.ns = ns
        self.log = self.dir / "log" / "mail.log"
        self.maildir = self.dir / "spool" / "inbox"
        self._make_dirs()
        smtpds = "\n".join(f"{'[' + a + ']' if ':' in a else a}:25 inet n - n - - smtpd"
                           for a in listen)
        (self.dir / "etc" / "main.cf").write_text(
            MAIN_CF.format(dir=self.dir, name=name, more=more))
        (self.dir / "etc" / "master.cf").write_text(
            MASTER_CF.format(listen=smtpds, services=services))
        self.process = world.spawn([f"{DAEMON_DIR}/master", "-c", self.dir / "etc", "-d", "-s"],
                                   ns=ns, log=self.dir / "log" / "master.out",
                                   env={"MAIL_CONFIG": str(self.dir / "etc")})
        world.show_log(self.log)
        self._wait_until_serving(listen[0])

    def _make_dirs(self):
        postfix = pwd.getpwnam("postfix")
        postdrop = grp.getgrnam("postdrop").gr_gid
        for name in ("etc", "data", "queue", "spool", "log"):
            (self.dir / name).mkdir(parents=True)
        (self.dir / "queue" / "pid").mkdir()
        for name in QUEUE_DIRS:
            path = self.dir / "queue" / name
            path.mkdir(mode=0o700)
            os.chown(path, postfix.pw_uid, postdrop if name in ("public", "maildrop") else -1)
        (self.dir / "queue" / "public").chmod(0o710)
        (self.dir / "queue" / "maildrop").chmod(0o730)
        os.chown(self.dir / "data", postfix.pw_uid, postfix.pw_gid)
        os.chown(self.dir / "spool", 65534, 65534)

    def _wait_until_serving(self, address):
        def is_serving():
            check(self.process.poll() is None, "Postfix runs")
            try:
                with Client(self.ns, address, timeout_secs=5) as client:
                    return client.expect("220")
            except (OSError, Failure):
                return False
        wait_for(f"Postfix on {address}", is_serving, 30, step_secs=0.2)

    def inbox(self):
        """The mails delivered here, as texts."""
        new = self.maildir / "new"
        if not new.is_dir():
            return []
        return [path.read_text(errors="replace") for path in sorted(new.iterdir())]

    def log_text(self):
        return self.log.read_text(errors="replace") if self.log.exists() else ""

    def stop(self):
        """Ends it; nobody listens afterwards."""
        self.process.terminate()
        self.process.wait(timeout=20)

    def submit(self, subject, recipient="b@mx.example", sender="a@sender.example"):
        """Hands one mail to this instance on its loopback address."""
        with Client(self.ns, "127.0.0.1") as client:
            client.expect("220")
            client.command("HELO localhost", "250")
            client.command(f"MAIL FROM:<{sender}>", "250")
            client.command(f"RCPT TO:<{recipient}>", "250")
            client.command("DATA", "354")
            client.command(f"Subject: {subject}\r\n\r\nhello\r\n.", "250")
            client.command("QUIT", "221")


def receiver(world, ns, listen, name="mx.example", more="", services=""):
    """An MX that takes everything for mx.example into one maildir."""
    spool = world.dir / f"postfix-{name}" / "spool"
    return Postfix(world, ns, name, listen, f"""
virtual_mailbox_domains = mx.example
virtual_mailbox_base = {spool}
virtual_mailbox_maps = static:inbox/
virtual_uid_maps = static:65534
virtual_gid_maps = static:65534
virtual_transport = virtual
{more}
""", services)


def sender(world, ns, target, bind=None, more=""):
    """A sending site: whatever is submitted on its loopback goes to the target's port 25."""
    is_v6 = ":" in target
    more = f"relayhost = [{target}]:25\ninet_protocols = all\n{more}"
    if bind:
        more += f"smtp_bind_address{'6' if is_v6 else ''} = {bind}\n"
    return Postfix(world, ns, "sender.example", ["127.0.0.1"], more)


def sender_of_many(world, ns, target, sources):
    """One instance that stands for as many sites: mail from sN.example leaves from sources[N]."""
    routes = ", ".join(f"{{@s{n}.example = s{n}:[{target}]:25}}" for n in range(len(sources)))
    services = "\n".join(f"s{n} unix - - n - - smtp -o smtp_bind_address={source}"
                         for n, source in enumerate(sources))
    more = (f"sender_dependent_default_transport_maps = inline:{{{routes}}}\n"
            "smtp_connection_cache_on_demand = no\n")
    return Postfix(world, ns, "sender.example", ["127.0.0.1"], more, services)
