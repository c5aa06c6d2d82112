"""A gateway whose descriptors are used up: who waits is told, who lives gets in once there is room, and everybody sees why."""

import socket
import time

import pytest

from harness.poll import eventually
from harness.wire import Connection, Wire, upgrade_request

LIMIT = 120
LAUNCHER = ("sh", "-c", f'ulimit -n {LIMIT}; exec "$@"', "sh")


@pytest.fixture
def small(start_gateway):
    """A gateway of one shard that may have few files open."""
    return start_gateway(launcher=LAUNCHER, **{"server.shards": 1})


def fill(gateway):
    """Connects devices until no more is accepted."""
    devices = []
    while True:
        device = Connection(gateway.port, timeout=5)
        device.send(upgrade_request("/topics/news"))
        answer = device.response()
        if answer is None or answer[0] != 101:
            assert answer and answer[0] == 503 and "retry-after" in answer[1], answer
            return devices
        devices.append(device)
        assert len(devices) <= LIMIT


def why_not_ready(gateway):
    answer = gateway.get("/readyz")
    return [missing for missing in answer.json.get("missing", []) if missing["part"] == "accept"] if answer.status == 503 else []


def leave_dead_connects(gateway, count, says=b""):
    """So many connect, say this, and are gone before they can be accepted."""
    for _ in range(count):
        with socket.socket() as client:
            client.setblocking(False)
            client.connect_ex(("127.0.0.1", gateway.port))
            if says:
                client.setblocking(True)
                client.send(says)


def test_a_gateway_that_cannot_accept_says_so_and_tells_who_comes(small):
    devices = fill(small)
    assert len(devices) > LIMIT / 2
    reason = eventually(lambda: why_not_ready(small), "/readyz is 503")
    assert "LimitNOFILE" in reason[0]["message"]
    assert small.metric("accept_blocked") == 1
    for _ in range(20):
        with Connection(small.port, timeout=5) as late:
            late.send(upgrade_request("/topics/news"))
            assert late.response()[0] == 503
    assert small.metric("handshakes_failed_total", reason="no_descriptor") >= 20
    small.expect_log("accept failed")
    lines = [line for line in small.log.splitlines() if "accept failed" in line]
    assert len(lines) == 1, lines
    assert f"limit={LIMIT}" in lines[0] and "ulimit -n" in lines[0] and "fanfare doctor" in lines[0]
    assert f"connections={len(devices)}" in lines[0]
    for device in devices:
        device.send(b"\x89\x80\0\0\0\0")
        assert device.take(2) == b"\x8a\0", "those who are connected are served"
    devices.pop().close()
    eventually(lambda: small.ready() == 200, "there is room for one again", every_s=0.005)
    with Wire(small.port, "/topics/news") as next_one:
        next_one.expect_still_open()
    assert small.metric("accept_errors_total") > 1


@pytest.mark.parametrize("says", [b"", b"GET /topics/news HT", upgrade_request("/topics/news")])
def test_who_lives_is_accepted_behind_a_crowd_of_dead_connects(small, says):
    devices = fill(small)
    for free in 1, 20:
        leave_dead_connects(small, 1_000, says)
        began = time.monotonic()
        for _ in range(free):
            devices.pop().close()
        device = eventually(lambda: accepted(small), "a living device is accepted", every_s=0.005)
        assert time.monotonic() - began < 3, f"with {free} descriptors free"
        devices.append(device)
        for device in devices:
            device.send(b"\x89\x80\0\0\0\0")
            assert device.take(2) == b"\x8a\0"
    eventually(lambda: small.ready() == 200, "there is room again")


def accepted(gateway):
    device = Connection(gateway.port, timeout=5)
    device.send(upgrade_request("/topics/news"))
    answer = device.response()
    if answer and answer[0] == 101:
        return device
    assert answer is None or answer[0] == 503
    device.close()
    return None


def test_a_fleet_that_leaves_and_returns_at_once_is_let_in_without_a_503(small):
    devices = fill(small)
    failed = small.metric("handshakes_failed_total", reason="no_descriptor")
    for device in devices:
        device.close()
    returned = [Wire(small.port, "/topics/news", settled=False) for _ in devices]
    assert small.metric("handshakes_failed_total", reason="no_descriptor") == failed
    small.await_connections(len(returned))
    for device in returned:
        device.close()


def test_a_full_gateway_stops_as_any_other(small):
    devices = fill(small)
    small.signal()
    assert small.exit_code() == 0
    for device in devices:
        device.close()
