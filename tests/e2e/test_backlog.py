"""What waits behind pushes: within its bound in memory, told to its publishers, and no hindrance to other topics."""

import http.client
import json
import time
from concurrent.futures import ThreadPoolExecutor

import pytest

from harness.poll import eventually
from harness.wire import Wire

# As allocated, for one shard: what may wait, as much again for what is made of it, and what passes by.
GROWTH_MAX = (2 * 64 + 32) << 20


def rss(gateway):
    with open(f"/proc/{gateway.process.pid}/statm", encoding="ascii") as statm:
        return int(statm.read().split()[1]) * 4096


def hold(gateway, topic, push="slow", devices=2):
    """A push to the topic that stands still, with nobody served."""
    members = [Wire(gateway.port, f"/topics/{topic}") for _ in range(devices)]
    gateway.await_members(topic, devices)
    body = {"to": {"topic": topic}, "messages": [push], "id": push, "rate": 0.1, "ramp_s": 3600}
    assert gateway.request("POST", "/v1/push", json.dumps(body)).status == 202
    assert gateway.request("PATCH", f"/v1/pushes/{push}", '{"state":"paused"}').json["state"] == "paused"
    return members


class Publisher:
    """Publishes over one connection that is kept; the status and the error's code."""

    def __init__(self, gateway):
        self._connection = http.client.HTTPConnection("127.0.0.1", gateway.api_port, timeout=20)

    def __call__(self, body, path="/v1/push"):
        form = {"Content-Type": "application/x-www-form-urlencoded"} if path != "/v1/push" else {}
        self._connection.request("POST", path, body, form)
        answer = self._connection.getresponse()
        text = answer.read()
        return answer.status, json.loads(text)["error"] if answer.status >= 400 else None


def to_topic(messages, padding=0, topic="news"):
    return json.dumps({"to": {"topic": topic}, "messages": messages})[:-1] + " " * padding + "}"


BODIES = {
    "1 byte": to_topic([1] * 1000),
    "1 byte each": to_topic([1] * 1000),
    "in 4 MB of blanks": to_topic([1], 4_000_000),
    "1 MB": to_topic(["x" * 1_000_000] * 4),
    "nested": '{"to":{"topic":"news"},"messages":[%s]}' % ",".join(["[" * 100 + "]" * 100] * 500),
    "10,000 items": "room=news&items=" + json.dumps([1] * 10_000, separators=(",", ":")),
}


@pytest.mark.parametrize("kind", BODIES)
def test_what_waits_behind_a_push_by_http_stays_within_its_memory_and_is_refused_beyond(start_gateway, kind):
    gateway = start_gateway(**{"server.shards": 1, "merge.messages_max": 1 if kind == "1 byte each" else 100})
    members = hold(gateway, "news")
    members += [Wire(gateway.port, "/connect?v=2&join=news"), Wire(gateway.port, "/connect?join=news")]
    gateway.await_members("news", 4)
    start, publish = rss(gateway), Publisher(gateway)
    path = "/push/room" if kind == "10,000 items" else "/v1/push"
    most, until, refused = start, time.monotonic() + 15, None
    while refused is None and time.monotonic() < until:
        status, error = publish(BODIES[kind], path)
        # What is on its way to the shards has a bound of its own.
        refused = error if error and error["code"] != "queue_full" else None
        most = max(most, rss(gateway))
    assert most - start < GROWTH_MAX, f"{(most - start) >> 20} MiB"
    if kind == "in 4 MB of blanks":
        return  # They come too slowly to reach the bound in time.
    assert (status, error["code"]) == (429, "topic_held"), error
    assert "slow" in error["message"] and '"news"' in error["message"]
    assert gateway.metric("held_bytes") >= 8 << 20
    assert gateway.metric("backlog_held_bytes") >= 8 << 20


