"""What is told to be ready answers, and what does not answer is not."""

import sys
import threading
from pathlib import Path

import pytest

import falaj
from falaj.server.api.app import make_app
from falaj.server.api.control_plane import ControlPlane
from tests.server.asking import Asking
from tests.server.serving_process import until
from tests.serving import GATED, add_python, x_of

pytestmark = pytest.mark.core


def test_server_is_ready_when_nothing_was_to_be_loaded(models: Path) -> None:
    with falaj.Engine(models, cores=1) as engine:
        assert ControlPlane(engine).why_not_ready() is None


def test_server_is_not_ready_when_nothing_could_be_loaded(models: Path) -> None:
    add_python(models, "broken", "raise RuntimeError('no good')")
    with falaj.Engine(models, cores=1) as engine, Asking(make_app(ControlPlane(engine), None)) as ask:
        response = ask("GET", "/v2/health/ready")
        assert (response.status_code, response.json()["ready"]) == (503, False)
        assert "'broken'" in response.json()["error"]
        assert "no good" in response.json()["error"]
        assert response.headers["retry-after"] == "1"
        assert ask("GET", "/v2/health/live").json() == {"live": True}
        add_python(models, "fine")
        engine.load("fine")
        assert ask("GET", "/v2/health/ready").json() == {"ready": True}


def test_server_is_ready_when_only_some_could_be_loaded(engine: falaj.Engine, ask: Asking) -> None:
    assert ask("GET", "/v2/health/ready").json() == {"ready": True}
    response = ask("GET", "/v2/models/broken/ready")
    assert response.status_code == 503
    told = response.json()
    assert (told["name"], told["ready"]) == ("broken", False)
    assert "no good" in told["error"]


def test_nothing_is_ready_when_the_server_drains(engine: falaj.Engine) -> None:
    draining = threading.Event()
    control = ControlPlane(engine, is_draining=draining.is_set)
    with Asking(make_app(control, None)) as ask:
        for path in ("/v2/health/ready", "/v2/models/mlp/ready"):
            draining.clear()
            assert ask("GET", path).status_code == 200
            draining.set()
            assert ask("GET", path).status_code == 503
        assert ask("GET", "/v2/health/live").status_code == 200


def test_model_is_not_ready_when_its_batch_hangs(models: Path) -> None:
    add_python(models, "gated", GATED, head="max_batch_size = 4")
    add_python(models, "fine")
    with falaj.Engine(models, cores=2, strict=True) as engine:
        module = sys.modules.pop("falaj_test_gate")
        control = ControlPlane(engine, stuck_after=0.001)
        assert control.why_model_not_ready("gated", None) is None
        asking = threading.Thread(target=engine.infer, args=("gated", x_of(1)))
        asking.start()
        try:
            assert module.started.wait(30)
            until(lambda: control.why_model_not_ready("gated", 1) is not None, "the model is not ready")
            assert "has been running one batch" in str(control.why_model_not_ready("gated", None))
            # The others still answer; when none does, the server should not be asked.
            assert control.why_model_not_ready("fine", None) is None
            assert control.why_not_ready() is None
            engine.unload("fine")
            assert "'gated' version 1" in str(control.why_not_ready())
            patient = ControlPlane(engine, stuck_after=3600)
            assert patient.why_not_ready() is patient.why_model_not_ready("gated", None) is None
        finally:
            module.gate.set()
            asking.join()
        until(lambda: control.why_not_ready() is None, "the server is ready again")


def test_server_is_not_ready_when_its_engine_is_closed(models: Path) -> None:
    with falaj.Engine(models, cores=1) as engine:
        control = ControlPlane(engine)
    assert "closed" in str(control.why_not_ready())
    with pytest.raises(falaj.Unavailable):
        control.model_names()
