"""Where the server listens, and what it says where it cannot."""

import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import falaj
from falaj import _core
from falaj.server.ops.listeners import open_listeners
from falaj.server.ops.settings import Admin, Server, Settings

pytestmark = pytest.mark.core


@pytest.fixture
def engine(tmp_path: Path) -> Iterator[falaj.Engine]:
    with falaj.Engine(tmp_path, cores=1) as engine:
        yield engine


@pytest.fixture
def wire(engine: falaj.Engine) -> Iterator[_core.WireServer]:
    wire = _core.WireServer(engine.runtime, Settings().wire_options())
    yield wire
    wire.close()


def _settings(**server: Any) -> Settings:
    ports = {"http_port": 0, "grpc_port": 0, "metrics_port": 0}
    return Settings(server=Server(**(ports | server)))


def _connects(port: int | str, host: str = "127.0.0.1") -> bool:
    with socket.socket() as client:
        return client.connect_ex((host, int(port))) == 0


def test_listeners_tell_the_ports_that_were_picked_when_asked_for_any(
    wire: _core.WireServer, tmp_path: Path
) -> None:
    path = str(tmp_path / "socket")
    opened = open_listeners(wire, _settings(unix_socket=path))
    assert opened.keys() == {"http", "grpc", "metrics", "unix"}
    assert len({opened["http"], opened["grpc"], opened["metrics"]}) == 3
    assert all(_connects(opened[name]) for name in ("http", "grpc", "metrics"))
    with socket.socket(socket.AF_UNIX) as client:
        client.connect(str(opened["unix"]))


def test_listener_is_left_out_when_its_port_says_so(wire: _core.WireServer) -> None:
    opened = open_listeners(wire, _settings(grpc_port=-1, metrics_port=-1))
    assert opened.keys() == {"http"}


def test_listeners_have_the_hosts_of_their_own_when_told(wire: _core.WireServer) -> None:
    settings = Settings(
        server=Server(host="127.0.0.2", http_port=0, grpc_port=-1, metrics_port=0),
        admin=Admin(host="127.0.0.3"),
    )
    opened = open_listeners(wire, settings)
    assert _connects(opened["http"], "127.0.0.2")
    assert not _connects(opened["http"], "127.0.0.3")
    assert _connects(opened["metrics"], "127.0.0.3")
    assert not _connects(opened["metrics"], "127.0.0.2")


def test_error_names_the_address_when_another_program_listens_there(wire: _core.WireServer) -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        with pytest.raises(falaj.Unavailable) as caught:
            open_listeners(wire, _settings(http_port=port))
    assert str(caught.value) == f"cannot listen on 127.0.0.1:{port}: Address already in use"


def test_error_names_the_address_when_another_server_listens_there(
    engine: falaj.Engine, wire: _core.WireServer
) -> None:
    port = int(open_listeners(wire, _settings())["grpc"])
    second = _core.WireServer(engine.runtime, Settings().wire_options())
    try:
        with pytest.raises(falaj.Unavailable, match=f"cannot listen on 127.0.0.1:{port}: Address already in"):
            open_listeners(second, _settings(grpc_port=port))
    finally:
        second.close()


def test_error_names_the_address_when_it_is_not_this_machines(wire: _core.WireServer) -> None:
    with pytest.raises(falaj.Error, match=r"cannot listen on 192\.0\.2\.1:"):
        open_listeners(wire, _settings(host="192.0.2.1"))


def test_wire_options_are_known_to_the_native_side_when_handed_over(engine: falaj.Engine) -> None:
    _core.WireServer(engine.runtime, Settings().wire_options()).close()
    with pytest.raises(falaj.InvalidInput, match="'nope'"):
        _core.WireServer(engine.runtime, {"nope": 1})
