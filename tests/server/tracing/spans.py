"""Spans as tests compare them, out of OTLP's messages."""

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

from opentelemetry.proto.trace.v1.trace_pb2 import ScopeSpans
from opentelemetry.proto.trace.v1.trace_pb2 import Span as Message

from falaj import _core

KINDS = {Message.SPAN_KIND_SERVER: "server", Message.SPAN_KIND_INTERNAL: "internal"}
PARTS = ["parse", "queue", "compute", "serialise"]
_ORDER = {name: i for i, name in enumerate(PARTS)}
TRACE, PARENT = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"
ALWAYS = (True, 1, -1, True, True)  # a rule that samples every request, and follows clients


def traceparent(*, sampled: bool = True, trace: str = TRACE, parent: str = PARENT) -> str:
    """A client's `traceparent`."""
    return f"00-{trace}-{parent}-{'01' if sampled else '00'}"


@dataclass
class Span:
    """One span; times are nanoseconds since the epoch, ids are hexadecimal."""

    trace: str
    id: str
    parent: str
    name: str
    kind: str
    begin: int
    end: int
    attributes: dict[str, Any]
    is_error: bool
    state: str
    flags: int
    parts: list["Span"] = field(default_factory=list)

    def part(self, name: str) -> "Span":
        """The part of that name."""
        (found,) = [part for part in self.parts if part.name == name]
        return found


def trees(spans: Iterable[Message]) -> list[Span]:
    """Return the requests' spans, each with its parts in the order of their times, as a pipeline's steps have
    theirs; every part has its whole, and no id is there twice."""
    made = [_span(one) for one in spans]
    by_id = {one.id: one for one in made}
    assert len(by_id) == len(made)
    roots = []
    for one in made:
        if one.kind == "server":
            roots.append(one)
        else:
            whole = by_id[one.parent]
            assert whole.trace == one.trace
            whole.parts.append(one)
    for whole in made:
        whole.parts.sort(key=lambda part: (part.begin, _ORDER.get(part.name, len(PARTS))))
    return roots


def taken(tracing: _core.Tracing) -> list[Span]:
    """Take all that was recorded."""
    spans: list[Message] = []
    more = True
    while more:
        _requests, more, encoded = tracing.take(0, 1 << 16)
        spans += ScopeSpans.FromString(encoded).spans
    return trees(spans)


def assert_in_order(root: Span, begin: int, end: int) -> None:
    """The request's times and those of its parts follow each other, inside of its client's."""
    times = [begin, root.begin]
    for part in root.parts:
        times += [part.begin, part.end]
    times += [root.end, end]
    assert times == sorted(times), [time - begin for time in times]


def _span(one: Message) -> Span:
    assert len(one.trace_id) == 16
    assert len(one.span_id) == 8
    assert any(one.trace_id)
    assert any(one.span_id)
    values = {pair.key: pair.value for pair in one.attributes}
    assert len(values) == len(one.attributes)
    return Span(
        one.trace_id.hex(),
        one.span_id.hex(),
        one.parent_span_id.hex(),
        one.name,
        KINDS[one.kind],
        one.start_time_unix_nano,
        one.end_time_unix_nano,
        {key: getattr(value, str(value.WhichOneof("value"))) for key, value in values.items()},
        one.status.code == 2,
        one.trace_state,
        one.flags,
    )
