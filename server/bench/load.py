"""How a server is asked: so many requests at a time, or so many a second."""

from dataclasses import dataclass
from typing import Literal

Arrivals = Literal["closed", "poisson", "constant"]
_OPEN_CONNECTIONS = 64


@dataclass(frozen=True)
class Load:
    """One point of a sweep. `Load.closed` and `Load.open` make it.

    Args:
        arrivals: `closed`: the next request goes out when one is answered. `poisson` and `constant`: requests
            come at a rate of their own, whatever the server does, and a latency counts from when its request
            should have been sent.
        concurrency: Closed: requests under way at a time. Open: connections.
        rate: Requests a second; 0 where closed.
        streams: gRPC: calls that share a connection.
        threads: Of the load generator.
    """

    arrivals: Arrivals
    concurrency: int
    rate: float = 0.0
    streams: int = 1
    threads: int = 1

    @classmethod
    def closed(cls, concurrency: int, *, streams: int = 1, threads: int = 1) -> "Load":
        """Keep so many requests under way."""
        return cls("closed", concurrency, streams=streams, threads=threads)

    @classmethod
    def open(
        cls,
        rate: float,
        *,
        arrivals: Arrivals = "poisson",
        connections: int = _OPEN_CONNECTIONS,
        streams: int = 1,
        threads: int = 1,
    ) -> "Load":
        """Ask so many times a second, whatever the server does."""
        return cls(arrivals, connections, rate, streams, threads)
