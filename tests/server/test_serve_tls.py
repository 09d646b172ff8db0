"""`falaj serve` behind certificates: by settings, and anew when they are renewed while it runs."""

import shutil
import signal
import socket
import ssl
from pathlib import Path

import pytest

from tests.certificates import Authority, Certificate
from tests.server.serving_process import Serving, until
from tests.serving import add_python

pytestmark = pytest.mark.core


def _serial(server: Serving, context: ssl.SSLContext, listener: str = "http") -> str:
    """Serial number of the certificate that a listener shows."""
    with (
        socket.create_connection(("127.0.0.1", server.ready[listener]), 30) as plain,
        context.wrap_socket(plain, server_hostname="localhost") as wrapped,
    ):
        certificate = wrapped.getpeercert()
        assert certificate is not None
        return str(certificate["serialNumber"])


def _put(certificate: Certificate, folder: Path) -> None:
    shutil.copy(certificate.certificate, folder / "server.pem")
    shutil.copy(certificate.key, folder / "server.key")


def test_renewed_certificate_is_shown_when_hung_up_and_a_bad_one_changes_nothing(tmp_path: Path) -> None:
    add_python(tmp_path / "models", "echo")
    authority = Authority(tmp_path)
    context = ssl.create_default_context(cafile=str(authority.certificate))
    _put(authority.issue("first"), tmp_path)
    config = tmp_path / "falaj.toml"
    tls = f'[tls]\ncertificate = "{tmp_path}/server.pem"\nkey = "{tmp_path}/server.key"\n'
    config.write_text(tls, encoding="utf-8")
    with Serving(tmp_path, "--config", str(config)) as server:
        first = _serial(server, context)
        assert _serial(server, context, "grpc") == first
        assert server.ask("GET", "/metrics", listener="metrics")[0] == 200  # [tls] is not for it

        _put(authority.issue("second"), tmp_path)
        server.send(signal.SIGHUP)
        until(lambda: _serial(server, context) != first, "the new certificate is shown")
        second = _serial(server, context)
        assert _serial(server, context, "grpc") == second

        (tmp_path / "server.pem").write_text("no certificate", encoding="utf-8")
        config.write_text(f'{tls}[log]\nlevel = "error"\n', encoding="utf-8")
        server.send(signal.SIGHUP)
        server.until_said("nothing was changed: ")
        assert _serial(server, context) == second

        _put(authority.issue("third"), tmp_path)
        config.write_text(tls, encoding="utf-8")
        server.send(signal.SIGHUP)
        until(lambda: _serial(server, context) not in (first, second), "the third certificate is shown")
        # Info is still written: the level of the failed reading was taken back.
        until(lambda: sum("read again" in e["msg"] for e in server.events()) == 2, "both were told")


def test_error_names_the_file_when_a_certificate_is_missing(tmp_path: Path) -> None:
    add_python(tmp_path / "models", "echo")
    nowhere = str(tmp_path / "nowhere.pem")
    with Serving(tmp_path, "--tls-certificate", nowhere, "--tls-key", nowhere) as server:
        assert server.wait() == 2
        assert server.ready == {}
    last = server.output().splitlines()[-1]
    assert last.startswith("falaj: ")
    assert nowhere in last
