"""HTTP operations on system shared memory."""

from starlette.requests import Request
from starlette.responses import Response

from falaj.server.api import shapes
from falaj.server.api.bodies import read_body, read_json
from falaj.server.api.errors import json_response
from falaj.server.api.routing import Operation
from falaj.server.api.shared_regions import SharedRegions

_PATH = "/v2/systemsharedmemory"
_REGION = f"{_PATH}/region/{{region}}"
_TAG = "Shared memory"
_FAILURES = (400, 413, 501)


class SharedMemoryOperations:
    """The endpoints.

    Args:
        regions: What they ask.
        max_body_bytes: Bodies above this are refused.
    """

    def __init__(self, regions: SharedRegions, max_body_bytes: int) -> None:
        self._regions = regions
        self._max_body = max_body_bytes

    def table(self) -> list[Operation]:
        """Every operation."""
        table = [
            Operation("POST", f"{_REGION}/register", self._register, "Register a region of shared memory",
                      _TAG, shapes.RegisterRegion, None, (403, 404, 503, *_FAILURES), changes=True),
            Operation("POST", f"{_PATH}/register", self._register, "Nothing: a region needs a name",
                      _TAG, shapes.RegisterRegion, None, (400, 403, 413, 501), changes=True),
        ]  # fmt: skip
        for path, what in ((_PATH, "all regions"), (_REGION, "a region")):
            table += [
                Operation("GET", f"{path}/status", self._status, f"Tell of {what} of shared memory",
                          _TAG, None, list[shapes.RegionStatus], (400, 501)),
                Operation("POST", f"{path}/unregister", self._unregister, f"Unregister {what}",
                          _TAG, None, None, (403, *_FAILURES), changes=True),
            ]  # fmt: skip
        return table

    async def _status(self, request: Request) -> Response:
        return json_response(self._regions.status(_region_of(request)))

    async def _register(self, request: Request) -> Response:
        self._regions.require()
        asked = await read_json(request, shapes.RegisterRegion, self._max_body)
        self._regions.register(_region_of(request), asked.key, asked.offset, asked.byte_size)
        return Response()

    async def _unregister(self, request: Request) -> Response:
        await read_body(request, self._max_body)
        self._regions.unregister(_region_of(request))
        return Response()


def _region_of(request: Request) -> str:
    """The region of the path; empty: all."""
    name: str = request.path_params.get("region", "")
    return name
