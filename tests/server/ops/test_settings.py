"""What the settings say, where each value comes from, and how a mistake is told."""

import ast
import inspect
import re
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from typing import get_args

import msgspec
import pytest

from falaj.server.errors import ConfigError
from falaj.server.ops.layers import Flag, keys_of, line_of, variable_of
from falaj.server.ops.section import Section
from falaj.server.ops.settings import Settings, load_settings

_WIRE = Path(__file__).parents[3] / "csrc" / "wire"


def _load(
    folder: Path, text: str = "", env: dict[str, str] | None = None, **flags: tuple[str, object]
) -> Settings:
    path = folder / "falaj.toml"
    path.write_text(text, encoding="utf-8")
    given = {key.replace("__", "."): Flag(*flag) for key, flag in flags.items()}
    return load_settings(path, flags=given, environment=env or {})


def _problem(folder: Path, text: str = "", env: dict[str, str] | None = None, **flags: object) -> str:
    with pytest.raises(ConfigError) as caught:
        _load(folder, text, env, **flags)  # type: ignore[arg-type]
    return str(caught.value).replace(f"{folder}/", "")


def test_load_settings_returns_defaults_when_nothing_is_said(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert load_settings(environment={}) == Settings()


def test_load_settings_takes_the_nearest_source_when_all_say_something(tmp_path: Path) -> None:
    text = '[server]\nhost = "::1"\nhttp_port = 1\ngrpc_port = 2\nmetrics_port = 3\n'
    env = {"FALAJ_SERVER_GRPC_PORT": "12", "FALAJ_SERVER_METRICS_PORT": "13", "UNRELATED": "x"}
    server = _load(tmp_path, text, env, server__metrics_port=("--metrics-port", 23)).server
    assert (server.host, server.http_port, server.grpc_port, server.metrics_port) == ("::1", 1, 12, 23)


def test_load_settings_reads_the_file_of_the_current_folder_when_none_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("falaj.toml").write_text("[server]\nhttp_port = 1\n", encoding="utf-8")
    Path("other.toml").write_text("[server]\nhttp_port = 2\n", encoding="utf-8")
    assert load_settings(environment={}).server.http_port == 1
    assert load_settings(environment={"FALAJ_CONFIG": "other.toml"}).server.http_port == 2
    assert load_settings(Path("falaj.toml"), environment={"FALAJ_CONFIG": "other.toml"}).server.http_port == 1


def test_load_settings_reads_the_processs_environment_when_none_is_given(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("FALAJ_SERVER_HTTP_PORT", "7")
    assert load_settings().server.http_port == 7


def test_load_settings_raises_when_the_named_file_is_missing(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"nowhere\.toml: cannot be read: .*No such file"):
        load_settings(tmp_path / "nowhere.toml", environment={})


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[server]\nhttp_prt = 1", "falaj.toml:2: server.http_prt: unknown key; did you mean 'http_port'?"),
        ("[server]\n\n[htp]\na = 1", "falaj.toml:3: htp: unknown key; did you mean 'http'?"),
        ("server = 3", "falaj.toml:1: server: expected a table, got 3"),
        ("[log]\nfile = 3", "falaj.toml:2: log.file: expected text, got 3 (put quotes around it)"),
        ("server.http_port = '80'", "falaj.toml:1: server.http_port: expected a whole number, got '80'"),
        ("[server]\nhttp_port = true", "falaj.toml:2: server.http_port: expected a whole number, got true"),
        (
            "[server]\nload = [\n  'a',\n  '',\n]",
            "falaj.toml:2: server.load[1]: expected a model's name, or only '*', got ''",
        ),
        (
            "# a server\n[http]\nmax_header_bytes = 7",
            "falaj.toml:3: http.max_header_bytes: expected a whole number of 1024 to 1048576, got 7",
        ),
        (
            "[server]\ndrain_seconds = nan",
            "falaj.toml:2: server.drain_seconds: expected a number of 0 to 86400, got nan",
        ),
        (
            "[grpc.tls]\ncertificate = 'a'",
            "falaj.toml:1: grpc.tls.key: is missing; a certificate needs its key",
        ),
    ],
)
def test_error_names_the_line_when_the_file_is_wrong(tmp_path: Path, text: str, message: str) -> None:
    assert _problem(tmp_path, text) == message


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("FALAJ_SERVER_HTTP_PORT", "80a", "expected a whole number, got '80a'"),
        ("FALAJ_SERVER_HTTP_PORT", "70000", "expected a whole number of -1 to 65535, got 70000"),
        ("FALAJ_SERVR_HTTP_PORT", "80", "unknown variable; did you mean 'FALAJ_SERVER_HTTP_PORT'?"),
        ("FALAJ_HTTP_TLS_CERTIFICATE", "a", "http.tls.key: is missing; a certificate needs its key"),
        ("FALAJ_SERVER_LOAD", "*,a", "expected a model's name, or only '*', got '*'"),
        ("FALAJ_SERVER_HOST", "example.org", "expected an IP address or localhost, got 'example.org'"),
    ],
)
def test_error_names_the_variable_when_the_environment_is_wrong(
    tmp_path: Path, name: str, value: str, message: str
) -> None:
    assert _problem(tmp_path, "[server]\nhost = '::1'", {name: value}) == f"{name}: {message}"


