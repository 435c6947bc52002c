"""The pace of the bytes, measured at the client's socket."""
import statistics

import topology
from client import Client
from daemon import Mired
from world import check, marked


def arrivals(world, seconds, **settings):
    """(time, bytes) of everything a silent client is sent."""
    net = topology.gateway(world)
    Mired(world, net, **settings).start()
    with Client(net.out, net.target(False), source=topology.client4(1)) as client:
        return client.bytes_until_eof(seconds)


def check_grey_pace(got):
    singles = [at for at, data in got if len(data) == 1]
    gaps = [b - a for a, b in zip(singles, singles[1:])]
    print("gaps:", " ".join(f"{gap:.2f}" for gap in gaps))
    check(len(gaps) >= 8, "at least 8 single-byte gaps:", len(gaps))
    median = statistics.median(gaps)
    check(abs(median - 1) <= 0.1, "their median is 1 s within 0.1:", median)
    rest_at, rest = got[-1]
    check(len(rest) > 1 and rest.endswith(b"\r\n"), "the rest comes at once:", rest)
    check(10 < rest_at < 12.5, "after 10 s:", rest_at)
    check(b"".join(data for _, data in got).startswith(b"220 gw.example "), "it is the greeting")


@marked(timeout_secs=60, alone=True)
def test_a_greylisted_client_gets_a_byte_a_second_and_the_rest_after_ten(world):
    check_grey_pace(arrivals(world, 14, grey_stutter="10s"))


@marked(timeout_secs=40)
def test_stutter_0_sends_whole_replies_at_once(world):
    got = arrivals(world, 3, stutter="0s", grey_stutter="10s")
    check(len(got) == 1 and got[0][1].endswith(b"\r\n"), "one arrival, the whole line:", got)
    check(got[0][0] < 1, "at once:", got[0][0])


@marked(timeout_secs=40)
def test_grey_stutter_0_never_stutters_greylisted_clients(world):
    got = arrivals(world, 3, grey_stutter="0s")
    check(len(got) == 1 and got[0][1].endswith(b"\r\n"), "one arrival, the whole line:", got)
    check(got[0][0] < 1, "at once:", got[0][0])


@marked(timeout_secs=60, alone=True, tags=("once",))
def test_the_options_s_and_S_mean_the_same_as_the_keys(world):
    net = topology.gateway(world)
    mired = Mired(world, net)
    mired.write_conf(stutter=None, grey_stutter=None)
    mired.start("-s", "2", "-S", "90")
    with Client(net.out, net.target(False), source=topology.client4(1)) as client:
        got = client.bytes_until_eof(11)
    gaps = [b[0] - a[0] for a, b in zip(got, got[1:])]
    check(len(gaps) >= 3 and all(len(data) == 1 for _, data in got), "single bytes:", got)
    check(abs(statistics.median(gaps) - 2) < 0.1, "every two seconds:", gaps)
