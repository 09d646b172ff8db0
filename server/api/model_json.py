"""A served model in the protocol's and in Triton's JSON."""

from typing import Any

_TYPES = {"BYTES": "TYPE_STRING"}


def metadata(described: dict[str, Any], versions: list[str]) -> dict[str, Any]:
    """The model metadata response; shapes include the batch dimension."""
    return {
        "name": described["name"],
        "versions": versions,
        "platform": described["platform"],
        "inputs": [_tensor(tensor) for tensor in described["inputs"]],
        "outputs": [_tensor(tensor) for tensor in described["outputs"]],
    }


def _tensor(tensor: dict[str, Any]) -> dict[str, Any]:
    return {"name": tensor["name"], "datatype": tensor["datatype"], "shape": list(tensor["shape"])}


def config(described: dict[str, Any]) -> dict[str, Any]:
    """Triton's ModelConfig as JSON: what the model does, whatever was written in its configuration.

    `dims` are without the batch dimension where `max_batch_size` is above 0.
    """
    configured = described["config"]
    batches = described["max_batch_size"] > 0
    labels = {entry["name"]: entry.get("label_filename") for entry in configured["output"]}
    told: dict[str, Any] = {
        "name": described["name"],
        "platform": described["platform"] if described["platform"] != "python" else "",
        "backend": "python" if described["platform"] == "python" else "onnxruntime",
        "version_policy": _version_policy(configured["versions"]),
        "max_batch_size": described["max_batch_size"],
        "input": [_config_tensor(tensor, batches) for tensor in described["inputs"]],
        "output": [
            {**_config_tensor(tensor, batches), "label_filename": labels.get(tensor["name"]) or ""}
            for tensor in described["outputs"]
        ],
        "instance_group": [
            {
                "name": described["name"],
                "kind": "KIND_GPU" if "CUDA" in described["placement"] else "KIND_CPU",
                "count": described["instances"],
            }
        ],
        "default_model_filename": configured.get("model_filename") or "",
        "parameters": {
            "falaj.threads": {"string_value": str(described["threads"])},
            "falaj.placement": {"string_value": described["placement"]},
        },
    }
    if batches:
        told["dynamic_batching"] = _batching(configured)
    return told


def _config_tensor(tensor: dict[str, Any], batches: bool) -> dict[str, Any]:
    datatype = tensor["datatype"]
    return {
        "name": tensor["name"],
        "data_type": _TYPES.get(datatype, f"TYPE_{datatype}"),
        "dims": list(tensor["shape"][1:] if batches else tensor["shape"]),
    }


def _version_policy(policy: dict[str, Any]) -> dict[str, Any]:
    if policy["policy"] == "specific":
        return {"specific": {"versions": list(policy["list"])}}
    if policy["policy"] == "all":
        return {"all": {}}
    return {"latest": {"num_versions": policy["n"]}}


def _batching(configured: dict[str, Any]) -> dict[str, Any]:
    told: dict[str, Any] = {"default_queue_policy": {"max_queue_size": configured["max_queue_requests"]}}
    if configured["default_timeout_ms"] is not None:
        told["default_queue_policy"]["default_timeout_microseconds"] = round(
            configured["default_timeout_ms"] * 1000
        )
        told["default_queue_policy"]["allow_timeout_override"] = configured["allow_timeout_override"]
    if configured["priority_levels"] > 1:
        told["priority_levels"] = configured["priority_levels"]
        told["default_priority_level"] = configured["default_priority"]
    return told


_PHASES = ("success", "fail", "queue", "compute_input", "compute_infer", "compute_output")


def statistics(row: dict[str, Any]) -> dict[str, Any]:
    """One row of the statistics response. Times are sums in nanoseconds over requests."""
    inference = {name: dict(row["inference_stats"][name]) for name in _PHASES}
    return {
        "name": row["name"],
        "version": str(row["version"]),
        "last_inference": row.get("last_inference_ms", 0),
        "inference_count": row["inference_count"],
        "execution_count": row["execution_count"],
        "inference_stats": {**inference, "cache_hit": _none(), "cache_miss": _none()},
        "response_stats": {},
        "batch_stats": [],
        "memory_usage": [
            {"type": "CPU", "id": 0, "byte_size": row.get("model_bytes", 0) + row.get("buffer_bytes", 0)}
        ],
    }


def _none() -> dict[str, int]:
    return {"count": 0, "ns": 0}
