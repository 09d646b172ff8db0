"""HTTP operations on features."""

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response

from falaj import _core
from falaj.server.api import feature_shapes as shapes
from falaj.server.api.bodies import read_json
from falaj.server.api.errors import json_response
from falaj.server.api.routing import Operation
from falaj.server.feature_service import FeatureService
from falaj.server.push_counts import OFF

_TAG = "Features"
_MOST_BYTES = 16 << 20  # it is parsed on the event loop
_FAILURES = (400, 404, 413, 501, 503, 504)


class FeatureOperations:
    """The endpoints.

    Args:
        service: What they ask; None: they are not served.
        max_body_bytes: Bodies above this, or 16 MiB, are refused.
    """

    def __init__(self, service: FeatureService | None, max_body_bytes: int) -> None:
        self._given = service
        self._max_body = min(max_body_bytes, _MOST_BYTES)

    def table(self) -> list[Operation]:
        """Every operation."""
        return [
            Operation("POST", "/v1/features/get", self._get, "What the online store has for entities now",
                      _TAG, shapes.FeaturesRequest, shapes.FeaturesFound, _FAILURES),
            Operation("POST", "/v1/features/{view}/push", self._push, "Write rows to a view",
                      _TAG, shapes.FeaturesPush, shapes.FeaturesPushed, (403, *_FAILURES), changes=True),
        ]  # fmt: skip

    async def _get(self, request: Request) -> Response:
        asked = await read_json(request, shapes.FeaturesRequest, self._max_body)
        return json_response({"views": await self._service.get(asked.views, asked.keys)})

    async def _push(self, request: Request) -> Response:
        if not self._service.may_push:
            self._service.pushes.refused("", OFF)
            raise HTTPException(403, "requests do not write to views here: features.push is false")
        given = await read_json(request, shapes.FeaturesPush, self._max_body, has_nan=True)
        rows = [given.rows] if isinstance(given.rows, dict) else given.rows
        view, as_of_us = request.path_params["view"], given.features_as_of
        return json_response(await self._service.push(view, rows, as_of_us=as_of_us))

    @property
    def _service(self) -> FeatureService:
        if self._given is None:
            raise _core.Unsupported("features are not served here")
        return self._given
