import math
from pathlib import Path

import pytest

from falaj.server.errors import ConfigError
from falaj.server.model_config import (
    InputConfig,
    ModelConfig,
    Provider,
    QueuePolicy,
    apply_overrides,
    from_table,
    load_model_toml,
)
from falaj.server.strict_toml import parse_toml


def _parse(text: str) -> ModelConfig:
    return from_table(parse_toml(text, source="model.toml"), "model.toml")


def test_from_table_returns_defaults_when_file_is_empty() -> None:
    assert _parse("") == ModelConfig()


def test_from_table_keeps_parameter_types_when_values_are_mixed() -> None:
    parameters = _parse('parameters = {i = 1, f = 1.0, b = true, s = "1"}').parameters
    types = {name: type(value) for name, value in parameters.items()}
    assert types == {"i": int, "f": float, "b": bool, "s": str}


@pytest.mark.parametrize(
    ("text", "key", "nearest"),
    [
        ("max_batch = 1", "max_batch", "max_batch_size"),
        ('[[input]]\nname = "a"\n[[input]]\nname = "b"\ndataype = "FP32"', "input[1].dataype", "datatype"),
        ("[[inputs]]", "inputs", "input"),
        ("[versions]\npolcy = 'all'", "versions.polcy", "policy"),
        (
            "[priority_policy.1]\nmax_queue_request = 1",
            "priority_policy.1.max_queue_request",
            "max_queue_requests",
        ),
        ("[[warmup]]\ninputs.x.shap = [1]", "warmup[0].inputs.x.shap", "shape"),
        ("[[provider]]\nname = 'cpu'\noption = {}", "provider[0].option", "options"),
    ],
)
def test_from_table_names_path_and_nearest_key_when_key_is_unknown(text: str, key: str, nearest: str) -> None:
    with pytest.raises(ConfigError) as caught:
        _parse(text)
    assert caught.value.key == key
    assert str(caught.value) == f"model.toml: {key}: unknown key; did you mean '{nearest}'?"


def test_from_table_lists_known_keys_when_none_is_near() -> None:
    with pytest.raises(ConfigError, match=r"versions\.zzz: unknown key; known here: list, n, policy$"):
        _parse("[versions]\nzzz = 1")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("slo_ms = '50'", "slo_ms: expected a number, got '50'"),
        ("slo_ms = true", "slo_ms: expected a number, got true"),
        ("instances = 'many'", "instances: expected a whole number or 'auto', got 'many'"),
        ("instances = 2.0", "instances: expected a whole number or 'auto', got 2.0"),
        ("run_on_submitter = 1", "run_on_submitter: expected true or false, got 1"),
        ("input = 3", "input: expected an array, got 3"),
        ("[input]\nname = 'x'", "input: expected an array, got a table"),
        ("input = [1]", "input[0]: expected a table, got 1"),
        ("[[input]]", "input[0].name: is missing; expected text"),
        ("[[input]]\nname = 'x'\nshape = [-1, 'a']", "input[0].shape[1]: expected a whole number, got 'a'"),
        ("[priority_policy]\nhigh = {}", "priority_policy.high: expected a whole number as the key"),
        ("[session]\na = 1", "session.a: expected text, got 1 (put quotes around it)"),
        ("tune_ms = 9223372036854775808", "tune_ms: expected a number of 64 bits, got a larger one"),
        ("python_class = 1979-05-27", "python_class: expected text, got 1979-05-27"),
    ],
)
def test_from_table_names_got_and_expected_when_type_is_wrong(text: str, message: str) -> None:
    with pytest.raises(ConfigError) as caught:
        _parse(text)
    assert str(caught.value) == f"model.toml: {message}"


def test_from_table_says_to_quote_when_session_key_has_dots() -> None:
    with pytest.raises(ConfigError, match="put quotes around a key that has dots"):
        _parse("[session]\nsession.intra_op.allow_spinning = '0'")


_X = "[[input]]\nname = 'x'\n"
_Y = "[[output]]\nname = 'y'\n"


