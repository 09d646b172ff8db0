"""The server that settings are tried on has settings of its own."""

from pathlib import Path

import pytest

from falaj.server.tuning.setting import DEFAULTS
from falaj.server.tuning.subject import subject_at
from falaj.server.tuning.trial_server import Asking, TrialServer
from tests.serving import add_python


def test_settings_of_other_servers_are_not_read_when_they_lie_around(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = add_python(tmp_path / "models", "echo").parent
    (tmp_path / "falaj.toml").write_text('[server]\nload = ["other"]\n\n[log]\nfile = "server.log"\n')
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("FALAJ_TLS_CERTIFICATE", "nowhere.pem")
    with TrialServer(subject_at(folder), Asking(concurrency=2), 2000, {}, cores=1) as server:
        server.serve(DEFAULTS)
        server.ask_once()
    assert not (tmp_path / "server.log").exists()
