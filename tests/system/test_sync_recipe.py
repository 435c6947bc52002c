"""The recipe: a primary and a secondary MX, each with mired in front, kept in step.

A sending Postfix has the primary as its relay host and the secondary as its fallback relay, which
it treats as it treats MXes of priority 10 and 20: the second is tried when the first cannot be
reached or defers the mail, in the same delivery. So that its first attempt is the primary's alone,
its way to the secondary is closed until then.
"""
import time

import gateways
import postfix
from client import try_many
from gateways import LAN4, MX4
from syncpeer import Peer, TRAPPED, host, key_text
from topology import client4
from world import PATIENCE, check, marked, wait_for

PASSTIME_SECS = 4
BACKOFF_SECS = int(7 * PATIENCE)  # in which the primary must be gone
FLAGS = ("-v", "-w", "1", "-y", "lan")  # the article's, but for the times
N_BOTS = 20
MX_MORE = f"""
smtp_fallback_relay = [{MX4[1]}]:25
smtp_connect_timeout = 3s
minimal_backoff_time = {BACKOFF_SECS}s
maximal_backoff_time = {BACKOFF_SECS}s
"""
WRONG_KEY = "their signature is wrong"


class Recipe:
    """Both gateways with their flags, both mail servers, and the sender."""

    def __init__(self, world, keys):
        self.sites = gateways.make(world)
        self.mx = [self.sites.mx(n) for n in range(2)]
        self.mired = [gateways.gateway(self.sites, n, key=keys[n], passtime=f"{PASSTIME_SECS}s",
                                       grey_stutter="0s") for n in range(2)]
        for n, mired in enumerate(self.mired):
            self.check_articles_flags(n)
            mired.start(*FLAGS, "-Y", LAN4[1 - n])
        self.sender = postfix.sender(world, self.sites.out, MX4[0], more=MX_MORE)

    def check_articles_flags(self, n):
        """Its times are in minutes and hours; the tests' are in the files, which flags override."""
        done = self.mired[n].run_to_end("--check-config", *FLAGS, "-G", "2:8:864",
                                        "-Y", LAN4[1 - n])
        check(done.returncode == 0, "the article's flags are understood:", done.stdout, done.stderr)

    def deferrals(self, n):
        """How often this gateway put the sender off."""
        return sum(MX4[n] in line and "said: 451" in line and "status=deferred" in line
                   for line in self.sender.log_text().splitlines())

    def offer_to_primary(self):
        """A mail whose first attempt reaches the primary only."""
        self.sites.out.shell(f"ip route add unreachable {MX4[1]}")
        self.sender.submit("by the recipe")
        wait_for("the primary's deferral",
                 lambda: "status=deferred" in self.sender.log_text(), 30)
        check([row[1] for row in self.mired[0].rows()] == [gateways.OUT4],
              "the primary knows the tuple:", self.mired[0].rows())
        check(self.mired[1].status()["connections"]["total"] == 0,
              "nobody has come to the secondary yet")

    def end_primary(self):
        """Its MTA and its gateway go away."""
        self.mx[0].stop()
        self.mired[0].stop()
        self.sites.out.shell(f"ip route del unreachable {MX4[1]}")


@marked(timeout_secs=120, tags=("once", "sanitize"))
def test_a_tuple_seen_at_the_primary_passes_at_the_secondary(world):
    recipe = Recipe(world, [gateways.KEY, gateways.KEY])
    recipe.offer_to_primary()
    primary = recipe.mired[0].rows()
    wait_for("the tuple at the secondary", lambda: len(recipe.mired[1].rows()) == 1, 3)
    check(recipe.mired[1].rows()[0][:5] == primary[0][:5], "the same tuple:",
          primary, recipe.mired[1].rows())
    recipe.end_primary()
    began = time.monotonic()
    wait_for("the mail at the secondary", lambda: recipe.mx[1].inbox(), 40, 0.2)
    check("Subject: by the recipe" in recipe.mx[1].inbox()[0], "whole")
    check(recipe.deferrals(1) == 1, "its first retry at the secondary qualified:",
          recipe.deferrals(1))
    check(recipe.mired[1].has_white(gateways.OUT4), "and made the sender known there")
    print(f"the mail was in the secondary's mailbox {time.monotonic() - began:.1f} s after the "
          f"primary went away, with passtime {PASSTIME_SECS} s and a retry each "
          f"{BACKOFF_SECS} s; deferrals by the secondary: {recipe.deferrals(1)}")


@marked(timeout_secs=120, tags=("once",))
def test_with_different_keys_it_does_not_and_that_is_said_once(world):
    recipe = Recipe(world, [gateways.KEY, b"another key\n"])
    recipe.offer_to_primary()
    replies = try_many(recipe.sites.bots, MX4[0], [client4(n) for n in range(1, N_BOTS + 1)])
    check(all(reply.startswith("451") for reply in replies), "bots are deferred", replies)

    def n_dropped():
        return recipe.mired[1].status()["sync"]["peers"][0]["dropped"].get("mac", 0)
    wait_for("all datagrams to be counted", lambda: n_dropped() > N_BOTS, 5)
    check(recipe.mired[1].rows() == [], "nothing was taken:", recipe.mired[1].rows())
    check(recipe.mired[1].log_text().count(WRONG_KEY) == 1, "logged once",
          recipe.mired[1].log_text())
    check(n_dropped() == N_BOTS + 1, "counted each:", n_dropped())
    recipe.end_primary()
    wait_for("two deferrals at the secondary", lambda: recipe.deferrals(1) == 2, 40, 0.2)
    check(not recipe.mx[1].inbox(), "its first retry there was a first attempt")
    print(f"{n_dropped()} datagrams counted, logged once; deferrals by the secondary: 2 and more")


@marked(timeout_secs=60, tags=("once",))
def test_without_a_key_nothing_is_sent_or_taken(world):
    sites = gateways.make(world)
    peer = Peer(sites.host("10.77.0.9"), "10.77.0.9", key_text(None))
    mired = gateways.gateway(sites, 0, key=None, grey_stutter="0s")
    mired.start(*FLAGS, "-Y", "10.77.0.9")
    wait_for("what makes a key", lambda: "miredctl sync-key" in mired.log_text(), 5)
    check(not mired.status()["sync"]["active"], "status says so")
    replies = try_many(sites.bots, MX4[0], [client4(1), client4(2)])
    check(all(reply.startswith("451") for reply in replies), "greylisting runs:", replies)
    now = int(time.time())
    peer.send(LAN4[0], host(TRAPPED, now, now + 3600, "192.0.2.1"))
    time.sleep(1)
    check(peer.look() == [], "nothing was sent:", peer.seen)
    check(sorted(row[0] for row in mired.rows()) == ["GREY", "GREY"], "nothing was taken:",
          mired.rows())
