"""Prometheus: promtool checks the configuration, Prometheus scrapes with it, and each rule finds the pods."""

import json
import pathlib
import re
import subprocess
import sys
import tempfile
import urllib.parse
import urllib.request

from common import EXAMPLES, check, example, pods, until

address = sys.argv[1]
there = pods(address)
with tempfile.TemporaryDirectory() as folder:
    folder = pathlib.Path(folder)
    rules = (EXAMPLES / "prometheus/rules.yml").read_text()
    (folder / "rules.yml").write_text(rules)
    # As it is but for the pace: a test does not wait for minutes. A scrape may take as long, where others are busy.
    text, paces = re.subn(r"(_interval:) 15s", r"\1 3s", example("prometheus/prometheus.yml", address))
    check(paces == 2, "no pace in the configuration")
    (folder / "prometheus.yml").write_text(text)
    subprocess.run(["promtool", "check", "config", folder / "prometheus.yml"], check=True, stdout=subprocess.DEVNULL)
    command = ["prometheus", f"--config.file={folder}/prometheus.yml", f"--storage.tsdb.path={folder}/data",
               "--web.listen-address=127.0.0.1:0"]
    with open(folder / "log", "w") as log:
        prometheus = subprocess.Popen(command, stdout=log, stderr=log)
    try:

        def listening():
            log = (folder / "log").read_text()
            check(prometheus.poll() is None, log)
            return re.search(r'"Listening on".* address=(\S+)', log)

        server = until("Prometheus says on which port it listens", listening)[1]

        def query(expression):
            url = f"http://{server}/api/v1/query?" + urllib.parse.urlencode({"query": expression})
            try:
                with urllib.request.urlopen(url, timeout=10) as answer:
                    return json.load(answer)["data"]["result"]
            except OSError:
                check(prometheus.poll() is None, (folder / "log").read_text())
                return []

        until("all three jobs are up", lambda: len(query("up == 1")) == 3)

        def named(rows):
            return {(row["metric"]["namespace"], row["metric"]["pod"]) for row in rows}

        everybody = {(pod["namespace"], pod["name"]) for pod in there if "cpu" in pod}
        networked = {(pod["namespace"], pod["name"]) for pod in there if "network" in pod}
        check(len(everybody) >= 7 and len(networked) == len(everybody) - 1, f"{everybody} {networked}")
        for rule, who in [
            ("namespace_pod:cpu_usage_cores:rate1m", everybody),
            ("namespace_pod:network_receive_bytes:rate1m", networked),
            ("namespace_pod:network_transmit_bytes:rate1m", networked),
            ("namespace_pod_container:container_memory_working_set_bytes", everybody),
        ]:
            until(f"{rule} finds {who}", lambda: named(query(rule)) == who)
        of_throttled = '{namespace="shop",pod="throttled",container="app"}'
        for rule, least in [("memory_limit_used:ratio", 0.0), ("cpu_throttled:ratio5m", 0.2)]:
            rule = f"namespace_pod_container:{rule}{of_throttled} > {least}"
            until(f"{rule} holds", lambda: len(query(rule)) == 1)
        recorded = re.findall(r"- record: (\S+)", rules)
        check(len(recorded) == 6, f"rules that nobody looked at: {recorded}")
    finally:
        prometheus.kill()
        prometheus.wait()
print(f"prometheus: six rules, {len(everybody)} pods")
