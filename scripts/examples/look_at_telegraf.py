"""Telegraf: its own code loads the example, gathers once and writes what it has; each pod is in it."""

import pathlib
import subprocess
import sys
import tempfile

from common import check, example, pods

address, program = sys.argv[1:]
with tempfile.TemporaryDirectory() as folder:
    configuration = pathlib.Path(folder) / "telegraf.conf"
    configuration.write_text(example("telegraf/telegraf.conf", address))
    before = {pod["name"]: pod for pod in pods(address)}
    done = subprocess.run([program, configuration], capture_output=True, text=True, timeout=60)
    after = {pod["name"]: pod for pod in pods(address)}
check(done.returncode == 0, done.stderr)
usage = {}
for line in done.stdout.splitlines():
    series, fields, _ = line.rsplit(" ", 2)
    name, *tags = series.split(",")
    tags = dict(tag.split("=", 1) for tag in tags)
    check("uid" not in tags and "url" not in tags and not name.endswith("_created"), line)
    if name == "podvitals_pod_memory_usage_bytes" and "pod" in tags:
        usage[tags["pod"]] = float(fields.split("=", 1)[1])
both = set(before) & set(after)
check(both <= set(usage) and len(both) >= 7, f"{both} are there, {set(usage)} were gathered")
known = [it["idle"]["memory"]["usageBytes"] for it in (before, after)]
check(min(known) - 2**20 <= usage["idle"] <= max(known) + 2**20, f"{usage['idle']} bytes, not {known}")
print(f"telegraf: {len(done.stdout.splitlines())} lines, {len(usage)} pods")
