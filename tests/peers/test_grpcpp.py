"""gRPC's C++ library as a client, built here against the machine's packages."""

import shutil
import subprocess
from pathlib import Path

import pytest

from tests.peers.conftest import CHECKS, PROTOCOLS
from tests.server.serving_process import Serving


def _run(*command: str | Path) -> str:
    done = subprocess.run(command, capture_output=True, text=True, timeout=110, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def _missing() -> str | None:
    for tool in ("protoc", "grpc_cpp_plugin", "g++", "pkg-config"):
        if shutil.which(tool) is None:
            return f"{tool} is not installed"
    found = subprocess.run(["pkg-config", "--exists", "grpc++", "protobuf"], check=False)
    return None if found.returncode == 0 else "libgrpc++-dev and libprotobuf-dev are not installed"


@pytest.fixture(scope="module")
def client(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The program of grpcpp_client.cc."""
    if missing := _missing():
        pytest.fail(f"{missing}; `make test` does that")
    folder = tmp_path_factory.mktemp("grpcpp")
    plugin = f"--plugin=protoc-gen-grpc={shutil.which('grpc_cpp_plugin')}"
    paths = [f"-I{path}" for path in PROTOCOLS]
    _run("protoc", *paths, f"--cpp_out={folder}", "inference.proto", "service.proto", "health.proto")
    _run("protoc", *paths, plugin, f"--grpc_out={folder}", "service.proto", "health.proto")
    flags = _run("pkg-config", "--cflags", "--libs", "grpc++", "protobuf").split()
    # One unit of those that read gRPC's headers, which is most of the work.
    together = [Path(__file__).with_name("grpcpp_client.cc"), *sorted(folder.glob("*.grpc.pb.cc"))]
    messages = [folder / f"{name}.pb.cc" for name in ("inference", "service", "health")]
    whole, program = folder / "whole.cc", folder / "grpcpp_client"
    whole.write_text("".join(f'#include "{path}"\n' for path in together), encoding="utf-8")
    _run("g++", "-std=c++20", "-O0", f"-I{folder}", whole, *messages, "-o", program, *flags)
    return program


@pytest.mark.timeout(240)
def test_grpcpp_client_is_content_when_it_calls_every_way(client: Path, server: Serving) -> None:
    told = _run(client, f"127.0.0.1:{server.ready['grpc']}")
    assert told.splitlines() == [f"ok {check}" for check in (*CHECKS, "settings")]
