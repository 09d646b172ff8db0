"""A model behind a transform answers a server's clients with the bits that it has on a training set."""

import time
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pyarrow as pa
import pyarrow.compute as pc
import pytest
import tritonclient.grpc as triton_grpc
import tritonclient.http as triton_http
from pyarrow import parquet
from typer.testing import CliRunner

import falaj
from falaj.features import Aggregate, Column, Entity, ParquetFiles, View
from falaj.features.cli import features
from falaj.features.registry import Registry
from falaj.features.transform import Transform
from falaj.features.transform.evaluate import dtype_of
from falaj.features.transform.fuse import fuse
from falaj.features.transform.load import load_transform
from tests.features.transform.served import assert_same_bits, column, passing
from tests.server.serving_process import Serving
from tests.serving import QUICK

# All that a client can bring, and all kinds of columns: converted, wrapped around, chosen, and as they are.
_TRANSFORMS = """
from falaj.features.transform import transform

@transform(
    inputs={"amount": "FP64", "rate": "FP32", "note": "BYTES", "profile__income": "FP32",
            "profile__ratio": "FP64", "profile__points": "FP64", "profile__level": "UINT8",
            "profile__member": "BOOL", "profile__city": "BYTES", "spending__total": "FP64"},
    outputs={"share": "FP64", "income": "FP32", "ratio": "FP64", "points": "FP64", "near": "BOOL",
             "place": "BYTES", "level": "UINT8", "total": "FP64", "bent": "FP32"},
)
def first(xp, amount, rate, note, profile__income, profile__ratio, profile__points, profile__level,
          profile__member, profile__city, spending__total):
    near = (note == profile__city) & profile__member
    return (
        amount / xp.astype(profile__income, xp.float64) + profile__ratio,
        profile__income,
        profile__ratio,
        profile__points * 3.0,
        near,
        xp.where(near, "near", profile__city),
        profile__level + 250,
        spending__total,
        xp.tanh(profile__income) * rate,
    )

@transform(
    inputs={"near": "BOOL", "count": "INT32", "spending__orders": "INT64", "profile__visits": "INT64"},
    outputs={"visits": "INT64"},
)
def second(xp, near, count, spending__orders, profile__visits):
    return xp.where(near, profile__visits - spending__orders, profile__visits * xp.astype(count, xp.int64))
"""
_COLUMNS = (
    Column("income", "FP32", default=0.1),
    Column("ratio", "FP64"),
    Column("points", "INT32"),  # as FP64, with NaN for none
    Column("level", "UINT8", default=3),
    Column("member", "BOOL", default=True),
    Column("city", "BYTES", default="Dubai"),
    Column("visits", "INT64", default=-(2**63)),
)
_BROUGHT = {"amount": "FP64", "rate": "FP32", "note": "BYTES", "count": "INT32"}
_CUSTOMERS, _ROWS = 160, 240
_HOUR = 3_600_000_000


@dataclass(frozen=True)
class Trained:
    """A served model, and what it answered on the training set."""

    folder: Path
    server: Serving
    asked: dict[str, Any]
    answers: dict[str, Any]


def _now() -> int:
    return time.time_ns() // 1000


def _views(folder: Path) -> list[View]:
    customer = Entity("customer", {"customer_id": "INT64"})
    profile = View(
        name="profile",
        version=1,
        entity=customer,
        source=ParquetFiles(str(folder / "profiles.parquet")),
        columns=_COLUMNS,
        event_time="at",
        known_time=None,
        ttl=timedelta(hours=100),
    )
    hour, amount = timedelta(hours=1), Column("amount", "FP64")
    spending = View(
        name="spending",
        version=1,
        entity=customer,
        source=ParquetFiles(str(folder / "orders.parquet")),
        aggregates=(Aggregate("total", "sum", amount, hour), Aggregate("orders", "count", None, hour)),
        event_time="at",
        known_time=None,
    )
    return [profile, spending]


def _write(path: Path, columns: dict[str, Any], nulls: float = 0.0) -> None:
    """Write arrays, with a share of nulls in all that are of features."""
    rng = np.random.default_rng(7)
    arrays = {
        name: pa.array(
            values,
            pa.string() if values.dtype == object else None,
            mask=rng.random(len(values)) < (0.0 if name in ("customer_id", "at") else nulls),
        )
        for name, values in columns.items()
    }
    parquet.write_table(pa.table(arrays), path)