def test_a_topic_that_is_held_up_does_not_stop_others_and_goes_on_whole(start_gateway):
    gateway = start_gateway(**{"server.shards": 1, "outbox.bytes_max": 64 << 20})
    (device, *_) = hold(gateway, "news", devices=1)
    other = Wire(gateway.port, "/topics/other")
    gateway.await_members("other", 1)
    publish, accepted, error = Publisher(gateway), 0, None
    while error is None or error["code"] == "queue_full":
        status, error = publish(to_topic([f"{accepted:06}" + "x" * 200_000]))
        accepted += error is None
    assert (status, error["code"]) == (429, "topic_held")
    for n in range(20):
        assert publish(to_topic([n], topic="other")) == (202, None)
        assert other.receive().payload == str(n).encode()
    assert gateway.ready() and gateway.metric("publish_refused_total", reason="held") >= 1
    gateway.request("PATCH", "/v1/pushes/slow", '{"rate":1000,"state":"running"}')
    assert device.receive().payload == b'"slow"'
    for n in range(accepted):
        assert device.receive().payload[1:7] == f"{n:06}".encode()
    eventually(lambda: gateway.metric("held_bytes") == 0, "nothing is held")
    assert publish(to_topic(["again"])) == (202, None)
    assert device.receive().payload == b'"again"'


@pytest.mark.parametrize("payload", [b"", b"x", b"@push" + b" " * 400 + b"\nx", b"x" * 1_000_000], ids=len)
def test_what_waits_behind_a_push_by_redis_is_dropped_beyond_and_others_go_on(start_redis, start_gateway, payload):
    redis = start_redis("--client-output-buffer-limit", "pubsub 0 0 0")
    gateway = start_gateway(redis=redis.url, **{"server.shards": 1})
    members = hold(gateway, "news")
    other = Wire(gateway.port, "/topics/other")
    gateway.await_members("other", 1)
    start, client, most = rss(gateway), redis.client(), 0
    some = [("PUBLISH", "fanfare:topic:news", payload)] * (4 if len(payload) > 1000 else 2000)
    until = time.monotonic() + 12
    while time.monotonic() < until and not gateway.metric("messages_refused_total", reason="held"):
        client.pipeline(some)
        most = max(most, rss(gateway) - start)
    assert most < GROWTH_MAX, f"{most >> 20} MiB"
    if len(payload) > 1000:
        assert gateway.metric("messages_refused_total", reason="held") > 0
        gateway.expect_log("holds up the topic", "slow")
    for n in range(10):
        client.call("PUBLISH", "fanfare:topic:other", str(n))
        assert other.receive().payload == str(n).encode()
    assert gateway.ready() and members


def test_a_rule_that_is_slow_and_pushes_that_stand_still_stop_nobody_else(start_redis, start_gateway, tmp_path):
    redis, file = start_redis(), tmp_path / "fanfare.toml"
    file.write_text('[[pacing.topic]]\nmatch = "slow:*"\nrate = 1\n')
    settings = {"server.shards": 1, "merge.messages_max": 1}
    gateway = start_gateway(redis=redis.url, arguments=("--config", str(file)), **settings)
    crowd = [Wire(gateway.port, "/topics/slow:a") for _ in range(20)]
    news, other = Wire(gateway.port, "/topics/news"), Wire(gateway.port, "/topics/other")
    for topic, count in (("slow:a", 20), ("news", 1), ("other", 1)):
        gateway.await_members(topic, count)
    client = redis.client()
    client.pipeline([("PUBLISH", "fanfare:topic:slow:a", str(n)) for n in range(5_000)])
    client.pipeline([("PUBLISH", "fanfare:topic:news", f"@push rate=0.1 ramp_s=3600 id=p{n}\nx") for n in range(1_500)])
    for n in range(10):
        client.call("PUBLISH", "fanfare:topic:other", str(n))
        assert other.receive().payload == str(n).encode()
    assert gateway.metric("pushes", state="running") <= 300, "a rule folds, and a topic has a bound"
    assert gateway.metric("messages_refused_total", reason="too_many_pushes") >= 1_000
    assert crowd and news


