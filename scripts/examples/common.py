"""What the looks at the examples share: an example for the podvitals that runs, and the pods it shows."""

import json
import pathlib
import sys
import time
import urllib.request

EXAMPLES = pathlib.Path(__file__).resolve().parent.parent.parent / "examples"

# What stands in the examples for podvitals.
THERE = "127.0.0.1:9790"

# Nothing takes this long unless it hangs.
PATIENCE = 40


def example(path, address):
    """The example's text, for the podvitals at this address."""
    text = (EXAMPLES / path).read_text()
    if THERE not in text:
        sys.exit(f"{path}: does not name {THERE}")
    return text.replace(THERE, address)


def get(address, path):
    with urllib.request.urlopen(f"http://{address}{path}", timeout=10) as answer:
        return answer.read().decode()


def sweep(address):
    """The number of the last sweep, and the pods in it that have a name, each with what was read of it."""
    document = json.loads(get(address, "/api/v1/pods"))
    return document["tick"], [pod for pod in document["pods"] if "name" in pod]


def pods(address):
    return sweep(address)[1]


def check(holds, what):
    if not holds:
        sys.exit(f"{sys.argv[0]}: {what}")


def until(what, look):
    """Waits, without guessing how long, until `look` finds something."""
    deadline = time.monotonic() + PATIENCE
    while True:
        found = look()
        if found:
            return found
        if time.monotonic() > deadline:
            sys.exit(f"{sys.argv[0]}: waited in vain until {what}")
        time.sleep(0.2)


def of_one_sweep(address, look):
    """What `look` found in one and the same sweep, and the pods in it."""

    def once():
        before, there = sweep(address)
        found = look()
        after, _ = sweep(address)
        return (found, there) if found and before == after else None

    return until("it finds what it looks for before the next sweep", once)
