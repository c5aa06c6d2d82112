"""Many API connections at once, foreign clients: probes and publishes are answered, and memory has a bound."""

import http.client
import json
import resource
import socket
import time

import pytest

from harness.poll import eventually
from harness.wire import Wire

MANY = 600


@pytest.fixture
def crowd(gateway):
    """Opens plain connections that send these bytes and read nothing, to this gateway or another."""
    opened = []

    def connect(count, data=b"", port=None, receive_buffer=None):
        for _ in range(count):
            client = socket.socket()
            if receive_buffer:
                client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
            client.settimeout(10)
            client.connect(("127.0.0.1", port or gateway.api_port))
            client.settimeout(1)
            try:
                client.sendall(data)
            except OSError:
                pass  # It was refused in the middle, or is not read for now.
            opened.append(client)
        return opened[-count:]

    yield connect
    for client in opened:
        client.close()


def head(method, path, *fields):
    return "\r\n".join([f"{method} {path} HTTP/1.1", "Host: localhost", *fields, "", ""]).encode()


def assert_probes(gateway):
    for path in ("/healthz", "/readyz", "/metrics"):
        begin = time.monotonic()
        answer = gateway.request("GET", path, timeout=5)
        assert answer.status == 200, (path, answer)
        assert time.monotonic() - begin < 4, path


def publish(gateway):
    return gateway.push({"topic": "elsewhere"}, [1]).status


def resident_mb(gateway):
    with open(f"/proc/{gateway.process.pid}/status", encoding="ascii") as status:
        return next(int(line.split()[1]) for line in status if line.startswith("VmRSS")) / 1024


def test_idle_pools_give_way(gateway):
    pool = []
    for _ in range(MANY):
        connection = http.client.HTTPConnection("127.0.0.1", gateway.api_port, timeout=5)
        connection.request("GET", "/v1/shards")
        assert connection.getresponse().read()
        pool.append(connection)
    assert_probes(gateway)
    assert publish(gateway) == 202
    assert gateway.metric("api_displaced_total") >= MANY - 256
    # A client that finds its connection closed connects again; its requests are answered.
    for connection in pool[:50]:
        connection.close()
        connection.request("GET", "/healthz")
        assert connection.getresponse().read() == b"ok\n"
    for connection in pool:
        connection.close()


def test_silent_ones_and_half_heads_cost_publishers_nothing(gateway, crowd):
    crowd(MANY)
    crowd(MANY, b"POST /v1/push HTTP/1.1\r\nHost: 127.0")
    assert_probes(gateway)
    assert [publish(gateway) for _ in range(20)] == [202] * 20


def test_half_bodies_leave_the_probes_and_tell_the_rest(gateway, crowd):
    crowd(MANY, head("POST", "/v1/push", "Content-Length: 100") + b'{"to"')
    assert_probes(gateway)
    answer = gateway.push({"topic": "a"}, [1])
    assert answer.status == 503 and answer.headers["retry-after"] == "1", answer
    assert answer.json["error"]["code"] == "too_many_connections"


def test_streams_have_a_bound_of_their_own(gateway, crowd):
    with Wire(gateway.port, "/topics/news"), Wire(gateway.port, "/topics/news"):
        gateway.await_members("news", 2)
        push = json.dumps({"to": {"topic": "news"}, "messages": [1], "rate": 0.1, "id": "p"})
        assert gateway.request("POST", "/v1/push", push).status == 202
        assert gateway.request("PATCH", "/v1/pushes/p", '{"state":"paused"}').status == 200
        streams = crowd(300, head("GET", "/v1/pushes/p/events"))
        eventually(lambda: gateway.metric("api_streams") == 64, "as many streams as there may be")
        assert_probes(gateway)
        assert publish(gateway) == 202
        answer = gateway.get("/v1/pushes/p/events")
        assert (answer.status, answer.json["error"]["code"]) == (503, "too_many_streams")
        for client in streams:
            client.close()
        eventually(lambda: gateway.metric("api_streams") == 0, "their places are free again")


def test_unread_answers_are_bounded_and_probes_are_answered(start_gateway, crowd):
    gateway = start_gateway(**{"server.shards": 24})
    size = len(gateway.get("/metrics").body)
    assert size > 64 * 1024, "large enough to count"
    before = resident_mb(gateway)
    readers = crowd(250, head("GET", "/metrics") * 50, gateway.api_port, receive_buffer=4096)
    for _ in range(5):
        assert_probes(gateway)
        assert gateway.metric("api_bytes", of="answers") <= 33 << 20
    assert publish(gateway) == 202
    assert resident_mb(gateway) - before < 160
    for client in readers:
        client.close()
    eventually(lambda: gateway.metric("api_bytes", of="answers") <= 2 * size, "nothing else is held")


def test_a_crowd_that_lists_pushes_holds_up_neither_probes_nor_the_end(gateway):
    for _ in range(1000):
        body = json.dumps({"to": {"topic": "nobody"}, "messages": [1], "track": True})
        assert gateway.request("POST", "/v1/push", body, {"Content-Type": "application/json"}).status == 202
    eventually(lambda: len(gateway.get("/v1/pushes").json["recent"]) == 1000, "all are over")
    for _ in range(3000):
        with socket.create_connection(("127.0.0.1", gateway.api_port), timeout=10) as client:
            client.sendall(head("GET", "/v1/pushes"))
    assert_probes(gateway)
    for _ in range(2000):
        with socket.create_connection(("127.0.0.1", gateway.api_port), timeout=10) as client:
            client.sendall(head("GET", "/v1/pushes"))
    gateway.process.terminate()
    assert gateway.process.wait(15) == 0


def test_unfinished_bodies_have_a_total(gateway, crowd):
    before, size = resident_mb(gateway), 8 << 20
    crowd(100, head("POST", "/v1/push", f"Content-Length: {size}") + b" " * (size - 1000))
    assert resident_mb(gateway) - before < 200
    assert gateway.metric("api_bytes", of="requests") <= 64 << 20
    assert_probes(gateway)
    assert [publish(gateway) for _ in range(5)] == [202] * 5
    large = gateway.push({"topic": "a"}, ["x" * 1_000_000])
    assert large.status in (202, 503), large
    if large.status == 503:
        assert (large.json["error"]["code"], large.headers["retry-after"]) == ("too_busy", "1")


def test_everything_at_once(gateway, crowd):
    crowd(100, head("POST", "/v1/push", "Content-Length: 8000000") + b" " * 500_000)
    crowd(200, head("POST", "/v1/push", "Transfer-Encoding: chunked") + b"5\r\n{")
    crowd(200, head("GET", "/metrics") * 100, receive_buffer=4096)
    crowd(300, head("GET", "/stats"))
    crowd(300, b"GET /met")
    crowd(300)
    for _ in range(3):
        assert_probes(gateway)


def test_with_few_descriptors_probes_are_answered_still(start_gateway, crowd):
    few = 150
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    launcher = ["bash", "-c", f'ulimit -n {few}; exec "$0" "$@"']
    gateway = start_gateway(launcher=launcher)
    crowd(few, head("GET", "/stats"), gateway.api_port)
    assert_probes(gateway)
    crowd(few, b"POST /v1/push HTTP/1.1\r\n", gateway.api_port)
    assert_probes(gateway)
    crowd(few, head("POST", "/v1/push", "Content-Length: 50") + b"{", gateway.api_port)
    assert_probes(gateway)
    assert resource.getrlimit(resource.RLIMIT_NOFILE) == (soft, hard)