def test_what_was_accepted_while_redis_stood_still_is_not_dropped_when_it_comes_back(start_redis, start_gateway):
    redis = start_redis()
    gateway = start_gateway(redis=redis.url, **{"server.shards": 1, "outbox.bytes_max": 64 << 20})
    (device,) = hold(gateway, "news", devices=1)
    publish, client, waiting = Publisher(gateway), redis.client(), 0
    while gateway.metric("held_bytes") < 29 << 20:
        assert publish(to_topic(["x" * 500_000])) == (202, None)
        waiting += 1
    refused = gateway.metric("publish_refused_total", reason="held")
    client.call("CLIENT", "PAUSE", "2000", "ALL")
    with ThreadPoolExecutor(8) as pool:
        one = to_topic(["y" * 900_000])
        answers = list(pool.map(lambda _: Publisher(gateway)(one), range(8)))
    accepted = [status for status, _ in answers].count(202)
    assert accepted == 8 and gateway.metric("publish_refused_total", reason="held") == refused
    assert gateway.metric("messages_refused_total", reason="held") == 0
    assert publish(to_topic(["one more"]))[1]["code"] == "topic_held"
    gateway.request("PATCH", "/v1/pushes/slow", '{"rate":1000,"state":"running"}')
    assert [len(device.receive().payload) for _ in range(1 + waiting + 8)] == [6] + [500_002] * waiting + [900_002] * 8


@pytest.mark.parametrize("has_redis", [False, True])
def test_a_publish_that_a_rule_would_make_one_push_too_many_is_refused(
    start_redis, start_gateway, tmp_path, has_redis
):
    file = tmp_path / "fanfare.toml"
    file.write_text('[[pacing.topic]]\nmatch = "slow:*"\nrate = 1\n')
    redis = {"redis": start_redis().url} if has_redis else {}
    gateway = start_gateway(arguments=("--config", str(file)), **{"server.shards": 1}, **redis)
    members, publish = [Wire(gateway.port, "/topics/slow:a")], Publisher(gateway)
    gateway.await_members("slow:a", 1)
    push = {"to": {"topic": "slow:a"}, "messages": ["x"], "rate": 0.1, "ramp_s": 3600}
    for _ in range(250):
        assert publish(json.dumps(push))[0] == 202
    status, error = publish("room=slow:a&items=[1]", "/push/room")
    assert (status, error and error["code"]) == (429, "too_many_pushes")
    assert publish("room=other&items=[1]", "/push/room") == (200, None)
    assert gateway.metric("messages_refused_total", reason="too_many_pushes") == 0 and members


def test_many_batches_behind_a_push_end_in_the_time_that_their_number_takes(start_gateway):
    def resume(batches):
        gateway = start_gateway(**{"server.shards": 1, "merge.messages_max": 1, "outbox.bytes_max": 64 << 20})
        (device,) = hold(gateway, "news", devices=1)
        publish, count = Publisher(gateway), 0
        while count < batches:
            status, error = publish(to_topic([7] * 1000))
            assert status == 202 or error["code"] == "queue_full", error
            count += 1000 * (status == 202)
        eventually(lambda: gateway.metric("messages_total", source="http") >= count, "they wait")
        begin = time.monotonic()
        gateway.request("PATCH", "/v1/pushes/slow", '{"rate":1000,"state":"running"}')
        for _ in range(count + 1):
            device.receive()
        took = time.monotonic() - begin
        gateway.may_die = True
        gateway.kill()
        return took

    once, twice = resume(12_000), resume(24_000)
    assert twice < max(4 * once, 3), f"{once:.2f} s, twice as many {twice:.2f} s"


def test_a_drain_keeps_its_time_whatever_waits(start_gateway):
    settings = {"server.drain_s": 2, "server.shards": 1, "merge.messages_max": 1, "outbox.bytes_max": 64 << 20}
    gateway = start_gateway(**settings)
    members = hold(gateway, "news")
    publish, waiting, error = Publisher(gateway), 0, None
    while (error is None or error["code"] == "queue_full") and waiting < 100_000:
        _, error = publish(to_topic([7] * 1000))
        waiting += 1000 * (error is None)
    assert waiting >= 20_000, waiting
    begin = time.monotonic()
    gateway.signal()
    assert gateway.exit_code(timeout=20) == 0
    assert time.monotonic() - begin < 2 + 3 and members
