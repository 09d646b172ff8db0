"""A target as it is asked: its requests made, and the first of them answered."""

from contextlib import ExitStack, suppress
from dataclasses import dataclass, field
from types import TracebackType
from typing import Any, Literal

from falaj._core import InvalidInput, Unavailable
from falaj.server.bench.address import Address
from falaj.server.bench.inputs import inputs_of
from falaj.server.bench.requests import grpc_raw, http_binary, http_json
from falaj.server.bench.sequences import PARAMETERS
from falaj.server.bench.target import Target
from falaj.server.bench.v2_client import Counts, V2Client, client_of

Form = Literal["json", "binary", "shared memory"]


@dataclass(frozen=True)
class Asked:
    """What the core is given, and whom the server's counts are asked of.

    Shared memory is given back when the context is left, or `close` is called.

    Attributes:
        form: How tensors are carried; of gRPC `binary`, where they are not in shared memory.
        request_bytes: Of the first request.
        requests: How many different ones there are.
        slots: Requests under way for which shared memory has room; 0: tensors are not in it.
    """

    target: Target
    client: V2Client
    native: dict[str, Any]
    form: Form
    request_bytes: int
    requests: int
    slots: int = 0
    _closing: ExitStack = field(default_factory=ExitStack, repr=False, compare=False)

    def counts(self) -> Counts | None:
        """Return the model's statistics; None where the server has none."""
        return self.client.counts()

    def close(self) -> None:
        """Give shared memory back."""
        self._closing.close()

    def __enter__(self) -> "Asked":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def prepare(target: Target, *, slots: int = 1) -> Asked:
    """Make the requests of a target, and ask the first.

    Args:
        slots: Requests that will be under way at most; for outputs in shared memory.

    Raises:
        InvalidInput: The target makes no sense, or its inputs do not fit the model.
        NotFound: The server has no such model or version.
        Unavailable: The server cannot be reached, or refuses the request.
    """
    client = client_of(target)
    tensors = client.inputs()
    _check_sequences(target, client)
    inputs = inputs_of(target, tensors)
    with ExitStack() as closing:
        form: Form
        if target.shared_memory:
            from falaj.server.bench.shared_memory import shared_tensors
            from falaj.server.bench.shared_requests import grpc_shared, http_shared

            shared = closing.enter_context(shared_tensors(target, client, inputs, slots))
            make_shared = grpc_shared if _is_grpc(target) else http_shared
            requests = [make_shared(one, i, shared, target) for i, one in enumerate(inputs)]
            form = "shared memory"
        else:
            slots = 0
            form = _form(target, client)
            make = grpc_raw if _is_grpc(target) else http_binary if form == "binary" else http_json
            requests = [make(one, target) for one in inputs]
        client.infer_once(requests[0])
        native, size = client.load(requests), len(requests[0].body)
        return Asked(target, client, native, form, size, len(requests), slots, closing.pop_all())


def _is_grpc(target: Target) -> bool:
    return Address.of(target.url).protocol == "grpc"


def _form(target: Target, client: V2Client) -> Literal["json", "binary"]:
    if _is_grpc(target) or target.form == "binary":
        return "binary"
    return "binary" if target.form == "auto" and client.binary() else "json"


def _check_sequences(target: Target, client: V2Client) -> None:
    """Find out now what every request would be refused for. Raises InvalidInput."""
    own = [name for name in PARAMETERS if name in target.parameters]
    if target.sequences is not None and own:
        raise InvalidInput(f"--parameter {own[0]}: is told by --sequence-length and what goes with it")
    if own:
        return
    stateful = None
    with suppress(Unavailable):  # it is asked for what it need not know
        stateful = client.stateful()
    if target.sequences is None and stateful:
        raise InvalidInput(
            f"{target.label}: the model is stateful (its configuration has sequence_batching), so that "
            f"requests are of sequences: expected --sequence-length N"
        )
    if target.sequences is not None and stateful is False:
        raise InvalidInput(
            f"{target.label}: --sequence-length: the model is not stateful (its configuration has no "
            f"sequence_batching)"
        )
