"""Metrics: what the control socket and miredctl's HTTP answer, what Prometheus makes of it, and that
dashboard and alert rules use only what exists."""
import contextlib
import json
import re
import socket
import threading
import time
import urllib.parse

import topology
import world as w
from client import Client, attempt
from control import ask, ask_as
from daemon import Mired
from load import Load
from scrape import Server, metrics, names, promtool, samples, strict_samples, types
from test_flush import seed
from world import check, marked, run, wait_for

PORT = 9625
LINES_MAX = 500
N_CLIENTS = 100_000
ROW = re.compile(r'\{COUNTER_(\w+), "(\w+)", "(\w+)"\}')
METRIC = re.compile(r"\bmired_[a-z_]+")
ONE = 'one;"You are on one";inet;1;192.0.2.0/24;\n'


def start(world, topo=None, **settings):
    return Mired(world, topo or topology.gateway(world), metrics_port=PORT, **settings).start()


def defer(mired, topo, n):
    """n mails of n clients, each deferred."""
    for i in range(n):
        with Client(topo.out, topo.mx[0], source=topology.client4(i)) as client:
            check(attempt(client).startswith("451"), "deferred")


def metric_of(counter, group, name):
    """As the manual says that a counter is named."""
    if counter.startswith("class_"):
        return f'mired_connections_total{{class="{counter[6:]}"}}'
    if group == "drops":
        return f'mired_drops_total{{reason="{name}"}}'
    if counter.startswith("bytes_"):
        return f"mired_{counter[6:]}_bytes_total"
    return f"mired_{counter}_total"


def counters_that_differ(mired):
    """Between status and the metrics; asking itself is counted."""
    rows = ROW.findall((w.TOP / "src" / "mired" / "status.c").read_text())
    check(len(rows) > 50, "the table of counters was found:", len(rows))
    status, found = mired.status(), samples(metrics(mired))
    return {row: (status[row[1]][row[2]], found[metric_of(*row)]) for row in rows
            if row[0] != "ctl_requests" and status[row[1]][row[2]] != found[metric_of(*row)]}


@marked(timeout_secs=60, tags=("once", "sanitize"))
def test_promtool_and_a_strict_parser_take_them(world):
    topo = topology.gateway(world)
    mired = start(world, topo, grey_stutter=0)
    defer(mired, topo, 3)
    ask(mired, "list-put", ONE + 't"w\\o;"You";inet;1;192.0.2.0/24;\n')
    plain, strict = metrics(mired), metrics(mired, "openmetrics")
    check(metrics(mired, "plain").startswith("# HELP "), "the format may be named")
    check(not promtool(plain), "promtool is content:", promtool(plain))
    # nc ends with the answer, without a word about the end of its input
    run(["sh", "-c", f"echo metrics | nc -U {mired.socket_path} | promtool check metrics"],
        timeout_secs=10)
    parsed = strict_samples(strict)
    check({name for name, _, _ in parsed} == names(plain), "both have the same samples")
    lists = [labels["list"] for name, labels, _ in parsed if name == "mired_list_networks"]
    check(lists == ["one", 't"w\\x5co'], "the names of lists come through:", lists)
    printed = run([w.BUILD / "miredctl", "-f", mired.conf, "metrics"]).stdout
    check(names(printed) == names(plain), "miredctl prints the same")
    check(ask(mired, "metrics xml") == {"error": "the format must be plain or openmetrics"},
          "another format is refused")
    answers = ask_as(mired, [("metrics xml",)], "nobody")
    check(answers == [{"error": "permission denied"}], "not for everybody:", answers)


@marked(timeout_secs=60, tags=("once", "sanitize"))
def test_counters_are_those_of_status_and_gauges_follow(world):
    topo = topology.gateway(world)
    mired = start(world, topo, grey_stutter=0)
    ask(mired, "list-put", 'one;"You";inet;1;198.19.200.0/24;\n')
    defer(mired, topo, 5)
    held = [Client(topo.out, topo.mx[0], source=f"198.19.200.{n}") for n in range(1, 8)]
    wait_for("the listed ones", lambda: samples(metrics(mired))[
        'mired_held_connections{class="listed"}'] == 7, 5)
    ask(mired, "change", "white 192.0.2.1\n")
    found = {}
    wait_for("their time in the firewall", lambda: found.update(samples(metrics(mired))) or found[
        "mired_firewall_delay_seconds_count"] >= 1, 5)
    check(found["mired_rcpt_durable_seconds_count"] == 5, "five RCPTs were timed:",
          found["mired_rcpt_durable_seconds_count"])
    check(0 < found["mired_rcpt_durable_seconds_sum"] < 5 * w.PATIENCE, "their time:",
          found["mired_rcpt_durable_seconds_sum"])
    check(found["mired_commit_duration_seconds_count"] == found["mired_commits_total"] > 0,
          "each commit is timed")
    check(found["mired_store_tuples"] == 5 and found["mired_store_hosts"] == 1, "what is stored")
    check(found["mired_firewall_complete"] == 1 and found["mired_firewall_configured"] == 1,
          "the firewall")
    for role in ("engine", "firewall", "supervisor"):
        memory = found[f'mired_process_resident_memory_bytes{{role="{role}"}}']
        check(1 << 20 < memory < 1 << 40, "memory of", role, memory)
    check(abs(found["mired_start_time_seconds"] - time.time()) < 60 * w.PATIENCE, "the start")
    wait_for("status and metrics to agree", lambda: not counters_that_differ(mired), 5)
    for client in held:
        client.close()


