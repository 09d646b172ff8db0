"""The core's fine histograms as Prometheus buckets, without moving a single count across a bound.

The core counts whole numbers (nanoseconds, rows) into bins of which it tells the least value above (csrc/
observe/counter.h). A bucket of Prometheus holds everything up to its bound. Each bound here is one less than
such a least value, so a bin lies in one bucket whole.
"""

from collections.abc import Sequence

NativeBins = Sequence[tuple[int, int]]
Buckets = list[tuple[str, float]]

# The least values above each bucket. Times in nanoseconds: 1 µs to 34 s, each twice the one before.
TIME_LADDER = tuple(1 << power for power in range(10, 36))
# Rows: 1, 2, then up to 4, 9, 19, 39 and so on, so that a batch of a power of two is near its bucket's bound.
ROW_LADDER = (2, 3, 5, *(10 << power for power in range(11)))


def time_buckets(bins: NativeBins) -> Buckets:
    """Return cumulative counts by bounds in seconds, of bins in nanoseconds."""
    return _cumulative(bins, TIME_LADDER, 1e9)


def row_buckets(bins: NativeBins) -> Buckets:
    """Return cumulative counts by bounds in rows."""
    return _cumulative(bins, ROW_LADDER, 1)


def _cumulative(bins: NativeBins, ladder: Sequence[int], unit: float) -> Buckets:
    buckets: Buckets = []
    rest = sorted(bins)
    total = 0
    position = 0
    for above in ladder:
        while position < len(rest) and rest[position][0] <= above:
            total += rest[position][1]
            position += 1
        buckets.append((repr((above - 1) / unit), total))
    total += sum(count for _, count in rest[position:])
    return [*buckets, ("+Inf", total)]
