"""The servers that the suite is run against.

`pytest tests/conformance --target-http URL --target-grpc HOST:PORT` runs it against a server that
serves the models of repository.py. Without addresses it starts Falaj, and beside it the same app
under uvicorn, which has to answer every HTTP request of the suite byte for byte as Falaj's native
listener does.
"""

from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import grpc
import pytest
from tritonclient.grpc import service_pb2_grpc

from tests.conformance import repository
from tests.conformance.exchange import Http, without_scheme
from tests.conformance.target import Process, Target, asgi_serve, falaj_serve

_OPTIONS = {
    "--target-http": "address of a running server's HTTP listener, http://host:port",
    "--target-grpc": "address of its gRPC listener, host:port",
    "--target-metrics": "address of its page of metrics, http://host:port",
    "--target-asgi": "address of a second server that has to answer every HTTP request as the first does",
}
_MARKERS = (
    "falaj_only(why): what Falaj does and Triton does not; left out with --target-kind triton",
    "own_server: starts a server as it needs it; left out where a target was given",
    "metrics: reads the page of metrics; left out where a target was given without its address",
)
# Clients lift gRPC's 4 MB as servers do.
_UNLIMITED = [("grpc.max_receive_message_length", -1), ("grpc.max_send_message_length", -1)]


def pytest_addoption(parser: pytest.Parser) -> None:
    group = parser.getgroup("conformance")
    for option, text in _OPTIONS.items():
        group.addoption(option, default="", help=text)
    group.addoption("--target-kind", choices=("falaj", "triton"), default="falaj", help="whose server it is")


def pytest_configure(config: pytest.Config) -> None:
    for marker in _MARKERS:
        config.addinivalue_line("markers", marker)


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    left_out = []
    if _given(config, "--target-http"):
        left_out.append("own_server")
        if not _given(config, "--target-metrics"):
            left_out.append("metrics")
    if _given(config, "--target-kind") == "triton":
        left_out.append("falaj_only")
    gone = [item for item in items if any(item.get_closest_marker(name) for name in left_out)]
    config.hook.pytest_deselected(items=gone)
    items[:] = [item for item in items if item not in gone]


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    if "http" in metafunc.fixturenames:
        config = metafunc.config
        mirrored = not _given(config, "--target-http") or _given(config, "--target-asgi")
        paths = ["native", "mirrored"] if mirrored else ["native"]
        metafunc.parametrize("http", paths, indirect=True, scope="session")


@pytest.fixture(scope="session")
def repository_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The suite's models, for servers that the suite starts. Nothing writes to them."""
    folder = tmp_path_factory.mktemp("conformance") / "models"
    repository.write(folder)
    return folder


@pytest.fixture(scope="session")
def target(request: pytest.FixtureRequest) -> Iterator[Target]:
    """The server under test."""
    http = _given(request.config, "--target-http")
    if http:
        metrics, kind = (_given(request.config, f"--target-{name}") for name in ("metrics", "kind"))
        yield Target(
            without_scheme(http),
            without_scheme(_given(request.config, "--target-grpc")),
            without_scheme(metrics),
            "triton" if kind == "triton" else "falaj",
        )
        return
    models: Path = request.getfixturevalue("repository_folder")
    with falaj_serve(models.parent, models) as server:
        yield server.target()


@pytest.fixture(scope="session")
def asgi_address(request: pytest.FixtureRequest) -> Iterator[str]:
    """Where the app answers under another server of ASGI."""
    if given := _given(request.config, "--target-asgi"):
        yield without_scheme(given)
        return
    models: Path = request.getfixturevalue("repository_folder")
    with asgi_serve(models.parent, models) as server:
        yield f"127.0.0.1:{server.ports['http']}"


@pytest.fixture(scope="session")
def http(request: pytest.FixtureRequest, target: Target) -> Http:
    """Sends HTTP requests to the target; as `mirrored`, to the ASGI app too, which has to answer the same."""
    if request.param == "native":
        return Http(target.http)
    return Http(target.http, request.getfixturevalue("asgi_address"))


@pytest.fixture(scope="session")
def native(target: Target) -> Http:
    """Sends HTTP requests to the target only: for what two servers in turn cannot do alike."""
    return Http(target.http)


@pytest.fixture(scope="session")
def channel(target: Target) -> Iterator[grpc.Channel]:
    """A gRPC channel to the target."""
    with grpc.insecure_channel(target.grpc, options=_UNLIMITED) as opened:
        grpc.channel_ready_future(opened).result(timeout=60)
        yield opened


@pytest.fixture(scope="session")
def stub(channel: grpc.Channel) -> service_pb2_grpc.GRPCInferenceServiceStub:
    """The inference service of the target."""
    return service_pb2_grpc.GRPCInferenceServiceStub(channel)


@pytest.fixture(scope="session")
def limited(repository_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Target]:
    """A server that takes 64 KiB and no more in a request."""
    bounds = ("--set", "http.max_body_bytes=65536", "--set", "grpc.max_message_bytes=65536")
    with falaj_serve(tmp_path_factory.mktemp("limited"), repository_folder, *bounds) as server:
        yield server.target()


@pytest.fixture(scope="session")
def compat(repository_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Target]:
    """A server that speaks as Triton does."""
    folder = tmp_path_factory.mktemp("compat")
    with falaj_serve(folder, repository_folder, "--compat", "triton") as server:
        yield server.target()


@pytest.fixture
def stopping(repository_folder: Path, tmp_path: Path) -> Iterator[Process]:
    """A server that stays, not ready, for long after it was told to end."""
    with ExitStack() as ended:
        server = ended.enter_context(falaj_serve(tmp_path, repository_folder, "--drain-seconds", "600"))
        yield server


def _given(config: pytest.Config, option: str) -> str:
    # Where the suite is collected with others, its options were not read: pytest knew of them too late.
    given = config.getoption(option, default="")
    return str(given or "")
