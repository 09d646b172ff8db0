"""What is asked: a model behind a URL, and the requests that are made for it."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from falaj.server.bench.sequences import Sequences

Parameter = bool | int | float | str
Form = Literal["auto", "json", "binary"]


@dataclass(frozen=True)
class Target:
    """One model of one V2 server, and how it is asked.

    Args:
        url: `http://`, `https://`, `grpc://` or `grpcs://`, with host and port; of HTTP also a path, which
            comes before the protocol's own.
        model: Its name.
        version: None: the one that the server chooses.
        form: How HTTP carries tensors. `auto`: binary where the server says that it knows it, else JSON. gRPC
            carries them raw.
        batch_size: Rows of a request, where an input's first dimension is variable.
        shapes: By input, its dimensions where the model leaves them variable; without the batch's, or with
            it.
        data: A file of inputs in place of random ones: `.json`, a V2 request or an array of them, or `.npz`,
            an array by input, whose rows are asked in turn.
        parameters: Of each request.
        headers: Fields of HTTP, or metadata of gRPC.
        timeout_s: Seconds after which a request is given up and counted as an error.
        ca_file: PEM file of the authorities that are trusted; None: the system's.
        without: Inputs that are left out: V2's metadata does not say which may be, as features that a server
            looks up by itself.
        name: What reports call it; empty: its URL and model.
        sequences: Of which the requests are, where the model is stateful; None: of none.
        shared_memory: Whether tensors lie in shared memory of this machine, on which the server then runs
            too; they are in no request and no answer, and `form` has no meaning.
        output_bytes: In shared memory, of each output of a request; None: as large as it is by the metadata,
            100 KiB where that does not say.
    """

    url: str
    model: str
    version: str | None = None
    form: Form = "auto"
    batch_size: int = 1
    shapes: Mapping[str, tuple[int, ...]] = field(default_factory=dict)
    data: Path | None = None
    parameters: Mapping[str, Parameter] = field(default_factory=dict)
    headers: tuple[tuple[str, str], ...] = ()
    timeout_s: float = 10.0
    ca_file: str | None = None
    without: tuple[str, ...] = ()
    name: str = ""
    sequences: Sequences | None = None
    shared_memory: bool = False
    output_bytes: int | None = None

    @property
    def label(self) -> str:
        """Return what reports call it."""
        return self.name or f"{self.url} {self.model}"
