"""A client's tensors in shared memory: the files, where each tensor lies in them, and telling the server."""

import os
import secrets
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from falaj._core import Error, InvalidInput
from falaj.server import arrays
from falaj.server.bench.inputs import Inputs
from falaj.server.bench.requests import raw
from falaj.server.bench.target import Target
from falaj.server.bench.v2_client import V2Client
from falaj.server.tensors import Tensor

# Where shm_open makes files.
_FOLDER = Path("/dev/shm")
# What `falaj serve` takes by itself.
_PREFIX = "falaj_bench_"
_UNKNOWN_BYTES = 102_400  # as perf_analyzer's
# Each tensor begins where vector loads want it.
_ALIGN = 64


@dataclass(frozen=True)
class Span:
    """Bytes of a region."""

    offset: int
    size: int


@dataclass(frozen=True)
class SharedTensors:
    """Where tensors lie.

    Attributes:
        inputs: Of each request, by name, in the region `input_region`, which is read only.
        outputs: By name, in the region `output_region`: of the first slot; those of the n-th begin
            n * `slot_bytes` behind.
    """

    input_region: str
    inputs: list[dict[str, Span]]
    output_region: str
    outputs: dict[str, Span]
    slot_bytes: int


@contextmanager
def shared_tensors(
    target: Target, client: V2Client, requests: Sequence[Inputs], slots: int
) -> Iterator[SharedTensors]:
    """Put the inputs of all requests, and room for the outputs of `slots`, where the server finds them.

    The regions are unregistered and their files removed when the context is left.

    Raises:
        InvalidInput: There is no room for them, or the server does not take them.
        Unavailable: The server cannot be reached.
    """
    outputs, slot_bytes = _outputs(target, client.outputs())
    inputs, contents = _inputs(requests)
    name = f"{_PREFIX}{os.getpid()}_{secrets.token_hex(4)}"
    with (
        _region(client, f"{name}_in", sum(map(len, contents)), contents) as input_region,
        _region(client, f"{name}_out", slots * slot_bytes, []) as output_region,
    ):
        yield SharedTensors(input_region, inputs, output_region, outputs, slot_bytes)


def _inputs(requests: Sequence[Inputs]) -> tuple[list[dict[str, Span]], list[bytes]]:
    spans, contents, at = [], [], 0
    for request in requests:
        own = {}
        for name, (datatype, array) in request.items():
            content = raw(datatype, array)
            own[name] = Span(at, len(content))
            contents.append(content + bytes(_aligned(len(content)) - len(content)))
            at += len(contents[-1])
        spans.append(own)
    return spans, contents


def _outputs(target: Target, tensors: Sequence[Tensor]) -> tuple[dict[str, Span], int]:
    if not tensors:
        raise InvalidInput(
            f"{target.label}: --shared-memory: the server does not say what the model's outputs are"
        )
    spans, at = {}, 0
    for tensor in tensors:
        spans[tensor.name] = Span(at, _output_bytes(target, tensor))
        at += _aligned(spans[tensor.name].size)
    return spans, at


def _output_bytes(target: Target, tensor: Tensor) -> int:
    if target.output_bytes is not None:
        return target.output_bytes
    batched = tensor.shape[:1] == (-1,)
    sizes = (target.batch_size,) * batched + tensor.shape[batched:]
    if tensor.datatype == "BYTES" or -1 in sizes:
        return _UNKNOWN_BYTES
    try:
        element = arrays.numpy_type(tensor.datatype).itemsize
    except KeyError:
        return _UNKNOWN_BYTES
    return max(1, element * int(np.prod(sizes, dtype=np.int64)))


@contextmanager
def _region(client: V2Client, name: str, size: int, contents: list[bytes]) -> Iterator[str]:
    size = max(size, _ALIGN)  # no region is empty
    path = _FOLDER / name
    try:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise InvalidInput(f"--shared-memory: {path} cannot be made: {error.strerror}") from error
    try:
        _fill(path, descriptor, size, contents)
        client.register(name, f"/{name}", size)
        try:
            yield name
        finally:
            with suppress(Error):  # the server is gone, and the region with it
                client.unregister(name)
    finally:
        os.close(descriptor)
        path.unlink(missing_ok=True)


def _fill(path: Path, descriptor: int, size: int, contents: list[bytes]) -> None:
    at = 0
    try:
        # Written now, and not by the first request that touches it, which would find no room.
        os.posix_fallocate(descriptor, 0, size)
        for content in contents:
            while content:
                written = os.pwrite(descriptor, content, at)
                at, content = at + written, content[written:]
    except OSError as error:
        raise InvalidInput(f"--shared-memory: {path}: {size:,} bytes: {error.strerror}") from error


def _aligned(size: int) -> int:
    return -(-size // _ALIGN) * _ALIGN
