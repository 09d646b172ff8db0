"""The URL of a Redis or Valkey server."""

from dataclasses import dataclass
from pathlib import Path
from urllib.parse import SplitResult, parse_qsl, unquote, urlsplit

from falaj.features.errors import DefinitionError

_LIKE = "redis[s]://[[user]:password@]host[:port][/database][?option=value&…]"


@dataclass(frozen=True)
class RedisUrl:
    """Where a server is, and how it is talked to.

    Attributes:
        database: Its number.
        user: Empty: the server's default one.
        timeout_ms: Of a look-up, connecting included. Raise it where the server is far.
        write_timeout_ms: Of each round trip of anything else.
        ca: A file in PEM: who may issue the server's certificate; empty: whom this machine trusts.
        certificate: A file in PEM, with `key`: what the server is shown; empty: nothing.
    """

    host: str
    port: int = 6379
    database: int = 0
    user: str = ""
    password: str = ""
    timeout_ms: int = 100
    write_timeout_ms: int = 10_000
    tls: bool = False
    ca: str = ""
    certificate: str = ""
    key: str = ""


_NUMBERS = ("timeout_ms", "write_timeout_ms")
_FILES = ("ca", "certificate", "key")
_PASSWORD_FILE = "password_file"  # its first line, so that it does not stand in a URL


def redis_url(url: str) -> RedisUrl:
    """Parse `redis://` or, with TLS, `rediss://`. No error tells the password.

    Raises:
        DefinitionError: It is none, or an option is not known or not what it should be.
    """
    try:
        parts = urlsplit(url)
        host, port = parts.hostname, parts.port
    except ValueError:
        raise _bad(f"expected {_LIKE}") from None  # it would tell what it took for the port
    if not host or parts.fragment:
        raise _bad(f"expected {_LIKE}")
    tls = parts.scheme == "rediss"
    user, password = unquote(parts.username or ""), unquote(parts.password or "")
    options = _options(parts, tls)
    if _PASSWORD_FILE in options:
        if password:
            raise _bad(f"both a password and {_PASSWORD_FILE}")
        password = _first_line(Path(options.pop(_PASSWORD_FILE)))
    if user and not password:
        raise _bad("a user without a password: a password alone is written :password@")
    return RedisUrl(
        host,
        port or 6379,
        _number("database", parts.path[1:] or "0"),
        user,
        password,
        _number("timeout_ms", options.get("timeout_ms", str(RedisUrl.timeout_ms))),
        _number("write_timeout_ms", options.get("write_timeout_ms", str(RedisUrl.write_timeout_ms))),
        tls,
        *(options.get(name, "") for name in _FILES),
    )


def _options(parts: SplitResult, tls: bool) -> dict[str, str]:
    known = (*_NUMBERS, _PASSWORD_FILE, *(_FILES if tls else ()))
    try:
        pairs = parse_qsl(parts.query, keep_blank_values=True, strict_parsing=bool(parts.query))
    except ValueError as error:
        raise _bad(f"expected {_LIKE}") from error
    for name, _ in pairs:
        if name in _FILES and not tls:
            raise _bad(f"option {name!r}: is for rediss://")
        if name not in known:
            raise _bad(f"option {name!r}: expected one of {', '.join(known)}")
    return dict(pairs)


def _first_line(path: Path) -> str:
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise _bad(f"{_PASSWORD_FILE}: {error}") from error
    if not lines or not lines[0]:
        raise _bad(f"{_PASSWORD_FILE}: {path} is empty")
    return lines[0]


def _number(name: str, text: str) -> int:
    if text.isascii() and text.isdigit() and len(text) < 10:
        return int(text)
    raise _bad(f"{name}: expected a whole number")  # what stands there may be part of a password


def _bad(why: str) -> DefinitionError:
    return DefinitionError(f"online store: redis URL: {why}")
