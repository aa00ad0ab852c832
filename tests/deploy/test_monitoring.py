"""Alerts, dashboard and their runbooks: against promtool, a real Prometheus and the daemon's source."""

import contextlib
import importlib.machinery
import importlib.util
import json
import re
import socket
import subprocess
import tempfile
import time
import unittest
import urllib.parse
import urllib.request

import render

MONITORING = render.DEPLOY / "monitoring"
# Every metric, with its type and the labels of one series.
ADD = {"verb": "ADD", "outcome": "success"}
POLICY = {"policy": "10-mtu", "hook": "before-add"}
POD = {"pod": "a", "namespace": "default", "interface": "net1", "network_name": "default/blue"}
SERIES = [
    ("multus_server_request", "counter", {"handler": "/cni", "code": "200", "method": "post"}),
    ("cnidaria_request_seconds", "histogram", ADD),
    ("cnidaria_request_seconds", "histogram", {"verb": "DEL", "outcome": "failure"}),
    ("cnidaria_delegate_seconds", "histogram", ADD),
    ("cnidaria_delegate_calls", "counter", {**ADD, "type": "bridge"}),
    ("cnidaria_build_info", "gauge", {"version": "0.1.0"}),
    ("cnidaria_watch_up", "gauge", {"kind": "Pod"}),
    ("cnidaria_api_requests", "counter", {"verb": "patch", "resource": "pods", "code": "200"}),
    ("cnidaria_socket_up", "gauge", {}),
    ("cnidaria_delegates_running", "gauge", {}),
    ("cnidaria_delegates_waiting", "gauge", {}),
    ("cnidaria_ledger_containers", "gauge", {}),
    ("cnidaria_deferred_containers", "gauge", {}),
    ("cnidaria_undos_pending", "gauge", {}),
    ("cnidaria_collected", "counter", {"kind": "address"}),
    ("cnidaria_traces_exported", "counter", {"outcome": "sent"}),
    ("pod_network_name_info", "gauge", POD),
    *((f"cnidaria_pod_interface_{direction}_{what}", "counter", POD)
      for direction in ["receive", "transmit"] for what in ["bytes", "packets", "errors", "dropped"]),
    ("cnidaria_pod_interfaces_left_out", "gauge", {"reason": "limit"}),
    ("cnidaria_undo_failures", "counter", {}),
    ("cnidaria_undo_refusals", "counter", {}),
    ("cnidaria_undos_given_up", "counter", {}),
    ("cnidaria_policy_evaluations", "counter", {**POLICY, "verdict": "accept", "mode": "enforce"}),
    ("cnidaria_policy_seconds", "histogram", POLICY),
    ("cnidaria_policy_failures", "counter", {**POLICY, "class": "timeout"}),
    ("cnidaria_policy_edits", "counter", {**POLICY, "field": "mtu"}),
    ("cnidaria_policy_skipped_requests", "counter", {"reason": "bypass"}),
    ("cnidaria_policy_damaged_states", "counter", {"policy": "10-mtu"}),
    ("cnidaria_policy_info", "gauge",
     {"policy": "10-mtu", "digest": "sha256:1", "generation": "1", "state": "broken", "mode": "enforce"}),
    ("cnidaria_policy_generation", "gauge", {}),
    ("up", "gauge", {}),
]
SUFFIXES = {"counter": ["_total"], "gauge": [""], "histogram": ["_bucket", "_sum", "_count"]}


def generator():
    """The program that generates the dashboard."""
    loader = importlib.machinery.SourceFileLoader("generate", str(MONITORING / "generate"))
    module = importlib.util.module_from_spec(importlib.util.spec_from_loader("generate", loader))
    loader.exec_module(module)
    return module


def rules():
    [document] = render.read(MONITORING / "alerts.yaml")
    return [rule for group in document["groups"] for rule in group["rules"]]


