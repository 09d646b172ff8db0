"""The program of a process that runs trials, see workers.py."""

import os
import signal
import sys
import threading
from multiprocessing.connection import Connection

from falaj.training.errors import TrainingError
from falaj.training.fit.carried_spec import CarriedSpec


def serve(end: Connection) -> None:
    """Run the trials that come, until the other end is closed."""
    from falaj.training.fit.prepared import prepare
    from falaj.training.fit.trial import run_trial

    prepared = None
    try:
        carried: CarriedSpec = end.recv()
        while True:
            number, earlier = end.recv()
            try:
                prepared = prepared or prepare(carried.spec())
                end.send(run_trial(prepared, number, earlier))
            except Exception as error:
                is_ours = isinstance(error, TrainingError)
                end.send(error if is_ours else TrainingError(f"trial {number}: {error!r}"))
    except (EOFError, OSError):
        return


def _end_with_parent() -> None:
    """A trial may take long, and a killed parent says nothing: nobody would take its result."""
    os.read(0, 1)
    os._exit(1)


if __name__ == "__main__":
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the parent, which ends this
    threading.Thread(target=_end_with_parent, daemon=True).start()
    serve(Connection(int(sys.argv[1])))
