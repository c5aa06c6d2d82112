"""A client that does not read costs a bounded outbox and then its own connection, nobody else's messages."""

import struct
import threading

import pytest

from harness.poll import eventually
from harness.wire import CLOSE, TEXT, Wire, server_frame

PAYLOAD_BYTES = 10_000
READER_LAG_BYTES = 50_000
PUBLISHED_AT_ONCE = 10


def payload(n):
    return b"%08d" % n + b"x" * (PAYLOAD_BYTES - 8)


def publish(redis, first, count, readers=()):
    """Publishes no faster than the readers read: a test client that falls behind is not what is tested here."""
    publisher = redis.client()
    for start in range(first, first + count, PUBLISHED_AT_ONCE):
        numbers = range(start, start + PUBLISHED_AT_ONCE)
        publisher.pipeline([("PUBLISH", "fanfare:topic:t", payload(n)) for n in numbers])
        enough = (start - first) * PAYLOAD_BYTES - READER_LAG_BYTES
        eventually(lambda: all(r.received_bytes >= enough for r in readers), "the readers follow", deadline_s=30, every_s=0.001)
    publisher.close()


def sleeper(gateway, path="/topics/t"):
    """A client that will not read, with the smallest receive buffer the kernel gives."""
    return Wire(gateway.port, path, receive_buffer=2_048, timeout=20)


def expect_prefix_then_close(client):
    """Whole messages in order from the first, then Close 4008, then the end."""
    seen = 0
    while True:
        got = client.receive()
        if got.opcode == CLOSE:
            break
        assert got.opcode == TEXT and got.payload == payload(seen), (seen, got.payload[:20])
        seen += 1
    assert got.payload[:2] == struct.pack("!H", 4008), got
    client.answer_close(got.payload)
    return seen


def test_who_stops_reading_is_closed_with_4008_and_its_neighbours_get_everything(start_gateway, redis):
    gateway = start_gateway(redis=redis.url, **{"outbox.bytes_max": 524_288})
    count = 3_000
    expected = b"".join(server_frame(TEXT, payload(n)) for n in range(count))
    slow = [sleeper(gateway) for _ in range(3)]
    neighbours = [Wire(gateway.port, "/topics/t", timeout=30) for _ in range(4)]
    gateway.await_members("t", 7)
    readers = []
    outcomes = {}

    def read(at, client):
        try:
            client.expect_stream(expected, deadline_s=60)
            client.expect_still_open()
            outcomes[at] = "all"
        except (AssertionError, OSError, EOFError) as problem:
            outcomes[at] = problem

    for at, client in enumerate(neighbours):
        readers.append(threading.Thread(target=read, args=(at, client)))
        readers[-1].start()
    publish(redis, 0, count, neighbours)
    for reader in readers:
        reader.join()
    assert outcomes == {at: "all" for at in range(4)}
    eventually(lambda: gateway.metric("closed_total", reason="slow") + gateway.metric("outboxes") >= 3, "3 slow clients")
    for client in slow:
        seen = expect_prefix_then_close(client)
        assert 0 < seen < count
    eventually(lambda: gateway.metric("closed_total", reason="slow") == 3, "all three are counted as slow")
    eventually(lambda: gateway.metric("outbox_bytes") == 0, "the memory they held is back")
    gateway.await_members("t", 4)


def test_an_outbox_may_also_be_too_old(start_gateway, redis):
    gateway = start_gateway(redis=redis.url, **{"outbox.bytes_max": 64 * 1024 * 1024, "outbox.age_max_s": 1})
    with sleeper(gateway) as slow:
        publish(redis, 0, 1_000)
        eventually(lambda: gateway.metric("outbox_bytes") > PAYLOAD_BYTES * 2, "messages wait")
        eventually(lambda: gateway.metric("outbox_bytes") < PAYLOAD_BYTES * 2, "they were given up, all but a begun one")
        assert expect_prefix_then_close(slow) > 0


def test_a_client_that_pauses_within_the_bound_gets_everything(start_gateway, redis):
    gateway = start_gateway(redis=redis.url, **{"outbox.bytes_max": 32 * 1024 * 1024})
    expected = b"".join(server_frame(TEXT, payload(n)) for n in range(1_500))
    with sleeper(gateway) as slow:
        publish(redis, 0, 1_000)
        eventually(lambda: gateway.metric("outbox_bytes") > 0, "something waits")
        # What comes while it reads goes behind what waits.
        behind = threading.Thread(target=publish, args=(redis, 1_000, 500))
        behind.start()
        slow.expect_stream(expected, deadline_s=60)
        behind.join()
        slow.expect_still_open()
    eventually(lambda: gateway.metric("outbox_bytes") == 0, "nothing waits any more")


@pytest.mark.parametrize("policy, label", [("drop-oldest", "drop_oldest"), ("latest-only", "latest_only")])
def test_a_dropping_policy_keeps_the_client_and_sends_only_whole_messages_in_order(start_gateway, redis, policy, label):
    gateway = start_gateway(redis=redis.url, **{"outbox.bytes_max": 524_288, "outbox.policy": policy})
    with sleeper(gateway) as slow, Wire(gateway.port, "/topics/t", timeout=30) as neighbour:
        expected = b"".join(server_frame(TEXT, payload(n)) for n in range(2_000))
        gateway.await_members("t", 2)
        load = threading.Thread(target=publish, args=(redis, 0, 2_000, [neighbour]))
        load.start()
        neighbour.expect_stream(expected, deadline_s=60)
        load.join()
        seen = []
        while not seen or seen[-1] != 1_999:
            got = slow.receive()
            n = int(got.payload[:8])
            assert got.payload == payload(n)
            seen.append(n)
        assert seen == sorted(set(seen)), "in order, none twice"
        assert len(seen) < 2_000
        assert gateway.metric("outbox_dropped_total", policy=label) == 2_000 - len(seen)
        slow.expect_still_open()