def queries():
    """The dashboard's queries, with Grafana's variables replaced, by panel."""
    dashboard = json.loads((MONITORING / "dashboard.json").read_text())
    variables = {"$__rate_interval": "5m", "$__range": "30m", "$node": ".*"}
    for panel in dashboard["panels"]:
        for target in panel.get("targets", []):
            query = target["expr"]
            for name, value in variables.items():
                query = query.replace(name, value)
            yield panel["title"], query


def registered():
    """Metrics that the daemon registers."""
    found = set()
    for path in (render.ROOT / "host/daemon/src/adapters/metrics").iterdir():
        call = r'register(?:ed)?\(\s*(?:(?:&mut )?registry,\s*)?"([a-z_]+)"'
        found.update(re.findall(call, path.read_text()))
    return found


def exposition(begin, end):
    """All series of two nodes as OpenMetrics text: counters grow, gauges are 1."""
    lines = []
    for name, kind in dict((name, kind) for name, kind, _ in SERIES).items():
        lines.append(f"# TYPE {name} {kind}")
        for _, _, labels in (entry for entry in SERIES if entry[0] == name):
            for node in ["a", "b"]:
                for suffix in SUFFIXES[kind]:
                    all_labels = {"job": "cnidaria", "node": node, **labels}
                    bounds = ["0.064", "0.128", "+Inf"] if suffix == "_bucket" else [None]
                    for bound in bounds:
                        text = {**all_labels, "le": bound} if bound else all_labels
                        text = ",".join(f'{key}="{value}"' for key, value in text.items())
                        for step, moment in enumerate(range(begin, end, 30)):
                            value = 1 if kind == "gauge" else step
                            lines.append(f"{name}{suffix}{{{text}}} {value} {moment}")
    return "\n".join([*lines, "# EOF", ""])


def free_port():
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]


@contextlib.contextmanager
def prometheus(text):
    """The address of a Prometheus with this data."""
    with tempfile.TemporaryDirectory() as directory:
        for name, content in {"data.txt": text, "config.yaml": ""}.items():
            with open(f"{directory}/{name}", "w", encoding="utf-8") as file:
                file.write(content)
        blocks = ["tsdb", "create-blocks-from", "openmetrics", f"{directory}/data.txt", f"{directory}/data"]
        render.run("promtool", *blocks)
        port = free_port()
        process = subprocess.Popen(
            [render.TOOLS / "bin/prometheus", f"--config.file={directory}/config.yaml",
             f"--storage.tsdb.path={directory}/data", "--storage.tsdb.retention.time=100y",
             f"--web.listen-address=127.0.0.1:{port}", "--log.level=error"],
        )
        try:
            address = f"http://127.0.0.1:{port}"
            for _ in range(300):
                try:
                    urllib.request.urlopen(f"{address}/-/ready", timeout=10).close()
                    break
                except OSError:
                    time.sleep(0.1)
            yield address
        finally:
            process.kill()
            process.wait()


def ask(address, query, moment):
    parameters = urllib.parse.urlencode({"query": query, "time": moment})
    with urllib.request.urlopen(f"{address}/api/v1/query?{parameters}", timeout=10) as answer:
        return json.load(answer)["data"]["result"]


