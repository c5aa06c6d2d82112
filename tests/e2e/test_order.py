"""Completeness: every connection gets every message once, in the order of its publication."""

import json
import selectors
import threading
import time

from harness.poll import eventually
from harness.wire import TEXT, Wire, server_frame

CONNECTIONS = 200
MESSAGES = 5_000


def publish(redis, topic, count, pause_every=500):
    publisher = redis.client()
    for first in range(0, count, pause_every):
        last = min(first + pause_every, count)
        publisher.pipeline([("PUBLISH", f"fanfare:topic:{topic}", '{"n":%d}' % n) for n in range(first, last)])
    publisher.close()


def raw_stream(count):
    return b"".join(server_frame(TEXT, b'{"n":%d}' % n) for n in range(count))


def read_streams(clients, length, deadline_s=60):
    """Reads all clients together until each has that many bytes."""
    selector = selectors.DefaultSelector()
    for client in clients:
        selector.register(client.socket, selectors.EVENT_READ, client)
    waiting = {id(client) for client in clients if len(client.buffer) < length}
    ends = time.monotonic() + deadline_s
    while waiting:
        ready = selector.select(timeout=1)
        assert ready or time.monotonic() < ends, f"{len(waiting)} of {len(clients)} connections lack bytes"
        for key, _ in ready:
            client = key.data
            open_ = client.fill()
            if len(client.buffer) >= length:
                waiting.discard(id(client))
            if not open_:
                assert id(client) not in waiting, f"closed after {len(client.buffer)} of {length} bytes"
                selector.unregister(client.socket)
    selector.close()


def test_two_hundred_raw_connections_get_every_byte_in_order(gateway_on_redis, redis):
    clients = [Wire(gateway_on_redis.port, "/topics/t") for _ in range(CONNECTIONS)]
    gateway_on_redis.await_members("t", CONNECTIONS)
    expected = raw_stream(MESSAGES)
    publisher = threading.Thread(target=publish, args=(redis, "t", MESSAGES))
    publisher.start()
    read_streams(clients, len(expected))
    publisher.join()
    for client in clients:
        client.expect_stream(expected)
        client.expect_still_open()
        client.close()
    # The counters tell the same: nothing was sent twice, nothing failed.
    assert gateway_on_redis.metric("deliveries_total") == CONNECTIONS * MESSAGES
    assert gateway_on_redis.metric("deliveries_failed_total") == 0


def test_merged_go_push_frames_lose_and_reorder_nothing(gateway_on_redis, redis):
    clients = [Wire(gateway_on_redis.port, "/connect?join=t") for _ in range(CONNECTIONS)]
    gateway_on_redis.await_members("t", CONNECTIONS)
    publisher = threading.Thread(target=publish, args=(redis, "t", MESSAGES))
    publisher.start()
    for client in clients:
        got = []
        while len(got) < MESSAGES:
            items = json.loads(client.receive().payload)["data"]["items"]
            assert len(items) <= 100, "the merger closes a batch at 100 messages"
            got += [item["n"] for item in items]
        assert got == list(range(MESSAGES))
        client.expect_still_open()
        client.close()
    publisher.join()


def test_each_of_many_topics_keeps_its_own_order(gateway_on_redis, redis):
    topics = [f"t{n}" for n in range(20)]
    clients = {topic: [Wire(gateway_on_redis.port, f"/topics/{topic}") for _ in range(4)] for topic in topics}
    for topic in topics:
        gateway_on_redis.await_members(topic, 4)
    commands = [
        ("PUBLISH", f"fanfare:topic:{topic}", '{"n":%d}' % n) for n in range(300) for topic in topics
    ]
    redis.client().pipeline(commands)
    expected = raw_stream(300)
    for members in clients.values():
        for client in members:
            client.expect_stream(expected)
            client.expect_still_open()
            client.close()


def test_who_joins_under_load_gets_an_unbroken_tail(gateway_on_redis, redis):
    stop = threading.Event()
    published = []

    def load():
        publisher = redis.client()
        while not stop.is_set():
            first = len(published)
            batch = range(first, first + 50)
            publisher.pipeline([("PUBLISH", "fanfare:topic:t", n) for n in batch])
            published.extend(batch)

    thread = threading.Thread(target=load)
    thread.start()
    try:
        for _ in range(30):
            with Wire(gateway_on_redis.port, "/topics/t", settled=False) as client:
                got = [int(client.receive().payload) for _ in range(200)]
                assert got == list(range(got[0], got[0] + 200))
    finally:
        stop.set()
        thread.join()
    eventually(lambda: gateway_on_redis.members("t") == 0, "everyone who left is gone")