def scrape_under_load(world, topo, mired, n):
    """Scrapes while n clients, each with a mail and an address of its own, are deferred."""
    topo.out.shell("ip route add local 100.64.0.0/15 dev lo")
    topo.gw.shell(f"ip route add 100.64.0.0/15 via {topology.OUT4}")
    before = metrics(mired)
    last, took = samples(before), []
    counters = [name for name, kind in types(before).items() if kind == "counter"]
    load = Load(world, topo.out, topo.mx[0], "--tuples", n, "--source-range",
                "100.64.0.0-100.65.255.255", "--pipelined", "--ack-file", world.dir / "acks",
                seconds=200)
    while load.is_running():
        began = time.monotonic()
        now = samples(metrics(mired))
        took.append(time.monotonic() - began)
        less = [key for key in now if key.partition("{")[0] in counters and now[key] < last[key]]
        check(not less, "counters never decrease:", less)
        last = now
        time.sleep(0.1)
    load.result(10)
    text = metrics(mired)
    check(samples(text)["mired_store_tuples"] == n, "tuples:",
          samples(text)["mired_store_tuples"])
    check(text.count("\n") == before.count("\n") < LINES_MAX, "lines:", before.count("\n"),
          text.count("\n"))
    check(not promtool(text), "promtool is content")
    print(f"{text.count(chr(10))} lines, {len(text)} bytes; of {len(took)} scrapes under load the "
          f"median took {sorted(took)[len(took) // 2] * 1000:.1f} ms, the slowest "
          f"{max(took) * 1000:.1f} ms")


@marked(timeout_secs=90, tags=("once",))
def test_a_hundred_thousand_hosts_stay_under_500_lines(world):
    topo = topology.gateway(world)
    mired = Mired(world, topo, grey_stutter=0, verbose=False)
    seed(mired, N_CLIENTS)
    mired.start()
    check(samples(metrics(mired))["mired_store_hosts"] == N_CLIENTS, "they are known")
    scrape_under_load(world, topo, mired, 3000)


@marked(timeout_secs=240, tags=("once", "long"))
def test_a_hundred_thousand_clients_stay_under_500_lines(world):
    topo = topology.gateway(world)
    scrape_under_load(world, topo, start(world, topo, grey_stutter=0, verbose=False), N_CLIENTS)


# --- over HTTP -------------------------------------------------------------------------------------


GARBAGE = (
    b"\0" * 100, b"GET\r\n\r\n", b"\x16\x03\x01" + b"\xff" * 300, b"\r\n" * 500,
    b"GET /metrics HTTP/9.9\r\n\r\n",
    b"GET /" + b"%00" * 20000 + b" HTTP/1.1\r\n\r\n",
    b"GET /metrics HTTP/1.1\r\n" + b"X: " + b"y" * 100000 + b"\r\n\r\n",
    b"POST /metrics HTTP/1.1\r\nHost: x\r\nContent-Length: 1000000000\r\n\r\n" + b"z" * 100000,
)


def hold_all_places(server):
    """Clients that never end their request: silent ones, and ones that dribble."""
    socks = [server.connect() for _ in range(40)]

    def dribble():
        for byte in b"GET /metrics HTTP/1.1\r\nX: " + b"x" * 60:
            for sock in socks[::2]:
                try:
                    sock.sendall(bytes([byte]))
                except OSError:
                    return  # its time is over
            time.sleep(0.2)
    thread = threading.Thread(target=dribble)
    thread.start()
    return socks, thread


