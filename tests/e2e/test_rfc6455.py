"""RFC 6455 to the letter, on the wire: what must be refused is refused with its code, what is allowed works."""

import struct

import pytest

from harness.wire import (
    BINARY, CLOSE, CONTINUATION, PING, PONG, TEXT, Connection, Wire, close_payload, frame, parse_head, upgrade_request,
)

GO_PUSH_PING = b'{"type":"PING","data":{}}'
GO_PUSH_PONG = b'{"type":"PONG","data":{}}'

PROTOCOL_ERRORS = {
    "an unmasked frame": frame(TEXT, GO_PUSH_PING, mask=None),
    "an unmasked control frame": frame(PING, b"", mask=None),
    "RSV1": frame(TEXT, GO_PUSH_PING, rsv=4),
    "RSV2": frame(TEXT, GO_PUSH_PING, rsv=2),
    "RSV3": frame(PING, b"", rsv=1),
    "a control frame above 125 bytes": frame(PING, b"x" * 126),
    "a Close frame above 125 bytes": frame(CLOSE, close_payload(1000, b"x" * 124)),
    "a fragmented control frame": frame(PING, b"x", fin=False),
    "a continuation of nothing": frame(CONTINUATION, b"x"),
    "a new message inside another": frame(TEXT, b"{", fin=False) + frame(TEXT, b"}"),
    "opcode 3": frame(0x3, b""),
    "opcode 7": frame(0x7, b""),
    "opcode 11": frame(0xB, b""),
    "opcode 15": frame(0xF, b""),
    "a Close payload of one byte": frame(CLOSE, b"\x03"),
}
NEVER_ON_THE_WIRE = [0, 1, 999, 1004, 1005, 1006, 1015, 1016, 1100, 2000, 2999, 5000, 65_535]


@pytest.mark.parametrize("what", PROTOCOL_ERRORS)
def test_a_protocol_error_is_closed_with_1002(gateway, what):
    with Wire(gateway.port) as client:
        client.send(PROTOCOL_ERRORS[what])
        client.expect_close(1002)


@pytest.mark.parametrize("code", NEVER_ON_THE_WIRE)
def test_a_close_code_that_may_not_be_sent_is_a_protocol_error(gateway, code):
    with Wire(gateway.port) as client:
        client.send(frame(CLOSE, close_payload(code)))
        client.expect_close(1002)


@pytest.mark.parametrize("code", [1000, 1001, 1002, 1003, 1007, 1008, 1009, 1010, 1011, 3000, 3999, 4000, 4999])
def test_a_close_code_is_echoed_and_the_stream_ends(gateway, code):
    with Wire(gateway.port) as client:
        client.send(frame(CLOSE, close_payload(code, b"bye")))
        answer = client.receive()
        assert answer.opcode == CLOSE and answer.payload[:2] == struct.pack("!H", code), answer
        client.expect_end()


def test_a_close_without_a_code_is_answered(gateway):
    with Wire(gateway.port) as client:
        client.send(frame(CLOSE))
        answer = client.receive()
        assert answer.opcode == CLOSE and answer.payload[:2] in (b"", struct.pack("!H", 1000)), answer
        client.expect_end()


def test_nothing_is_heard_after_a_close(gateway):
    with Wire(gateway.port) as client:
        client.send(frame(CLOSE, close_payload(1000)) + frame(PING, b"late") + frame(TEXT, GO_PUSH_PING))
        assert client.receive().opcode == CLOSE
        client.expect_end()


def test_a_close_reason_that_is_not_utf8_is_closed_with_1007(gateway):
    with Wire(gateway.port) as client:
        client.send(frame(CLOSE, close_payload(1000, b"\xff")))
        client.expect_close(1007)


def test_a_message_in_fragments_is_one_message(gateway):
    with Wire(gateway.port) as client:
        client.send(frame(TEXT, GO_PUSH_PING[:5], fin=False))
        client.send(frame(CONTINUATION, b"", fin=False))
        client.send(frame(CONTINUATION, GO_PUSH_PING[5:12], fin=False))
        client.send(frame(CONTINUATION, GO_PUSH_PING[12:]))
        client.expect(TEXT, GO_PUSH_PONG)