@pytest.mark.parametrize(
    ("text", "key"),
    [
        ("max_batch_size = -1", "max_batch_size"),
        ("max_batch_size = 2147483648", "max_batch_size"),
        ("instances = 0", "instances"),
        ("threads = 0", "threads"),
        ("tune_ms = -1", "tune_ms"),
        ("slo_ms = 0", "slo_ms"),
        ("slo_ms = nan", "slo_ms"),
        ("default_timeout_ms = inf", "default_timeout_ms"),
        ("max_queue_rows = 0", "max_queue_rows"),
        ("max_queue_requests = -1", "max_queue_requests"),
        ("drain_seconds = nan", "drain_seconds"),
        ("priority_levels = 0", "priority_levels"),
        ("priority_levels = 257", "priority_levels"),
        ("default_priority = 2", "default_priority"),
        ("priority_levels = 2\ndefault_priority = 0", "default_priority"),
        ("[priority_policy.2]", "priority_policy.2"),
        ("[priority_policy.1]\nmax_queue_requests = -1", "priority_policy.1.max_queue_requests"),
        ("model_filename = '../model.onnx'", "model_filename"),
        ("model_filename = ''", "model_filename"),
        ("python_class = 'a.b'", "python_class"),
        ("[versions]\nn = 0", "versions.n"),
        ("[versions]\npolicy = 'specific'", "versions.list"),
        ("[versions]\nlist = [1]", "versions.list"),
        ("[versions]\npolicy = 'specific'\nlist = [1, 0]", "versions.list[1]"),
        ("[versions]\npolicy = 'specific'\nlist = [1, 1]", "versions.list[1]"),
        ("[[provider]]\nname = 'cudda'", "provider[0].name"),
        ("[[provider]]\nname = 'cuda'\n[[provider]]\nname = 'CUDAExecutionProvider'", "provider[1]"),
        ("[[input]]\nname = ''", "input[0].name"),
        (_X + _X, "input[1].name"),
        (_Y + _Y, "output[1].name"),
        (_X + "shape = [-2]", "input[0].shape[0]"),
        ("max_batch_size = 4\n" + _X + "shape = [32]", "input[0].shape"),
        ("max_batch_size = 4\n" + _X + "shape = []", "input[0].shape"),
        (_X + "pad_axis = 0", "input[0].pad_axis"),
        (_X + "shape = [-1, 32]\npad_axis = 1", "input[0].pad_axis"),
        (_X + "shape = [-1, -1]\npad_axis = 2", "input[0].pad_axis"),
        (_X + "datatype = 'BYTES'\npad_axis = 1", "input[0].pad_axis"),
        (_X + "pad_value = 1", "input[0].pad_value"),
        (_X + "datatype = 'UINT8'\npad_axis = 1\npad_value = 256", "input[0].pad_value"),
        (_X + "datatype = 'INT64'\npad_axis = 1\npad_value = 0.5", "input[0].pad_value"),
        (_X + "datatype = 'BOOL'\npad_axis = 1\npad_value = nan", "input[0].pad_value"),
        (_X + "mask = 'm'", "input[0].mask"),
        (_X + "pad_axis = 1\nmask = 'x'", "input[0].mask"),
        (_X + "pad_axis = 1\nmask = 'm'\n[[input]]\nname = 'z'\npad_axis = 1\nmask = 'm'", "input[1].mask"),
        (_X + "pad_axis = 1\nmask = 'm'\n[[input]]\nname = 'm'\npad_axis = 1", "input[0].mask"),
        (_Y + "unpad_axis = 1", "output[0].unpad_like"),
        (_Y + "unpad_like = 'x'", "output[0].unpad_axis"),
        (_X + _Y + "unpad_axis = 1\nunpad_like = 'x'", "output[0].unpad_like"),
        ("[[warmup]]\nrows = 0", "warmup[0].rows"),
        ("[[warmup]]\ncount = 0", "warmup[0].count"),
        ("max_batch_size = 4\n[[warmup]]\nrows = 5", "warmup[0].rows"),
        ("[[warmup]]\ninputs.x.shape = [-2]", "warmup[0].inputs.x.shape[0]"),
    ],
)
def test_from_table_names_key_when_value_is_out_of_range(text: str, key: str) -> None:
    with pytest.raises(ConfigError) as caught:
        _parse(text)
    assert (caught.value.source, caught.value.key) == ("model.toml", key)
    assert caught.value.problem


@pytest.mark.parametrize(
    ("short", "full"),
    [
        ("cpu", "CPUExecutionProvider"),
        ("cuda", "CUDAExecutionProvider"),
        ("tensorrt", "TensorrtExecutionProvider"),
        ("openvino", "OpenVINOExecutionProvider"),
        ("DmlExecutionProvider", "DmlExecutionProvider"),
    ],
)
def test_provider_has_full_name_when_short_name_is_given(short: str, full: str) -> None:
    assert Provider(short).name == full
    assert _parse(f"[[provider]]\nname = '{short}'").provider == (Provider(full),)