@marked(timeout_secs=90, tags=("once", "sanitize"))
def test_http_answers_what_is_asked(world):
    mired = start(world)
    server = Server(world, mired, PORT, user="nobody")
    status, headers, body = server.get()
    check(status == 200 and headers["content-type"] == "text/plain; version=0.0.4; charset=utf-8",
          "the page:", status, headers)
    check(headers["connection"] == "close" and int(headers["content-length"]) == len(body),
          "whole:", headers)
    check(not promtool(body) and body.endswith("\n# EOF\n"), "promtool is content")
    accept = ("Accept: application/openmetrics-text;version=1.0.0,"
              "text/plain;version=0.0.4;q=0.5")
    status, headers, strict = server.get("/metrics", "GET", accept)
    check(headers["content-type"].startswith("application/openmetrics-text; version=1.0.0"),
          "as the client likes it:", headers)
    check({name for name, _, _ in strict_samples(strict)} == names(body), "the same samples")
    status, headers, nothing = server.get(method="HEAD")
    check(status == 200 and int(headers["content-length"]) > 10000 and not nothing, "HEAD")
    check(server.get("/")[0] == server.get("/metrics/x")[0] == 404, "another path")
    status, headers, _ = server.get(method="POST")
    check(status == 405 and headers["allow"] == "get, head", "another method:", status, headers)
    check(server.get("/metrics?x=1")[0] == 200, "arguments are left aside")
    outside = mired.ns.socket(socket.AF_INET)
    with outside:
        check(outside.connect_ex((topology.GW4, PORT)) != 0, "nobody else can connect")
    mired.stop()
    wait_for("the last page to be old", lambda: server.get()[0] != 200, 5)
    status, _, why = server.get()
    check(status == 503 and mired.socket_path in why, "without a daemon:", status, why)
    mired.start()
    check(server.get()[0] == 200, "and with it again")
    check(server.end() == 0, "ends in order")
    mired.write_conf(metrics_port="off")
    done = run([w.BUILD / "miredctl", "-f", mired.conf, "metrics", "--http"], check_code=False)
    check(done.returncode == 2 and "metrics-port is off" in done.stderr, "port off:", done.stderr)


@marked(timeout_secs=60, tags=("once", "sanitize"))
def test_who_asks_without_end_over_http_costs_the_daemon_little(world):
    mired = start(world)
    server = Server(world, mired, PORT)
    before = samples(metrics(mired))["mired_ctl_requests_total"]
    began = time.monotonic()
    pages = [server.get()[2] for _ in range(300)]
    took = time.monotonic() - began
    asked = samples(metrics(mired))["mired_ctl_requests_total"] - before
    check(asked <= 3 + took / 0.25, "four requests a second at most:", asked, "in", took)
    check(len(set(pages)) <= asked, "a page is the daemon's, whole")
    time.sleep(0.3)
    check(samples(server.get()[2])["mired_ctl_requests_total"] > before + asked, "it is renewed")
    check(server.end() == 0, "ends in order")


@marked(timeout_secs=90, tags=("once", "sanitize"))
def test_hostile_http_clients_are_cut_off_and_reach_nothing(world):
    mired = start(world)
    server = Server(world, mired, PORT)
    before = samples(metrics(mired))
    began = time.monotonic()
    rude = [server.connect() for _ in GARBAGE]
    for sock, garbage in zip(rude, GARBAGE):
        with contextlib.suppress(OSError):  # it may be refused half way
            sock.sendall(garbage)
            sock.shutdown(socket.SHUT_WR)
    socks, thread = hold_all_places(server)
    check(ask(mired, "version")["protocol"] >= 2, "the daemon does not care")
    check(server.get()[0] == 200, "it serves again")
    took = time.monotonic() - began
    for sock, garbage in zip(rude, GARBAGE):
        answer = b""
        with contextlib.suppress(OSError):
            answer = sock.recv(1000)
        check(b" 200 " not in answer, "no page for", garbage[:40])
    thread.join()
    for sock in rude + socks:
        sock.close()
    check(took < 12 * w.PATIENCE, "they were cut off:", took)
    after = samples(metrics(mired))
    asked = after["mired_ctl_requests_total"] - before["mired_ctl_requests_total"]
    check(asked <= 6, "nothing but whole requests reached the daemon:", asked)
    check(after["mired_ctl_bad_requests_total"] == 0, "and all were understood")
    check(server.end() == 0, "ends in order")
    print(f"served again after {took:.1f} s")


# --- dashboard and rules ---------------------------------------------------------------------------


def dashboard():
    return json.loads((w.TOP / "dashboards" / "mired.json").read_text())


def expressions():
    """(title, expression) of all panels, with Grafana's variables filled in."""
    for panel in dashboard()["panels"]:
        for target in panel.get("targets", []):
            text = target["expr"].replace("$job", "mired").replace("$__rate_interval", "1m")
            yield panel["title"], text.replace("$instance", f"127.0.0.1:{PORT}")


