"""Files of /dev/shm as a client makes them, and requests whose tensors lie there."""

import itertools
import json
import os
from types import TracebackType
from typing import Any

import numpy as np

from tests.server.serving_process import Serving

PREFIX = "falaj_test_"
_numbers = itertools.count()


class SharedFile:
    """A file, removed when the context is left. It is never mapped here, so that cutting it hurts only those
    who have mapped it.

    Attributes:
        key: What clients register it by.
    """

    def __init__(self, size: int, name: str = "") -> None:
        self.key = "/" + (name or f"{PREFIX}{os.getpid()}_{next(_numbers)}")
        self.path = f"/dev/shm{self.key}"
        self._fd = os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o600)
        os.ftruncate(self._fd, size)

    def __enter__(self) -> "SharedFile":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        os.close(self._fd)
        os.unlink(self.path)

    def put(self, value: np.ndarray | bytes, at: int = 0) -> int:
        """Write it; return its size."""
        raw = value if isinstance(value, bytes) else np.ascontiguousarray(value).tobytes()
        assert os.pwrite(self._fd, raw, at) == len(raw)
        return len(raw)

    def raw(self, size: int, at: int = 0) -> bytes:
        """Read bytes."""
        return os.pread(self._fd, size, at)

    def array(self, dtype: Any, shape: tuple[int, ...], at: int = 0) -> np.ndarray:
        """Read an array."""
        size = int(np.prod(shape)) * np.dtype(dtype).itemsize
        return np.frombuffer(self.raw(size, at), dtype).reshape(shape)

    def cut(self, size: int) -> None:
        """Change its size."""
        os.ftruncate(self._fd, size)


def register(server: Serving, name: str, key: str, size: int, offset: int = 0) -> tuple[int, str]:
    """Register a region; return status and error ("": none)."""
    body = {"key": key, "byte_size": size, "offset": offset}
    status, _, answer = server.ask("POST", f"/v2/systemsharedmemory/region/{name}/register", body)
    return status, json.loads(answer)["error"] if answer else ""


def unregister(server: Serving, name: str = "") -> None:
    """Unregister a region, or all."""
    region = f"/region/{name}" if name else ""
    assert server.ask("POST", f"/v2/systemsharedmemory{region}/unregister")[0] == 200


def place(region: str, size: int, offset: int | None = None) -> dict[str, Any]:
    """Parameters of a tensor that lies there."""
    more = {} if offset is None else {"shared_memory_offset": offset}
    return {"shared_memory_region": region, "shared_memory_byte_size": size, **more}


def tensor(name: str, datatype: str, shape: tuple[int, ...], parameters: dict[str, Any]) -> dict[str, Any]:
    """An input that lies in shared memory."""
    return {"name": name, "datatype": datatype, "shape": list(shape), "parameters": parameters}


def infer(server: Serving, model: str, request: dict[str, Any]) -> tuple[int, dict[str, Any]]:
    """Ask in JSON; return status and answer."""
    status, _, answer = server.ask("POST", f"/v2/models/{model}/infer", request)
    return status, json.loads(answer)