class Monitoring(unittest.TestCase):
    def test_promtool_accepts_the_rules_and_their_tests_pass(self):
        render.run("promtool", "check", "rules", str(MONITORING / "alerts.yaml"))
        render.run("promtool", "test", "rules", str(MONITORING / "alerts_test.yaml"))

    def test_every_alert_fires_in_a_test_and_is_silent_in_another(self):
        [tests] = render.read(MONITORING / "alerts_test.yaml")
        fires, silent = set(), set()
        for test in tests["tests"]:
            for expected in test["alert_rule_test"]:
                (fires if expected["exp_alerts"] else silent).add(expected["alertname"])
        names = {rule["alert"] for rule in rules()}
        self.assertEqual(fires, names)
        self.assertEqual(silent, names)

    def test_every_alert_has_a_runbook(self):
        for rule in rules():
            page, anchor = rule["annotations"]["runbook_url"].split("#")
            headings = re.findall(r"^#+ (\w+)$", (render.ROOT / page).read_text(), re.MULTILINE)
            self.assertEqual(anchor, rule["alert"].lower())
            self.assertIn(rule["alert"], headings)
            self.assertIn(rule["labels"]["severity"], ["critical", "warning", "info"])

    def test_generated_files_are_up_to_date(self):
        for name, text in generator().FILES.items():
            self.assertEqual((MONITORING / name).read_text(), text(), f"run deploy/monitoring/generate for {name}")

    def test_the_operator_gets_the_same_rules(self):
        [rule] = render.read(MONITORING / "prometheusrule.yaml")
        [alerts] = render.read(MONITORING / "alerts.yaml")
        self.assertEqual(rule["spec"], alerts)

    def test_the_daemon_has_every_metric_and_label(self):
        known = {name: kind for name, kind, _ in SERIES}
        guests = {name for name in registered() if "guest" in name}
        self.assertEqual(registered() - guests, known.keys() - {"up"})
        labels = {"job", "node", "le", "instance"}
        for _, _, used in SERIES:
            labels.update(used)
        exposed = {name + suffix for name, kind in known.items() for suffix in SUFFIXES[kind]}
        for query in [*(rule["expr"] for rule in rules()), *(query for _, query in queries())]:
            self.assertLessEqual(set(re.findall(r"\b(?:cnidaria|multus)_[a-z_]+", query)), exposed)
            selectors = re.findall(r"{([^}]*)}", query)
            named = re.findall(r'([a-z_]+) *(?:=~|!~|!=|=) *"', ",".join(selectors))
            grouped = ",".join(re.findall(r"by \(([^)]*)\)", query)).replace(" ", "").split(",")
            self.assertLessEqual({*named, *filter(None, grouped)}, labels, query)

    def test_documents_list_every_metric(self):
        table = (render.DEPLOY / "CONFIGURATION.md").read_text()
        for name in registered():
            self.assertRegex(table, rf"`{name}(_total)?`")

    def test_prometheus_answers_every_query_of_the_dashboard(self):
        end = int(time.time()) // 7200 * 7200 - 7200
        with prometheus(exposition(end - 3600, end)) as address:
            for title, query in queries():
                with self.subTest(title):
                    result = ask(address, query, end - 60)
                    self.assertTrue(result, query)
                    values = [float(one["value"][1]) for one in result]
                    self.assertFalse([value for value in values if value != value], query)

    def test_panels_do_not_overlap(self):
        taken = set()
        for panel in json.loads((MONITORING / "dashboard.json").read_text())["panels"]:
            place = panel["gridPos"]
            for x in range(place["x"], place["x"] + place["w"]):
                for y in range(place["y"], place["y"] + place["h"]):
                    self.assertNotIn((x, y), taken, panel["title"])
                    self.assertLess(x, 24)
                    taken.add((x, y))

    def test_kustomize_renders_the_monitoring(self):
        objects = render.parse(render.run("kubectl", "kustomize", str(MONITORING)).stdout)
        self.assertEqual([one["kind"] for one in objects], ["ConfigMap", "PodMonitor", "PrometheusRule"])
        [monitor] = render.read(MONITORING / "podmonitor.yaml")
        ports = render.pod(render.base("metrics"))["containers"][0]["ports"]
        named = monitor["spec"]["podMetricsEndpoints"][0]["port"]
        self.assertEqual([port["name"] for port in ports], [named])
        chart = render.chart({"metrics": {"enabled": True, "podMonitor": {"enabled": True},
                                          "prometheusRule": {"enabled": True}}})
        for one in objects[1:]:
            self.assertEqual(render.find(chart, one["kind"]), one)


if __name__ == "__main__":
    unittest.main()
