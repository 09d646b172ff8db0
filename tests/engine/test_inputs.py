"""What may be passed as a tensor, and what comes back."""

import ctypes
import gc
import sys
import weakref
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import ml_dtypes
import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import falaj
from tests import zoo
from tests.serving import add_python, assert_same

pytestmark = pytest.mark.core

NUMERIC = [datatype for datatype in zoo.DATATYPES if datatype != "BYTES"]
Array = npt.NDArray[Any]


def pair(engine: falaj.Engine, a: Any, b: Any, datatype: str = "FP32") -> Array:
    """`a` beside `b`, as they arrived at the model."""
    joined = engine.infer(f"elementwise_{datatype.lower()}", {"a": a, "b": b})["joined"]
    assert isinstance(joined, np.ndarray)
    return joined


def fortran(array: Array) -> Array:
    return np.asfortranarray(array)


def every_second(array: Array) -> Array:
    wide = np.zeros((array.shape[0] * 2, array.shape[1] * 3), dtype=array.dtype)
    wide[::2, ::3] = array
    return wide[::2, ::3]


def reversed_rows(array: Array) -> Array:
    return np.ascontiguousarray(array[::-1])[::-1]


def read_only(array: Array) -> Array:
    copy = array.copy()
    copy.flags.writeable = False
    return copy


def misaligned(array: Array) -> Array:
    memory = np.zeros(array.nbytes + 1, dtype=np.uint8)
    moved = memory[1:].view(array.dtype).reshape(array.shape)
    moved[...] = array
    return moved


def byte_swapped(array: Array) -> Array:
    return array.astype(array.dtype.newbyteorder())


@pytest.mark.parametrize("layout", [fortran, every_second, reversed_rows, read_only, misaligned])
@pytest.mark.parametrize("datatype", zoo.DATATYPES)
def test_array_arrives_unchanged_when_laid_out_otherwise(
    engine: falaj.Engine, datatype: str, layout: Callable[[Array], Array]
) -> None:
    if layout is misaligned and datatype == "BYTES":
        return  # Python objects are never misaligned
    rng = np.random.default_rng(0)
    a, b = (zoo.random_array(rng, datatype, (5, 3)) for _ in range(2))
    np.testing.assert_array_equal(pair(engine, layout(a), layout(b), datatype), np.hstack([a, b]))


@pytest.mark.parametrize("datatype", [d for d in NUMERIC if d not in ("BOOL", "INT8", "UINT8", "BF16")])
def test_array_arrives_unchanged_when_byte_swapped(engine: falaj.Engine, datatype: str) -> None:
    a = zoo.random_array(np.random.default_rng(0), datatype, (5, 3))
    np.testing.assert_array_equal(pair(engine, byte_swapped(a), a, datatype), np.hstack([a, a]))


@pytest.fixture(scope="module")
def scalar_engine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[falaj.Engine]:
    folder = tmp_path_factory.mktemp("scalar")
    tensors = """
    [[input]]
    name = "x"
    datatype = "FP32"
    shape = []
    [[output]]
    name = "y"
    datatype = "FP32"
    shape = []
    """
    add_python(folder, "scalar", tensors=tensors)
    with falaj.Engine(folder, cores=1, strict=True) as engine:
        yield engine


@pytest.mark.parametrize("value", [np.array(2.5, dtype=np.float32), np.float32(2.5), 2.5, 2])
def test_scalar_arrives_unchanged_when_input_has_rank_zero(scalar_engine: falaj.Engine, value: Any) -> None:
    answer = scalar_engine.infer("scalar", {"x": value})["y"]
    assert (answer.ndim, answer.dtype.name, float(answer)) == (0, "float32", float(np.float32(value)))


@pytest.mark.parametrize("datatype", zoo.DATATYPES)
def test_list_and_tuple_arrive_as_array_when_values_fit(engine: falaj.Engine, datatype: str) -> None:
    a = zoo.random_array(np.random.default_rng(1), datatype, (2, 3))
    as_list, as_tuple = a.tolist(), tuple(map(tuple, a.tolist()))
    if datatype == "BF16":
        as_list = a.astype(np.float32).tolist()
        as_tuple = tuple(map(tuple, as_list))
    np.testing.assert_array_equal(pair(engine, as_list, as_tuple, datatype), np.hstack([a, a]))


