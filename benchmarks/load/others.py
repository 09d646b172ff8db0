"""Other load generators: how they are run, and what they print."""

import re
import resource
import shutil
import subprocess
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from falaj.server.bench.asked import Asked

# What they write behind a number, in microseconds.
_UNITS = {"us": 1.0, "ms": 1e3, "s": 1e6, "m": 60e6}


@dataclass(frozen=True)
class Seen:
    """What a load generator says: requests a second, and latencies in microseconds where it tells them; and
    what it cost: microseconds of CPU a request."""

    throughput: float
    mean_us: float
    cpu_us: float
    p50_us: float | None = None
    p99_us: float | None = None


@dataclass(frozen=True)
class Other:
    """A load generator.

    Attributes:
        ask: Asks a target with so many requests at a time for so many seconds. `folder` is for its files.
    """

    name: str
    program: str
    package: str
    protocols: tuple[str, ...]
    ask: Callable[[Asked, int, float, Path], Seen]

    @property
    def installed(self) -> bool:
        """Whether its program is found."""
        return shutil.which(self.program) is not None


def others() -> tuple[Other, ...]:
    """Return those that are compared."""
    return (
        Other("wrk", "wrk", "wrk", ("http",), _wrk),
        Other("h2load", "h2load", "nghttp2-client", ("http", "grpc"), _h2load),
    )


def _wrk(asked: Asked, concurrency: int, seconds: float, folder: Path) -> Seen:
    headers, body, *_ = asked.native["requests"][0]
    (folder / "body").write_bytes(body)
    script = ['wrk.method = "POST"', f'wrk.body = io.open("{folder / "body"}", "rb"):read("*a")']
    script += [f'wrk.headers["{name}"] = "{value}"' for name, value in headers]
    (folder / "post.lua").write_text("\n".join(script) + "\n")
    command = ["wrk", "-t1", f"-c{concurrency}", f"-d{max(1, round(seconds))}s", "--latency"]
    text, cpu = _run([*command, "-s", str(folder / "post.lua"), _url(asked)])
    if "Non-2xx" in text or "Socket errors" in text:
        raise RuntimeError(f"wrk: not all was answered:\n{text}")
    latency = _found(r"Latency +(\S+)", text)
    return Seen(
        float(_found(r"Requests/sec: +(\S+)", text)),
        _microseconds(latency),
        cpu / float(_found(r"(\d+) requests in", text)) * 1e6,
        _microseconds(_found(r"\n +50% +(\S+)", text)),
        _microseconds(_found(r"\n +99% +(\S+)", text)),
    )


def _h2load(asked: Asked, concurrency: int, seconds: float, folder: Path) -> Seen:
    headers, body, *_ = asked.native["requests"][0]
    if asked.native["protocol"] == "grpc":
        headers = [("content-type", "application/grpc"), ("te", "trailers")]
        body = bytes(1) + len(body).to_bytes(4, "big") + body
    (folder / "body").write_bytes(body)
    command = ["h2load", *(["--h1"] if asked.native["protocol"] == "http" else []), "-t1", "-m1"]
    command += [f"-c{concurrency}", "-D", str(max(1, round(seconds))), "-d", str(folder / "body")]
    command += [part for name, value in headers for part in ("-H", f"{name}: {value}")]
    text, cpu = _run([*command, _url(asked)])
    if _found(r", (\d+) failed", text) != "0":
        raise RuntimeError(f"h2load: not all was answered:\n{text}")
    columns = _found(r"time for request: +(.+)", text).split()
    throughput = float(_found(r"finished in \S+, (\S+) req/s", text))
    return Seen(throughput, _microseconds(columns[2]), cpu / float(_found(r", (\d+) succeeded", text)) * 1e6)


def _url(asked: Asked) -> str:
    native = asked.native
    return f"http://{native['host']}:{native['port']}{native['path']}"


def _run(command: list[str]) -> tuple[str, float]:
    """Return what it printed, and its seconds of CPU."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    if done.returncode != 0:
        raise RuntimeError(f"{' '.join(command)}: exit code {done.returncode}: {done.stdout}{done.stderr}")
    return done.stdout, after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def _found(pattern: str, text: str) -> str:
    found = re.search(pattern, text)
    if found is None:
        raise RuntimeError(f"expected {pattern!r} in:\n{text}")
    return found[1]


def _microseconds(text: str) -> float:
    number, unit = re.fullmatch(r"([\d.]+)([a-z]+)", text).groups()  # type: ignore[union-attr]
    return float(number) * _UNITS[unit]
