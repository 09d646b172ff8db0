"""The life of a server's process: ready, serving, reloading, draining, ended."""

import http.client
import json
import shutil
import signal
import socket
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import pytest
from prometheus_client.parser import text_string_to_metric_families

from tests import zoo
from tests.server.serving_process import ROOT, Serving, until
from tests.serving import QUICK, add_model, add_python

pytestmark = pytest.mark.core

# Answers when the file `gate` lies beside it; tells by the file `started` that it was asked.
GATED = """
import threading
from pathlib import Path

class Model:
    def load(self, parameters, folder):
        self.folder = Path(folder)

    def infer(self, batch):
        (self.folder / "started").touch()
        while not (self.folder / "gate").exists():
            threading.Event().wait(0.01)
        return {"y": batch["x"]}
"""
SLOW_TO_LOAD = """
import threading
from pathlib import Path

class Model:
    def load(self, parameters, folder):
        (Path(folder) / "started").touch()
        while True:
            threading.Event().wait(0.01)

    def infer(self, batch):
        return {"y": batch["x"]}
"""


@pytest.fixture
def mlp(tmp_path: Path) -> Path:
    """A folder with a repository of one model."""
    add_model(tmp_path / "models", zoo.mlp(), QUICK)
    return tmp_path


@pytest.fixture
def gated(tmp_path: Path) -> tuple[Path, Path]:
    """A folder with a repository whose model waits, and the folder of that model's files."""
    return tmp_path, add_python(tmp_path / "models", "gated", GATED, head="max_batch_size = 4")


def _samples(page: str) -> dict[tuple[str, frozenset[tuple[str, str]]], float]:
    return {
        (sample.name, frozenset(sample.labels.items())): sample.value
        for family in text_string_to_metric_families(page)
        for sample in family.samples
    }


def _asking(server: Serving, answers: list[tuple[int, dict[str, Any]]]) -> threading.Thread:
    thread = threading.Thread(target=lambda: answers.append(server.infer("gated")))
    thread.start()
    return thread


def test_server_answers_on_every_port_when_it_says_that_it_is_ready(mlp: Path) -> None:
    path = str(mlp / "socket")
    with Serving(mlp, "--unix-socket", path) as server:
        assert server.ready.keys() == {"event", "http", "grpc", "metrics", "unix"}
        assert server.ready["event"] == "ready"
        assert server.is_ready()
        assert server.infer("mlp", columns=32)[0] == 200
        assert server.ask("GET", "/metrics", listener="metrics")[0] == 200
        assert server.ask("GET", "/metrics")[0] == 404
        with socket.socket(socket.AF_UNIX) as client:
            client.connect(path)
            client.sendall(b"GET /v2/health/live HTTP/1.1\r\nhost: x\r\n\r\n")
            assert client.recv(4096).startswith(b"HTTP/1.1 200 ")
        with socket.create_connection(("127.0.0.1", server.ready["grpc"])):
            pass
        server.send(signal.SIGTERM)
        assert server.wait() == 0
        assert not Path(path).exists()