@pytest.mark.parametrize(
    ("datatype", "value"),
    [
        ("UINT8", 256),
        ("UINT8", -1),
        ("INT8", 128),
        ("INT8", -129),
        ("INT16", 1 << 15),
        ("UINT16", 1 << 16),
        ("INT32", 1 << 31),
        ("UINT32", 1 << 32),
        ("INT64", 1 << 63),
        ("INT64", 1 << 64),
        ("UINT64", -1),
        ("UINT64", 1 << 64),
        ("FP16", 1e6),
        ("FP32", 1e300),
        ("BF16", 1e300),
        ("INT32", 1.0),
        ("INT64", 0.5),
        ("INT64", float("nan")),
        ("BOOL", 1),
        ("INT32", True),
        ("FP32", True),
        ("FP32", "1.5"),
        ("FP32", b"1.5"),
        ("FP32", None),
        ("FP32", 1j),
        ("BYTES", 1),
        ("BYTES", None),
        ("BYTES", "\ud800"),
    ],
)
def test_value_is_refused_when_it_does_not_fit_the_data_type(
    engine: falaj.Engine, datatype: str, value: Any
) -> None:
    fine = np.zeros((1, 3), dtype=zoo.numpy_dtype(datatype))
    if datatype == "BYTES":
        fine[:] = b""
    with pytest.raises(falaj.InvalidInput, match=r"version 1, input 'a'") as caught:
        pair(engine, [[value] * 3], fine, datatype)
    assert f"elementwise_{datatype.lower()}" in str(caught.value)


@pytest.mark.parametrize("value", [float("inf"), -float("inf"), float("nan")])
@pytest.mark.parametrize("datatype", ["FP16", "BF16", "FP32", "FP64"])
def test_infinity_and_nan_arrive_unchanged_when_listed(
    engine: falaj.Engine, datatype: str, value: float
) -> None:
    rows = [[value] * 3]
    np.testing.assert_array_equal(
        pair(engine, rows, rows, datatype).astype(np.float64), np.full((1, 6), value)
    )


@pytest.mark.parametrize("value", [[[1.0], [1.0, 2.0]], {"a": 1}, object(), [[object()] * 3]])
def test_value_is_refused_when_it_is_no_array(engine: falaj.Engine, value: Any) -> None:
    with pytest.raises(falaj.InvalidInput, match=r"'elementwise_fp32' version 1, input 'a': expected FP32"):
        pair(engine, value, np.zeros((1, 3), np.float32))


AWKWARD = [b"", b"\x00", b"a\x00", b"\xff\xfe\x80", b"\x00\x00", "é".encode(), b"long" * 5000]


def test_bytes_arrive_unchanged_when_not_utf8_or_with_nul(engine: falaj.Engine) -> None:
    spec = engine.describe("identity_bytes_2")["inputs"]
    inputs = {}
    for tensor in spec:
        shape = [len(AWKWARD), *tensor["shape"][1:]]
        array = np.empty(shape, dtype=object)
        for i, index in enumerate(np.ndindex(*shape)):
            array[index] = AWKWARD[i % len(AWKWARD)]
        inputs[tensor["name"]] = array
    answer = engine.infer("identity_bytes_2", inputs)
    for name, array in inputs.items():
        np.testing.assert_array_equal(answer[name.replace("x", "y")], array)


@settings(max_examples=100, deadline=None)
@given(st.lists(st.binary(max_size=300), min_size=3, max_size=3))
def test_bytes_arrive_unchanged_when_arbitrary(engine: falaj.Engine, row: list[bytes]) -> None:
    answer = engine.infer("tokens", {"text": [row]}, outputs=["same"])
    assert answer["same"].tolist() == [row]


