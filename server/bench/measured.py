"""What a measurement found."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Window:
    """A stretch of time of a measurement.

    Attributes:
        seconds: Its length.
        answered: Requests that were answered well in it.
        throughput: Of those, a second.
        p50_us, p99_us: Latencies in it, in microseconds; 0 where none was answered.
        errors: Requests that failed in it.
    """

    seconds: float
    answered: int
    throughput: float
    p50_us: float
    p99_us: float
    errors: int


@dataclass(frozen=True)
class Breakdown:
    """What the server says of the same time: means of a request, in microseconds.

    Attributes:
        requests, failed: Of this model, whoever asked.
        executions: Batches that ran.
        mean_batch: Rows in one.
    """

    requests: int
    failed: int
    executions: int
    mean_batch: float
    queue_us: float
    compute_input_us: float
    compute_infer_us: float
    compute_output_us: float


@dataclass(frozen=True)
class Measured:
    """The figures of the last windows of a measurement: three, or as many as there were. Errors are of all.

    Attributes:
        throughput: Requests answered well, a second.
        p50_us, p90_us, p99_us, p999_us, mean_us, max_us: Latencies in microseconds; quantiles are off by at
            most 0.2 %. Open loop: from when a request should have been sent.
        answered: Requests that the latencies are of.
        errors: Requests that failed after the warm-up, by kind, such as `http 503`, `grpc 14`, `timeout` or
            `closed`.
        error_texts: The first text of each kind.
        client_cpu_us_per_request: Of the load generator's threads.
        windows: All of them, those that do not count too.
        stable: Whether the last three windows were as close together as was asked.
        late_p99_us: Open loop: how late the load generator itself was; 0 where closed.
        unsent: Open loop: requests whose time had come at the end, and for which no connection, or no
            sequence, was free.
        server: What the server says; None where it does not.
        sequences_per_s: Sequences that were answered whole, a second; None where requests are of none.
        sequences_left: Those that could not be ended, so that the server keeps them until they are idle.
    """

    throughput: float
    p50_us: float
    p90_us: float
    p99_us: float
    p999_us: float
    mean_us: float
    max_us: float
    answered: int
    errors: dict[str, int]
    error_texts: dict[str, str]
    client_cpu_us_per_request: float
    windows: tuple[Window, ...]
    stable: bool
    late_p99_us: float
    unsent: int
    server: Breakdown | None
    sequences_per_s: float | None = None
    sequences_left: int = 0
