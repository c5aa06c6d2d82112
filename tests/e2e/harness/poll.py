"""Waiting for a condition instead of for a time."""

import time

DEADLINE_S = 10.0


def eventually(condition, what, deadline_s=DEADLINE_S, every_s=0.02):
    """The first true value of `condition()`; fails with `what` and the last value when the deadline passes."""
    ends = time.monotonic() + deadline_s
    while True:
        value = condition()
        if value:
            return value
        if time.monotonic() >= ends:
            raise AssertionError(f"not within {deadline_s} s: {what} (last: {value!r})")
        time.sleep(every_s)
