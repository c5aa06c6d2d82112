"""The raw format: one frame a message, the payload verbatim."""

import pytest

from harness.wire import BINARY, CONTINUATION, PING, PONG, TEXT, Wire, frame, server_frame


def test_each_message_of_a_topic_is_one_frame(gateway_on_redis, redis, device):
    client = device(gateway_on_redis.port, "/topics/news")
    gateway_on_redis.await_members("news", 1)
    payloads = ["plain", '{"id":7}', " spaces and\nlines ", "ünïcödé", "x" * 70_000]
    redis.client().pipeline([("PUBLISH", "fanfare:topic:news", payload) for payload in payloads])
    assert [client.receive() for _ in payloads] == payloads


def test_a_payload_that_is_not_utf8_is_a_binary_frame(gateway_on_redis, redis, device):
    client = device(gateway_on_redis.port, "/topics/news")
    payloads = [b"\xff\x00\xfe", "text".encode(), b"\xc3"]
    redis.client().pipeline([("PUBLISH", "fanfare:topic:news", payload) for payload in payloads])
    assert [client.receive() for _ in payloads] == [b"\xff\x00\xfe", "text", b"\xc3"]


def test_an_empty_payload_is_an_empty_frame(gateway_on_redis, redis):
    with Wire(gateway_on_redis.port, "/topics/news") as client:
        redis.client().pipeline([("PUBLISH", "fanfare:topic:news", ""), ("PUBLISH", "fanfare:topic:news", "next")])
        client.expect_stream(server_frame(TEXT, b"") + server_frame(TEXT, b"next"))


def test_a_message_as_long_as_the_bound_arrives_and_a_longer_one_is_counted_and_refused(gateway_on_redis, redis):
    with Wire(gateway_on_redis.port, "/topics/news") as client:
        longest = b"x" * (1 << 20)
        payloads = [longest + b"x", longest, b"after"]
        redis.client().pipeline([("PUBLISH", "fanfare:topic:news", payload) for payload in payloads])
        client.expect_stream(server_frame(TEXT, longest) + server_frame(TEXT, b"after"))
    assert gateway_on_redis.metric("messages_refused_total", reason="too_big") == 1


def test_several_topics_are_named_in_one_path(gateway, device):
    client = device(gateway.port, "/topics/a?topic=b%2Fc&topic=d")
    for topic in ("a", "b/c", "d"):
        assert gateway.push({"topic": topic}, [{"of": topic}]).status == 202
        assert client.receive() == '{"of":"%s"}' % topic


def test_topics_alone_hears_broadcasts_only(gateway, device):
    client, witness = device(gateway.port, "/topics"), device(gateway.port, "/topics/a")
    assert gateway.push({"topic": "a"}, [1]).status == 202
    assert witness.receive() == "1"
    assert gateway.push({"all": True}, [2]).status == 202
    assert client.receive() == "2"
    assert witness.receive() == "2"


@pytest.mark.parametrize("opcode", [TEXT, BINARY])
def test_data_frames_from_the_client_are_ignored_and_counted(gateway, opcode):
    with Wire(gateway.port, "/topics/a") as client:
        client.send(frame(opcode, b'{"type":"JOIN","data":{"room":"b"}}'))
        client.send(frame(opcode, b"not json", fin=False) + frame(CONTINUATION, b" at all"))
        client.send(frame(PING, b"p"))
        client.expect(PONG, b"p")
        assert gateway.members("b") == 0
    assert gateway.metric("frames_ignored_total") >= 2
