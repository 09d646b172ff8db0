"""The command line: what it prints, how it fails, and that every flag is a setting."""

import json
import os
import re
import subprocess
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pytest

import falaj
from falaj.server.ops.layers import keys_of
from falaj.server.ops.settings import Settings, load_settings
from falaj.server.serve_flags import FLAGS, given_flags
from tests import zoo
from tests.server.command_line import Run, command_line
from tests.serving import QUICK, add_model, add_python


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Run:
    """Runs the command in this process; returns its exit status and what it wrote."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "200")
    return command_line(capsys, monkeypatch)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A repository with two good models and two that cannot be served."""
    root = tmp_path / "models"
    add_model(root, zoo.mlp(), QUICK, version=3)
    add_python(root, "echo")
    (root / "empty" / "1").mkdir(parents=True)
    add_python(root, "wrong", head="max_batch = 3")
    return root


def test_version_tells_what_runs_when_asked(run: Run) -> None:
    code, out, err = run("version")
    assert (code, err) == (0, "")
    assert re.fullmatch(
        rf"falaj {re.escape(falaj.__version__)} \(Python 3\.\d+\.\d+, ONNX Runtime 1\..+\)\n", out
    )
    code, out, _ = run("version", "--json")
    assert json.loads(out)["falaj"] == falaj.__version__


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (["nope"], 2, "No such command 'nope'."),
        (
            ["serve", "--http-prt", "3"],
            2,
            "No such option: --http-prt (Possible options: --grpc-port, --http-port)",
        ),
        (["serve", "--http-port", "x"], 2, "--http-port: expected a whole number, got 'x'"),
        (
            ["serve", "--http-port", "99999"],
            2,
            "--http-port: expected a whole number of -1 to 65535, got 99999",
        ),
        (["serve", "--set", "a"], 2, "--set: expected SECTION.KEY=VALUE, got 'a'"),
        (
            ["serve", "--set", "http.max_bdy_bytes=1"],
            2,
            "--set http.max_bdy_bytes: unknown key 'http.max_bdy_bytes'; did you mean 'http.max_body_bytes'?",
        ),
        (
            ["serve", "--model-control", "all"],
            2,
            "--model-control: expected 'none' or 'poll' or 'explicit', got 'all'",
        ),
        (["serve", "--no-strict", "--tls-key", "k"], 2, "--tls-key: expected a certificate beside it"),
        (["models", "list", "nowhere"], 1, "model repository 'nowhere' is not a folder"),
        (["models", "--url", "ftp://x"], 2, "expected http://host:port or https://host:port, got 'ftp://x'"),
        (
            ["models", "--url", "http://x:y"],
            2,
            "expected http://host:port or https://host:port, got 'http://x:y'",
        ),
        (["models", "load"], 2, "Missing argument 'MODEL'."),
    ],
)
def test_error_is_one_line_on_standard_error_when_a_command_fails(
    run: Run, arguments: list[str], code: int, message: str
) -> None:
    assert run(*arguments) == (code, "", f"falaj: {message}\n")


def test_error_names_the_file_when_a_setting_is_wrong(run: Run) -> None:
    Path("falaj.toml").write_text("[server]\nhttp_prt = 1\n", encoding="utf-8")
    message = "falaj.toml:2: server.http_prt: unknown key; did you mean 'http_port'?"
    assert run("serve") == (2, "", f"falaj: {message}\n")
    code, _, err = run("serve", "--config", "other.toml")
    assert (code, err.startswith("falaj: other.toml: cannot be read: ")) == (2, True)


def test_help_is_shown_when_there_is_no_command(run: Run) -> None:
    code, out, err = run()
    assert (code, err) == (2, "")
    assert "Serve the models of a folder" in out


def test_help_names_every_flag_and_default_when_asked(run: Run) -> None:
    code, out, _ = run("serve", "--help")
    assert code == 0
    flat = " ".join(re.sub(r"[│╭╮╰╯─]", " ", out).split())
    for flag in FLAGS:
        assert flag.flag in flat, flag.flag
    for default in ("models.", "127.0.0.1.", "8000.", "explicit.", "info."):
        assert f"Default: {default}" in flat, default


def test_every_flag_is_a_setting_of_its_own_when_listed() -> None:
    keys = [flag.key for flag in FLAGS]
    assert set(keys) <= {key for key, _ in keys_of(Settings)}
    assert len(set(keys)) == len({flag.flag for flag in FLAGS}) == len(FLAGS)


