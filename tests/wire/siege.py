"""A server among hostile clients: good clients go on meanwhile, and afterwards it is as it was before."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from tests.server.serving_process import Serving, until
from tests.serving import X_TO_Y, add_python
from tests.wire.footprint import Footprint, refused, until_back
from tests.wire.good_client import Ask, GoodClient, GrpcAsk, HttpAsk

# What the process may hold more than before any attack, after all that have been, in bytes: buffers that are
# kept to be used again, and what the JSON parser had for the largest request of late. A single attack has far
# more under way than this.
GROWTH = 48 << 20
_WARM = 300  # requests


@dataclass(frozen=True)
class Siege:
    """A server under attack.

    Attributes:
        before: What it held when it was warm and nobody had attacked it.
    """

    server: Serving
    before: Footprint

    @staticmethod
    def of(server: Serving) -> "Siege":
        """Begin, with a server that has just started."""
        warm(HttpAsk(server.ready["http"]), GrpcAsk(server.ready["grpc"]))
        trim(server)
        refused(server, "http")
        return Siege(server, Footprint.of(server.pid))

    @property
    def http(self) -> int:
        """Port."""
        return int(self.server.ready["http"])

    @property
    def grpc(self) -> int:
        """Port."""
        return int(self.server.ready["grpc"])

    @contextmanager
    def unharmed(self, protocol: str = "http", **reasons: int) -> Iterator[None]:
        """Expect that what happens inside harms no good client, leaves nothing behind, and is counted.

        Args:
            protocol: That of the attack.
            reasons: What has to be refused at least, and how often.
        """
        counted = refused(self.server, protocol)
        with good_clients(HttpAsk(self.http), GrpcAsk(self.grpc)):
            yield
        # Again and again: requests that were withdrawn while they ran are freed when they have ended.
        until_back(self.server.pid, self.before, GROWTH, lambda: trim(self.server))

        def missing() -> dict[str, int]:
            now = refused(self.server, protocol)
            return {
                reason: now[reason] - counted[reason]
                for reason, least in reasons.items()
                if now[reason] - counted[reason] < least
            }

        until(lambda: not missing(), f"refused: {reasons}; so far {missing()}")


@contextmanager
def good_clients(*asks: HttpAsk | GrpcAsk) -> Iterator[None]:
    """Good clients that go on while what happens inside goes on, and for some answers after it."""
    if not asks:
        yield
        return
    with GoodClient(asks[0]) as client:
        client.goes_on()
        with good_clients(*asks[1:]):
            yield


def warm(*asks: HttpAsk | GrpcAsk) -> None:
    """Have the server do what it does for good clients, so that it has what it needs for that."""
    for ask in asks:
        called: Ask = ask
        for i in range(_WARM):
            assert called(float(i)) == i
        ask.close()


def trim(server: Serving) -> None:
    """Have the allocator give back what is free, as it does whenever a model is unloaded: it keeps much of
    what was freed, with or without attacks."""
    for verb in ("load", "unload"):
        status, _, told = server.ask("POST", f"/v2/repository/models/spare/{verb}")
        assert status == 200, told


def echo_folder(folder: Path) -> Path:
    """A folder with a repository of the models `echo`, of one column, `wide`, of any number, because few rows
    fill a model's queue and attacks are not to find the good clients' one full, and `spare`, for `trim`."""
    add_python(folder / "models", "echo")
    add_python(folder / "models", "wide", tensors=X_TO_Y.replace("[-1, 1]", "[-1, -1]"))
    add_python(folder / "models", "spare")
    return folder


def settings(**values: float | str) -> list[str]:
    """Flags for settings; their names have two underlines in place of the dot."""
    return [f"--set={name.replace('__', '.')}={value}" for name, value in values.items()]
