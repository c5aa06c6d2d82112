"""What the log tells of devices and pushes, and that nothing that repeats fills it."""

import json
import re
import socket
import struct

from harness.gateway import Gateway
from harness.poll import eventually
from harness.wire import CLOSE, TEXT, Wire, frame

CLOSED = re.compile(
    r"DEBUG .*a device was closed .*peer=\"(?P<peer>[^\"]*)\" reason=\"(?P<reason>\w+)\" code=(?P<code>\d+) "
    r"seconds=(?P<seconds>[\d.]+) owed_bytes=(?P<owed>\d+)"
)


def closes(gateway):
    return {(m["reason"], int(m["code"]), m["peer"]) for m in CLOSED.finditer(gateway.log)}


def address(wire):
    host, port = wire.socket.getsockname()
    return f"{host}:{port}"


def test_each_close_is_a_line_at_debug_with_code_reason_and_peer(start_gateway):
    gateway = start_gateway(**{"log.level": "debug", "clients.message_bytes_max": 200})
    said, left, reset, wrong, big = (Wire(gateway.port, "/topics/t") for _ in range(5))
    wanted = {
        ("client_close", 4321, address(said)), ("client_gone", 1006, address(left)), ("reset", 1006, address(reset)),
        ("protocol_error", 1002, address(wrong)), ("too_big", 1009, address(big)),
    }
    said.send(frame(CLOSE, struct.pack(">H", 4321)))
    left.close()
    reset.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    reset.close()
    wrong.send(b"\xff\xff\0\0\0\0")
    big.send(frame(TEXT, b"x" * 300))
    eventually(lambda: wanted <= closes(gateway), f"{wanted} are told")
    assert len(closes(gateway)) == 5, "each once"


def test_at_info_closes_cost_no_line(start_gateway):
    gateway = start_gateway()
    for _ in range(20):
        with Wire(gateway.port):
            pass
    eventually(lambda: gateway.metric("closed_total") == 20, "all are gone")
    assert "a device was closed" not in gateway.log


def test_a_push_is_told_with_who_began_steered_and_ended_it(start_gateway):
    gateway = start_gateway()
    with Wire(gateway.port, "/topics/t"), Wire(gateway.port, "/topics/t"), Wire(gateway.port, "/topics/t"):
        gateway.await_members("t", 3)
        body = {"to": {"topic": "t"}, "messages": ["x"], "rate": 0.5, "id": "campaign"}
        assert gateway.request("POST", "/v1/push", json.dumps(body)).status == 202
        for change in ({"rate": 0.25}, {"state": "paused"}, {"state": "running"}):
            assert gateway.request("PATCH", "/v1/pushes/campaign", json.dumps(change)).status == 200
        assert gateway.request("DELETE", "/v1/pushes/campaign").status == 200
        eventually(lambda: "a push has ended" in gateway.log, "its end is told")
    lines = [line for line in gateway.log.splitlines() if "campaign" in line]
    told = ["begins by the API from 127.0.0.1:", "0.25 devices a second", "paused", "running", "is cancelled by the API",
            "has ended"]
    assert len(lines) == len(told) and all(part in line for part, line in zip(told, lines)), lines
    assert 'state="cancelled"' in lines[-1] and "targeted=3" in lines[-1], lines[-1]


def test_what_repeats_does_not_fill_the_log(start_gateway):
    """Whatever a client does 500 times, the log has some lines of it and the last of them says how many it stands for."""
    gateway = start_gateway()

    def patch(body):
        gateway.request("PATCH", "/v1/config", body)

    def refused_push():
        gateway.request("POST", "/v1/push", '{"to":{"topic":"t"},"messages":["x"],"id":"same","rate":1}')

    acts = [
        lambda: patch('{"nonsense":1}'), lambda: patch('{"outbox.age_max_s":20}'),
        lambda: gateway.request("POST", "/v1/push", '{"to":{"topic":"t"},"messages":["x"],"rate":-1}'),
        lambda: gateway.request("POST", "/v1/push", '{"to":{"topic":"t"},"messages":["x"],"rate":1000}'),
        refused_push,
    ]
    for act in acts:
        before = len(gateway.log.splitlines())
        for _ in range(300):
            act()
        lines = len(gateway.log.splitlines()) - before
        assert lines <= 220, f"{lines} lines of 300: {gateway.log.splitlines()[-3:]}"
