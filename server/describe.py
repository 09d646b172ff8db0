"""A served version as plain dictionaries, for people and for JSON."""

from typing import Any

import msgspec

from falaj.server.loader import LoadedVersion
from falaj.server.tensors import Tensor


def describe(loaded: LoadedVersion) -> dict[str, Any]:
    """What it is, how it is batched and why, where it runs."""
    return {
        "name": loaded.name,
        "version": loaded.version,
        "platform": loaded.platform,
        "inputs": [_tensor(tensor) for tensor in loaded.inputs],
        "outputs": [_tensor(tensor) for tensor in loaded.outputs],
        "max_batch_size": loaded.choice.max_batch_size,
        "instances": loaded.choice.instances,
        "threads": loaded.choice.threads,
        "chosen_because": loaded.choice.why,
        "batchable": loaded.probe.batchable,
        "batchable_because": loaded.probe.why,
        "placement": loaded.placement,
        "notes": list(loaded.notes),
        "config": msgspec.to_builtins(loaded.config),
    }


def _tensor(tensor: Tensor) -> dict[str, Any]:
    return {"name": tensor.name, "datatype": tensor.datatype, "shape": list(tensor.shape)}


def statistics(loaded: LoadedVersion) -> dict[str, Any]:
    """Counters since it was loaded. Names of the protocol's statistics extension where it has them; times
    are sums in nanoseconds, over requests (queue) or batches (the others)."""
    raw = loaded.model.stats()
    ok, batches = raw["requests_ok"], raw["batches"]
    return {
        "name": loaded.name,
        "version": loaded.version,
        "inference_count": raw["rows"],
        "execution_count": batches,
        "inference_stats": {
            "success": {"count": ok},
            "fail": {"count": raw["requests_failed"]},
            "queue": {"count": ok + raw["requests_failed"], "ns": raw["queue_ns"]},
            "compute_input": {"count": batches, "ns": raw["assemble_ns"]},
            "compute_infer": {"count": batches, "ns": raw["run_ns"]},
            "compute_output": {"count": batches, "ns": raw["deliver_ns"]},
        },
        **{key: raw[key] for key in sorted(raw)},
    }
