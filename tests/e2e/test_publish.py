"""Every way in: Redis, go-push's HTTP API and fanfare's own; each message goes to each member exactly once."""

import json

import pytest

from harness.poll import eventually
from harness.wire import TEXT, Wire, server_frame

FORM = {"Content-Type": "application/x-www-form-urlencoded"}
JSON = {"Content-Type": "application/json"}


def texts(*payloads):
    return b"".join(server_frame(TEXT, payload.encode()) for payload in payloads)


def test_a_publish_to_redis_reaches_the_topic_and_all_reaches_everyone(gateway_on_redis, redis):
    with Wire(gateway_on_redis.port, "/topics/news") as member, Wire(gateway_on_redis.port, "/topics") as stranger:
        publisher = redis.client()
        assert publisher.call("PUBLISH", "fanfare:topic:news", '{"id":7}') == 1
        member.expect_stream(texts('{"id":7}'))
        publisher.call("PUBLISH", "fanfare:all", "hello")
        member.expect_stream(texts("hello"))
        stranger.expect_stream(texts("hello"))


def test_who_has_seen_its_upgrade_misses_nothing_that_is_published_after_it(gateway_on_redis, redis):
    publisher = redis.client()
    for n in range(300):
        with Wire(gateway_on_redis.port, f"/topics/t{n}", settled=False) as client:
            publisher.call("PUBLISH", f"fanfare:topic:t{n}", n)
            client.expect_stream(texts(str(n)))


def test_a_payload_that_is_not_json_reaches_a_go_push_client_as_a_json_string(gateway_on_redis, redis):
    with Wire(gateway_on_redis.port) as client:
        redis.client().call("PUBLISH", "fanfare:all", 'he said "hi"\n')
        assert json.loads(client.receive().payload)["data"]["items"] == ['he said "hi"\n']


def test_an_unknown_channel_is_counted_and_ignored(gateway_on_redis, redis):
    with Wire(gateway_on_redis.port, "/topics") as client:
        publisher = redis.client()
        for channel in ("fanfare:", "fanfare:nobody", "fanfare:topic:", "fanfare:topic:" + "t" * 300):
            publisher.call("PUBLISH", channel, "lost")
        publisher.call("PUBLISH", "fanfare:all", "seen")
        client.expect_stream(texts("seen"))
    assert gateway_on_redis.metric("messages_refused_total") == 4


def test_another_prefix_is_another_gateways(start_gateway, redis):
    gateway = start_gateway(redis=redis.url, **{"redis.prefix": "other:"})
    with Wire(gateway.port, "/topics") as client:
        publisher = redis.client()
        assert publisher.call("PUBLISH", "fanfare:all", "not ours") == 0
        publisher.call("PUBLISH", "other:all", "ours")
        client.expect_stream(texts("ours"))


@pytest.mark.parametrize("with_redis", [False, True])
def test_each_http_call_delivers_exactly_once(start_gateway, redis, with_redis):
    gateway = start_gateway(redis=redis.url if with_redis else None)
    with Wire(gateway.port, "/topics/t") as client:
        assert gateway.push_form("/push/all", items="[1,2]").status == 200
        client.expect_stream(texts("1", "2"))
        assert gateway.push_form("/push/room", room="t", items='["three"]').status == 200
        client.expect_stream(texts('"three"'))
        answer = gateway.push({"topic": "t"}, [4, {"five": 5}])
        assert answer.status == 202 and answer.json["accepted"] == 2 and answer.json["id"], answer
        client.expect_stream(texts("4", '{"five":5}'))
        assert gateway.push({"all": True}, ["last"]).status == 202
        client.expect_stream(texts('"last"'))
        client.expect_still_open()


def test_a_push_to_several_topics_reaches_the_members_of_each(gateway):
    with Wire(gateway.port, "/topics/a") as a, Wire(gateway.port, "/topics/b") as b, Wire(gateway.port, "/topics/c") as c:
        assert gateway.push({"topics": ["a", "b"]}, [1]).status == 202
        a.expect_stream(texts("1"))
        b.expect_stream(texts("1"))
        assert gateway.push({"topic": "c"}, [2]).status == 202
        c.expect_stream(texts("2"))


def test_an_http_push_reaches_a_second_gateway_of_the_same_redis_exactly_once(start_gateway, redis):
    first, second = start_gateway(redis=redis.url), start_gateway(redis=redis.url)
    with Wire(first.port, "/topics/t") as near, Wire(second.port, "/topics/t") as far:
        for n in range(20):
            entry = (first, second)[n % 2]
            assert entry.push_form("/push/room", room="t", items=f"[{n}]").status == 200
            # The next one enters elsewhere: order holds per publisher, so each is awaited before the next.
            near.expect_stream(texts(str(n)))
            far.expect_stream(texts(str(n)))
        near.expect_still_open()
        far.expect_still_open()