def test_strings_arrive_as_utf8_when_str_s_or_u(engine: falaj.Engine) -> None:
    words = ["é", "فلج", "plain"]
    expected = [[word.encode() for word in words]]
    fixed_s = np.array([[w.encode() for w in words]])
    fixed_u = np.array([words])
    assert (fixed_s.dtype.kind, fixed_u.dtype.kind) == ("S", "U")
    for value in (
        [words],
        np.array([words], dtype=object),
        fixed_s,
        fixed_u,
        fixed_u.astype(">U5"),
        expected,
    ):
        assert engine.infer("tokens", {"text": value})["same"].tolist() == expected


@pytest.mark.parametrize("name", ["elementwise_fp32", "elementwise_bytes"])
def test_answer_is_empty_when_there_are_no_rows(engine: falaj.Engine, name: str) -> None:
    dtype = object if name.endswith("bytes") else np.float32
    answer = engine.infer(name, {"a": np.zeros((0, 3), dtype), "b": np.zeros((0, 3), dtype)})
    assert answer["joined"].shape == (0, 6)


class Exported:
    """A foreign array: nothing but the DLPack protocol."""

    def __init__(self, array: Array, version: tuple[int, int] | None = None) -> None:
        self.array = array
        self.version = version
        self.exports = 0

    def __dlpack_device__(self) -> tuple[int, int]:
        return (1, 0)

    def __dlpack__(self, **keywords: Any) -> Any:
        self.exports += 1
        if self.version is None:
            return self.array.__dlpack__()
        return self.array.__dlpack__(max_version=self.version)


@pytest.mark.parametrize("version", [None, (1, 0)])
@pytest.mark.parametrize("datatype", [d for d in NUMERIC if d != "BF16"])
def test_dlpack_arrives_unchanged_when_exported_by_another_library(
    engine: falaj.Engine, datatype: str, version: tuple[int, int] | None
) -> None:
    a = zoo.random_array(np.random.default_rng(0), datatype, (4, 3))
    exported = Exported(a, version), Exported(every_second(a), version)
    np.testing.assert_array_equal(pair(engine, *exported, datatype), np.hstack([a, a]))
    assert [e.exports for e in exported] == [1, 1]
    references = sys.getrefcount(a)
    pair(engine, Exported(a, version), Exported(a, version), datatype)
    gc.collect()
    assert sys.getrefcount(a) == references  # the capsules let go of it


class _DlTensor(ctypes.Structure):
    _fields_ = [
        ("data", ctypes.c_void_p),
        ("device_type", ctypes.c_int32),
        ("device_id", ctypes.c_int32),
        ("rank", ctypes.c_int32),
        ("code", ctypes.c_uint8),
        ("bits", ctypes.c_uint8),
        ("lanes", ctypes.c_uint16),
        ("shape", ctypes.POINTER(ctypes.c_int64)),
        ("strides", ctypes.POINTER(ctypes.c_int64)),
        ("byte_offset", ctypes.c_uint64),
        ("context", ctypes.c_void_p),
        ("deleter", ctypes.c_void_p),
    ]


class HandMade:
    """A DLPack export made field by field, for what NumPy does not export."""

    def __init__(self, array: Array, code: int, bits: int, lanes: int = 1, device: int = 1) -> None:
        self.array = np.ascontiguousarray(array)
        self.shape = (ctypes.c_int64 * array.ndim)(*array.shape)
        self.device = device
        start = self.array.ctypes.data - 16
        self.tensor = _DlTensor(
            start, device, 0, array.ndim, code, bits, lanes, self.shape, None, 16, None, None
        )

    def __dlpack_device__(self) -> tuple[int, int]:
        return (self.device, 0)

    def __dlpack__(self, **keywords: Any) -> Any:
        new = ctypes.pythonapi.PyCapsule_New
        new.restype, new.argtypes = ctypes.py_object, [ctypes.c_void_p, ctypes.c_char_p, ctypes.c_void_p]
        return new(ctypes.addressof(self.tensor), b"dltensor", None)


