"""Options of the command line as the values that they mean."""

from collections.abc import Sequence
from pathlib import Path

from falaj._core import InvalidInput
from falaj.server.bench.load import Arrivals, Load
from falaj.server.bench.sequences import DEFAULT_LAST_ID, DEFAULT_LIVE, MOST_ID, Sequences
from falaj.server.bench.sweep import sweep
from falaj.server.bench.target import Parameter

_ARRIVALS: dict[str, Arrivals] = {"poisson": "poisson", "constant": "constant"}


def shapes_of(texts: Sequence[str]) -> dict[str, tuple[int, ...]]:
    """Read `name:3,4`; the last of a name counts."""
    shapes = {}
    for text in texts:
        name, colon, sizes = text.rpartition(":")
        try:
            shapes[name] = tuple(int(size) for size in sizes.split(","))
        except ValueError:
            colon = ""
        if not colon or not name or any(size < 0 for size in shapes[name]):
            raise InvalidInput(f"--shape: expected NAME:SIZE,SIZE such as x:3,224,224, got '{text}'")
    return shapes


def parameters_of(texts: Sequence[str]) -> dict[str, Parameter]:
    """Read `name=value`: true, false and numbers are what they look like, the rest is text."""
    parameters: dict[str, Parameter] = {}
    for text in texts:
        name, equals, value = text.partition("=")
        if not equals or not name:
            raise InvalidInput(f"--parameter: expected NAME=VALUE, got '{text}'")
        parameters[name] = _parameter(value)
    return parameters


def headers_of(texts: Sequence[str]) -> tuple[tuple[str, str], ...]:
    """Read `Name: value`."""
    headers = []
    for text in texts:
        name, colon, value = text.partition(":")
        if not colon or not name.strip():
            raise InvalidInput(f"--header: expected 'NAME: VALUE', got '{text}'")
        headers.append((name.strip(), value.strip()))
    return tuple(headers)


def loads_of(
    concurrency: str | None,
    rate: str | None,
    *,
    arrivals: str,
    connections: int,
    streams: int,
    threads: int,
) -> list[Load]:
    """Return the points of a sweep: closed loops, or open ones where a rate is told."""
    if concurrency is not None and rate is not None:
        raise InvalidInput("expected --concurrency or --rate, got both")
    if rate is None:
        counts = sweep(concurrency or "1", "--concurrency", whole=True)
        return [
            Load.closed(int(count), streams=min(streams, int(count)), threads=threads) for count in counts
        ]
    if arrivals not in _ARRIVALS:
        raise InvalidInput(f"--arrivals: expected poisson or constant, got '{arrivals}'")
    return [
        Load.open(
            value, arrivals=_ARRIVALS[arrivals], connections=connections, streams=streams, threads=threads
        )
        for value in sweep(rate, "--rate")
    ]


def share_of(text: str) -> float:
    """Read `10%` or `0.1`."""
    try:
        value = float(text.removesuffix("%")) / (100 if text.endswith("%") else 1)
    except ValueError:
        value = -1.0
    if not 0 < value <= 10:
        raise InvalidInput(f"--stability: expected a share such as 10%, got '{text}'")
    return value


def sequences_of(
    length: int | None, variation: float | None, ids: str | None, live: int | None, *, rate: str | None
) -> Sequences | None:
    """Return the sequences that requests are of; None where no length is told."""
    if length is None:
        others = {"--sequence-length-variation": variation, "--sequence-ids": ids, "--sequences": live}
        for option, value in others.items():
            if value is not None:
                raise InvalidInput(f"{option} {value}: expected --sequence-length N too")
        return None
    if live is not None and rate is None:
        raise InvalidInput(
            f"--sequences {live}: expected --rate; as many are live in a closed loop as --concurrency says"
        )
    if length < 1:
        raise InvalidInput(f"--sequence-length: expected at least 1, got {length}")
    if live is not None and live < 1:
        raise InvalidInput(f"--sequences: expected at least 1, got {live}")
    percent = 20.0 if variation is None else variation
    if not 0 <= percent <= 100:
        raise InvalidInput(f"--sequence-length-variation: expected 0 to 100 percent, got {variation}")
    first, last = (1, DEFAULT_LAST_ID) if ids is None else _ids(ids)
    return Sequences(length, percent / 100, first, last, DEFAULT_LIVE if live is None else live)


def _ids(text: str) -> tuple[int, int]:
    first, colon, last = text.partition(":")
    begin = _whole(first)
    end = _whole(last) if colon else max(begin, DEFAULT_LAST_ID)
    if not 1 <= begin <= end <= MOST_ID:
        raise InvalidInput(f"--sequence-ids: expected START or START:END of 1 to 2^64 - 1, got '{text}'")
    return begin, end


def _whole(text: str) -> int:
    return int(text) if text.isascii() and text.isdecimal() and len(text) <= 20 else 0


def shared_of(kind: str, output_bytes: int | None, form: str) -> bool:
    """Read the kind of shared memory; return whether there is any."""
    if kind not in ("none", "system"):
        raise InvalidInput(f"--shared-memory: expected none or system, got '{kind}'")
    if kind == "none" and output_bytes is not None:
        raise InvalidInput("--output-shared-memory-size: expected --shared-memory system too")
    if kind == "system" and form != "auto":
        raise InvalidInput(f"--form {form}: expected none with --shared-memory: requests carry no tensors")
    if output_bytes is not None and output_bytes < 1:
        raise InvalidInput(f"--output-shared-memory-size: expected at least 1 byte, got {output_bytes}")
    return kind == "system"


def against_of(text: str, model: str) -> tuple[str, str, str]:
    """Read `[NAME=]URL[,MODEL]`; return the name, empty where none is told, the URL and the model."""
    head, equals, rest = text.partition("=")
    name, text = (head, rest) if equals and "://" not in head else ("", text)
    url, _, other = text.partition(",")
    return name, url, other or model


def check_writable(path: Path | None, option: str) -> None:
    """Find out before the measurement what would fail behind it. Raises InvalidInput."""
    if path is not None and not path.resolve().parent.is_dir():
        raise InvalidInput(f"{option} {path}: its folder does not exist")


def _parameter(value: str) -> Parameter:
    if value in ("true", "false"):
        return value == "true"
    for kind in (int, float):
        try:
            return kind(value)
        except ValueError:
            continue
    return value
