#!/usr/bin/env python3
"""The visitors of perf/mix: mail clients of several kinds, so many of each a second, from one
process in the namespace that is the internet. Prints one JSON object: by kind what was begun,
connected and answered, and how long deliveries took from the first attempt.

usage: mix_clients.py '{"target": ..., "seconds": ..., "drain": ..., "rates": {KIND: PER_SECOND}}'
"""
import asyncio
import collections
import errno
import itertools
import json
import random
import signal
import sys
import time

SMTP_PORT = 25
RETRY_SECS = 3  # after the end of an attempt
ATTEMPTS_MAX = 12
VISIT_SECS = 60  # an attempt that is not through by then has failed
BOT_SECS = 10  # so long a bot stays with a server that does not come to the point
TRAP = "bait@example.com"
# Where each kind comes from: 198.19.FIRST.0 and the N third bytes after it. perf/mix lists what
# begins with LISTED_FIRST, and whitelists the first WHITE_HOSTS hosts of 198.19.WHITE_FIRST.
PLACES = {"never": (0, 32), "garbage": (0, 32), "retry": (32, 16), "trap": (48, 16),
          "white": (96, 1), "listed": (128, 128)}
WHITE_HOSTS = 50


class Visit(asyncio.Protocol):
    """One connection: says its commands when they are due and collects the replies' codes."""

    def __init__(self, commands, is_patient):
        self.commands = list(commands)
        self.is_patient = is_patient  # waits for each reply before the next command
        self.codes = []
        self.is_postfix = False
        self.over = asyncio.get_running_loop().create_future()
        self._buffer = b""
        self._transport = None

    def connection_made(self, transport):
        self._transport = transport
        if not self.is_patient:
            transport.write(b"".join(self.commands))
            self.commands = []

    def data_received(self, data):
        self._buffer += data
        while b"\n" in self._buffer:
            line, _, self._buffer = self._buffer.partition(b"\n")
            if line[3:4] != b"-":
                self.is_postfix |= b"Postfix" in line
                self._on_reply(line[:3])

    def _on_reply(self, code):
        self.codes.append(code)
        if self.is_patient and code[:1] in b"23" and self.commands:
            self._transport.write(self.commands.pop(0))
        elif code[:1] not in b"23" or self.is_patient:
            self.end()

    def connection_lost(self, _reason):
        if not self.over.done():
            self.over.set_result(time.monotonic())

    def end(self):
        self.connection_lost(None)
        self._transport.close()

    def abort(self):
        self._transport.abort()


def envelope(tag, recipient):
    return [b"HELO %s.example\r\n" % tag, b"MAIL FROM:<s@%s.example>\r\n" % tag,
            b"RCPT TO:<%s>\r\n" % recipient.encode(), b"DATA\r\n"]


def mail(tag):
    return [*envelope(tag, "b@mx.example"), b"Subject: %s\r\n\r\nhello\r\n.\r\n" % tag]


class Kind:
    """What one kind of visitor did."""

    def __init__(self, name):
        self.name = name
        self.first, self.n_blocks = PLACES[name]
        self.counts = collections.Counter()
        self.times = []
        self.n = itertools.count()

    def source(self, n):
        return f"198.19.{self.first + n // 250 % self.n_blocks}.{n % 250 + 1}"

    async def connect(self, target, source, commands, is_patient):
        """A visit, or None when the connection did not come about."""
        self.counts["begun"] += 1
        loop = asyncio.get_running_loop()
        try:
            _, visit = await asyncio.wait_for(loop.create_connection(
                lambda: Visit(commands, is_patient), target, SMTP_PORT, local_addr=(source, 0)),
                VISIT_SECS)
        except (OSError, asyncio.TimeoutError) as fault:
            name = errno.errorcode.get(getattr(fault, "errno", None), "timeout")
            self.counts[f"no connection: {name}"] += 1
            return None
        self.counts["connected"] += 1
        return visit

    async def visit(self, target, source, commands, is_patient=False, stay_secs=VISIT_SECS):
        visit = await self.connect(target, source, commands, is_patient)
        if visit is None:
            return None
        try:
            await asyncio.wait_for(asyncio.shield(visit.over), stay_secs)
        except asyncio.TimeoutError:
            self.counts["left"] += 1
            visit.abort()
            return visit
        last = visit.codes[-1].decode("ascii", "replace") if visit.codes else "nothing"
        self.counts["at Postfix" if visit.is_postfix else "at mired"] += 1
        self.counts[f"ended with {last}"] += 1
        return visit


# --- what each kind does --------------------------------------------------------------------------

async def never(kind, target, n):
    """Tries once: a tuple nobody has seen."""
    await kind.visit(target, kind.source(n), envelope(b"never%d" % n, "b@mx.example"))


async def garbage(kind, target, n):
    dice = random.Random(n)
    lines = [dice.randbytes(dice.randrange(1, 60)) + b"\r\n" for _ in range(30)]
    await kind.visit(target, kind.source(n), lines, stay_secs=BOT_SECS)


async def trap(kind, target, n):
    await kind.visit(target, kind.source(n), envelope(b"trap%d" % n, TRAP), stay_secs=BOT_SECS)


async def listed(kind, target, n):
    await kind.visit(target, kind.source(n), envelope(b"listed%d" % n, "b@mx.example"),
                     stay_secs=BOT_SECS)


async def white(kind, target, n):
    """A known host's mail goes through at once."""
    began = time.monotonic()
    done = await kind.visit(target, kind.source(n % WHITE_HOSTS), mail(b"white%d" % n), True)
    kind.times.append(delivered(done, began))


async def retry(kind, target, n):
    """A mail server: tries again until its mail is taken."""
    began = time.monotonic()
    for _ in range(ATTEMPTS_MAX):
        done = await kind.visit(target, kind.source(n), mail(b"retry%d" % n), True)
        if delivered(done, began) is not None:
            kind.times.append(delivered(done, began))
            return
        await asyncio.sleep(RETRY_SECS)
    kind.times.append(None)


def delivered(visit, began):
    """Seconds since `began` if the mail was taken."""
    is_taken = visit and visit.is_postfix and len(visit.codes) == 6 and visit.codes[-1] == b"250"
    return visit.over.result() - began if is_taken else None


DO = {"never": never, "garbage": garbage, "trap": trap, "listed": listed, "white": white,
      "retry": retry}


# --- the day --------------------------------------------------------------------------------------

async def begin_all(kind, rate, order, tasks):
    """Begins this many visits a second, evenly, each at its own time however long others take."""
    start = time.monotonic()
    for n in kind.n:
        due = start + n / rate
        if due > start + order["seconds"]:
            return
        await asyncio.sleep(max(0.0, due - time.monotonic()))
        # numbers go on where an earlier run ended, so that hosts and tuples are new ones
        task = asyncio.create_task(DO[kind.name](kind, order["target"], n + order["first"]))
        tasks.add(task)
        task.add_done_callback(tasks.discard)


async def main(order):
    for signo in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(signo, sys.exit, 1)
    kinds = [Kind(name) for name in order["rates"]]
    tasks = set()
    await asyncio.gather(*(begin_all(kind, order["rates"][kind.name], order, tasks)
                           for kind in kinds))
    if tasks:
        await asyncio.wait(tasks, timeout=order["drain"])
    print(json.dumps({"unfinished": len(tasks), "cpu_secs": time.process_time(), "kinds": {
        kind.name: {"counts": kind.counts, "times": kind.times} for kind in kinds}}))


asyncio.run(main(json.loads(sys.argv[1])))
