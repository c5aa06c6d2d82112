"""Control does not wait behind data: a configuration and a stop take effect whatever is full."""

import json
import signal
import socket
import threading
import time

import pytest

from harness.poll import eventually
from harness.wire import TEXT, Wire, server_frame

DRAIN_S = 2


def body_of(topics, messages):
    return json.dumps({"to": {"topics": topics}, "messages": messages}).encode()


def request_bytes(body):
    head = f"POST /v1/push HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: {len(body)}\r\n\r\n"
    return head.encode() + body


def patched(gateway):
    """Status of a change of the configuration, and the seconds until it was answered."""
    begin = time.monotonic()
    answer = gateway.request("PATCH", "/v1/config", json.dumps({"clients.idle_after_s": 3600}), timeout=8)
    return answer.status, time.monotonic() - begin


def ends_in_time(gateway):
    begin = time.monotonic()
    gateway.signal(signal.SIGTERM)
    assert gateway.exit_code(timeout=DRAIN_S + 5) == 0
    return time.monotonic() - begin


def cpu_s(gateway):
    with open(f"/proc/{gateway.process.pid}/stat", encoding="utf-8") as stat:
        fields = stat.read().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / 100


def refused_publishes(gateway, topic, message, count=3):
    """Publishes until so many are refused, or not answered."""
    refused, end = 0, time.monotonic() + 8
    while refused < count and time.monotonic() < end:
        body = json.dumps({"to": {"topic": topic}, "messages": [message]})
        try:
            refused += gateway.request("POST", "/v1/push", body, timeout=1).status != 202
        except OSError:
            refused += 1
    return refused


@pytest.mark.parametrize("load", ["one large", "many"])
def test_more_than_the_queue_to_redis_holds_stops_nothing(start_gateway, start_redis, load):
    redis = start_redis("--client-output-buffer-limit", "pubsub 0 0 0")
    gateway = start_gateway(redis=redis.url, **{"server.drain_s": DRAIN_S})
    with Wire(gateway.port, "/topics/probe", timeout=20) as device:
        gateway.await_members("probe", 1)
        if load == "one large":
            # 100 topics of 100 KB are more than the queue to Redis holds, and two publishes wait behind them.
            large = request_bytes(body_of([f"t{n}" for n in range(100)], ["x" * 100_000]))
            small = request_bytes(body_of(["t1"], ["small"]))
            publisher = socket.create_connection(("127.0.0.1", gateway.api_port))
            publisher.sendall(large + small + small)
            time.sleep(2)
        else:
            end = time.monotonic() + 3

            def publish():
                while time.monotonic() < end:
                    try:
                        gateway.request("POST", "/v1/push", body_of(["bulk"], ["x" * 200_000]), timeout=2)
                    except OSError:
                        pass

            threads = [threading.Thread(target=publish) for _ in range(64)]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join()
        redis.client().call("PUBLISH", "fanfare:topic:probe", "still here")
        device.expect_stream(server_frame(TEXT, b"still here"), deadline_s=10)
        used = cpu_s(gateway)
        time.sleep(1)
        assert cpu_s(gateway) - used < 0.5, "it turns and does nothing"
        assert patched(gateway)[0] == 200
        gateway.signal(signal.SIGTERM)
        device.expect_close(1001)
    assert gateway.exit_code(timeout=DRAIN_S + 5) == 0


def test_a_redis_that_stands_still_delays_no_command(start_gateway, redis):
    gateway = start_gateway(redis=redis.url, **{"server.drain_s": DRAIN_S})
    redis.process.send_signal(signal.SIGSTOP)
    try:
        for size in (100_000, 2):
            refused_publishes(gateway, "news", "x" * size)
        status, took = patched(gateway)
        assert status == 200 and took < 2, (status, took)
        took = ends_in_time(gateway)
        assert took < DRAIN_S + 4, took
    finally:
        redis.process.send_signal(signal.SIGCONT)


def test_a_backlog_behind_a_paused_push_delays_no_command_and_costs_no_core(start_gateway):
    gateway = start_gateway(**{"server.drain_s": DRAIN_S, "server.shards": 1})
    devices = [Wire(gateway.port, "/topics/news", timeout=30) for _ in range(2)]
    gateway.await_members("news", 2)
    push = json.dumps({"to": {"topic": "news"}, "messages": ["first"], "rate": 0.1, "id": "p"})
    assert gateway.request("POST", "/v1/push", push).status == 202
    eventually(
        lambda: gateway.request("PATCH", "/v1/pushes/p", '{"state":"paused"}').status == 200, "the push is paused"
    )
    assert refused_publishes(gateway, "news", "x" * 1_000_000) == 3
    time.sleep(0.5)
    used = cpu_s(gateway)
    time.sleep(1)
    assert cpu_s(gateway) - used < 0.5, "shard or ingest turn and do nothing"
    status, took = patched(gateway)
    assert status == 200 and took < 2, (status, took)
    took = ends_in_time(gateway)
    assert took < DRAIN_S + 4, took
    for device in devices:
        device.close()
