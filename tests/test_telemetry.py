"""Loading and asking writes nothing into the home folder and opens no connection."""

import os
from pathlib import Path

import pytest

from tests import zoo
from tests.serving import QUICK, add_model, assert_clean, run_script

pytestmark = pytest.mark.core


def test_nothing_leaves_the_process_when_a_model_is_served(tmp_path: Path) -> None:
    add_model(tmp_path / "models", zoo.mlp(), QUICK)
    home, cache = tmp_path / "home", tmp_path / "cache"
    home.mkdir()
    cache.mkdir()
    variables = {**os.environ, "HOME": str(home), "XDG_CACHE_HOME": str(cache)}
    for name in ("ORT_DISABLE_TELEMETRY", "XDG_CONFIG_HOME", "XDG_DATA_HOME", "XDG_STATE_HOME"):
        variables.pop(name, None)
    done = run_script(
        """
        import ctypes, os, stat, sys
        import numpy as np
        import psutil
        import falaj

        def sockets():
            found = []
            for fd in os.listdir("/proc/self/fd"):
                try:
                    if stat.S_ISSOCK(os.fstat(int(fd)).st_mode):
                        found.append(fd)
                except OSError:
                    pass  # the listing's own
            return found

        def connections():
            process = psutil.Process()
            return getattr(process, "net_connections", process.connections)(kind="all")

        getenv = ctypes.CDLL(None).getenv
        getenv.restype, getenv.argtypes = ctypes.c_char_p, [ctypes.c_char_p]
        before = sockets()
        with falaj.Engine(sys.argv[1], cores=2, strict=True) as engine:
            for _ in range(10):
                engine.infer("mlp", {"x": np.zeros((1, 32), np.float32)})
            engine.reload("mlp")
            assert sockets() == before, sockets()
            assert connections() == [], connections()
            # As native code sees it, which os.environ may not.
            assert getenv(b"ORT_DISABLE_TELEMETRY") == b"1", getenv(b"ORT_DISABLE_TELEMETRY")
        assert sockets() == before and connections() == []
        """,
        tmp_path / "models",
        env=variables,
    )
    assert_clean(done)
    assert [*home.rglob("*"), *cache.rglob("*")] == []


ORDERS = {
    "before": ("import onnxruntime", ""),
    "after": ("", "import onnxruntime"),
}


@pytest.mark.parametrize("order", ORDERS)
def test_onnxruntime_works_beside_the_engine_when_imported(tmp_path: Path, order: str) -> None:
    folder = add_model(tmp_path, zoo.mlp(), QUICK)
    before, after = ORDERS[order]
    done = run_script(
        f"""
        import sys
        import numpy as np
        {before}
        import falaj

        x = np.random.default_rng(0).standard_normal((3, 32)).astype(np.float32)
        with falaj.Engine(sys.argv[1], cores=2, strict=True) as engine:
            first = engine.infer("mlp", {{"x": x}})["y"]
            {after}
            session = onnxruntime.InferenceSession(sys.argv[2], providers=["CPUExecutionProvider"])
            own = session.run(None, {{"x": x}})[0]
            np.testing.assert_allclose(first, own, rtol=1e-4, atol=1e-5)
            np.testing.assert_allclose(engine.infer("mlp", {{"x": x}})["y"], own, rtol=1e-4, atol=1e-5)
        np.testing.assert_allclose(session.run(None, {{"x": x}})[0], own)
        print("both")
        """,
        tmp_path,
        folder / "model.onnx",
    )
    assert (done.returncode, done.stdout) == (0, "both\n"), done.stderr
