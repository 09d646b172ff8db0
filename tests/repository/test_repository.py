"""Loading, swapping and unloading models, by call and by watching the folder."""

import os
import shutil
import threading
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

import falaj
from tests import zoo
from tests.serving import QUICK, add_model, add_python, assert_same, run_script, x_of

pytestmark = pytest.mark.core

WATCH = 0.05
SCALED = """
class Model:
    def infer(self, batch):
        return {{"y": batch["x"] * {factor}}}
"""


def add_scaled(repository: Path, version: int, head: str = "max_batch_size = 16") -> Path:
    """A model that multiplies by its version."""
    return add_python(repository, "scaled", SCALED.format(factor=version), head=head, version=version)


def ask(engine: falaj.Engine, version: int | None = None) -> float:
    return float(engine.infer("scaled", x_of(1), version=version)["y"].item())


def until(condition: Callable[[], bool], seconds: float = 30) -> None:
    """Wait for what a thread of the engine does on its own."""
    end, pause = time.monotonic() + seconds, threading.Event()
    while not condition():
        assert time.monotonic() < end, "it did not happen"
        pause.wait(WATCH / 5)


def looks(engine: falaj.Engine, count: int = 4) -> None:
    """Wait until the watcher has looked so many times."""
    watcher = engine._watcher
    assert watcher is not None
    looked = threading.Semaphore(0)
    look = type(watcher)._look

    def counting() -> object:
        looked.release()
        return look(watcher)

    watcher._look = counting  # type: ignore[method-assign, assignment]
    for _ in range(count):
        assert looked.acquire(timeout=60)


def states(engine: falaj.Engine) -> dict[tuple[str, int | None], str]:
    return {(row["name"], row["version"]): row["state"] for row in engine.models()}


def test_model_is_served_until_unloaded_when_loaded_by_name(tmp_path: Path) -> None:
    with falaj.Engine(tmp_path, cores=1) as engine:
        assert engine.models() == []
        assert engine.stats() == []
        add_scaled(tmp_path, 1)
        engine.load("scaled")
        assert ask(engine) == 1
        assert engine.models() == [{"name": "scaled", "version": 1, "state": "READY", "reason": ""}]
        told = engine.describe("scaled")
        assert (told["platform"], told["max_batch_size"]) == ("python", 16)
        assert told["inputs"] == [{"name": "x", "datatype": "FP32", "shape": [-1, 1]}]
        [stats] = engine.stats()
        assert (stats["name"], stats["version"], stats["inference_count"]) == ("scaled", 1, 1)
        assert stats["inference_stats"]["success"]["count"] == 1
        engine.unload("scaled")
        assert engine.models() == []
        for call in (ask, lambda e: e.describe("scaled"), lambda e: e.stats("scaled")):
            with pytest.raises(falaj.NotFound, match="'scaled'"):
                call(engine)
        with pytest.raises(falaj.NotFound, match="'scaled' is not loaded"):
            engine.unload("scaled")


@pytest.mark.parametrize(
    "name", ["../x", "..", ".", "", "scaled/1", "scaled/../scaled", "/", "nope", "a\0b", "scaled/", "empty"]
)
def test_load_raises_not_found_and_knows_nothing_when_name_is_no_model(tmp_path: Path, name: str) -> None:
    root = tmp_path / "models"
    add_scaled(root, 1)
    add_scaled(tmp_path / "x", 1)
    (root / "empty" / "03").mkdir(parents=True)
    with falaj.Engine(root, cores=1, strict=True) as engine:
        for call in (engine.load, engine.reload, engine.unload):
            with pytest.raises(falaj.NotFound):
                call(name)
        assert states(engine) == {("scaled", 1): "READY"}
        with pytest.raises(falaj.NotFound):
            engine.infer(name, x_of(1))


