"""A target as it is asked: its requests made, and the first of them answered."""

from contextlib import suppress
from dataclasses import dataclass
from typing import Any, Literal

from falaj._core import InvalidInput, Unavailable
from falaj.server.bench.address import Address
from falaj.server.bench.inputs import inputs_of
from falaj.server.bench.requests import grpc_raw, http_binary, http_json
from falaj.server.bench.sequences import PARAMETERS
from falaj.server.bench.target import Target
from falaj.server.bench.v2_client import Counts, V2Client, client_of

Form = Literal["json", "binary"]


@dataclass(frozen=True)
class Asked:
    """What the core is given, and whom the server's counts are asked of.

    Attributes:
        form: How tensors are carried; of gRPC always `binary`.
        request_bytes: Of the first request.
        requests: How many different ones there are.
    """

    target: Target
    client: V2Client
    native: dict[str, Any]
    form: Form
    request_bytes: int
    requests: int

    def counts(self) -> Counts | None:
        """Return the model's statistics; None where the server has none."""
        return self.client.counts()


def prepare(target: Target) -> Asked:
    """Make the requests of a target, and ask the first.

    Raises:
        InvalidInput: The target makes no sense, or its inputs do not fit the model.
        NotFound: The server has no such model or version.
        Unavailable: The server cannot be reached, or refuses the request.
    """
    client = client_of(target)
    tensors = client.inputs()
    _check_sequences(target, client)
    inputs = inputs_of(target, tensors)
    form = _form(target, client)
    make = grpc_raw if _is_grpc(target) else http_binary if form == "binary" else http_json
    requests = [make(one, target) for one in inputs]
    client.infer_once(requests[0])
    return Asked(target, client, client.load(requests), form, len(requests[0].body), len(requests))


def _is_grpc(target: Target) -> bool:
    return Address.of(target.url).protocol == "grpc"


def _form(target: Target, client: V2Client) -> Form:
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
