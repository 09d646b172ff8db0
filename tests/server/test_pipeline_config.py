"""pipeline.toml by itself: keys, names, order, branches."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from falaj.server.errors import ConfigError
from falaj.server.pipeline_config import StepConfig, load_pipeline_toml, models_of
from falaj.server.pipeline_graph import check_graph, order_of
from falaj.server.step_condition import Condition

_HEAD = '[[input]]\nname = "x"\n'
_TAIL = '[[output]]\nname = "y"\n'


def _step(name: str, inputs: str, outputs: str, when: str = "") -> str:
    return f'[[step]]\nmodel = "{name}"\ninputs = {{{inputs}}}\noutputs = {{{outputs}}}\n{when}\n'


def _load(folder: Path, text: str) -> object:
    path = folder / "pipeline.toml"
    path.write_text(text, encoding="utf-8")
    return load_pipeline_toml(path)


def test_load_reads_every_key_when_all_are_there(tmp_path: Path) -> None:
    config = _load(
        tmp_path,
        "max_batch_size = 4\nmax_queue_rows = 9\ndefault_timeout_ms = 5\nallow_timeout_override = false\n"
        "priority_levels = 2\ndefault_priority = 2\ndrain_seconds = 1\n"
        '[[input]]\nname = "x"\ndatatype = "FP32"\nshape = [-1, 2]\n'
        + _step("a", 'x = "x"', 'y = "r"')
        + '[[step]]\nname = "low"\nmodel = "b"\nversion = 3\ninputs = {x = "x"}\noutputs = {y = "y"}\n'
        'when = {tensor = "r", equals = 1}\n'
        '[[output]]\nname = "out"\ntensor = "y"\ndatatype = "FP32"\nshape = [-1, 1]\ndefault = 0\n'
        "[versions]\nn = 2\n",
    )
    assert models_of(config) == ("a", "b")  # type: ignore[arg-type]
    assert (config.max_batch_size, config.max_queue_rows, config.drain_seconds) == (4, 9, 1)  # type: ignore[attr-defined]
    graph = config.pipeline  # type: ignore[attr-defined]
    assert graph.step[1] == StepConfig("b", "low", 3, {"x": "x"}, {"y": "y"}, Condition("r", equals=1))
    assert (graph.output[0].name, graph.output[0].tensor, graph.output[0].default) == ("out", "y", 0)
    assert graph.step[0].name == "a"


_A = _step("a", 'x = "x"', 'y = "r"')
_WRONG = {
    "no step": (_HEAD + _TAIL, "step", "is missing"),
    "no input": (_A + '[[output]]\nname = "r"\n', "input", "is missing"),
    "unknown key": (_HEAD + _A + "whne = 1\n" + _TAIL, "step[0].whne", "did you mean 'when'"),
    "unknown tensor": (
        _HEAD + _step("a", 'x = "xx"', 'y = "y"') + _TAIL,
        "step[0].inputs.x",
        "there is no tensor 'xx'",
    ),
    "unknown output": (_HEAD + _A + _TAIL, "output[0].tensor", "there is no tensor 'y'"),
    "input made": (
        _HEAD + _step("a", 'x = "x"', 'y = "x", z = "y"') + _TAIL,
        "step[0].outputs.y",
        "is an input of the pipeline",
    ),
    "made twice by one": (
        _HEAD + _step("a", 'x = "x"', 'y = "y", z = "y"') + _TAIL,
        "step[0].outputs.z",
        "is made twice by this step",
    ),
    "made twice": (
        _HEAD + _step("a", 'x = "x"', 'y = "y"') + _step("b", 'x = "x"', 'y = "y"') + _TAIL,
        "step[1].outputs.y",
        "tensor 'y' is made by step 'a' too",
    ),
    "unused output": (
        _HEAD + _step("a", 'x = "x"', 'y = "y", z = "w"') + _TAIL,
        "step[0].outputs.z",
        "is used by no step and no output",
    ),
    "unused input": (
        _HEAD + '[[input]]\nname = "z"\n' + _step("a", 'x = "x"', 'y = "y"') + _TAIL,
        "input[1]",
        "is used by no step and no output",
    ),
    "same step twice": (
        _HEAD + _A + _step("a", 'x = "r"', 'y = "y"') + _TAIL,
        "step[1]",
        "is there twice",
    ),
    "circle": (
        _HEAD + _step("a", 'x = "x", z = "c"', 'y = "b"') + _step("b", 'x = "b"', 'y = "c", z = "y"') + _TAIL,
        "step[0].inputs",
        "in a circle: 'a' -> 'b' -> 'a'",
    ),
    "itself": (_HEAD + _step("a", 'x = "x", z = "y"', 'y = "y"') + _TAIL, "step[0].inputs", "'a' -> 'a'"),
    "two operators": (
        _HEAD + _A + _step("b", 'x = "x"', 'y = "y"', 'when = {tensor = "r", equals = 1, below = 2}') + _TAIL,
        "step[1].when",
        "got equals and below",
    ),
    "no operator": (
        _HEAD + _A + _step("b", 'x = "x"', 'y = "y"', 'when = {tensor = "r"}') + _TAIL,
        "step[1].when",
        "got none of them",
    ),
    "unknown scalar": (
        _HEAD + _step("b", 'x = "x"', 'y = "y"', 'when = {tensor = "q", equals = 1}') + _TAIL,
        "step[0].when.tensor",
        "there is no tensor 'q'",
    ),
    "large scalar": (
        _HEAD + _A + _step("b", 'x = "x"', 'y = "y"', 'when = {tensor = "r", equals = 1e30}') + _TAIL,
        "step[1].when.equals",
        "expected a number of -2^53 to 2^53",
    ),
    "overlapping branches": (
        _HEAD
        + _A
        + _step("b", 'x = "x"', 'y = "y"', 'when = {tensor = "r", below = 2}')
        + _step("c", 'x = "x"', 'y = "y"', 'when = {tensor = "r", at_least = 1}')
        + _TAIL,
        "step[2].outputs.y",
        "at most one is run",
    ),
    "never run": (
        _HEAD
        + _A
        + _step("b", 'x = "x"', 'y = "p"', 'when = {tensor = "r", equals = 1}')
        + _step("c", 'x = "x"', 'y = "q"', 'when = {tensor = "r", equals = 2}')
        + _step("d", 'x = "p", z = "q"', 'y = "y"')
        + _TAIL,
        "step[3].inputs",
        "can never be run",
    ),
    "version": (
        _HEAD + _step("a", 'x = "x"', 'y = "y"', "version = 0") + _TAIL,
        "step[0].version",
        "expected a whole number of 1",
    ),
    "queue": (
        "max_queue_rows = 0\n" + _HEAD + _step("a", 'x = "x"', 'y = "y"') + _TAIL,
        "max_queue_rows",
        "1 to",
    ),
}


@pytest.mark.parametrize("wrong", _WRONG)
def test_load_names_the_key_when_something_is_wrong(tmp_path: Path, wrong: str) -> None:
    text, key, problem = _WRONG[wrong]
    with pytest.raises(ConfigError) as caught:
        _load(tmp_path, text)
    assert caught.value.key == key
    assert problem in caught.value.problem
    assert caught.value.source.endswith("pipeline.toml")


def test_load_accepts_a_merge_when_branches_of_several_steps_exclude_each_other(tmp_path: Path) -> None:
    config = _load(
        tmp_path,
        _HEAD
        + _A
        + _step("b", 'x = "x"', 'y = "h"', 'when = {tensor = "r", one_of = [1, 2]}')
        + _step("c", 'x = "h"', 'y = "y"')
        + _step("d", 'x = "x"', 'y = "y"', 'when = {tensor = "r", none_of = [1, 2]}')
        + _TAIL,
    )
    assert models_of(config) == ("a", "b", "c", "d")  # type: ignore[arg-type]


_NUMBERS = st.integers(-3, 3).map(float)
_SETS = st.lists(_NUMBERS, min_size=1, max_size=3).map(tuple)
_CONDITIONS = st.one_of(
    _NUMBERS.map(lambda v: Condition("r", equals=v)),
    _SETS.map(lambda v: Condition("r", one_of=v)),
    _SETS.map(lambda v: Condition("r", none_of=v)),
    _NUMBERS.map(lambda v: Condition("r", below=v)),
    _NUMBERS.map(lambda v: Condition("r", at_least=v)),
)


def _holds(condition: Condition, value: float) -> bool:
    return {
        "in": value in condition.values,
        "not_in": value not in condition.values,
        "below": value < condition.values[0],
        "at_least": value >= condition.values[0],
    }[condition.kind]


@given(_CONDITIONS, _CONDITIONS)
def test_conditions_exclude_each_other_when_no_value_meets_both(one: Condition, other: Condition) -> None:
    candidates = [half / 2 for half in range(-20, 21)]
    both = any(_holds(one, value) and _holds(other, value) for value in candidates)
    assert one.excludes(other) == other.excludes(one) == (not both)


@given(st.data())
def test_order_puts_each_step_behind_those_that_it_needs_when_the_graph_is_random(
    data: st.DataObject,
) -> None:
    count = data.draw(st.integers(1, 8))
    tensors, steps = ["x"], []
    for index in range(count):
        needs = data.draw(st.lists(st.sampled_from(tensors), min_size=1, max_size=3))
        steps.append(
            StepConfig("m", f"s{index}", None, dict(zip("abc", needs, strict=False)), {"y": f"t{index}"})
        )
        tensors.append(f"t{index}")
    if all("x" not in step.inputs.values() for step in steps):
        return
    steps = data.draw(st.permutations(steps))
    check_graph(steps, ["x"], [tensor for tensor in tensors if tensor != "x"])
    known = {"x"}
    for index in order_of(steps):
        assert set(steps[index].inputs.values()) <= known
        known |= set(steps[index].outputs.values())
    assert len(known) == count + 1


@given(st.integers(1, 6), st.data())
def test_check_tells_of_a_circle_when_a_chain_is_bent_back(count: int, data: st.DataObject) -> None:
    back = data.draw(st.integers(0, count - 1))
    steps = [
        StepConfig(
            "m",
            f"s{i}",
            None,
            {"a": f"t{i}", **({"b": f"t{count}"} if i == back else {})},
            {"y": f"t{i + 1}"},
        )
        for i in range(count)
    ]
    with pytest.raises(ConfigError, match="in a circle"):
        check_graph(steps, ["t0"], [f"t{count}"])