def test_folders_are_ignored_when_their_names_are_no_versions(tmp_path: Path) -> None:
    add_scaled(tmp_path, 2)
    for name in ("3.tmp", "03", ".3", "-4", "4 ", "0", "latest", "\uff11"):
        shutil.copytree(tmp_path / "scaled" / "2", tmp_path / "scaled" / name)
    (tmp_path / "scaled" / "9").write_text("a file")
    (tmp_path / ".hidden" / "1").mkdir(parents=True)
    (tmp_path / "notes.txt").write_text("no model")
    with falaj.Engine(tmp_path, cores=1, strict=True) as engine:
        assert states(engine) == {("scaled", 2): "READY"}


@pytest.mark.parametrize(
    ("policy", "served"),
    [
        ("", [10]),
        ('versions = { policy = "latest", n = 2 }', [3, 10]),
        ('versions = { policy = "latest", n = 9 }', [1, 2, 3, 10]),
        ('versions = { policy = "all" }', [1, 2, 3, 10]),
        ('versions = { policy = "specific", list = [2, 1] }', [1, 2]),
    ],
)
def test_versions_are_served_when_the_policy_wants_them(
    tmp_path: Path, policy: str, served: list[int]
) -> None:
    for version in (1, 2, 3, 10):
        add_scaled(tmp_path, version, head=f"max_batch_size = 4\n{policy}")
    with falaj.Engine(tmp_path, cores=1, strict=True) as engine:
        assert states(engine) == {("scaled", version): "READY" for version in served}
        assert ask(engine) == max(served)
        assert [ask(engine, version) for version in served] == served
        with pytest.raises(falaj.NotFound, match="no version 77"):
            ask(engine, 77)
        with pytest.raises(falaj.NotFound, match="no version 77"):
            engine.describe("scaled", 77)


def test_specific_version_is_an_error_when_it_is_not_there(tmp_path: Path) -> None:
    add_scaled(tmp_path, 1, head='versions = { policy = "specific", list = [1, 5] }')
    with falaj.Engine(tmp_path, cores=1) as engine:
        with pytest.raises(falaj.InvalidInput, match=r"versions.list.*version 5 is not there"):
            engine.load("scaled")
        assert states(engine) == {("scaled", None): "UNAVAILABLE"}


def test_no_request_fails_when_models_are_reloaded_under_load(tmp_path: Path) -> None:
    add_scaled(tmp_path, 1)
    add_model(tmp_path, zoo.mlp(), QUICK)
    model = zoo.mlp()
    inputs = model.sample(np.random.default_rng(0), 2)
    expected = zoo.reference(model, inputs)
    newest, stop = [1], threading.Event()
    failures: list[object] = []
    asked = [0]

    def ask_for_ever() -> None:
        try:
            while not stop.is_set():
                least = newest[0]
                answer = ask(engine)
                assert least <= answer <= newest[0] + 1, (least, answer)
                assert_same(engine.infer("mlp", inputs), expected)
                asked[0] += 1
        except BaseException as error:
            failures.append(error)

    with falaj.Engine(tmp_path, cores=2, strict=True) as engine:
        callers = [threading.Thread(target=ask_for_ever) for _ in range(8)]
        for caller in callers:
            caller.start()
        try:
            for version in range(2, 22):
                add_scaled(tmp_path, version)
                engine.load("scaled")
                newest[0] = version
                engine.reload("mlp")
        finally:
            stop.set()
            for caller in callers:
                caller.join(60)
        assert failures == []
        assert asked[0] > 0
        assert ask(engine) == 21
        assert states(engine) == {("scaled", 21): "READY", ("mlp", 1): "READY"}


