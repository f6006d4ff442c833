"""The OpenTelemetry collector: its own code loads the example, and both receivers send each pod to the exporter."""

import json
import pathlib
import re
import signal
import subprocess
import sys
import tempfile

from common import check, example, pods, until

address, program = sys.argv[1:]

# What kubeletstats makes of a kubelet's summary unless it is told otherwise; but for `filesystem.*`, which podvitals
# knows of the node alone, and `memory.available`, which is there where there is a limit.
OF_EACH = ["cpu.time", "cpu.usage", "memory.usage", "memory.working_set", "memory.rss", "memory.page_faults",
           "memory.major_page_faults"]
OF_NETWORK = ["network.io", "network.errors"]


def points(text):
    """Of what the exporter wrote of each data point: metric, attributes of its resource, its own, value."""
    descriptor, resource, own = {}, {}, {}
    for line in text.splitlines():
        attribute = re.fullmatch(r"     -> ([^:]+): (?:\w+\((.*)\)|(.*))", line)
        if attribute:
            into[attribute[1]] = attribute[3] if attribute[2] is None else attribute[2]
        elif line.startswith("ResourceMetrics #"):
            into = resource = {}
        elif line == "Descriptor:":
            into = descriptor = {}
        elif re.match(r"\w+DataPoints #", line):
            into = own = {}
        elif line.startswith("Value: "):
            yield descriptor["Name"], resource, own, float(line.removeprefix("Value: "))


def sent(log):
    """The first value of each: of kubeletstats by metric, namespace, pod, container and direction, of the scrape by metric,
    namespace and pod; and the ids of the containers, each with its namespace and pod."""
    stats, scrape, ids = {}, {}, set()
    for line in log:
        for metric, resource, own, value in points(line["msg"]):
            if metric.startswith(("k8s.", "container.")):
                names = [resource.get(f"k8s.{what}.name") for what in ("namespace", "pod", "container")]
                stats.setdefault((metric, *names, own.get("direction")), value)
                ids |= {(*names[:2], it) for it in [resource.get("container.id")] if it}
            else:
                scrape.setdefault((metric, own.get("namespace"), own.get("pod")), value)
    return stats, scrape, ids


def wanted(there):
    """What both have to send of these pods, named as in `sent`."""
    stats = {(f"k8s.node.{metric}", None, None, None, None) for metric in [*OF_EACH, "memory.available"]}
    stats |= {(f"k8s.node.{metric}", None, None, None, way) for metric in OF_NETWORK for way in ("receive", "transmit")}
    stats |= {(f"k8s.node.filesystem.{what}", None, None, None, None) for what in ("available", "capacity", "usage")}
    stats.add(("container.memory.available", "shop", "throttled", "app", None))
    for who, pod in there.items():
        stats |= {(f"k8s.pod.{metric}", *who, None, None) for metric in OF_EACH}
        for container in pod["containers"]:
            stats |= {(f"container.{metric}", *who, container["name"], None) for metric in OF_EACH if "cpu" in container}
        if "network" in pod:
            stats |= {(f"k8s.pod.{metric}", *who, None, way) for metric in OF_NETWORK for way in ("receive", "transmit")}
    names = ["podvitals_pod_cpu_usage_seconds_total", "podvitals_pod_memory_usage_bytes"]
    ids = {(*who, container["id"]) for who, pod in there.items() for container in pod["containers"] if "cpu" in container}
    return stats, {(name, *who) for name in names for who in there}, ids


def run(configuration, folder, there):
    """Runs the collector until it has sent what it has to, without complaint; all that it sent."""
    with open(folder / "log", "w") as log:
        collector = subprocess.Popen([program, configuration], stdout=log, stderr=log)
    try:

        def complete():
            text = (folder / "log").read_text()
            check(collector.poll() is None, text)
            log = [json.loads(line) for line in text.splitlines(keepends=True) if re.fullmatch(r"\{.*\}\n", line)]
            for line in log:
                # kubeletstats complains of its own defaults: attributes of volumes that it is to lose.
                check(line["level"] == "info" or "resource_attribute is deprecated" in line["msg"], line)
            all_of_it = sent(log)
            lacks = [want - set(got) for want, got in zip(wanted(there), all_of_it)]
            return None if any(lacks) else all_of_it

        found = until("both receivers have sent each pod", complete)
        collector.send_signal(signal.SIGTERM)
        check(collector.wait(timeout=30) == 0, (folder / "log").read_text())
        return found
    finally:
        collector.kill()
        collector.wait()


def by_name():
    return {(pod["namespace"], pod["name"]): pod for pod in pods(address) if "cpu" in pod}


with tempfile.TemporaryDirectory() as folder:
    folder = pathlib.Path(folder)
    (folder / "collector.yaml").write_text(example("otel/collector.yaml", address))
    before = by_name()
    stats, scrape, _ = run(folder / "collector.yaml", folder, before)
    after = by_name()
check(len(before) >= 7, str(set(before)))
check(scrape[("up", None, None)] == 1, "the scrape failed")
networked = {key[1:3] for key in stats if key[0] == "k8s.pod.network.io"}
check(networked == {who for who, pod in before.items() if "network" in pod}, f"{networked} have a network")


def between(what, value, known, slack):
    check(min(known) - slack <= value <= max(known) + slack, f"{what}: {value}, not {known}")


idle, burner, sender = ("default", "idle"), ("shop", "burner"), ("net", "sender")
known = [it[idle]["memory"]["usageBytes"] for it in (before, after)]
between("kubeletstats", stats[("k8s.pod.memory.usage", *idle, None, None)], known, 2**20)
between("prometheus", scrape[("podvitals_pod_memory_usage_bytes", *idle)], known, 2**20)
# Counters, and so nothing but what they have to be; the exporter writes six decimals.
known = [it[burner]["cpu"]["usageNanoseconds"] / 1e9 for it in (before, after)]
between("kubeletstats", stats[("k8s.pod.cpu.time", *burner, None, None)], known, 1e-6)
between("prometheus", scrape[("podvitals_pod_cpu_usage_seconds_total", *burner)], known, 1e-6)
known = [it[sender]["network"]["txBytes"] for it in (before, after)]
between("kubeletstats", stats[("k8s.pod.network.io", *sender, None, "transmit")], known, 0)
limit = 64 * 2**20
available = stats[("container.memory.available", "shop", "throttled", "app", None)]
check(0 < available < limit, f"{available} bytes are left of {limit}")
print(f"otel: {len(stats)} values of kubeletstats, {len(scrape)} of the scrape, {len(before)} pods")