def test_flags_reach_the_settings_when_given(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    options: dict[str, object] = {flag.parameter: None for flag in FLAGS}
    options |= {"http_port": "0", "strict": True, "load": "a,b", "log_level": "debug", "cores": "none"}
    options["set_"] = ["limits.max_tensors=9", "http.tls.certificate = c", "http.tls.key=k=1"]
    settings = load_settings(flags=given_flags(options), environment={})
    server = settings.server
    assert (server.http_port, server.strict, server.load, server.cores) == (0, True, ("a", "b"), None)
    assert (settings.log.level, settings.limits.max_tensors) == ("debug", 9)
    assert settings.http.tls is not None
    assert (settings.http.tls.certificate, settings.http.tls.key) == ("c", "k=1")
    assert settings.grpc.tls is None


def test_models_of_a_folder_are_listed_when_no_server_runs(run: Run, folder: Path) -> None:
    code, out, err = run("models", "list", str(folder), "--json")
    assert (code, err) == (0, "")
    rows = {row["name"]: row for row in json.loads(out)}
    assert rows["mlp"] == {"name": "mlp", "version": 3, "state": "AVAILABLE", "reason": ""}
    assert rows["echo"]["state"] == "AVAILABLE"
    assert rows["empty"]["reason"].endswith("expected model.onnx or model.py in its folder, found nothing")
    assert rows["wrong"]["version"] is None
    assert rows["wrong"]["reason"].endswith("max_batch: unknown key; did you mean 'max_batch_size'?")
    assert json.loads(run("models", "--json", "--url", str(folder))[1]) == json.loads(out)


def test_table_has_whole_lines_without_colour_when_it_is_piped(run: Run, folder: Path) -> None:
    _, out, _ = run("models", "list", str(folder))
    lines = [line.split() for line in out.splitlines()]
    assert lines[0] == ["name", "version", "state", "reason"]
    assert ["mlp", "3", "AVAILABLE"] in lines
    assert len(lines) == 5
    assert "did you mean 'max_batch_size'?" in out
    assert "\x1b" not in out


def test_command_ends_quietly_when_its_reader_leaves(folder: Path) -> None:
    command = [sys.executable, "-m", "falaj.server", "models", "list", str(folder), "--json"]
    reader, writer = os.pipe()
    os.close(reader)
    root = Path(__file__).parents[2]
    done = subprocess.run(command, stdout=writer, stderr=subprocess.PIPE, cwd=root, check=False, timeout=100)
    os.close(writer)
    assert (done.returncode, done.stderr) == (1, b"")


@pytest.fixture
def answering() -> Iterator[tuple[str, list[tuple[str, bytes]], list[tuple[int, bytes]]]]:
    """A server that answers what it is told to: its URL, what it was asked, what it is to answer."""
    asked: list[tuple[str, bytes]] = []
    answers: list[tuple[int, bytes]] = []

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            asked.append((self.path, self.rfile.read(int(self.headers["Content-Length"]))))
            status, body = answers.pop(0)
            self.send_response(status)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *arguments: object) -> None:
            pass

    with HTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}", asked, answers
        server.shutdown()
        thread.join()


def test_changes_are_asked_by_the_protocol_when_commands_run(
    run: Run, answering: tuple[str, list[tuple[str, bytes]], list[tuple[int, bytes]]]
) -> None:
    url, asked, answers = answering
    row = {"name": "a/b", "version": "1", "state": "READY", "reason": "[red]\x1b[31m"}
    for command in ("load", "unload"):
        answers += [(200, b""), (200, json.dumps([row, {"name": "other"}]).encode())]
        code, out, err = run("models", command, "a/b", "--url", f"{url}/prefix/")
        assert (code, err) == (0, "")
        assert [line.split() for line in out.splitlines()[1:]] == [["a/b", "1", "READY", r"[red]\x1b[31m"]]
    paths = ["/prefix/v2/repository/models/a%2Fb/load", "/prefix/v2/repository/index"]
    paths += ["/prefix/v2/repository/models/a%2Fb/unload", "/prefix/v2/repository/index"]
    assert asked == [(path, b"{}") for path in paths]


def test_reload_asks_only_for_a_loaded_model_when_run(
    run: Run, answering: tuple[str, list[tuple[str, bytes]], list[tuple[int, bytes]]]
) -> None:
    url, asked, answers = answering
    index = (200, b'[{"name": "m", "state": "READY"}]')
    answers += [index, (200, b""), index, index]
    assert run("models", "reload", "m", "--url", url)[0] == 0
    assert [path for path, _ in asked[:2]] == ["/v2/repository/index", "/v2/repository/models/m/load"]
    assert run("models", "reload", "n", "--url", url) == (1, "", "falaj: model 'n' is not loaded\n")
    assert answers == []


@pytest.mark.parametrize(
    ("status", "body", "message"),
    [
        (404, b'{"error": "model \'m\' is\\nnot there"}', r"model 'm' is\nnot there"),
        (500, b"<html>", "URL: 500 Internal Server Error"),
        (503, b"", "URL: 503 Service Unavailable"),
        (200, b"<html>", "URL: expected JSON, got b'<html>'"),
        (200, b"{}", "URL: expected a list of models, got {}"),
        (200, b"[1]", "URL: expected a list of models, got [1]"),
    ],
)
def test_error_tells_the_servers_words_when_it_refuses(
    run: Run,
    answering: tuple[str, list[tuple[str, bytes]], list[tuple[int, bytes]]],
    status: int,
    body: bytes,
    message: str,
) -> None:
    url, _, answers = answering
    answers.append((status, body))
    assert run("models", "list", url) == (1, "", f"falaj: {message.replace('URL', url)}\n")


def test_error_tells_the_reason_when_nobody_answers(run: Run) -> None:
    with HTTPServer(("127.0.0.1", 0), BaseHTTPRequestHandler) as server:
        url = f"http://127.0.0.1:{server.server_port}"
    assert run("models", "--url", url) == (1, "", f"falaj: {url}: [Errno 111] Connection refused\n")
    code, _, err = run("models", "--url", "https://127.0.0.1:1", "--ca-file", "nowhere.pem")
    assert (code, err.startswith("falaj: nowhere.pem: cannot be used: ")) == (2, True)
