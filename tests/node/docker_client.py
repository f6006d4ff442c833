"""What people wrote against the Docker Engine in Python, run against podvitals.

  docker_client.py py UNIX_SOCKET CONTAINER    docker-py: what it lists, inspects and reads, one JSON object a line
  docker_client.py 2017 URL CONTAINER          a client of 2017 with its formulae
"""

import json
import sys

import requests


def docker_py(socket, container):
    import docker

    client = docker.DockerClient(base_url="unix://" + socket, version="auto")
    assert client.ping() is True
    print(json.dumps({"version": client.version(), "info": client.info()}))
    listed = client.containers.list(filters={"id": container})
    print(json.dumps([{"id": one.id, "name": one.name, "status": one.status} for one in listed]))
    found = client.containers.get(container)
    print(json.dumps(found.attrs))
    print(json.dumps(found.stats(stream=False)))
    stream = found.stats(stream=True, decode=True)
    for _ in range(3):
        print(json.dumps(next(stream)))
    stream.close()
    try:
        client.containers.get("nosuch")
    except docker.errors.NotFound as error:
        print(json.dumps({"explanation": error.explanation}))


def client_of_2017(url, container):
    answer = requests.get("%s/containers/%s/stats" % (url, container), {"stream": False})
    stats = json.loads(answer.text)

    blkio_read = blkio_write = 0
    for entry in stats["blkio_stats"]["io_service_bytes_recursive"]:
        if entry["op"] == "Read":
            blkio_read += entry["value"]
        if entry["op"] == "Write":
            blkio_write += entry["value"]

    cpu_percent = 0.0
    cpu, before = stats["cpu_stats"], stats["precpu_stats"]
    cpu_delta = cpu["cpu_usage"]["total_usage"] - before["cpu_usage"]["total_usage"]
    system_delta = cpu["system_cpu_usage"] - before["system_cpu_usage"]
    if cpu_delta > 0 and system_delta > 0:
        cpu_percent = (float(cpu_delta) / system_delta) * len(cpu["cpu_usage"]["percpu_usage"]) * 100

    rx_bytes = tx_bytes = 0
    for _, interface in stats["networks"].items():
        rx_bytes += interface["rx_bytes"]
        tx_bytes += interface["tx_bytes"]

    memory_percent = 0.0
    if stats["memory_stats"]["limit"] != 0:
        memory_percent = float(stats["memory_stats"]["usage"]) / stats["memory_stats"]["limit"] * 100

    print(json.dumps({
        "blkio_read": blkio_read,
        "blkio_write": blkio_write,
        "cpu_percent": cpu_percent,
        "rx_bytes": rx_bytes,
        "tx_bytes": tx_bytes,
        "memory_percent": memory_percent,
        "stats": stats,
    }))


if __name__ == "__main__":
    {"py": docker_py, "2017": client_of_2017}[sys.argv[1]](sys.argv[2], sys.argv[3])
