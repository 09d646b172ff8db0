"""A target as it is asked: its requests made, and the first of them answered."""

from dataclasses import dataclass
from typing import Any, Literal

from falaj.server.bench.address import Address
from falaj.server.bench.inputs import inputs_of
from falaj.server.bench.requests import grpc_raw, http_binary, http_json
from falaj.server.bench.target import Target
from falaj.server.bench.v2_client import Counts, V2Client, client_of


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
    form: Literal["json", "binary"]
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
    inputs = inputs_of(target, client.inputs())
    binary = target.form == "binary" or (target.form == "auto" and client.binary())
    if Address.of(target.url).protocol == "grpc":
        make, binary = grpc_raw, True
    else:
        make = http_binary if binary else http_json
    requests = [make(one, target) for one in inputs]
    client.infer_once(requests[0])
    form: Literal["json", "binary"] = "binary" if binary else "json"
    return Asked(target, client, client.load(requests), form, len(requests[0][1]), len(requests))