def test_metrics_count_what_was_asked_when_requests_came_by_http(mlp: Path) -> None:
    with Serving(mlp) as server:
        for _ in range(5):
            assert server.infer("mlp", rows=3, columns=32)[0] == 200
        assert server.infer("mlp", columns=31)[0] == 400
        status, headers, page = server.ask("GET", "/metrics", listener="metrics")
    assert (status, headers["content-type"]) == (200, "text/plain; version=0.0.4; charset=utf-8")
    assert b'\nnv_inference_count{model="mlp",version="1"} 15.0\n' in page
    samples = _samples(page.decode("utf-8"))
    mlp_1, http = {"model": "mlp", "version": "1"}.items(), {"protocol": "http"}.items()
    assert samples["falaj_request_seconds_count", frozenset(mlp_1)] == 5
    assert samples["falaj_wire_infer_requests_total", frozenset(http)] == 6
    for phase in ("read", "decode", "wait", "encode", "request"):
        assert samples[f"falaj_wire_{phase}_seconds_count", frozenset(http)] >= 5
        assert samples[f"falaj_wire_{phase}_seconds_sum", frozenset(http)] >= 0
    assert samples["falaj_wire_request_seconds_sum", frozenset(http)] > 0
    assert samples["falaj_wire_answers_total", frozenset((*http, ("kind", "client_errors")))] == 1
    assert samples["falaj_wire_refused_total", frozenset((*http, ("reason", "body_size")))] == 0


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_server_is_not_ready_but_answers_when_it_drains(mlp: Path, number: signal.Signals) -> None:
    with Serving(mlp, "--drain-seconds", "600") as server:
        server.send(number)
        server.until_said("not ready from now on")
        assert server.ask("GET", "/v2/health/ready")[0] == 503
        assert server.ask("GET", "/v2/health/live")[0] == 200
        assert server.infer("mlp", columns=32)[0] == 200
        server.send(number)  # the window is over
        assert server.wait() == 0
        assert server.events()[-1]["msg"] == "the server has ended"


def test_requests_in_flight_are_answered_when_the_server_ends(gated: tuple[Path, Path]) -> None:
    folder, model = gated
    answers: list[tuple[int, dict[str, Any]]] = []
    with Serving(folder) as server:
        asking = _asking(server, answers)
        until((model / "started").exists, "the model was asked")
        server.send(signal.SIGTERM)
        server.until_said("no new connections from now on")
        until(lambda: _is_refused(server), "new connections are refused")
        (model / "gate").touch()
        asking.join()
        assert server.wait() == 0
    [(status, answer)] = answers
    assert (status, answer["outputs"][0]["data"]) == (200, [1.0])


def _is_refused(server: Serving) -> bool:
    try:
        server.is_ready()
    except ConnectionRefusedError:
        return True
    except (OSError, http.client.HTTPException):
        pass  # it was in the queue when the listener closed
    return False


def test_third_signal_ends_the_wait_when_a_client_stays(mlp: Path) -> None:
    texts = ("not ready from now on", "no new connections from now on", "connections were still open")
    with (
        Serving(mlp, "--drain-seconds", "600", "--shutdown-timeout", "600") as server,
        socket.create_connection(("127.0.0.1", server.ready["http"])) as client,
    ):
        # A request that never ends.
        client.sendall(b"POST /v2/models/mlp/infer HTTP/1.1\r\nhost: x\r\ncontent-length: 10\r\n\r\n{")
        until(lambda: _open_connections(server) > 1, "the connection was taken")
        for text in texts:
            server.send(signal.SIGTERM)
            server.until_said(text)
        assert server.wait() == 0


def _open_connections(server: Serving) -> float:
    page = server.ask("GET", "/metrics", listener="metrics")[2].decode("utf-8")
    samples = _samples(page)
    return sum(value for (name, _), value in samples.items() if name == "falaj_connections")


def test_status_is_zero_when_the_end_is_asked_for_until_it_comes(mlp: Path) -> None:
    for _ in range(3):
        with Serving(mlp) as server:
            while not server.has_ended():
                server.send(signal.SIGTERM)
            assert server.wait() == 0


def test_process_ends_with_an_error_when_a_model_never_ends_its_run(gated: tuple[Path, Path]) -> None:
    folder, model = gated
    with Serving(folder, "--shutdown-timeout", "0") as server:
        ended: list[BaseException] = []

        def ask() -> None:
            try:
                server.infer("gated")
            except OSError as error:
                ended.append(error)

        asking = threading.Thread(target=ask)
        asking.start()
        until((model / "started").exists, "the model was asked")
        server.send(signal.SIGTERM)
        assert server.wait() == 1
        asking.join()
        assert len(ended) == 1
        last = server.events()[-1]
        assert (last["level"], last["running"]) == ("error", ["gated/1"])


