"""gRPC's JavaScript library as a client, by Node.js."""

import shutil
import signal
import subprocess
from pathlib import Path

import pytest

from tests.peers.conftest import CHECKS, PROTOCOLS, Gated
from tests.server.serving_process import Serving

_PACKAGES = ("@grpc/grpc-js@1.14.7", "@grpc/proto-loader@0.8.1")


@pytest.fixture(scope="module")
def modules(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the packages in its node_modules; kept from run to run."""
    node, npm = shutil.which("node"), shutil.which("npm")
    if node is None or npm is None:
        pytest.fail("node and npm, which `make test` installs, are missing")
    name = "grpc-js-" + "-".join(name.rpartition("@")[2] for name in _PACKAGES)
    cache: pytest.Cache | None = getattr(request.config, "cache", None)  # which can be turned off
    folder = cache.mkdir(name) if cache is not None else tmp_path_factory.mktemp(name)
    if not (folder / "installed").exists():
        command = [npm, "install", "--prefix", str(folder), "--no-audit", "--no-fund", *_PACKAGES]
        done = subprocess.run(command, capture_output=True, text=True, timeout=100, check=False)
        if done.returncode != 0:
            pytest.fail(f"npm could not install {' and '.join(_PACKAGES)}: {done.stderr.strip()[-200:]}")
        (folder / "installed").touch()
    return folder


@pytest.mark.timeout(240)
def test_grpc_js_client_is_content_when_it_calls_every_way(
    modules: Path, server: Serving, gated: Gated
) -> None:
    program = Path(__file__).with_name("grpc_js_client.mjs")
    address = f"127.0.0.1:{server.ready['grpc']}"
    command = ["node", str(program), address, str(modules), *map(str, PROTOCOLS)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as client:
        assert client.stdin is not None
        assert client.stdout is not None
        told = []
        for line in client.stdout:
            told.append(line.rstrip("\n"))
            if told[-1] == "draining":
                server.send(signal.SIGTERM)
                server.until_said("no new connections from now on")
                gated.open()
                client.stdin.write("go on\n")
                client.stdin.flush()
        assert told == [*(f"ok {check}" for check in CHECKS), "draining", "ok drain"]
        assert client.wait(20) == 0
    assert server.wait() == 0