def test_dlpack_arrives_unchanged_when_bfloat16_without_strides_and_with_offset(
    engine: falaj.Engine,
) -> None:
    a = np.arange(6, dtype=np.float32).reshape(2, 3).astype(ml_dtypes.bfloat16)
    value = HandMade(a, code=4, bits=16)
    np.testing.assert_array_equal(pair(engine, value, a, "BF16"), np.hstack([a, a]))


@pytest.mark.parametrize(("code", "bits", "lanes"), [(5, 64, 1), (2, 32, 4), (0, 4, 1), (3, 32, 1)])
def test_dlpack_is_refused_when_its_type_is_not_of_the_protocol(
    engine: falaj.Engine, code: int, bits: int, lanes: int
) -> None:
    a = np.zeros((2, 3), dtype=np.float64)
    with pytest.raises(falaj.InvalidInput, match=r"'elementwise_fp64' version 1, input 'a': .*element type"):
        pair(engine, HandMade(a, code, bits, lanes), a, "FP64")


def test_dlpack_is_refused_when_its_library_cannot_export(engine: falaj.Engine) -> None:
    class OnDevice:
        def __dlpack_device__(self) -> tuple[int, int]:
            return (2, 0)

        def __dlpack__(self, **keywords: Any) -> Any:
            raise BufferError(f"no copy: {sorted(keywords)}")

    with pytest.raises(falaj.InvalidInput, match=r"input 'a': .*could not export.*dl_device"):
        pair(engine, OnDevice(), np.zeros((1, 3), np.float32))


@pytest.mark.parametrize("returned", [None, 3, "capsule"])
def test_dlpack_is_refused_when_it_returns_no_capsule(engine: falaj.Engine, returned: Any) -> None:
    class Broken:
        def __dlpack_device__(self) -> tuple[int, int]:
            return (1, 0)

        def __dlpack__(self, **keywords: Any) -> Any:
            return returned

    with pytest.raises(falaj.InvalidInput, match=r"'elementwise_fp32' version 1, input 'a'"):
        pair(engine, Broken(), np.zeros((1, 3), np.float32))


@pytest.mark.parametrize(
    "array",
    [
        np.zeros((1, 3), dtype=np.complex64),
        np.zeros((1, 3), dtype=np.longdouble),
        np.zeros((1, 3), dtype="datetime64[s]"),
        np.zeros((1, 3), dtype="V2"),
        np.zeros((1, 3), dtype=[("a", np.float32)]),
        np.zeros((1,) * 9, dtype=np.float32),
    ],
)
def test_array_is_refused_when_its_type_or_rank_is_not_of_the_protocol(
    engine: falaj.Engine, array: Array
) -> None:
    with pytest.raises(falaj.InvalidInput, match=r"'elementwise_fp32' version 1, input 'a'"):
        pair(engine, array, np.zeros((1, 3), np.float32))


GATED = """
import threading
import numpy

started, gate = threading.Event(), threading.Event()
seen = []

class Model:
    def infer(self, batch):
        started.set()
        gate.wait(60)
        seen.append(float(batch["x"].sum()))
        return {"y": batch["x"][:, :1]}

import sys
sys.modules["falaj_test_gated"] = sys.modules[__name__]
"""


def test_large_array_stays_alive_when_its_request_timed_out_before_its_batch_ended(tmp_path: Path) -> None:
    width = 1 << 15
    tensors = f"""
    [[input]]
    name = "x"
    datatype = "FP32"
    shape = [-1, {width}]
    [[output]]
    name = "y"
    datatype = "FP32"
    shape = [-1, 1]
    """
    add_python(tmp_path, "gated", GATED, tensors=tensors)
    with falaj.Engine(tmp_path, cores=2, strict=True) as engine:
        module = sys.modules.pop("falaj_test_gated")
        array = np.ones((1, width), dtype=np.float32)
        alive = weakref.ref(array)
        with pytest.raises(falaj.DeadlineExceeded):
            engine.infer("gated", {"x": array}, timeout=0.2)
        assert module.started.is_set()
        del array
        gc.collect()
        assert alive() is not None  # its batch still reads it
        module.gate.set()
        engine.infer("gated", {"x": np.zeros((1, width), np.float32)})
        assert module.seen[0] == width
    gc.collect()
    assert alive() is None