def test_process_ends_when_it_is_told_to_while_it_loads(tmp_path: Path) -> None:
    model = add_python(tmp_path / "models", "slow", SLOW_TO_LOAD)
    server = Serving(tmp_path)
    until((model / "started").exists, "the model is being loaded")
    server.send(signal.SIGTERM)
    with server:
        assert server.wait() == 0
        assert server.ready == {}


def test_error_is_one_line_when_the_server_cannot_start(tmp_path: Path) -> None:
    with Serving(tmp_path) as server:
        assert server.wait() == 1
    assert server.output() == f"falaj: model repository '{tmp_path / 'models'}' is not a folder\n"


def test_bad_model_ends_the_start_only_when_told_to_be_strict(mlp: Path) -> None:
    add_python(mlp / "models", "bad", head="max_batch = 1")
    with Serving(mlp) as server:
        assert server.infer("mlp", columns=32)[0] == 200
    with Serving(mlp, "--strict") as server:
        assert server.wait() == 1
        assert server.ready == {}
    assert server.output().splitlines()[-1].startswith("falaj: model 'bad' was not loaded: ")


def test_second_server_says_why_when_the_port_is_taken(mlp: Path) -> None:
    with Serving(mlp) as first:
        port = str(first.ready["http"])
        second_folder = mlp / "second"
        shutil.copytree(mlp / "models", second_folder / "models")
        with Serving(second_folder, "--http-port", port) as second:
            assert second.wait() == 1
        line = second.output().splitlines()[-1]
        assert line == f"falaj: cannot listen on 127.0.0.1:{port}: Address already in use"
        assert first.is_ready()


def test_access_log_tells_each_request_when_all_are_sampled(mlp: Path) -> None:
    file = mlp / "access.log"
    with Serving(mlp, "--access-log-sample", "1", "--log-file", str(file)) as server:
        server.infer("mlp", columns=32)
        server.ask("GET", "/v2/health/ready?secret=1", headers={"X-Request-Id": "r-1"})
        server.send(signal.SIGTERM)
        assert server.wait() == 0
        assert server.output() == ""
    events = [json.loads(line) for line in file.read_text(encoding="utf-8").splitlines()]
    told = {event["target"]: event for event in events if event["logger"] == "falaj.access"}
    assert told.keys() == {"/v2/models/mlp/infer", "/v2/health/ready"}
    infer = told["/v2/models/mlp/infer"]
    assert (infer["method"], infer["status"], infer["peer"]) == ("POST", 200, "127.0.0.1")
    assert infer["bytes_in"] > 32
    assert told["/v2/health/ready"]["request_id"] == "r-1"


def test_hangup_takes_over_what_changed_when_the_file_was_edited(mlp: Path) -> None:
    config = mlp / "falaj.toml"
    config.write_text('[log]\nlevel = "error"\n', encoding="utf-8")
    with Serving(mlp, "--config", str(config)) as server:
        add_python(mlp / "models", "new")
        assert server.infer("new")[0] == 404
        config.write_text('[log]\nlevel = "info"\n[http]\nmax_body_bytes = 2048\n', encoding="utf-8")
        server.send(signal.SIGHUP)
        server.until_said("read again")
        assert server.infer("new")[0] == 200
        assert server.infer("mlp", rows=100, columns=32)[0] == 200
        warning = "these settings are taken over at the next start: http.max_body_bytes"
        assert warning in [event["msg"] for event in server.events()]
        config.write_text("[log]\nlevle = 1\n", encoding="utf-8")
        server.send(signal.SIGHUP)
        server.until_said("nothing was changed: ")
        told = server.events()[-1]
        assert told["msg"].endswith("falaj.toml:2: log.levle: unknown key; did you mean 'level'?")
        assert server.infer("new")[0] == 200


def test_environment_is_read_when_no_flag_says_otherwise(mlp: Path) -> None:
    with Serving(mlp, env={"FALAJ_HTTP_MAX_BODY_BYTES": "2048"}) as server:
        assert server.infer("mlp", columns=32)[0] == 200
        assert server.infer("mlp", rows=100, columns=32)[0] == 413


