"""The protocol's statistics of a model version, made of the engine's counters."""

import time
from typing import Any

# Requests that were taken or refused and not answered well, whoever was to blame.
_FAILURES = (
    "requests_failed", "refused_full", "refused_deadline", "refused_slo", "refused_invalid", "expired",
    "cancelled", "unloaded",
)  # fmt: skip
_PHASES = (
    "success", "queue", "compute_input", "compute_infer", "compute_output", "cache_hit", "cache_miss",
)  # fmt: skip


def version_statistics(row: dict[str, Any]) -> dict[str, Any]:
    """Return one entry of `model_stats`; `row` is as `Engine.stats` gives it."""
    phases = {phase: dict(row["inference_stats"][phase]) for phase in _PHASES}
    # Those that were refused took no time worth counting.
    fail = {"count": sum(row[key] for key in _FAILURES), "ns": row["inference_stats"]["fail"]["ns"]}
    memory = row["model_bytes"] + row["buffer_bytes"] + row["cache_bytes"]
    return {
        "name": row["name"],
        "version": str(row["version"]),
        "last_inference": _last_inference_ms(row["since_answer_ns"]),
        "inference_count": row["inference_count"],
        "execution_count": row["execution_count"],
        "inference_stats": {**phases, "fail": fail},
        "response_stats": {},  # only for models with many answers to one request
        "batch_stats": [_batch(*size) for size in row["batch_sizes"]],
        "memory_usage": [{"type": "CPU", "id": 0, "byte_size": memory}],
    }


def _batch(rows: int, batches: int, assemble_ns: int, run_ns: int, deliver_ns: int) -> dict[str, Any]:
    """`rows` are those of all batches of a size. Sizes above the model's bound are counted together: the
    size is then their mean."""
    return {
        "batch_size": round(rows / batches),
        "compute_input": {"count": batches, "ns": assemble_ns},
        "compute_infer": {"count": batches, "ns": run_ns},
        "compute_output": {"count": batches, "ns": deliver_ns},
    }


def _last_inference_ms(since_ns: int | None) -> int:
    """The engine's clock is monotonic, so the time of day is that of this moment less what has passed."""
    return 0 if since_ns is None else (time.time_ns() - since_ns) // 1_000_000
