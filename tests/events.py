"""Waiting for what happens in other processes, however busy the machine is."""

import time


def wait_for(condition):
    """Wait for an event. Ten minutes are no limit to a busy machine; they end a test that hangs."""
    end = time.monotonic() + 600
    while not condition():
        assert time.monotonic() < end, "it did not happen"
        time.sleep(0.02)