def test_a_ping_between_fragments_is_answered_at_once(gateway):
    with Wire(gateway.port) as client:
        client.send(frame(TEXT, GO_PUSH_PING[:9], fin=False) + frame(PING, b"in between"))
        client.expect(PONG, b"in between")
        client.send(frame(PONG, b"unasked") + frame(CONTINUATION, GO_PUSH_PING[9:]))
        client.expect(TEXT, GO_PUSH_PONG)


@pytest.mark.parametrize("size", [0, 1, 124, 125])
def test_a_pong_carries_the_pings_payload(gateway, size):
    with Wire(gateway.port) as client:
        client.send(frame(PING, bytes(range(size))))
        client.expect(PONG, bytes(range(size)))


def test_many_pings_in_one_segment_are_each_answered_in_order(gateway):
    with Wire(gateway.port) as client:
        client.send(b"".join(frame(PING, b"%d" % n) for n in range(500)))
        for n in range(500):
            client.expect(PONG, b"%d" % n)


def test_a_mask_of_zeros_and_any_other_are_undone(gateway):
    with Wire(gateway.port) as client:
        for mask in (b"\0\0\0\0", b"\xff\xff\xff\xff", b"\x01\x02\x03\x04"):
            client.send(frame(TEXT, GO_PUSH_PING, mask=mask))
            client.expect(TEXT, GO_PUSH_PONG)


BAD_UTF8 = [b"\xff", b"\xc0\xaf", b"\xed\xa0\x80", b"\xf4\x90\x80\x80", b"ok\xe2\x82", b"\x80"]


@pytest.mark.parametrize("text", BAD_UTF8)
def test_text_that_is_not_utf8_is_closed_with_1007(gateway, text):
    with Wire(gateway.port) as client:
        client.send(frame(TEXT, text))
        client.expect_close(1007)


def test_a_character_may_be_split_across_fragments(gateway):
    with Wire(gateway.port) as client:
        before, after = '{"type":"PING","data":{"é":"'.encode(), '€𝄞"}}'.encode()
        client.send(frame(TEXT, before[:-4], fin=False))
        for byte in before[-4:] + after[:-1]:
            client.send(frame(CONTINUATION, bytes([byte]), fin=False))
        client.send(frame(CONTINUATION, after[-1:]))
        client.expect(TEXT, GO_PUSH_PONG)


@pytest.mark.parametrize("first, second", [(b'"\xe2\x82', b'"'), (b'"\xe2', b"\x28\xa1" b'"'), (b'"\xf0\x9f', b"")])
def test_bad_utf8_across_fragments_is_closed_with_1007(gateway, first, second):
    with Wire(gateway.port) as client:
        client.send(frame(TEXT, first, fin=False) + frame(CONTINUATION, second))
        client.expect_close(1007)


def test_a_message_at_its_bound_is_taken_and_a_longer_one_closed_with_1009(start_gateway):
    gateway = start_gateway(**{"clients.message_bytes_max": 4_096})
    padding = b" " * (4_096 - len(GO_PUSH_PING))
    with Wire(gateway.port) as client:
        client.send(frame(TEXT, GO_PUSH_PING + padding))
        client.expect(TEXT, GO_PUSH_PONG)
        client.send(frame(TEXT, GO_PUSH_PING + padding + b" "))
        client.expect_close(1009)


def test_fragments_are_too_big_together(gateway):
    with Wire(gateway.port) as client:
        client.send(frame(TEXT, b" " * 40_000, fin=False) + frame(CONTINUATION, b" " * 40_000, fin=False))
        client.expect_close(1009)


def test_a_binary_message_is_bounded_too(gateway):
    with Wire(gateway.port, "/topics/t") as client:
        client.send(frame(BINARY, b"\0" * 70_000))
        client.expect_close(1009)


@pytest.mark.parametrize("length", [1 << 20, 1 << 40, (1 << 63) - 1])
def test_a_claimed_length_is_refused_before_its_bytes_come(gateway, length):
    with Wire(gateway.port) as client:
        client.send(frame(BINARY, b"", length=length))
        client.expect_close(1009)


def test_a_length_with_its_highest_bit_set_is_a_protocol_error(gateway):
    with Wire(gateway.port) as client:
        client.send(frame(BINARY, b"", length=(1 << 64) - 1))
        client.expect_close(1002)