@pytest.mark.parametrize("name", ["mlp", "trees_sklearn", "tokens", "transformer_encoder", "scalar_output"])
def test_answer_owns_its_memory_and_survives_when_engine_is_closed(tmp_path: Path, name: str) -> None:
    builders: dict[str, Callable[[], zoo.ZooModel]] = {
        "mlp": zoo.mlp,
        "trees_sklearn": zoo.trees_gbdt,
        "tokens": zoo.tokens,
        "transformer_encoder": zoo.transformer_encoder,
        "scalar_output": zoo.scalar_output,
    }
    model = builders[name]()
    zoo.save(model, tmp_path)
    (tmp_path / name / "model.toml").write_text("tune_ms = 0")
    inputs = model.sample(np.random.default_rng(0), 3)
    with falaj.Engine(tmp_path, cores=1, strict=True) as engine:
        answer = engine.infer(name, inputs)
        for array in answer.values():
            assert array.flags.owndata
            assert array.flags.writeable
            assert array.flags.c_contiguous
        expected = {key: array.copy() for key, array in answer.items()}
        for _ in range(20):
            engine.infer(name, model.sample(np.random.default_rng(1), 3))
    assert_same(answer, expected)


def test_only_wanted_outputs_come_in_order_when_outputs_are_named(engine: falaj.Engine) -> None:
    inputs = zoo.tokens().sample(np.random.default_rng(0), 2)
    everything = engine.infer("tokens", inputs)
    assert list(everything) == ["same", "twice", "suffixed"]
    some = engine.infer("tokens", inputs, outputs=["suffixed", "same"])
    assert list(some) == ["suffixed", "same"]
    assert_same(some, {name: everything[name] for name in ("suffixed", "same")})
    assert engine.infer("tokens", inputs, outputs=[]) == {}
    many = engine.infer_many("tokens", [inputs], outputs=["twice"])
    assert_same(many[0], {"twice": everything["twice"]})


def test_buffers_are_filled_and_returned_when_out_is_given(engine: falaj.Engine) -> None:
    model = zoo.trees_gbdt()
    inputs = model.sample(np.random.default_rng(0), 4)
    expected = engine.infer(model.name, inputs)
    strided = np.zeros((8, 4), dtype=np.float32)[::2, ::2]
    labels = np.zeros(4, dtype=np.int64)
    answer = engine.infer(model.name, inputs, out={"probabilities": strided, "label": labels})
    assert answer["probabilities"] is strided
    assert answer["label"] is labels
    assert_same(answer, expected)
    words = np.full((2, 3), None, dtype=object)
    text = zoo.tokens().sample(np.random.default_rng(0), 2)
    got = engine.infer("tokens", text, outputs=["same"], out={"same": words})
    assert got["same"] is words
    np.testing.assert_array_equal(words, text["text"])


@pytest.mark.parametrize(
    "out",
    [
        np.zeros((2, 2), dtype=np.float64),
        np.zeros((3, 2), dtype=np.float32),
        np.zeros(2, dtype=np.float32),
        np.zeros((2, 2), dtype=np.complex64),
        read_only(np.zeros((2, 2), dtype=np.float32)),
        [[0.0, 0.0], [0.0, 0.0]],
        None,
    ],
)
def test_buffer_is_refused_when_it_is_not_exactly_of_the_output(engine: falaj.Engine, out: Any) -> None:
    x = np.zeros((2, 32), dtype=np.float32)
    with pytest.raises(falaj.InvalidInput, match=r"'mlp' version 1, output 'y': expected a "):
        engine.infer("mlp", {"x": x}, out={"y": out})


def test_buffer_is_refused_when_the_model_has_no_such_output(engine: falaj.Engine) -> None:
    x = np.zeros((2, 32), dtype=np.float32)
    with pytest.raises(falaj.InvalidInput, match=r"'mlp' version 1 has no output 'z'; its outputs: 'y'"):
        engine.infer("mlp", {"x": x}, out={"z": np.zeros((2, 2), np.float32)})
