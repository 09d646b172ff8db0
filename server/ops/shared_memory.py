"""Which system shared memory clients may have the server use: the table [shared_memory]."""

import pwd
import re
from typing import ClassVar

from falaj import _core
from falaj.server.errors import ConfigError
from falaj.server.ops.section import Bounds, Section

_PREFIX = re.compile(r"[A-Za-z0-9_-][A-Za-z0-9._-]{0,199}")


class SharedMemory(Section, frozen=True):
    """Whether clients of this machine may pass tensors by shared memory, and which: docs/shared-memory.md."""

    allow: bool = False
    """Whether clients may register regions of /dev/shm. Default: false. Set it to true where all who may ask
    this server are trusted with the files that `prefix` names."""
    prefix: tuple[str, ...] = ("falaj_",)
    """Beginnings of which a file's name needs one. Default: "falaj_". Set it to what your clients use; keep
    it apart from the names that other programs of the same user have."""
    owners: tuple[str, ...] = ()
    """Users, besides the server's own, whose files may be registered: names or numbers. Default: none."""
    max_regions: int = 1024
    """Regions registered at a time; each holds a file descriptor. Default: 1024."""
    max_bytes: int = 16 << 30
    """Bytes of all of them. Default: 16 GiB."""
    max_copied_bytes: int = 1 << 30
    """Bytes of the copies of inputs that are made of them, at a time; a request beyond that is refused with
    503. Default: 1 GiB. Raise it for large tensors that are not attached."""
    copy: bool = False
    """Whether tensors are copied, in and out, before models see them. Default: false, most are used where
    they lie. Set it to true where clients are not trusted to leave a tensor alone while a model runs."""

    BOUNDS: ClassVar[Bounds] = {
        "max_regions": (1, 1024),
        "max_bytes": (4096, 1 << 50),
        "max_copied_bytes": (4096, 1 << 50),
    }

    def __post_init__(self) -> None:
        super().__post_init__()
        if not self.prefix:
            raise ConfigError("expected the beginning of names, got none", key="prefix")
        for index, text in enumerate(self.prefix):
            if not _PREFIX.fullmatch(text):
                expected = "expected letters, digits, '_', '-' and '.', not beginning with '.'"
                raise ConfigError(f"{expected}, got '{text}'", key=f"prefix[{index}]")
        self.owner_ids()

    def owner_ids(self) -> list[int]:
        """Return the numbers of `owners`. Raises ConfigError where there is no such user."""
        return [_user_id(index, text) for index, text in enumerate(self.owners)]

    def open(self) -> _core.SharedMemory | None:
        """Return an empty registry of regions; None where none are allowed."""
        if not self.allow:
            return None
        return _core.SharedMemory(
            list(self.prefix),
            self.owner_ids(),
            self.max_regions,
            self.max_bytes,
            self.max_copied_bytes,
            self.copy,
        )


def _user_id(index: int, text: str) -> int:
    if re.fullmatch(r"[0-9]{1,9}", text):
        return int(text)
    try:
        return pwd.getpwnam(text).pw_uid
    except KeyError as error:
        raise ConfigError(f"there is no user '{text}'", key=f"owners[{index}]") from error