def test_a_client_that_sends_byte_by_byte_is_understood(gateway):
    with Connection(gateway.port) as client:
        for byte in upgrade_request("/connect?join=r"):
            client.send(bytes([byte]))
        status, _ = client.response()
        assert status == 101
        for byte in frame(TEXT, GO_PUSH_PING) + frame(PING, b"p"):
            client.send(bytes([byte]))
        assert client.take(2 + len(GO_PUSH_PONG))[2:] == GO_PUSH_PONG
        assert client.take(3) == b"\x8a\x01p"
        assert gateway.members("r") == 1


def test_a_frame_in_the_same_packet_as_the_upgrade_is_kept(gateway):
    with Wire(gateway.port, first=frame(TEXT, GO_PUSH_PING) + frame(PING, b"p")[:3]) as client:
        client.expect(TEXT, GO_PUSH_PONG)
        client.send(frame(PING, b"p")[3:])
        client.expect(PONG, b"p")


def answer_to(gateway, request):
    with Connection(gateway.port) as client:
        client.send(request)
        response = client.response()
        assert response is not None, "closed without an answer"
        return response


def test_the_accept_key_of_the_rfcs_example_is_the_rfcs(gateway):
    status, headers = answer_to(gateway, upgrade_request("/connect"))
    assert status == 101
    assert headers["sec-websocket-accept"] == "s3pPLMBiTxaQ9kYGzzhZRbK+xOo="
    assert headers["upgrade"].lower() == "websocket" and headers["connection"].lower() == "upgrade"
    assert "sec-websocket-protocol" not in headers and "sec-websocket-extensions" not in headers


@pytest.mark.parametrize("version", ["12", "8", "0", "14", "x"])
def test_another_version_is_answered_426_with_the_one_that_is_spoken(gateway, version):
    status, headers = answer_to(gateway, upgrade_request("/connect", version=version))
    assert status == 426 and headers["sec-websocket-version"] == "13", (status, headers)


@pytest.mark.parametrize(
    "request_bytes",
    [
        upgrade_request("/connect", key=None),
        upgrade_request("/connect", key=b"c2hvcnQ="),
        upgrade_request("/connect").replace(b"Upgrade: websocket", b"Upgrade: h2c"),
        upgrade_request("/connect").replace(b"Connection: Upgrade", b"Connection: close"),
        b"GET /connect HTTP/1.1\r\nHost: x\r\n\r\n",
        b"nonsense\r\n\r\n",
    ],
    ids=["no key", "a short key", "another protocol", "no upgrade", "plain HTTP", "no HTTP"],
)
def test_what_is_no_upgrade_is_answered_400(gateway, request_bytes):
    status, _ = answer_to(gateway, request_bytes)
    assert status == 400
    assert gateway.metric("handshakes_failed_total", reason="bad_request") == 1


def test_an_upgrade_is_a_get(gateway):
    status, headers = answer_to(gateway, upgrade_request("/connect", method="POST"))
    assert status == 405 and headers["allow"] == "GET", (status, headers)


def test_header_names_and_tokens_are_case_insensitive(gateway):
    request = upgrade_request("/connect").replace(b"Upgrade: websocket", b"uPgrade: WebSocket")
    status, _ = answer_to(gateway, request.replace(b"Connection: Upgrade", b"connection: keep-alive, upgrade"))
    assert status == 101


@pytest.mark.parametrize("path", ["/", "/nothing", "/connect/deeper"])
def test_an_unknown_path_is_answered_404(gateway, path):
    status, _ = answer_to(gateway, upgrade_request(path))
    assert status == 404


def test_a_head_above_32_kib_is_answered_431(gateway):
    with Connection(gateway.port) as client:
        client.send(upgrade_request("/connect", headers=[f"X-{n}: {'x' * 900}" for n in range(37)]))
        response = client.response()
    assert response is not None and response[0] == 431, response


def test_a_head_just_below_32_kib_is_taken(gateway):
    status, _ = answer_to(gateway, upgrade_request("/connect", headers=[f"X-{n}: {'x' * 900}" for n in range(35)]))
    assert status == 101


def test_an_offered_extension_is_declined_by_silence(gateway):
    Wire(gateway.port, headers=["Sec-WebSocket-Extensions: permessage-deflate; client_max_window_bits"]).close()


def test_the_test_client_reads_heads_as_written():
    assert parse_head(b"HTTP/1.1 426 Upgrade Required\r\nA: b\r\nC-D:e") == (426, {"a": "b", "c-d": "e"})