def test_error_names_the_flag_when_the_command_line_is_wrong(tmp_path: Path) -> None:
    assert _problem(tmp_path, server__cores=("--cores", 0)) == (
        "--cores: expected a whole number of 1 to 65536, got 0"
    )
    assert _problem(tmp_path, server__watch=("--set server.watch", "soon")) == (
        "--set server.watch: expected a number, got 'soon'"
    )
    assert _problem(tmp_path, server__wach=("--set server.wach", "1")) == (
        "--set server.wach: unknown key 'server.wach'; did you mean 'server.watch'?"
    )


def test_variables_of_kubernetes_services_are_left_alone_when_named_like_keys(tmp_path: Path) -> None:
    env = {
        "FALAJ_SERVICE_HOST": "10.0.0.1",
        "FALAJ_PORT": "tcp://10.0.0.1:8000",
        "FALAJ_GRPC_PORT": "tcp://10.0.0.1:8001",
        "FALAJ_GRPC_PORT_8001_TCP_ADDR": "10.0.0.1",
        "FALAJ_SERVER_SERVICE_PORT_HTTP": "8000",
        "FALAJ_SERVER_PORT_8000_TCP": "tcp://10.0.0.1:8000",
        "FALAJ_SOMETHING_OF_OTHERS": "1",
    }
    assert _load(tmp_path, "", env) == Settings()


def test_text_none_unsets_a_key_when_it_has_no_default_value(tmp_path: Path) -> None:
    env = {"FALAJ_SERVER_CORES": "none", "FALAJ_LOG_FILE": "none"}
    settings = _load(tmp_path, "[server]\ncores = 3\n[log]\nfile = 'a'", env)
    assert (settings.server.cores, settings.log.file) == (None, None)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("http_port = 5\ngrpc_port = 5", "server.grpc_port: expected another port than http_port"),
        ("http_port = -1\ngrpc_port = -1", "server.http_port: expected a port or a unix_socket"),
        ("model_control = 'none'\nwatch = 1", "server.watch: expected none with model_control 'none'"),
        ("model_control = 'poll'\nload = ['a']", "server.load: expected all models with model_control"),
        ("unix_socket = ''", "server.unix_socket: expected a path, got ''"),
    ],
)
def test_server_raises_when_its_keys_contradict_each_other(tmp_path: Path, text: str, message: str) -> None:
    assert message in _problem(tmp_path, f"[server]\n{text}")


def test_server_accepts_free_ports_and_sockets_when_they_do_not_clash(tmp_path: Path) -> None:
    _load(tmp_path, "[server]\nhttp_port = 0\ngrpc_port = 0\nmetrics_port = 0")
    _load(tmp_path, "[server]\nhttp_port = -1\ngrpc_port = -1\nunix_socket = '/run/falaj'")


def test_watch_seconds_is_fifteen_when_polling_and_nothing_is_said(tmp_path: Path) -> None:
    assert Settings().server.watch_seconds is None
    assert _load(tmp_path, "[server]\nmodel_control = 'poll'").server.watch_seconds == 15
    assert _load(tmp_path, "[server]\nmodel_control = 'poll'\nwatch = 2").server.watch_seconds == 2
    assert _load(tmp_path, "[server]\nwatch = 3").server.watch_seconds == 3


def test_listener_tls_is_the_listeners_own_when_it_has_a_table(tmp_path: Path) -> None:
    shared = "[tls]\ncertificate = 'c'\nkey = 'k'\n"
    both = {"certificate": "c", "key": "k", "client_ca": None, "require_client_certificate": False}
    settings = _load(tmp_path, shared)
    assert settings.listener_tls("http") == settings.listener_tls("grpc") == both
    assert settings.listener_tls("admin") is None
    settings = _load(tmp_path, f"{shared}[grpc.tls]\n[admin.tls]\ncertificate = 'a'\nkey = 'b'\n")
    assert settings.listener_tls("http") == both
    assert settings.listener_tls("grpc") is None
    assert settings.listener_tls("admin") == {**both, "certificate": "a", "key": "b"}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("key = 'k'", "tls.key: expected a certificate beside it"),
        ("require_client_certificate = true", "expected a certificate beside it"),
        ("certificate = 'c'\nkey = 'k'\nrequire_client_certificate = true", "expected client_ca beside it"),
        ("certificate = ''", "tls.certificate: expected the path of a PEM file, got ''"),
    ],
)
def test_tls_raises_when_a_part_is_missing(tmp_path: Path, text: str, message: str) -> None:
    assert message in _problem(tmp_path, f"[tls]\n{text}")


