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
    """Counters since it was loaded. `inference_stats` is as the protocol's statistics extension has it:
    phases summed over the answered requests, each of which has the whole time of its batch; those that a kept
    answer was given to count as successes and in no phase of computing. The times beside
    it are sums over requests (queue_ns) or batches (the others), in nanoseconds."""
    raw = loaded.model.stats()
    ok = raw["requests_ok"]
    # Counters move while they are read.
    ran = max(0, ok - raw["cache_hits"])
    return {
        "name": loaded.name,
        "version": loaded.version,
        "inference_count": raw["rows"],
        "execution_count": raw["batches"],
        "inference_stats": {
            "success": {"count": ok, "ns": raw["ok_request_ns"]},
            "fail": {"count": raw["requests_failed"], "ns": raw["failed_request_ns"]},
            "queue": {"count": ok, "ns": raw["ok_queue_ns"]},
            "compute_input": {"count": ran, "ns": raw["ok_assemble_ns"]},
            "compute_infer": {"count": ran, "ns": raw["ok_run_ns"]},
            "compute_output": {"count": ran, "ns": raw["ok_deliver_ns"]},
            "cache_hit": {"count": raw["cache_hits"], "ns": raw["cache_hit_ns"]},
            "cache_miss": {"count": raw["cache_misses"], "ns": raw["cache_miss_ns"]},
        },
        "load_seconds": loaded.load_seconds,
        "keeps_answers": loaded.config.cache is not None,
        **{key: raw[key] for key in sorted(raw)},
    }
