"""Options of the command line as values."""

from pathlib import Path

import pytest

from falaj._core import InvalidInput
from falaj.server.bench import options
from falaj.server.bench.load import Load
from falaj.server.bench.sequences import Sequences


def test_shapes_parameters_and_headers_are_read_when_well_formed() -> None:
    assert options.shapes_of(["x:3,224", "a:b:1"]) == {"x": (3, 224), "a:b": (1,)}
    told = options.parameters_of(["priority=1", "s=a=b", "on=true", "p=0.5", "e="])
    assert told == {"priority": 1, "s": "a=b", "on": True, "p": 0.5, "e": ""}
    assert options.headers_of(["Authorization: Bearer a:b"]) == (("Authorization", "Bearer a:b"),)
    assert options.share_of("10%") == options.share_of("0.1") == 0.1


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("http://h:1", ("", "http://h:1", "m")),
        ("grpc://h:1,other", ("", "grpc://h:1", "other")),
        ("peer=http://h:1,other", ("peer", "http://h:1", "other")),
        ("http://h:1/a=b", ("", "http://h:1/a=b", "m")),
    ],
)
def test_another_server_is_read_when_told(text: str, expected: tuple[str, str, str]) -> None:
    assert options.against_of(text, "m") == expected


def _loads(concurrency: str | None, rate: str | None, arrivals: str = "poisson") -> list[Load]:
    return options.loads_of(concurrency, rate, arrivals=arrivals, connections=8, streams=4, threads=2)


def test_loads_are_those_of_the_sweep_when_told() -> None:
    assert _loads("1,8", None) == [
        Load.closed(1, streams=1, threads=2),
        Load.closed(8, streams=4, threads=2),
    ]
    assert _loads(None, "50", "constant") == [Load("constant", 8, 50.0, 4, 2)]
    assert _loads(None, None) == [Load.closed(1, threads=2)]


def _sequences(
    length: int | None = 5,
    variation: float | None = None,
    ids: str | None = None,
    live: int | None = None,
    rate: str | None = "1",
) -> Sequences | None:
    return options.sequences_of(length, variation, ids, live, rate=rate)


def test_sequences_are_perf_analyzers_when_only_a_length_is_told() -> None:
    assert _sequences() == Sequences(5, 0.2, 1, 2**32 - 1, 4)
    assert _sequences(None) is None


@pytest.mark.parametrize(
    ("ids", "first", "last"),
    [
        ("7", 7, 2**32 - 1),
        ("7:9", 7, 9),
        (str(2**40), 2**40, 2**40),
        (f"1:{2**64 - 1}", 1, 2**64 - 1),
    ],
)
def test_ids_are_a_range_when_told(ids: str, first: int, last: int) -> None:
    assert _sequences(ids=ids) == Sequences(5, 0.2, first, last, 4)


@pytest.mark.parametrize(
    ("length", "variation", "least", "most"),
    [(20, 20.0, 16, 24), (1, 100.0, 1, 2), (10, 0.0, 10, 10), (3, 100.0, 1, 6)],
)
def test_lengths_lie_around_the_mean_when_varied(
    length: int, variation: float, least: int, most: int
) -> None:
    told = _sequences(length, variation)
    assert told is not None
    assert told.lengths() == (least, most)


@pytest.mark.parametrize(
    ("call", "complaint"),
    [
        (lambda: options.shapes_of(["x"]), "--shape: expected NAME:SIZE,SIZE"),
        (lambda: options.shapes_of(["x:-1"]), "--shape"),
        (lambda: options.shapes_of(["x:a"]), "--shape"),
        (lambda: options.parameters_of(["x"]), "--parameter: expected NAME=VALUE"),
        (lambda: options.headers_of(["x"]), "--header: expected 'NAME: VALUE'"),
        (lambda: options.share_of("0%"), "--stability"),
        (lambda: options.share_of("x"), "--stability"),
        (lambda: _loads("1", "1"), "expected --concurrency or --rate, got both"),
        (lambda: _loads(None, "1", "even"), "--arrivals: expected poisson or constant"),
        (lambda: _sequences(0), "--sequence-length: expected at least 1, got 0"),
        (lambda: _sequences(None, 5.0), "--sequence-length-variation 5.0: expected --sequence-length N too"),
        (lambda: _sequences(None, ids="1"), "--sequence-ids 1: expected --sequence-length N too"),
        (lambda: _sequences(None, live=3), "--sequences 3: expected --sequence-length N too"),
        (lambda: _sequences(live=3, rate=None), "--sequences 3: expected --rate; as many are live"),
        (lambda: _sequences(live=0), "--sequences: expected at least 1, got 0"),
        (lambda: _sequences(5, 101.0), "--sequence-length-variation: expected 0 to 100 percent, got 101"),
        (lambda: _sequences(ids="0:5"), "--sequence-ids: expected START or START:END of 1 to"),
        (lambda: _sequences(ids="9:5"), "--sequence-ids: expected START or START:END"),
        (lambda: _sequences(ids="1:"), "--sequence-ids: expected START or START:END"),
        (lambda: _sequences(ids=f"1:{2**64}"), "--sequence-ids: expected START or START:END"),
        (
            lambda: options.shared_of("cuda", None, "auto"),
            "--shared-memory: expected none or system, got 'cuda'",
        ),
        (lambda: options.shared_of("none", 5, "auto"), "expected --shared-memory system too"),
        (lambda: options.shared_of("system", 0, "auto"), "expected at least 1 byte, got 0"),
        (
            lambda: options.shared_of("system", None, "json"),
            "--form json: expected none with --shared-memory",
        ),
        (lambda: options.check_writable(Path("/none/x.csv"), "--csv"), "its folder does not exist"),
    ],
)
def test_option_is_refused_when_it_makes_no_sense(call: object, complaint: str) -> None:
    assert callable(call)
    with pytest.raises(InvalidInput, match=complaint.replace("(", r"\(")):
        call()