def test_one_push_with_many_messages_keeps_their_order(gateway_on_redis):
    with Wire(gateway_on_redis.port, "/topics/t") as client:
        assert gateway_on_redis.push({"topic": "t"}, list(range(1_000))).status == 202
        client.expect_stream(texts(*(str(n) for n in range(1_000))))


@pytest.mark.parametrize(
    "path, body, headers",
    [
        ("/push/all", "items=[1,", FORM),
        ("/push/all", "items=7", FORM),
        ("/push/all", "", FORM),
        ("/push/room", "items=[1]", FORM),
        ("/push/room", "room=&items=[1]", FORM),
        ("/push/room", "room=%00&items=[1]", FORM),
        ("/v1/push", "{", JSON),
        ("/v1/push", "[]", JSON),
        ("/v1/push", '{"to":{"all":true}}', JSON),
        ("/v1/push", '{"to":{},"messages":[1]}', JSON),
        ("/v1/push", '{"to":{"topic":""},"messages":[1]}', JSON),
        ("/v1/push", '{"to":{"all":true},"messages":7}', JSON),
        ("/v1/push", b"\xff\xfe", JSON),
    ],
)
def test_what_cannot_be_understood_is_answered_400_with_a_reason(gateway, path, body, headers):
    answer = gateway.request("POST", path, body, headers)
    assert answer.status == 400, answer
    assert answer.json["error"]["code"] and answer.json["error"]["message"]


def test_a_body_above_its_bound_is_answered_413(start_gateway):
    gateway = start_gateway(**{"api.body_bytes_max": 65_536})
    answer = gateway.request("POST", "/v1/push", b" " * 70_000, JSON)
    assert answer.status == 413 and answer.json["error"]["code"], answer
    assert gateway.get("/healthz").status == 200


def test_a_message_above_its_bound_is_answered_413_and_none_of_its_push_is_delivered(gateway):
    with Wire(gateway.port, "/topics") as client:
        assert gateway.push({"all": True}, [1, "x" * (1 << 20), 3]).status == 413
        client.expect_still_open()


def test_an_unknown_path_is_404_and_a_wrong_method_405(gateway):
    assert gateway.get("/nothing/here").status == 404
    assert gateway.get("/push/all").status == 405


def test_stats_speak_go_pushs_keys(gateway):
    with Wire(gateway.port, "/connect?join=r"):
        gateway.await_connections(1)
        assert gateway.push_form("/push/all", items="[1,2,3]").status == 200
        eventually(lambda: gateway.get("/stats").json["sendMessageTotal"] == 3, "three messages are counted")
        stats = gateway.get("/stats").json
    assert stats["onlineConnections"] == 1
    assert stats["roomCount"] == 1
    go_push = {
        "onlineConnections", "sendMessageTotal", "sendMessageFail", "dispatchPending", "pushJobPending", "dispatchFail",
        "roomCount", "mergerPending", "mergerRoomTotal", "mergerAllTotal", "mergerRoomFail", "mergerAllFail",
    }
    assert go_push <= stats.keys(), go_push - stats.keys()


def test_a_topic_tells_its_members_and_its_offset(gateway):
    with Wire(gateway.port, "/topics/t") as one, Wire(gateway.port, "/topics/t") as two:
        gateway.await_members("t", 2)
        before = gateway.get("/v1/topics/t").json
        assert gateway.push({"topic": "t"}, [1, 2, 3]).status == 202
        for client in (one, two):
            client.expect_stream(texts("1", "2", "3"))
        after = gateway.get("/v1/topics/t").json
    assert after["offset"] == before["offset"] + 3
    assert after["epoch"] == before["epoch"] or before["offset"] == 0
    gateway.await_members("t", 0)


def test_shards_report_their_connections(gateway):
    clients = [Wire(gateway.port) for _ in range(40)]
    gateway.await_connections(40)
    report = gateway.get("/v1/shards").json
    shards = report["shards"] if isinstance(report, dict) else report
    assert len(shards) == 2
    assert sum(shard["connections"] for shard in shards) == 40
    assert all(shard["connections"] > 0 for shard in shards), "the kernel spreads connects over both listeners"
    for client in clients:
        client.close()


def test_the_api_describes_itself(gateway):
    answer = gateway.get("/openapi.yaml")
    assert answer.status == 200
    text = answer.body.decode()
    assert text.lstrip("# \n").startswith("openapi: 3.1") or "\nopenapi: 3.1" in text
    for path in ("/push/all", "/push/room", "/v1/push", "/stats", "/metrics", "/healthz", "/readyz"):
        assert f"{path}:" in text, path
