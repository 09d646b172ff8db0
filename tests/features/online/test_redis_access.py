"""Who is let into a Redis store, and how: URLs, passwords, databases, TLS."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from falaj import DeadlineExceeded, InvalidInput, Unavailable, Unsupported
from falaj.features import DefinitionError
from falaj.features.online.redis_url import RedisUrl, redis_url
from tests.certificates import Authority
from tests.features.online.fault_proxy import fault_proxy
from tests.features.online.redis_server import RedisServer, redis_server
from tests.features.online.store_engine import fresh_view, opened, read, view_in, write
from tests.features.oracle import Row, Rules

_TIME = "timeout_ms=20000"


def _keeps_a_row(url: str) -> None:
    write(fresh_view(url, Rules()), [Row(1, 1, 1, 1.5)], 1)
    assert read(view_in(url, Rules()), [1], 1) == [("present", 1.5)]


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("redis://h", RedisUrl("h")),
        ("redis://h:1/2", RedisUrl("h", 1, 2)),
        ("redis://[::1]:7/", RedisUrl("::1", 7)),
        ("redis://:p%40ss@h", RedisUrl("h", password="p@ss")),
        ("redis://me:secret@h?timeout_ms=5", RedisUrl("h", user="me", password="secret", timeout_ms=5)),
        ("rediss://h?ca=%2Fa&write_timeout_ms=9", RedisUrl("h", tls=True, ca="/a", write_timeout_ms=9)),
    ],
)
def test_url_is_read(url: str, expected: RedisUrl) -> None:
    assert redis_url(url) == expected


@pytest.mark.parametrize(
    ("url", "why"),
    [
        ("redis://", "expected redis"),
        ("redis://:hunter2@", "expected redis"),
        ("redis://:hunt/er2@h", "expected redis"),
        ("redis://me:12/hunter2@h", "database: expected a whole number"),
        ("redis://[::1", "expected redis"),
        ("redis://me@h", "a user without a password"),
        ("redis://h/x", "database: expected a whole number"),
        ("redis://h#1", "expected redis"),
        (
            "redis://h?timeout=5",
            "option 'timeout': expected one of timeout_ms, write_timeout_ms, password_file$",
        ),
        ("redis://h?timeout_ms", "expected redis"),
        ("redis://h?timeout_ms=-5", "timeout_ms: expected a whole number"),
        ("redis://h?ca=x", "option 'ca': is for rediss://"),
        ("redis://h?password_file=/no/such", "password_file: .*No such file"),
        ("redis://:hunter2@h?password_file=x", "both a password and password_file"),
    ],
)
def test_url_that_is_none_is_refused_and_its_password_not_told(url: str, why: str) -> None:
    with pytest.raises(DefinitionError, match=f"^online store: redis URL: {why}") as caught:
        opened(url)
    assert "hunter2" not in str(caught.value)
    assert caught.value.__suppress_context__ or caught.value.__context__ is None or "hunter2" not in url


def test_times_that_cannot_be_are_refused(redis: RedisServer) -> None:
    with pytest.raises(InvalidInput, match="timeout_ms: expected 1 to 3600000, got 0"):
        opened(f"redis://127.0.0.1:{redis.port}?timeout_ms=0")


@pytest.fixture(scope="module")
def locked() -> Iterator[RedisServer]:
    rights = ("~falaj:*", "+@read", "+@write", "+@transaction", "+@connection")
    with redis_server("--requirepass", "hunter2", "--user", "reader", "on", ">other", *rights) as server:
        yield server


def test_password_opens_the_store(locked: RedisServer, tmp_path: Path) -> None:
    _keeps_a_row(f"redis://:hunter2@127.0.0.1:{locked.port}/?{_TIME}")
    (tmp_path / "password").write_text("hunter2\n", encoding="utf-8")
    _keeps_a_row(f"redis://127.0.0.1:{locked.port}/?{_TIME}&password_file={tmp_path}/password")


def test_user_opens_the_store_who_may_not_ask_about_the_server(locked: RedisServer) -> None:
    _keeps_a_row(f"redis://reader:other@127.0.0.1:{locked.port}/?{_TIME}")


@pytest.mark.parametrize(
    ("who", "why"),
    [
        ("", "the server says: NOAUTH"),
        (":hunter3@", "the server says: WRONGPASS"),
        ("reader:hunter3@", "the server says: WRONGPASS"),
    ],
)
def test_wrong_password_is_refused_and_not_told(locked: RedisServer, who: str, why: str) -> None:
    with pytest.raises(InvalidInput, match=why) as caught:
        opened(f"redis://{who}127.0.0.1:{locked.port}/?{_TIME}")
    assert "hunter3" not in str(caught.value)


def test_databases_of_a_server_are_apart(redis: RedisServer) -> None:
    base = f"redis://127.0.0.1:{redis.port}"
    _keeps_a_row(f"{base}/1?{_TIME}")
    assert ("profile", 1) not in opened(f"{base}/2?{_TIME}").views()
    with pytest.raises(InvalidInput, match="the server says: ERR DB index is out of range"):
        opened(f"{base}/99?{_TIME}")


def test_server_that_is_not_there_or_no_name_is_told() -> None:
    with redis_server() as server:
        gone = server.port
    with pytest.raises(Unavailable, match=rf"127\.0\.0\.1:{gone}: cannot be reached: Connection refused"):
        opened(f"redis://127.0.0.1:{gone}/?{_TIME}")
    with pytest.raises(Unavailable, match=r"'no\.such\.host\.invalid' is not found"):
        opened(f"redis://no.such.host.invalid/?{_TIME}")


def test_name_is_looked_up(redis: RedisServer) -> None:
    _keeps_a_row(f"redis://localhost:{redis.port}/?{_TIME}")


def test_server_that_evicts_is_refused() -> None:
    with redis_server("--maxmemory", "50mb", "--maxmemory-policy", "allkeys-lru") as server:
        with pytest.raises(Unsupported, match=r"evicts keys.*\(maxmemory-policy allkeys-lru\)"):
            opened(server.url)
        server.ask("CONFIG", "SET", "maxmemory-policy", "noeviction")
        view = fresh_view(server.url, Rules())
        server.ask("CONFIG", "SET", "maxmemory", "1")
        with pytest.raises(Unavailable, match="the server says: OOM"):
            write(view, [Row(1, 1, 1, 1.0)], 1, b"1")
        assert read(view, [1], 1) == [("missing", None)]
        assert view.cursor() is None


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("authority"))


@pytest.fixture(scope="module", params=["yes", "no"])
def tls(request: pytest.FixtureRequest, authority: Authority) -> Iterator[tuple[RedisServer, str]]:
    """A server with TLS, and the options that let a client in."""
    own = authority.issue("redis")
    files = ["--tls-cert-file", str(own.certificate), "--tls-key-file", str(own.key)]
    files += ["--tls-ca-cert-file", str(authority.certificate), "--tls-auth-clients", request.param]
    options = f"{_TIME}&ca={authority.certificate}"
    if request.param == "yes":
        client = authority.issue("client")
        options += f"&certificate={client.certificate}&key={client.key}"
    with redis_server("--port", "0", *files, port_option="--tls-port") as server:
        yield server, options


def test_tls_keeps_rows_large_and_small(tls: tuple[RedisServer, str]) -> None:
    server, options = tls
    for host in ("127.0.0.1", "localhost"):
        url = f"rediss://{host}:{server.port}/?{options}"
        _keeps_a_row(url)
        view = fresh_view(url, Rules())
        rows = [Row(key, 1, 1, float(key)) for key in range(20_000)]
        assert write(view, rows, 1) == 20_000
        assert read(view, range(20_000), 1) == [("present", float(key)) for key in range(20_000)]


def test_tls_connection_is_made_again_when_it_was_cut(tls: tuple[RedisServer, str]) -> None:
    server, options = tls
    with fault_proxy(server.port) as proxy:
        view = fresh_view(f"rediss://127.0.0.1:{proxy.port}/?{options}", Rules())
        write(view, [Row(1, 1, 1, 1.5)], 1)
        proxy.cut()
        assert read(view, [1], 1) == [("present", 1.5)]
        assert proxy.connections == 2


def test_server_that_does_not_prove_itself_is_refused(tls: tuple[RedisServer, str], tmp_path: Path) -> None:
    server, _ = tls
    stranger = Authority(tmp_path, "stranger")
    with pytest.raises(Unavailable, match=r"TLS: .*certificate verify failed"):
        opened(f"rediss://127.0.0.1:{server.port}/?{_TIME}&ca={stranger.certificate}")
    with pytest.raises(Unavailable, match=r"TLS: .*certificate verify failed"):
        opened(f"rediss://127.0.0.1:{server.port}/?{_TIME}")  # this machine does not trust it either


def test_server_of_another_name_is_refused(tls: tuple[RedisServer, str]) -> None:
    server, options = tls
    with (
        fault_proxy(server.port, "127.0.0.2") as proxy,
        pytest.raises(Unavailable, match=r"TLS: .*(IP address|hostname) mismatch"),
    ):
        opened(f"rediss://127.0.0.2:{proxy.port}/?{options}")


def test_client_without_a_certificate_is_refused_where_one_is_needed(authority: Authority) -> None:
    own = authority.issue("strict")
    files = ["--tls-cert-file", str(own.certificate), "--tls-key-file", str(own.key)]
    files += ["--tls-ca-cert-file", str(authority.certificate)]
    with (
        redis_server("--port", "0", *files, port_option="--tls-port") as server,
        pytest.raises(Unavailable, match=r"certificate required|the connection was cut"),
    ):
        opened(f"rediss://127.0.0.1:{server.port}/?{_TIME}&ca={authority.certificate}")


def test_tls_files_that_cannot_be_used_are_named(tmp_path: Path) -> None:
    with pytest.raises(InvalidInput, match="TLS: ca '/no/such' cannot be used"):
        opened("rediss://h?ca=/no/such")
    with pytest.raises(InvalidInput, match="expected both of certificate and key"):
        opened(f"rediss://h?certificate={tmp_path}")
    with pytest.raises(InvalidInput, match="TLS: certificate '/no/such' cannot be used"):
        opened("rediss://h?certificate=/no/such&key=/no/such")


def test_server_without_tls_is_told_when_it_is_asked_for(redis: RedisServer) -> None:
    with pytest.raises(DeadlineExceeded, match="no TLS handshake within the time for it"):
        opened(f"rediss://127.0.0.1:{redis.port}/?write_timeout_ms=300")
