"""When a flight leaves by the clock on the wall: what a request says, as the model takes it."""

from falaj.features.transform import transform


@transform(inputs={"scheduled": "INT64"}, outputs={"minute_of_day": "FP32", "weekday": "FP32"})
def clock(xp, scheduled):  # type: ignore[no-untyped-def]
    """`scheduled`: minutes since 1970, local. 0 is a Monday; 1970 began on a Thursday."""
    return xp.astype(scheduled % 1440, xp.float32), xp.astype((scheduled // 1440 + 3) % 7, xp.float32)