def test_only_named_models_are_loaded_when_some_are(mlp: Path) -> None:
    add_python(mlp / "models", "other")
    with Serving(mlp, "--load", "mlp") as server:
        assert server.infer("mlp", columns=32)[0] == 200
        assert server.infer("other")[0] == 404


def test_folder_is_followed_when_watched(mlp: Path) -> None:
    with Serving(mlp, "--model-control", "poll", "--watch", "0.05") as server:
        add_python(mlp / "models", "new")
        until(lambda: server.infer("new")[0] == 200, "the new model was loaded")
        status, _, answer = server.ask("POST", "/v2/repository/models/mlp/unload")
        assert (status, "server.model_control" in answer.decode()) == (503, True)
        assert server.ask("POST", "/v2/repository/models/mlp/load")[0] == 503
        assert server.infer("mlp", columns=32)[0] == 200


def test_model_is_not_ready_when_it_is_stuck(gated: tuple[Path, Path]) -> None:
    folder, model = gated
    answers: list[tuple[int, dict[str, Any]]] = []
    with Serving(folder, "--set", "server.stuck_after=0.001") as server:
        assert server.is_ready()
        asking = _asking(server, answers)
        until(lambda: not server.is_ready(), "the model has been in its batch for long enough")
        assert server.ask("GET", "/v2/models/gated/ready")[0] == 503
        (model / "gate").touch()
        asking.join()
        until(server.is_ready, "the batch ended")
    assert [status for status, _ in answers] == [200]


def test_models_are_listed_and_changed_by_the_command_line_when_it_runs(mlp: Path) -> None:
    with Serving(mlp) as server:
        url = f"http://127.0.0.1:{server.ready['http']}"

        def models(*arguments: str) -> tuple[int, str]:
            command = [sys.executable, "-m", "falaj.server", "models", *arguments, "--json"]
            done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=60, check=False)
            return done.returncode, done.stdout or done.stderr

        row = {"name": "mlp", "version": "1", "state": "READY", "reason": ""}
        assert json.loads(models("list", url)[1]) == [row]
        (gone,) = json.loads(models("unload", "mlp", "--url", url)[1])
        assert gone == {"name": "mlp", "version": "", "state": "UNAVAILABLE", "reason": "not loaded"}
        assert models("reload", "mlp", "--url", url) == (1, "falaj: model 'mlp' is not loaded\n")
        assert json.loads(models("load", "mlp", "--url", url)[1]) == [row]
        assert json.loads(models("reload", "mlp", "--url", url)[1]) == [row]
        assert server.infer("mlp", columns=32)[0] == 200
        code, error = models("load", "nope", "--url", url)
        assert (code, error.startswith("falaj: model 'nope' has no folder")) == (1, True)


def test_metrics_are_openmetrics_when_asked_for(mlp: Path) -> None:
    with Serving(mlp) as server:
        accept = {"Accept": "application/openmetrics-text;version=1.0.0,text/plain;q=0.5"}
        _, headers, page = server.ask("GET", "/metrics", listener="metrics", headers=accept)
    assert headers["content-type"].startswith("application/openmetrics-text; version=1.0.0")
    assert page.endswith(b"# EOF\n")


def test_log_settings_change_when_the_protocol_asks(mlp: Path) -> None:
    with Serving(mlp) as server:
        assert json.loads(server.ask("GET", "/v2/logging")[2])["log_verbose_level"] == 0
        status, _, told = server.ask("POST", "/v2/logging", {"log_verbose_level": 1, "log_info": False})
        assert (status, json.loads(told)["log_info"]) == (200, False)
        for values in ({"log_file": "/var/log/other"}, {"log_info": 1}, {"log_inf": True}):
            assert server.ask("POST", "/v2/logging", values)[0] == 400
        assert json.loads(server.ask("GET", "/v2/logging")[2]) == json.loads(told)