def _write_sources(folder: Path) -> dict[str, Any]:
    """Write both sources and a spine; return what its rows ask."""
    rng = np.random.default_rng(5)
    age = np.where(np.arange(_CUSTOMERS) % 5 == 0, 500 * _HOUR, _HOUR)  # of some it has expired
    profiles = {"customer_id": np.arange(_CUSTOMERS), "at": _now() - age}
    for seed, each in enumerate(_COLUMNS):
        profiles[each.name] = column(each.datatype, _CUSTOMERS, seed)
    _write(folder / "profiles.parquet", profiles, nulls=0.2)
    orders = {"customer_id": rng.integers(0, _CUSTOMERS, 400), "at": np.full(400, _now() - _HOUR // 4)}
    _write(folder / "orders.parquet", {**orders, "amount": column("FP64", 400, 20)}, nulls=0.1)
    asked = {name: column(of, _ROWS, 30 + seed) for seed, (name, of) in enumerate(_BROUGHT.items())}
    return {"customer_id": rng.integers(-20, _CUSTOMERS + 20, _ROWS), **asked}  # some are never seen


def _falaj(*arguments: object) -> None:
    result = CliRunner().invoke(features, [str(each) for each in arguments], catch_exceptions=False)
    assert result.exit_code == 0, result.output


def _trained(transforms: list[Transform], path: Path) -> dict[str, Any]:
    """Return what the model itself answers on what was computed for training."""
    table = parquet.read_table(path)
    outputs = {name: of for each in transforms for name, of in each.outputs.items()}
    given = {}
    for name, of in outputs.items():
        assert table[name].null_count == 0
        given[name] = np.asarray(table[name].to_numpy(), dtype_of(of))
    session = onnxruntime.InferenceSession(
        passing(outputs).SerializeToString(), providers=["CPUExecutionProvider"]
    )
    names = [info.name for info in session.get_outputs()]
    return dict(zip(names, session.run(names, given), strict=True))


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Trained]:
    folder = tmp_path_factory.mktemp("transformed")
    asked, data = _write_sources(folder), folder / "data"
    version = folder / "models" / "score" / "1"
    version.mkdir(parents=True)
    (version.parent / "model.toml").write_text(f"max_batch_size = 64\n{QUICK}")
    (folder / "both.py").write_text(_TRANSFORMS)
    both = [load_transform(f"{folder / 'both.py'}:{name}") for name in ("first", "second")]
    outputs = {name: of for each in both for name, of in each.outputs.items()}
    onnx.save(fuse(passing(outputs), both), version / "model.onnx")
    Registry(data / "features.db").apply(_views(folder))
    named = ("--views", "profile,spending", "--data-dir", data)
    _falaj("bind", version, *named)
    _falaj("materialize", *named)
    _write(folder / "spine.parquet", {**asked, "spine_ts": np.full(_ROWS, _now())})
    computed = [part for each in both for part in ("--transform", f"{folder / 'both.py'}:{each.name}")]
    _falaj("export", "--spine", folder / "spine.parquet", "--out", folder / "set.parquet", *named, *computed)
    store = f"--set=features.store=lmdb://{data / 'online'}"
    with Serving(folder, store) as server:
        yield Trained(folder, server, asked, _trained(both, folder / "set.parquet"))


def test_training_set_has_all_that_can_be_of_an_entity(trained: Trained) -> None:
    table = parquet.read_table(trained.folder / "set.parquet")
    assert set(table["profile__status"].to_pylist()) == {"present", "missing", "expired"}
    present = table.filter(pc.field("profile__status") == "present")
    assert min(present[f"profile__{each.name}"].null_count for each in _COLUMNS) > 0
    assert np.isnan(trained.answers["total_out"]).any()
    assert set(trained.answers["near_out"]) == {True, False}


@pytest.mark.parametrize("rows", [1, 7, 60])
@pytest.mark.parametrize("client", ["http", "grpc"])
def test_server_has_the_bits_of_the_training_set_when_asked_by_key(
    trained: Trained, client: str, rows: int
) -> None:
    module = triton_http if client == "http" else triton_grpc
    connection = module.InferenceServerClient(f"127.0.0.1:{trained.server.ready[client]}")
    parts: dict[str, list[Any]] = {name: [] for name in trained.answers}
    for first in range(0, _ROWS if rows > 1 else 40, rows):
        tensors = []
        for name, values in trained.asked.items():
            part = values[first : first + rows].reshape(-1, 1)
            tensors.append(module.InferInput(name, part.shape, {"customer_id": "INT64", **_BROUGHT}[name]))
            tensors[-1].set_data_from_numpy(part)
        answer = connection.infer("score", tensors)
        for name in parts:
            parts[name].append(answer.as_numpy(name))
    connection.close()
    got = {name: np.concatenate(arrays) for name, arrays in parts.items()}
    for name, values in got.items():
        if values.dtype == object:
            got[name] = np.array([text.decode() for text in values], object)
    expected = {name: values[: len(got[name])] for name, values in trained.answers.items()}
    assert_same_bits(expected, got)


_SHARE = """
from falaj.features.transform import transform

@transform(inputs={"profile__income": "FP64", "rate": "FP32"}, outputs={"share": "FP64"})
def share(xp, profile__income, rate):
    return profile__income * xp.astype(rate, xp.float64)
"""


@pytest.mark.parametrize("on_missing", ["nan", "reject"])
def test_entities_without_a_row_are_as_the_model_is_bound(
    trained: Trained, tmp_path: Path, on_missing: str
) -> None:
    (tmp_path / "share.py").write_text(_SHARE)
    made = load_transform(f"{tmp_path / 'share.py'}:share")
    version = tmp_path / "models" / "score" / "1"
    version.mkdir(parents=True)
    (version.parent / "model.toml").write_text(QUICK)
    onnx.save(fuse(passing(made.outputs), [made]), version / "model.onnx")
    named = ("--views", "profile", "--data-dir", trained.folder / "data", "--on-missing", on_missing)
    _falaj("bind", version, *named)
    spine, out = trained.folder / "spine.parquet", tmp_path / "set.parquet"
    _falaj("export", "--spine", spine, "--out", out, *named, "--transform", f"{tmp_path / 'share.py'}:share")
    computed = parquet.read_table(out)["share"]
    asked = {name: trained.asked[name].reshape(-1, 1) for name in ("customer_id", "rate")}
    store = f"lmdb://{trained.folder / 'data' / 'online'}"
    with falaj.Engine(tmp_path / "models", cores=1, strict=True, features=store) as engine:
        rows = [{name: values[i : i + 1] for name, values in asked.items()} for i in range(_ROWS)]
        answers = engine.infer_many("score", rows, return_exceptions=True)
    is_refused = np.array([isinstance(each, falaj.InvalidInput) for each in answers])
    assert is_refused.any() == (on_missing == "reject")
    np.testing.assert_array_equal(computed.is_null().to_numpy(), is_refused)
    served = np.concatenate([each["share_out"] for each in answers if not isinstance(each, Exception)])
    assert_same_bits({"share": computed.drop_null().to_numpy()}, {"share": served})
