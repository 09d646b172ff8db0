"""Processes that run trials. They end when the process that began them does, however it ends."""

import os
import subprocess
import sys
from collections.abc import Iterator, Sequence
from multiprocessing import Pipe
from multiprocessing.connection import Connection, wait
from typing import Any

from falaj.training.errors import TrainingError
from falaj.training.fit.carried_spec import carried
from falaj.training.fit.spec import TrainSpec

_SECONDS_TO_END = 10.0


class Workers:
    """A fixed number of processes, each with the data in memory. Used by one thread.

    A context: at its end the processes are gone.
    """

    def __init__(self, spec: TrainSpec, jobs: int) -> None:
        """Begin with the processes of a specification's trials; they read the data for themselves."""
        self._ends: list[Connection] = []
        self._processes: list[subprocess.Popen[bytes]] = []
        # Not by multiprocessing, whose processes run the main program again, which may be anything.
        command = [sys.executable, "-m", "falaj.training.fit.worker"]
        env = {**os.environ, "PYTHONPATH": os.pathsep.join(each for each in sys.path if each)}
        for _ in range(jobs):
            ours, theirs = Pipe()
            number = theirs.fileno()
            # Its standard input ends when this process does.
            self._processes.append(
                subprocess.Popen([*command, str(number)], stdin=subprocess.PIPE, pass_fds=[number], env=env)
            )
            theirs.close()
            self._ends.append(ours)
            self._send(ours, carried(spec))

    def __enter__(self) -> "Workers":
        return self

    def __exit__(self, *_: object) -> None:
        for end, process in zip(self._ends, self._processes, strict=True):
            end.close()
            process.kill()  # they have nothing that is not written by this process
        for process in self._processes:
            process.communicate()

    def run(self, numbers: Sequence[int], earlier: Sequence[Any]) -> Iterator[Any]:
        """Run trials, and yield each when it and all before it are finished.

        Raises:
            TrainingError: A process ended by itself, or says that the data cannot be used.
        """
        waiting, expected = list(numbers), list(numbers)
        finished: dict[int, Any] = {}
        busy: dict[Connection, int] = {}
        while expected:
            for end in self._ends:
                if waiting and end not in busy:
                    busy[end] = waiting.pop(0)
                    self._send(end, (busy[end], list(earlier)))
            ready = wait(list(busy))
            for end in [each for each in busy if each in ready]:
                finished[busy.pop(end)] = self._received(end)
            while expected and expected[0] in finished:
                yield finished.pop(expected.pop(0))

    def _send(self, end: Connection, message: object) -> None:
        try:
            end.send(message)
        except OSError as error:
            raise self._ended(end) from error

    def _received(self, end: Connection) -> Any:
        try:
            found = end.recv()
        except (EOFError, OSError) as error:
            raise self._ended(end) from error
        if isinstance(found, Exception):
            raise found
        return found

    def _ended(self, end: Connection) -> TrainingError:
        code = self._processes[self._ends.index(end)].wait(_SECONDS_TO_END)
        return TrainingError(
            f"tuning: the process of a trial ended with the code {code}"
            f"{' (killed: is there memory enough?)' if code == -9 else ''}; "
            "run the same again, and the study goes on"
        )
