"""Ceilometer: its dynamic pollster takes each definition of the example and makes the samples of it."""

import sys

import yaml
from ceilometer import service
from ceilometer.polling.dynamic_pollster import DynamicPollster

from common import EXAMPLES, check, example, pods

address = sys.argv[1]
conf = service.prepare_service(argv=["test-examples"], config_files=[])
definitions = yaml.safe_load(example("ceilometer/pollsters.d/podvitals.yaml", address))
polled = yaml.safe_load((EXAMPLES / "ceilometer/polling.yaml").read_text())["sources"][0]
check(polled["meters"] == ["podvitals.*"], str(polled))


class Manager:
    """What a pollster is given: of OpenStack nothing, which a command does not need."""

    _keystone = None


def samples(definition):
    pollster = DynamicPollster(definition, conf)
    return list(pollster.get_samples(manager=Manager(), cache={}, resources=["podvitals"]))


before = {pod["runtimeUid"]: pod for pod in pods(address)}
made = {definition["name"].removeprefix("podvitals."): samples(definition) for definition in definitions}
after = {pod["runtimeUid"]: pod for pod in pods(address)}
both = set(before) & set(after)
check(len(both) >= 7, f"{both}")
for meter, part in [("cpu", "cpu"), ("memory.usage", "memory"), ("network.incoming.bytes", "network")]:
    expected = {uid for uid in both if part in before[uid] and part in after[uid]}
    there = {sample.resource_id for sample in made[meter]}
    check(expected <= there, f"{meter}: {there}, not {expected}")
for sample in made["cpu"]:
    uid = sample.resource_id
    if uid in both:
        least, most = (it[uid]["cpu"]["usageNanoseconds"] for it in (before, after))
        check(least <= sample.volume <= most, f"{sample.volume} ns are not from {least} to {most}")
        check(sample.resource_metadata["display_name"] == before[uid]["name"], str(sample.resource_metadata))
names = {uid: pod["name"] for uid, pod in after.items()}
on_host = [sample for sample in made["network.incoming.bytes"] if names.get(sample.resource_id) == "host-network"]
check(not on_host, "the node's network is not the pod's")
limits = {sample.resource_id: sample.volume for sample in made["memory"]}
known = {uid: pod["memory"]["limitBytes"] / 2**20 for uid, pod in after.items() if "limitBytes" in pod.get("memory", {})}
check({uid: limits.get(uid) for uid in known} == known and len(limits) < len(both), f"limits in MiB: {limits}")
print(f"ceilometer: {len(made)} meters, {len(made['cpu'])} pods")
