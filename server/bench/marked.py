"""Bytes of a request with places that the core writes anew each time that it is asked.

A place is as wide whatever stands there, so that no length changes: a number of JSON has spaces before its
digits, a varint of protobuf the 10 bytes that decoders take at most, the last ones without a bit set.
"""

from dataclasses import dataclass

# What is written (sequence, start, end or slot), whether as text, at which byte, base and each of slots: see
# csrc/load/place.h.
Place = tuple[str, bool, int, int, int]
_VARINT_BYTES = 10


@dataclass(frozen=True)
class Marked:
    """Bytes, valid as they are, and the places in them."""

    content: bytes
    places: tuple[Place, ...] = ()


def joined(*parts: Marked | bytes) -> Marked:
    """Put parts one behind the other."""
    contents: list[bytes] = []
    places: list[Place] = []
    at = 0
    for part in parts:
        content = part if isinstance(part, bytes) else part.content
        if isinstance(part, Marked):
            places += [(what, text, at + where, base, each) for what, text, where, base, each in part.places]
        contents.append(content)
        at += len(content)
    return Marked(b"".join(contents), tuple(places))


def json_number(what: str, value: int, *, each: int = 0) -> Marked:
    """Make a place for a number of 64 bits. Of a slot it is `value` and `each` for each one before it."""
    return Marked(f"{value:20}".encode(), ((what, True, 0, value, each),))


def json_flag(what: str, value: bool) -> Marked:
    """Make a place for true or false."""
    return Marked(b" true" if value else b"false", ((what, True, 0, 0, 0),))


def proto_number(what: str, value: int, *, each: int = 0) -> Marked:
    """Make a place for a number, as `json_number` does."""
    digits = [value >> (7 * i) & 0x7F for i in range(_VARINT_BYTES)]
    content = bytes([*(digit | 0x80 for digit in digits[:-1]), digits[-1]])
    return Marked(content, ((what, False, 0, value, each),))


def proto_flag(what: str, value: bool) -> Marked:
    """Make a place for true or false."""
    return Marked(bytes([value]), ((what, False, 0, 0, 0),))


def proto_field(number: int, content: Marked | bytes) -> Marked:
    """Make a field of bytes, text or a message."""
    whole = joined(content)
    return joined(_varint(number << 3 | 2), _varint(len(whole.content)), whole)


def proto_parameter(field: int, name: str, value: Marked | bytes) -> Marked:
    """Make an entry of a map of parameters, the `field` of its message; `value` is an InferParameter's."""
    return proto_field(field, joined(proto_field(1, name.encode()), proto_field(2, value)))


def _varint(value: int) -> bytes:
    content = bytearray()
    while value > 0x7F:
        content.append(value & 0x7F | 0x80)
        value >>= 7
    return bytes([*content, value])