def _fields_of(header: str, struct: str) -> dict[str, float]:
    """Fields of a struct of the native side with numeric defaults, times in seconds."""
    text = re.sub(r"//.*", "", (_WIRE / header).read_text(encoding="utf-8"))
    body = re.search(rf"struct {struct} {{(.*?)^}};", text, re.MULTILINE | re.DOTALL)
    assert body is not None
    found: dict[str, float] = {}
    for name, value, braced in re.findall(r"\b(\w+)\s*(?:=\s*([^;]+?)|{(\d+)})\s*;", body[1]):
        plain = re.sub(r"std::chrono::seconds|size_t|int64_t|'", "", value or braced)
        plain = " ".join(plain.replace("{", "(").replace("}", ")").split())
        found[name] = {"true": 1, "false": 0}[plain] if plain in ("true", "false") else eval(plain)
    return found


def test_wire_options_equal_the_native_defaults_when_nothing_is_said() -> None:
    native = _fields_of("wire_options.h", "WireOptions")
    for prefix, header, struct in (
        ("http.", "wire_options.h", "HttpLimits"),
        ("grpc.", "wire_options.h", "GrpcLimits"),
        ("codec.", "infer_header.h", "CodecLimits"),
    ):
        native |= {prefix + name: value for name, value in _fields_of(header, struct).items()}
    assert len(native) > 30
    options = Settings().wire_options()
    assert options == native
    for name, value in options.items():
        is_time = re.search(r"(_timeout|_interval)$", name) is not None
        assert isinstance(value, float) == is_time, name


def test_wire_options_follow_the_settings_when_they_are_said(tmp_path: Path) -> None:
    text = '[server]\ncompat = "triton"\n[log]\naccess_log_sample = 0.25\n[http]\nidle_timeout_seconds = 1\n'
    options = _load(tmp_path, f"{text}[limits]\nmax_json_depth = 9\n").wire_options()
    assert options["triton_compat"] is True
    assert options["access_log_per_million"] == 250_000
    assert options["http.idle_timeout"] == 1.0
    assert options["grpc.idle_timeout"] == 300.0
    assert options["codec.max_depth"] == 9


def _structs(struct: type[msgspec.Struct], path: str = "") -> Iterator[tuple[str, type[msgspec.Struct]]]:
    yield path, struct
    for field in msgspec.structs.fields(struct):
        for type_ in (field.type, *get_args(field.type)):
            if isinstance(type_, type) and issubclass(type_, msgspec.Struct):
                yield from _structs(type_, f"{path}.{field.name}".strip("."))


@pytest.mark.parametrize("struct", dict(_structs(Settings)).values(), ids=dict(_structs(Settings)))
def test_keys_are_documented_and_bounded_when_read_in_their_struct(struct: type[msgspec.Struct]) -> None:
    assert issubclass(struct, Section)
    [body] = ast.parse(inspect.getsource(struct)).body
    assert isinstance(body, ast.ClassDef)
    documented = {
        ast.unparse(field.target): ast.unparse(text)
        for field, text in pairwise(body.body)
        if isinstance(field, ast.AnnAssign) and isinstance(text, ast.Expr)
    }
    for field in msgspec.structs.fields(struct):
        if struct is not Settings:
            assert "Default:" in documented.get(field.name, ""), field.name
        numeric = {int, float} & {field.type, *get_args(field.type)}
        assert bool(numeric) == (field.name in struct.BOUNDS), field.name


def test_variables_differ_when_keys_differ() -> None:
    keys = [key for key, _ in keys_of(Settings)]
    assert len({variable_of(key) for key in keys}) == len(keys) > 60


@pytest.mark.parametrize(
    ("text", "key", "line"),
    [
        ("a = 1\nb = 2\n", "b", 2),
        ("[t]\n# c\n\nb = [\n 1,\n 2]\n", "t.b", 4),
        ("[t]\nb = [\n 1,\n 2]\n", "t.b[1]", 2),
        ('a = """\nb = 1\n"""\nb = 2\n', "b", 4),
        ("[[t]]\na = 1\n[[t]]\na = 2\n", "t[1].a", 4),
        ("t = {u = {v = 1}}\n", "t.u.v", 1),
        ("a = 1\n", "b", None),
        ("a = 1\n", "a.b", None),
        ("", "a", None),
    ],
)
def test_line_of_is_where_the_statement_begins_when_the_key_is_there(
    text: str, key: str, line: int | None
) -> None:
    assert line_of(text, key) == line


def test_settings_are_immutable_when_made() -> None:
    with pytest.raises(AttributeError):
        Settings().server.http_port = 1  # type: ignore[misc]
