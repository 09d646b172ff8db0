"""The models of the pipelines, the same graphs merged offline, and a repository of all of them."""

from dataclasses import dataclass, replace
from pathlib import Path

from tests import zoo
from tests.engine.pipeline_models import CHAIN, DIAMOND, add, add_pipeline, merged_chain, merged_diamond
from tests.zoo.model import ZooModel, parse, sampler

_WIDTH = 64
_CLASSES = 2


@dataclass(frozen=True)
class Graph:
    """A pipeline, the models that it asks (one as often as it does), and the model that it is merged to."""

    name: str
    parts: tuple[str, ...]
    merged: str


GRAPHS = (
    Graph("chain", ("first", "second"), "merged_chain"),
    Graph("diamond", ("first", "second", "other", "add"), "merged_diamond"),
)


def write_repository(folder: Path) -> dict[str, ZooModel]:
    """Write models and pipelines; return what can be asked, by name. Every model batches up to 128 rows."""
    first = zoo.mlp((32, 64, _WIDTH))
    second = zoo.mlp((_WIDTH, 64, _CLASSES))
    other = zoo.mlp((_WIDTH, 32, _CLASSES))
    both = ZooModel(
        name="add",
        proto=add(_CLASSES),
        sample=sampler({"left": ("FP32", (_CLASSES,)), "right": ("FP32", (_CLASSES,))}),
        batchable=True,
    )
    of_merged = sampler({"a_x": ("FP32", (32,))})
    chain = merged_chain(parse(first.proto), parse(second.proto))
    diamond = merged_diamond(*(parse(model.proto) for model in (first, second, other, both)))
    models = {
        "first": first,
        "second": second,
        "other": other,
        "add": both,
        "merged_chain": ZooModel(name="merged_chain", proto=chain, sample=of_merged, batchable=True),
        "merged_diamond": ZooModel(name="merged_diamond", proto=diamond, sample=of_merged, batchable=True),
    }
    asked = {name: replace(model, name=name) for name, model in models.items()}
    for model in asked.values():
        zoo.save(model, folder)
        (folder / model.name / "model.toml").write_text("max_batch_size = 128\n", encoding="utf-8")
    for name, text in (("chain", CHAIN), ("diamond", DIAMOND)):
        add_pipeline(folder, name, text)
        asked[name] = replace(first, name=name)
    return asked
