"""Options of the command line as values."""

from pathlib import Path

import pytest

from falaj._core import InvalidInput
from falaj.server.bench import options
from falaj.server.bench.load import Load


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
        (lambda: options.check_writable(Path("/none/x.csv"), "--csv"), "its folder does not exist"),
    ],
)
def test_option_is_refused_when_it_makes_no_sense(call: object, complaint: str) -> None:
    assert callable(call)
    with pytest.raises(InvalidInput, match=complaint.replace("(", r"\(")):
        call()
