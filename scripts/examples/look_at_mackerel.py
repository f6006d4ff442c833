"""Mackerel: the plugin is run as the agent runs it; what it prints are metrics of the graphs it has told of."""

import json
import os
import re
import subprocess
import sys

from common import EXAMPLES, check, example, of_one_sweep

address = sys.argv[1]
plugin = EXAMPLES / "mackerel/mackerel-plugin-podvitals"
configured = re.search(r'command = \["([^"]+)", "--url", "([^"]+)"\]', example("mackerel/mackerel-agent.conf", address))
check(configured and os.path.basename(configured[1]) == plugin.name, "the configuration names another plugin")


def run(**environment):
    command = [sys.executable, plugin, "--url", configured[2]]
    done = subprocess.run(command, env=os.environ | environment, capture_output=True, text=True)
    check(done.returncode == 0, done.stderr)
    return done.stdout


first, rest = run(MACKEREL_AGENT_PLUGIN_META="1").split("\n", 1)
check(first == "# mackerel-agent-plugin", first)
graphs = json.loads(rest)["graphs"]
known = {re.escape(graph).replace(r"\#", r"[A-Za-z0-9_-]+") + r"\." + metric["name"]
         for graph, told in graphs.items() for metric in told["metrics"]}
def with_rates():
    # A sweep that was held up leaves the next one too short a time for a rate.
    said = run()
    return said if "podvitals.cpu.shop_throttled_app.usage\t" in said else None


values = {}
said, pods = of_one_sweep(address, with_rates)
for line in said.splitlines():
    name, value, epoch = line.split("\t")
    check(any(re.fullmatch(pattern, name) for pattern in known), f"{name} is of no graph")
    check(float(value) >= 0 and int(epoch) > 1.7e9, line)
    values[name] = float(value)
check(len(pods) >= 7, str(pods))
for pod in pods:
    name = pod["namespace"] + "_" + pod["name"]
    network = pod.get("network", {})
    there = f"podvitals.network.{name}.rx" in values
    check(there == ("rxBytesPerSecond" in network), f"{name}: {network}")
    for container in pod["containers"]:
        if "memory" not in container:
            check(container["state"] != "running" or container["restartCount"] > 0, f"{name}: {container}")
            continue
        usage = values[f"podvitals.memory.{name}_{container['name']}.usage"]
        known = container["memory"]["workingSetBytes"]
        check(usage == known, f"{name}: {usage}, not {known}")
throttled = "podvitals.cpu.shop_throttled_app"
check(5 < values[throttled + ".usage"] < 30, f"a fifth of a core is 20 %, not {values[throttled + '.usage']}")
check(values[throttled + ".limit"] == 20, "its limit")
check(values["podvitals.memory.shop_throttled_app.limit"] == 64 * 2**20, "its limit of memory")
check("podvitals.cpu.default_idle_app.limit" not in values, "no limit is no value")
print(f"mackerel: {len(values)} values, {len(pods)} pods")
