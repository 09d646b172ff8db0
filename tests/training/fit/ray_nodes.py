"""The program of a Ray cluster of two nodes on this machine. It says its address, and ends with its input."""

import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager

_MEMORY = 100 * 1024 * 1024


@contextmanager
def two_nodes() -> Iterator[str]:
    """Yield the address of a cluster in a process of its own; nothing of it is left at the end."""
    folder = tempfile.mkdtemp(prefix="ray")  # short: sockets are in it
    environment = {**os.environ, "RAY_USAGE_STATS_ENABLED": "0", "RAY_TMPDIR": folder}
    command = [sys.executable, "-m", "tests.training.fit.ray_nodes"]
    process = subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment
    )
    assert process.stdout is not None
    assert process.stdin is not None
    try:
        for line in process.stdout:
            if line.startswith("address "):
                yield line.split()[1]
                break
        else:
            raise AssertionError("no cluster came up")
    finally:
        process.stdin.close()
        process.wait(60)
        process.stdout.close()
        shutil.rmtree(folder, ignore_errors=True)


def main() -> None:
    from ray.cluster_utils import Cluster

    node = {
        "num_cpus": 2,
        "object_store_memory": _MEMORY,
        "include_dashboard": False,
        "node_ip_address": "127.0.0.2",
    }
    cluster = Cluster(initialize_head=True, head_node_args=node)
    try:
        cluster.add_node(**{**node, "node_ip_address": "127.0.0.3"})
        cluster.wait_for_nodes()
        print("address", cluster.address, flush=True)
        sys.stdin.read()
    finally:
        cluster.shutdown()


if __name__ == "__main__":
    main()