def test_model_is_served_when_loaded_and_unloaded_by_several_threads(tmp_path: Path) -> None:
    add_scaled(tmp_path, 1)
    failures: list[object] = []

    def load_and_unload() -> None:
        try:
            for _ in range(50):
                engine.load("scaled")
                try:
                    engine.unload("scaled")
                except falaj.NotFound:
                    continue  # another thread was quicker
        except BaseException as error:
            failures.append(error)

    with falaj.Engine(tmp_path, cores=1, strict=True) as engine:
        threads = [threading.Thread(target=load_and_unload) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(60)
        assert failures == []
        engine.load("scaled")
        assert ask(engine) == 1


class WaitedFor:
    """A lock that tells when somebody comes for it."""

    def __init__(self) -> None:
        self.lock, self.awaited = threading.Lock(), threading.Event()

    def __enter__(self) -> None:
        self.awaited.set()
        self.lock.acquire()

    def __exit__(self, *_: object) -> None:
        self.lock.release()


def test_model_is_served_when_loaded_while_it_is_being_unloaded(tmp_path: Path) -> None:
    add_scaled(tmp_path, 1)
    with falaj.Engine(tmp_path, cores=1, strict=True) as engine:
        entry = engine._repository._entries["scaled"]
        gate = WaitedFor()
        entry.lock = gate  # type: ignore[assignment]
        gate.lock.acquire()
        unloading = threading.Thread(target=engine.unload, args=("scaled",))
        loading = threading.Thread(target=engine.load, args=("scaled",))
        loading.start()
        assert gate.awaited.wait(30)
        engine._repository._entries.pop("scaled")  # as the unloading thread does while it holds the lock
        gate.lock.release()
        loading.join(30)
        assert ask(engine) == 1
        unloading.start()
        unloading.join(30)
        assert engine.models() == []


def test_old_version_serves_on_and_reason_is_told_when_new_one_is_broken(tmp_path: Path) -> None:
    add_model(tmp_path, zoo.mlp(), QUICK)
    x = {"x": np.zeros((1, 32), np.float32)}
    with falaj.Engine(tmp_path, cores=1, strict=True) as engine:
        broken = tmp_path / "mlp" / "2"
        broken.mkdir()
        (broken / "model.onnx").write_bytes(b"not a model")
        with pytest.raises(falaj.Error) as caught:
            engine.load("mlp")
        assert engine.infer("mlp", x)["y"].shape == (1, 2)
        [first, second] = engine.models()
        assert (first["version"], first["state"], first["reason"]) == (1, "READY", "")
        assert (second["version"], second["state"]) == (2, "UNAVAILABLE")
        assert second["reason"] == str(caught.value)
        assert second["reason"]
        with pytest.raises(falaj.NotFound, match="no version 2 in service"):
            engine.infer("mlp", x, version=2)
        shutil.copy(tmp_path / "mlp" / "1" / "model.onnx", broken / "model.onnx")
        engine.load("mlp")
        assert states(engine) == {("mlp", 2): "READY"}
        (tmp_path / "mlp" / "model.toml").write_text("max_batch_sise = 3")
        with pytest.raises(falaj.InvalidInput, match=r"model\.toml.*max_batch_sise.*max_batch_size"):
            engine.load("mlp")
        assert engine.infer("mlp", x)["y"].shape == (1, 2)


def test_version_stays_as_it_is_when_nothing_changed(tmp_path: Path) -> None:
    add_scaled(tmp_path, 1)
    with falaj.Engine(tmp_path, cores=1, strict=True) as engine:
        ask(engine)
        engine.load("scaled")
        assert engine.stats("scaled")[0]["inference_count"] == 1
        engine.reload("scaled")
        assert engine.stats("scaled")[0]["inference_count"] == 0


@pytest.mark.parametrize(
    ("toml", "message"),
    [
        ("max_batch_size = 4 = 5", r"model\.toml"),
        ("max_batch_size = 'many'", r"model\.toml.*max_batch_size"),
        ("max_batch_size = -1", r"max_batch_size.*-1"),
        ("max_batchsize = 1", r"max_batchsize.*did you mean 'max_batch_size'"),
        ("[[input]]\nname = 'z'", r"no input 'z'; it has 'x'"),
        ("[[output]]\nname = 'z'", r"no output 'z'; it has 'y'"),
        ("[[input]]\nname = 'x'\ndatatype = 'INT64'", r"'x' is FP32 in the model.*INT64"),
        ("[[input]]\nname = 'x'\nshape = [-1, 31]", r"'x' has shape \[-1, 32\].*\[-1, 31\]"),
        ("[[input]]\nname = 'x'\npad_axis = 1", r"pad_axis 1 is not a variable axis"),
        (
            "[[warmup]]\ninputs.z.shape = [32]",
            r"`warmup\[0\]\.inputs`: the model has no input 'z'; it has 'x'",
        ),
        ("model_filename = 'other.onnx'", r"expected other\.onnx in its folder, found model\.onnx"),
        ("backend = 'python'", r"expected model\.py in its folder, found model\.onnx"),
    ],
)
def test_load_raises_and_says_why_when_model_toml_is_wrong(tmp_path: Path, toml: str, message: str) -> None:
    add_model(tmp_path, zoo.mlp(), f"tune_ms = 0\n{toml}")
    with falaj.Engine(tmp_path, cores=1) as engine:
        with pytest.raises(falaj.Error, match=message):
            engine.load("mlp")
        [row] = engine.models()
        assert row["state"] == "UNAVAILABLE"
        with pytest.raises(falaj.Unavailable, match="model 'mlp' is not in service: "):
            engine.infer("mlp", {"x": np.zeros((1, 32), np.float32)})


PBTXT = """
name: "mlp"
platform: "onnxruntime_onnx"
max_batch_size: 16
input [ { name: "x" data_type: TYPE_FP32 dims: [ 32 ] } ]
output [ { name: "y" data_type: TYPE_FP32 dims: [ 2 ] } ]
instance_group [ { count: 1 kind: KIND_CPU } ]
dynamic_batching { }
"""


def test_config_pbtxt_is_obeyed_when_there_is_no_model_toml(tmp_path: Path) -> None:
    model = zoo.mlp()
    zoo.save(model, tmp_path)
    (tmp_path / "mlp" / "config.pbtxt").write_text(PBTXT)
    inputs = model.sample(np.random.default_rng(0), 3)
    with falaj.Engine(tmp_path, cores=1, strict=True) as engine:
        told = engine.describe("mlp")
        assert (told["max_batch_size"], told["instances"]) == (16, 1)
        assert_same(engine.infer("mlp", inputs), zoo.reference(model, inputs))
        (tmp_path / "mlp" / "model.toml").write_text("tune_ms = 0\nmax_batch_size = 2")
        engine.load("mlp")
        assert engine.describe("mlp")["max_batch_size"] == 2


def test_broken_copy_is_never_served_and_whole_one_is_when_folder_is_watched(tmp_path: Path) -> None:
    add_model(tmp_path, zoo.mlp(), QUICK)
    x = {"x": np.ones((1, 32), np.float32)}
    with falaj.Engine(tmp_path, cores=1, watch=WATCH, strict=True) as engine:
        first = engine.infer("mlp", x)
        whole = (tmp_path / "mlp" / "1" / "model.onnx").read_bytes()
        copy = tmp_path / "mlp" / "2"
        copy.mkdir()
        (copy / "model.onnx").write_bytes(whole[: len(whole) // 2])
        until(lambda: ("mlp", 2) in states(engine))
        assert states(engine) == {("mlp", 1): "READY", ("mlp", 2): "UNAVAILABLE"}
        assert_same(engine.infer("mlp", x), first)
        (copy / "model.onnx").write_bytes(whole)
        until(lambda: states(engine) == {("mlp", 2): "READY"})
        assert_same(engine.infer("mlp", x, version=2), first)


def test_version_is_left_alone_when_its_files_still_change(tmp_path: Path) -> None:
    add_scaled(tmp_path, 1)
    with falaj.Engine(tmp_path, cores=1, watch=1e6, strict=True) as engine:
        watcher = engine._watcher
        assert watcher is not None
        folder = add_scaled(tmp_path, 2)
        for i in range(5):
            (folder / "weights.bin").write_bytes(b"x" * (i + 1))
            watcher._step()
            assert states(engine) == {("scaled", 1): "READY"}
        watcher._step()
        assert states(engine) == {("scaled", 2): "READY"}


def test_models_come_and_go_with_their_folders_when_watched(tmp_path: Path) -> None:
    add_scaled(tmp_path, 1)
    with falaj.Engine(tmp_path, cores=1, watch=WATCH, strict=True) as engine:
        add_python(tmp_path / "incoming.tmp", "new")
        os.rename(tmp_path / "incoming.tmp" / "new", tmp_path / "new")
        until(lambda: states(engine).get(("new", 1)) == "READY")
        assert engine.infer("new", x_of(3))["y"].item() == 3
        shutil.copytree(tmp_path / "scaled" / "1", tmp_path / "scaled" / "3.tmp")
        looks(engine)
        assert ask(engine) == 1
        (tmp_path / "scaled" / "3.tmp").rename(tmp_path / "scaled" / "3")
        until(lambda: states(engine).get(("scaled", 3)) == "READY")
        (tmp_path / "scaled" / "model.toml").write_text("max_batch_sise = 1")
        until(lambda: states(engine).get(("scaled", None)) == "UNAVAILABLE")
        assert ask(engine) == 1
        shutil.rmtree(tmp_path / "new")
        until(lambda: ("new", 1) not in states(engine))
        with pytest.raises(falaj.NotFound):
            engine.infer("new", x_of(1))
        shutil.rmtree(tmp_path / "scaled")
        until(lambda: states(engine) == {})


def test_unsupported_names_the_pip_command_when_onnxruntime_is_missing(tmp_path: Path) -> None:
    add_model(tmp_path, zoo.mlp(), QUICK)
    add_scaled(tmp_path, 1)
    done = run_script(
        """
        import sys
        from importlib.machinery import PathFinder

        class Without:
            @staticmethod
            def find_spec(name, path=None, target=None):
                return None if name == "onnxruntime" else PathFinder.find_spec(name, path, target)

        sys.meta_path[sys.meta_path.index(PathFinder)] = Without
        import falaj, numpy as np
        with falaj.Engine(sys.argv[1], cores=1) as engine:
            try:
                engine.load("mlp")
            except falaj.Unsupported as error:
                print(error)
            assert engine.infer("scaled", {"x": np.ones((1, 1), np.float32)})["y"].item() == 1
        """,
        tmp_path,
    )
    assert done.returncode == 0, done.stderr
    assert "pip install 'falaj[cpu]'" in done.stdout


BOGUS: dict[str, bytes | None] = {
    "empty": b"",
    "text": b"no library",
    "half": b"\x7fELF" + bytes(100),
    "missing": None,
}


@pytest.mark.parametrize("kind", [*BOGUS, "another"])
def test_unsupported_is_raised_when_the_library_is_bogus(tmp_path: Path, kind: str) -> None:
    library = tmp_path / "libonnxruntime.so.9"
    content = BOGUS.get(kind)
    if content is not None:
        library.write_bytes(content)
    add_model(tmp_path / "models", zoo.mlp(), QUICK)
    # In a process of its own: the library is opened once a process.
    done = run_script(
        """
        import sys
        import falaj
        import falaj.training.onnx_backend

        falaj.training.onnx_backend.find_onnxruntime = lambda: sys.argv[2]
        with falaj.Engine(sys.argv[1], cores=1) as engine:
            try:
                engine.load("mlp")
            except falaj.Unsupported as error:
                assert sys.argv[2] in str(error), error
                print("unsupported")
            assert engine.models()[0]["state"] == "UNAVAILABLE"
        """,
        tmp_path / "models",
        "libc.so.6" if kind == "another" else library,
    )
    assert (done.returncode, done.stdout) == (0, "unsupported\n"), done.stderr
