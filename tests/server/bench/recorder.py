"""What a server is asked of sequences, checked as it comes."""

import json
import socket
import threading
from collections import defaultdict
from dataclasses import dataclass, field

from tests.server.bench.stalling_server import GOOD, StallingServer


@dataclass
class Recorder:
    """An `Answer` of a stalling server that answers after a moment, and keeps the flags of each sequence.

    Attributes:
        status: By the number of a request, what it is answered with in place of 200.
        seen: Of each id, the flags (first, last) of its requests in their order.
        problems: What no load generator may do.
        most_live: Ids of which a request was under way, at most at a time.
    """

    status: dict[int, int] = field(default_factory=dict)
    seen: dict[int, list[tuple[bool, bool]]] = field(default_factory=lambda: defaultdict(list))
    problems: list[str] = field(default_factory=list)
    most_live: int = 0
    server: StallingServer | None = None
    _under_way: set[int] = field(default_factory=set)
    _lock: threading.Lock = field(default_factory=threading.Lock)
    _never: threading.Event = field(default_factory=threading.Event)

    def __call__(self, connection: socket.socket, number: int) -> bool:
        assert self.server is not None
        told = json.loads(self.server.bodies[number])["parameters"]
        of = told["sequence_id"]
        with self._lock:
            if of in self._under_way:
                self.problems.append(f"two requests of {of} are under way")
            self._under_way.add(of)
            self.most_live = max(self.most_live, len(self._under_way))
            self.seen[of].append((told["sequence_start"], told["sequence_end"]))
        self._never.wait(0.002)  # as a model takes, so that requests meet
        with self._lock:
            self._under_way.discard(of)
        status = self.status.get(number)
        connection.sendall(GOOD if status is None else GOOD.replace(b"200 OK", b"%d No" % status))
        return True