def test_input_config_accepts_nan_padding_when_datatype_is_floating() -> None:
    assert math.isnan(InputConfig("x", "FP32", pad_axis=1, pad_value=math.nan).pad_value)


def test_model_config_raises_config_error_when_made_in_code_with_bad_values() -> None:
    with pytest.raises(ConfigError, match=r"^default_priority: expected a level of 1 to priority_levels"):
        ModelConfig(default_priority=2)


def test_model_config_refuses_change_when_attribute_is_set() -> None:
    with pytest.raises(AttributeError):
        ModelConfig().tune_ms = 1  # type: ignore[misc]


def test_queue_policy_falls_back_to_model_values_when_level_has_none() -> None:
    config = ModelConfig(
        priority_levels=2,
        max_queue_requests=7,
        default_timeout_ms=5.0,
        allow_timeout_override=False,
        priority_policy={1: QueuePolicy(max_queue_requests=3)},
    )
    assert config.queue_policy(1) == QueuePolicy(3, None, True)
    assert config.queue_policy(2) == QueuePolicy(7, 5.0, False)


def test_apply_overrides_parses_by_type_when_values_are_text() -> None:
    overrides = {
        "slo_ms": "50",
        "instances": "3",
        "threads": "auto",
        "max_batch_size": "0",
        "run_on_submitter": "False",
        "backend": "python",
        "python_class": "none",
        "drain_seconds": "1e1",
    }
    config = apply_overrides(ModelConfig(threads=4, max_batch_size=8), overrides)
    assert config == ModelConfig(
        slo_ms=50.0,
        instances=3,
        max_batch_size=0,
        run_on_submitter=False,
        backend="python",
        python_class="none",
        drain_seconds=10.0,
    )


@pytest.mark.parametrize("key", ["slo_ms", "max_batch_size", "default_timeout_ms", "backend"])
def test_apply_overrides_unsets_key_when_text_is_none(key: str) -> None:
    config = ModelConfig(slo_ms=1.0, max_batch_size=1, default_timeout_ms=1.0, backend="python")
    assert getattr(apply_overrides(config, {key: "none"}), key) is None


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        ({"slo": "1"}, "slo: unknown key; did you mean 'slo_ms'?"),
        ({"input": "x"}, "input: is a table, which can only be set in the file"),
        ({"tune_ms": "1.5"}, "tune_ms: expected a whole number, got '1.5'"),
        ({"tune_ms": "none"}, "tune_ms: expected a whole number, got 'none'"),
        ({"tune_ms": "-1"}, "tune_ms: expected a whole number of 0 to 2147483647, got -1"),
        ({"slo_ms": "nan"}, "slo_ms: expected a number, got 'nan'"),
        ({"run_on_submitter": "yes"}, "run_on_submitter: expected true or false, got 'yes'"),
        ({"instances": ""}, "instances: expected a whole number or 'auto', got ''"),
    ],
)
def test_apply_overrides_names_source_and_key_when_value_is_wrong(
    overrides: dict[str, str], message: str
) -> None:
    with pytest.raises(ConfigError) as caught:
        apply_overrides(ModelConfig(), overrides, "environment")
    assert str(caught.value) == f"environment: {message}"


def test_load_model_toml_returns_config_when_file_is_valid(tmp_path: Path) -> None:
    path = tmp_path / "model.toml"
    path.write_text("max_batch_size = 16\n[[input]]\nname = 'فلج'\n", encoding="utf-8")
    assert load_model_toml(path) == ModelConfig(max_batch_size=16, input=(InputConfig("فلج"),))


@pytest.mark.parametrize(
    "content",
    [b"\xff\xfe", b"a = ", b"a = 1\na = 2", b"a = " + b"[" * 5000, b"a = " + b"9" * 5000, b"\x00"],
)
def test_load_model_toml_names_file_when_content_is_not_toml(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "model.toml"
    path.write_bytes(content)
    with pytest.raises(ConfigError) as caught:
        load_model_toml(path)
    assert caught.value.source == str(path)


def test_load_model_toml_names_file_when_it_is_absent(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"model\.toml: cannot be read"):
        load_model_toml(tmp_path / "model.toml")
