"""Log settings in memory."""

from typing import Any

import falaj


class Logs:
    """What the protocol's logging extension reads and writes."""

    def __init__(self) -> None:
        self.values: dict[str, bool | int | str] = {
            "log_file": "", "log_info": True, "log_warning": True, "log_error": True,
            "log_verbose_level": 0, "log_format": "default",
        }  # fmt: skip

    def as_dict(self) -> dict[str, bool | int | str]:
        return dict(self.values)

    def update(self, values: Any) -> None:
        if not values.keys() <= self.values.keys():
            raise falaj.InvalidInput("unknown log setting")
        self.values |= values
