"""Which pipelines stand on which models: no circles, an order to end them in, and whether they fit now."""

from collections.abc import Mapping

from falaj.server.errors import ConfigError
from falaj.server.loader import LoadedVersion
from falaj.server.pipeline_loader import Served, why_not_fit

Needs = dict[str, tuple[str, ...]]
"""Model to the models that it is made of."""


def check_no_circle(name: str, needs: Mapping[str, tuple[str, ...]]) -> None:
    """Raise ConfigError where `name` stands on itself, over however many others."""
    seen: set[str] = set()
    paths: list[tuple[str, ...]] = [(name,)]
    while paths:
        path = paths.pop()
        for model in needs.get(path[-1], ()):
            if model == name:
                circle = " -> ".join(f"'{one}'" for one in (*path, name))
                raise ConfigError(f"pipelines need each other in a circle: {circle}", source=name)
            if model not in seen:
                seen.add(model)
                paths.append((*path, model))


def dependents_first(needs: Mapping[str, tuple[str, ...]]) -> list[str]:
    """Return the names in an order in which each comes before the models that it is made of."""
    order: list[str] = []
    done: set[str] = set()

    def visit(name: str, above: frozenset[str]) -> None:
        if name in done or name in above or name not in needs:
            return
        for model in needs[name]:
            visit(model, above | {name})
        done.add(name)
        order.append(name)

    for name in needs:
        visit(name, frozenset())
    return order[::-1]


def misfits(serving: Mapping[int, LoadedVersion], served: Served) -> dict[int, str]:
    """Return why each version of a pipeline that cannot be asked now cannot be."""
    why = {version: why_not_fit(loaded, served) for version, loaded in serving.items()}
    return {version: reason for version, reason in why.items() if reason is not None}
