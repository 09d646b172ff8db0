from collections.abc import Iterator
from pathlib import Path

import pytest

import falaj
from tests import zoo
from tests.server.command_line import Run, command_line
from tests.server.wire_serving import WireServing
from tests.serving import add_model, add_python


@pytest.fixture(scope="session")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[WireServing]:
    """A server with the models `mlp` and `echo`."""
    folder = tmp_path_factory.mktemp("bench")
    add_model(folder, zoo.mlp())
    add_python(folder, "echo")
    with falaj.Engine(folder) as engine, WireServing(engine, access_log_per_million=0) as serving:
        yield serving


@pytest.fixture(scope="session", params=["http", "grpc"])
def url(request: pytest.FixtureRequest, served: WireServing) -> str:
    """The server's URL by each protocol."""
    return url_of(served, request.param)


def url_of(served: WireServing, protocol: str) -> str:
    return f"{protocol}://{served.url(protocol)}"


def quick_model(folder: Path) -> Path:
    """Write a repository with `mlp` alone."""
    add_model(folder, zoo.mlp())
    return folder


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Run:
    """Runs the command in this process; returns its exit status and what it wrote."""
    monkeypatch.chdir(tmp_path)
    return command_line(capsys, monkeypatch, "bench")