def overlap(a, b):
    a, b = a["gridPos"], b["gridPos"]
    return (a["x"] < b["x"] + b["w"] and b["x"] < a["x"] + a["w"]
            and a["y"] < b["y"] + b["h"] and b["y"] < a["y"] + a["h"])


@marked(timeout_secs=60, tags=("once",))
def test_dashboard_and_rules_use_what_exists(world):
    text = metrics(start(world))
    known = set(types(text))
    known |= {f"{name}{end}" for name, kind in types(text).items() if kind == "histogram"
              for end in ("_bucket", "_sum", "_count")}
    rules = w.TOP / "dashboards" / "mired.rules.yml"
    for path in (w.TOP / "dashboards" / "mired.json", rules):
        used = {name for line in path.read_text().splitlines() if "expr" in line
                for name in METRIC.findall(line)}
        check(len(used) > 8, "metrics are used in", path.name, used)
        check(used <= known, f"{path.name} uses what does not exist:", used - known)
    done = run(["promtool", "check", "rules", rules], check_code=False)
    check(done.returncode == 0, "promtool check rules:", done.stdout + done.stderr)
    panels = dashboard()["panels"]
    check(len({panel["id"] for panel in panels}) == len(panels), "ids are unique")
    for i, panel in enumerate(panels):
        place = panel["gridPos"]
        check(place["x"] + place["w"] <= 24, "within the page:", panel["title"])
        check(not [other["title"] for other in panels[:i] if overlap(panel, other)],
              "nothing lies over", panel["title"])
        if panel["type"] != "row":
            check(panel["targets"] and all(target["expr"] for target in panel["targets"]),
                  "a query in", panel["title"])
            check(panel["fieldConfig"]["defaults"]["unit"], "a unit in", panel["title"])
            check(panel["datasource"]["uid"] == "${datasource}", "the data source is a variable")


HEALTHY = {  # what a gateway says all night, in promtool's way of writing series
    'up{job="mired",instance="a"}': "1x300",
    'mired_firewall_configured{job="mired",instance="a"}': "1x300",
    'mired_firewall_complete{job="mired",instance="a"}': "1x300",
    'mired_store_degraded{job="mired",instance="a"}': "0x300",
    'mired_store_used_bytes{job="mired",instance="a"}': "700x300",
    'mired_store_limit_bytes{job="mired",instance="a"}': "1000x300",
    'mired_store_bad_records_total{job="mired",instance="a"}': "0x300",
    'mired_clock_paused{job="mired",instance="a"}': "0x300",
    'mired_drops_total{job="mired",instance="a",reason="over_limit"}': "0x300",
    'mired_drops_total{job="mired",instance="a",reason="log_lines"}': "0x300",
    'mired_drops_total{job="mired",instance="a",reason="read_timeouts"}': "0+9x300",
    'mired_commit_duration_seconds_bucket{job="mired",instance="a",le="0.01"}': "0+5x300",
    'mired_commit_duration_seconds_bucket{job="mired",instance="a",le="1"}': "0+5x300",
    'mired_commit_duration_seconds_bucket{job="mired",instance="a",le="+Inf"}': "0+5x300",
    'mired_list_loaded_timestamp_seconds{job="mired",instance="a",list="l"}': "0x300",
    'mired_sync_peer_contact_timestamp_seconds{job="mired",instance="a",peer="p"}': "60x300",
    'mired_sync_peer_contact_timestamp_seconds{job="mired",instance="a",peer="q"}': "0x300",
    'mired_tuples_new_total{job="mired",instance="a"}': "0x300",
}
# (what is otherwise, and the one alert that comes of it of a night)
AILMENTS = (
    ({"up": "1x9 0x290"}, "MiredDown"),
    ({"mired_firewall_complete": "1x9 0x290"}, "MiredFirewallIncomplete"),
    ({"mired_firewall_complete": "0x300", "mired_firewall_configured": "0x300"}, None),
    ({"mired_store_degraded": "0x9 1x290"}, "MiredStoreFails"),
    ({"mired_store_used_bytes": "810x300"}, "MiredStoreFilling"),
    ({"bad_records": "0x250 1x50"}, "MiredBadRecords"),
    ({"mired_clock_paused": "1x300"}, "MiredClockPaused"),
    ({'reason="over_limit"': "0+1x300"}, "MiredRefusesClients"),
    ({'le="0.01"': "0x300"}, "MiredCommitsSlow"),
    ({"mired_list_loaded": "-300000x300"}, "MiredListStale"),
    ({"mired_tuples_new": "0+3x300"}, "MiredSyncPeerSilent"),
    ({'reason="log_lines"': "0+3x300"}, "MiredLogLost"),
)


