"""Datadog: the OpenMetrics check of datadog-checks-base runs with the example, and submits each figure of each pod. Of the
kubelet check there is the configuration alone: it is read, and what it names is asked for."""

import sys

import yaml
from datadog_checks.base import OpenMetricsBaseCheckV2
from datadog_checks.base.stubs import aggregator

from common import check, example, get, pods

address = sys.argv[1]
instance = yaml.safe_load(example("datadog/openmetrics.d/conf.yaml", address))["instances"][0]
text = get(address, "/metrics/pods")
names = {theirs: ours for entry in instance["metrics"] for ours, theirs in entry.items()}
for ours in names.values():
    check(f"# TYPE {ours} " in text or f"# TYPE {ours}_total " in text, f"podvitals has no series {ours}")
before = {pod["name"]: pod for pod in pods(address)}
run = OpenMetricsBaseCheckV2("openmetrics", {}, [instance])
run.__NAMESPACE__ = instance["namespace"]
# Of counters the first run is what others are compared with.
for _ in range(2):
    outcome = run.run()
    check(outcome == "", outcome)
after = {pod["name"]: pod for pod in pods(address)}


def of(metric):
    """What was submitted, by the pod's name."""
    found = {}
    for one in aggregator.metrics("podvitals." + metric):
        found.setdefault([tag for tag in one.tags if tag.startswith("pod_name:")][0].split(":")[1], []).append(one)
    return found


both = set(before) & set(after)
usage = of("pod.memory.usage")
check(both <= set(usage) and len(both) >= 7, f"{both} are there, {set(usage)} were submitted")
idle = usage["idle"][-1].value
known = [it["idle"]["memory"]["usageBytes"] for it in (before, after)]
check(min(known) - 2**20 <= idle <= max(known) + 2**20, f"{idle} bytes, not {known}")
counters = {"pod.net.rcvd.count", "pod.net.sent.count"}
for metric in counters:
    with_network = {name for name in both if "network" in after[name]}
    check(with_network <= set(of(metric)), f"{metric}: {set(of(metric))}, not {with_network}")
    check("host-network" not in of(metric), "the node's network is not the pod's")
submitted = set(aggregator.metric_names)
# Not every kernel has pressure, and cgroup v1 accounts I/O on some disks alone.
may_lack = {"container.stall", "container.io.read", "container.io.write"}
for theirs in set(names) - may_lack:
    check({f"podvitals.{theirs}", f"podvitals.{theirs}.count"} & submitted, f"nobody submitted {theirs}")
limits = of("container.memory.limit")
check(limits["throttled"][-1].value == 64 * 2**20, str(limits))

kubelet = yaml.safe_load(example("datadog/kubelet.d/conf.yaml", address))["instances"][0]
route = kubelet["cadvisor_metrics_endpoint"].split(address)[1]
check("container_memory_rss{" in get(address, route), "nothing for the kubelet check")
print(f"datadog: {len(submitted)} metrics, {len(usage)} pods")
