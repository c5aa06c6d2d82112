"""Many leave at once, politely or not; the gateway is as it was before."""

import os

import pytest

from harness.poll import eventually
from harness.wire import CLOSE, TEXT, Connection, Wire, close_payload, frame, server_frame, upgrade_request

DEVICES = 2_000


def open_many(gateway, count):
    """Opens all, sends every upgrade, then reads every answer: the handshakes overlap."""
    clients = [Connection(gateway.port) for _ in range(count)]
    for client in clients:
        client.send(upgrade_request("/connect?join=crowd"))
    for client in clients:
        assert client.response()[0] == 101
    return clients


@pytest.mark.parametrize("leave", ["reset", "close", "say goodbye"])
def test_two_thousand_leave_at_once_and_new_clients_are_served(gateway, leave):
    clients = open_many(gateway, DEVICES)
    gateway.await_members("crowd", DEVICES)
    assert gateway.connections() == DEVICES
    if leave == "say goodbye":
        for client in clients:
            client.send(frame(CLOSE, close_payload(1001)))
        for client in clients:
            assert client.rest() == b"\x88\x02\x03\xe9"
    for client in clients:
        client.reset() if leave == "reset" else client.close()
    gateway.await_connections(0)
    assert gateway.members("crowd") == 0
    with Wire(gateway.port, "/topics/crowd") as client:
        assert gateway.push({"topic": "crowd"}, ["new"]).status == 202
        client.expect_stream(server_frame(TEXT, b'"new"'))


def test_leaving_in_the_middle_of_a_broadcast_disturbs_nobody_who_stays(gateway_on_redis, redis):
    gateway = gateway_on_redis
    leaving, staying = open_many(gateway, 1_000), [Wire(gateway.port, "/topics/crowd") for _ in range(10)]
    gateway.await_members("crowd", 1_010)
    publisher = redis.client()
    for n in range(20):
        publisher.pipeline([("PUBLISH", "fanfare:topic:crowd", n * 50 + m) for m in range(50)])
        for client in leaving[n * 50 : n * 50 + 50]:
            client.reset() if n % 2 else client.close()
    expected = b"".join(server_frame(TEXT, b"%d" % n) for n in range(1_000))
    for client in staying:
        client.expect_stream(expected)
        client.expect_still_open()
    gateway.await_connections(10)


def test_a_thousand_come_and_go_ten_times_and_memory_does_not_grow(gateway):
    levels = []
    for _ in range(10):
        clients = open_many(gateway, 1_000)
        gateway.await_connections(1_000)
        for client in clients:
            client.reset()
        gateway.await_connections(0)
        levels.append(rss_kib(gateway.process.pid))
    # The first rounds grow pools; after them a leak of 100 bytes a connection would be 600 KiB.
    assert levels[-1] <= levels[3] * 1.1, levels
    eventually(lambda: open_files(gateway.process.pid) < 100, "no descriptor is left behind")


def rss_kib(pid):
    with open(f"/proc/{pid}/status", encoding="ascii") as status:
        return next(int(line.split()[1]) for line in status if line.startswith("VmRSS:"))


def open_files(pid):
    """The most that any thread has open: a shard has a table of its own."""
    return max(len(os.listdir(f"/proc/{pid}/task/{task}/fd")) for task in os.listdir(f"/proc/{pid}/task"))


@pytest.mark.parametrize("last_words", [frame(TEXT, b'{"type":"PING"}'), frame(CLOSE, close_payload(1000)), b"\x81"])
def test_an_end_that_comes_together_with_bytes_is_noticed(gateway, last_words):
    for _ in range(300):
        client = Wire(gateway.port)
        client.send(last_words)
        client.close()
    # Long before liveness would find them: the ends were seen, not the silence after them.
    eventually(lambda: gateway.connections() == 0, "nobody is left", deadline_s=3)


def test_the_end_of_a_refused_client_is_noticed(gateway):
    for _ in range(100):
        with Wire(gateway.port) as client:
            client.send(frame(TEXT, b"x", mask=None))
            client.expect_close(1002)
    eventually(lambda: gateway.connections() == 0, "nobody is left", deadline_s=3)