def night_with(changes, alert):
    """A test of promtool's: such a night, and the only alert that fires at its end, if any."""
    series = {name: next((values for part, values in changes.items() if part in name), values)
              for name, values in HEALTHY.items()}
    query = 'count by (alertname) (ALERTS{alertstate="firing"})'
    wanted = [{"labels": f'{{alertname="{alert}"}}', "value": 1}] if alert else []
    return {"interval": "1m",
            "input_series": [{"series": name, "values": series[name]} for name in series],
            "promql_expr_test": [{"expr": query, "eval_time": "5h", "exp_samples": wanted}]}


@marked(timeout_secs=60, tags=("once",))
def test_a_quiet_night_raises_no_alert_and_each_ailment_its_own(world):
    rules = w.TOP / "dashboards" / "mired.rules.yml"
    path = world.dir / "rules.test.yml"
    path.write_text(json.dumps({
        "rule_files": [str(rules)], "evaluation_interval": "1m",
        "tests": [night_with({}, None)] + [night_with(*ailment) for ailment in AILMENTS]}))
    done = run(["promtool", "test", "rules", path], check_code=False)
    check(done.returncode == 0, "alerts:", done.stdout + done.stderr)
    known = set(re.findall(r"alert: (\w+)", rules.read_text()))
    check(known == {alert for _, alert in AILMENTS if alert}, "each has its ailment:", known)


def prometheus(world, mired):
    """One that scrapes miredctl and knows our rules; returns what asks it."""
    place = world.dir / "prometheus"
    place.mkdir()
    (place / "prometheus.yml").write_text(
        f"global: {{scrape_interval: 1s, evaluation_interval: 1s}}\n"
        f"rule_files: [{w.TOP / 'dashboards' / 'mired.rules.yml'}]\n"
        f"scrape_configs: [{{job_name: mired, static_configs: "
        f"[{{targets: ['127.0.0.1:{PORT}']}}]}}]\n")
    world.spawn(["prometheus", f"--config.file={place / 'prometheus.yml'}",
                 f"--storage.tsdb.path={place / 'data'}", "--web.listen-address=127.0.0.1:9090"],
                ns=mired.ns, log=place / "log")

    def get(path, **words):
        sock = mired.ns.socket(socket.AF_INET)
        with sock:
            sock.settimeout(20 * w.PATIENCE)
            sock.connect(("127.0.0.1", 9090))
            sock.sendall(f"GET /api/v1/{path}?{urllib.parse.urlencode(words)} HTTP/1.0\r\n\r\n"
                         .encode())
            answer = b""
            while part := sock.recv(1 << 20):
                answer += part
        return json.loads(answer.partition(b"\r\n\r\n")[2])
    return get


@marked(timeout_secs=90, tags=("once",))
def test_prometheus_scrapes_them_and_every_panel_has_an_answer(world):
    topo = topology.gateway(world)
    mired = start(world, topo, grey_stutter=0)
    ask(mired, "list-put", ONE)
    server = Server(world, mired, PORT)
    get = prometheus(world, mired)

    def value(query):
        try:
            answer = get("query", query=query)
        except (OSError, ValueError):
            return None
        check(answer["status"] == "success", "the query is sound:", query, answer)
        return [row["value"][1] for row in answer["data"]["result"]]

    wait_for("the first scrape", lambda: value("up") == ["1"], 20)
    defer(mired, topo, 3)
    ask(mired, "change", "white 192.0.2.1\n")
    wait_for("what happened", lambda: value("mired_deferred_total") == ["3"], 10)
    wait_for("rates", lambda: value("rate(mired_deferred_total[1m])"), 10)
    empty = {title for title, expression in expressions() if not value(expression)}
    # nobody is synchronised here, and nothing was dropped
    allowed = {"Since the last word of a peer", "Blocks of peers", "Faults of peers",
               "Drops by reason"}
    check(empty <= allowed, "panels without an answer:", empty - allowed)
    rules = get("rules")["data"]["groups"][0]["rules"]
    check(len(rules) >= 8 and all(rule["health"] != "err" for rule in rules), "rules:", rules)
    alerts = [alert["labels"]["alertname"] for alert in get("alerts")["data"]["alerts"]]
    check(not alerts, "all is well, no alert:", alerts)
    check(server.end() == 0, "the server ends")
    wait_for("the alert", lambda: "MiredDown" in [
        alert["labels"]["alertname"] for alert in get("alerts")["data"]["alerts"]], 10)
