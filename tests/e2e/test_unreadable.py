"""A message that some parsers give up at costs its neighbours in the same frame nothing."""

import json

import pytest

from harness.poll import eventually
from harness.wire import Wire


def nested(depth, opening="[", closing="]"):
    return opening * depth + "1" + closing * depth


UNREADABLE = [
    nested(129), nested(2000), nested(100_000), nested(129, '{"a":', "}"), nested(500, '[{"a":', "}]"),
    "1e400", '{"a":[-1E999]}', "9" * 5000,
]


@pytest.mark.parametrize("message", UNREADABLE, ids=range(len(UNREADABLE)))
def test_it_is_refused_by_http_with_its_place_and_the_bound(gateway, message):
    for path, body in (
        ("/v1/push", f'{{"to":{{"all":true}},"messages":[0,{message}]}}'),
        ("/v1/push", f'{{"to":{{"all":true}},"messages":[0,{message}],"rate":5}}'),
        ("/push/all", f"items=[0,{message}]"),
        ("/push/room", f"room=a&items=[0,{message}]"),
    ):
        answer = gateway.request("POST", path, body)
        error = answer.json["error"]
        assert (answer.status, error["code"]) == (400, "unreadable_message"), (path, answer)
        assert error["message"].startswith("message 1 "), error
    assert gateway.metric("messages_total", source="http") == 0


def test_by_redis_it_travels_as_a_string_and_python_reads_the_whole_frame(gateway_on_redis, redis):
    gateway = gateway_on_redis
    with Wire(gateway.port, "/connect?join=a") as device, Wire(gateway.port, "/topics/a") as raw:
        gateway.await_members("a", 2)
        client = redis.client()
        payloads = ["1", nested(128), *UNREADABLE, '"[[[["', "2"]
        client.pipeline([("PUBLISH", "fanfare:topic:a", payload) for payload in payloads])
        items = []
        while len(items) < len(payloads):
            payload = device.receive().payload
            items += json.loads(payload)["data"]["items"]
        expected = [1, json.loads(nested(128)), *UNREADABLE, "[[[[", 2]
        assert items == expected
        # Where a frame is one message, that is as it was published.
        assert [raw.receive().payload.decode() for _ in payloads] == payloads


def test_a_push_by_redis_is_refused_whole_and_counted(gateway_on_redis, redis):
    gateway = gateway_on_redis
    client = redis.client()
    client.call("PUBLISH", "fanfare:push", f'{{"to":{{"topic":"a"}},"messages":[0,{nested(129)}]}}')
    eventually(lambda: gateway.metric("messages_refused_total", reason="bad_push") == 1, "it is counted")
    gateway.expect_log("message 1 is nested deeper than 128")
