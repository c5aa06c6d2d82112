"""Bytes that make no sense, clients that never finish, and connections that say nothing: bounded, and no shard stops."""

import random
import time

import pytest

from harness.poll import eventually
from harness.wire import TEXT, Connection, Wire, frame, server_frame, upgrade_request

SEED = 6455


def serves(gateway):
    """Both ports work: a push by the API reaches a new device."""
    # A topic of its own: what went to another just now may still come to whoever joins that on another shard.
    with Wire(gateway.port, "/topics/serves") as client:
        assert gateway.push({"topic": "serves"}, ["well"]).status == 202
        client.expect_stream(server_frame(TEXT, b'"well"'))


def throw(port, data):
    """Sends what it can, reads what comes for a moment, and leaves."""
    with Connection(port) as client:
        try:
            client.send(data)
            client.socket.shutdown(1)
            client.rest(timeout=5)
        except OSError:
            # Refused in the middle of the garbage: as good an answer as any.
            pass


def garbage(seed):
    """Noise in several tones: bytes, lines of bytes, a right beginning with a wrong end."""
    rng = random.Random(seed)
    noise = rng.randbytes(rng.choice([1, 100, 5_000, 100_000]))
    request = upgrade_request("/connect")
    cut = rng.randrange(len(request))
    return rng.choice(
        [
            noise,
            noise.replace(b"\x00", b"\r\n"),
            request[:cut] + noise,
            b"GET /" + noise + b" HTTP/1.1\r\n\r\n",
            b"POST /v1/push HTTP/1.1\r\nContent-Length: 99999999999999999999\r\n\r\n" + noise,
            b"POST /v1/push HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\nffffffffffffffff\r\n" + noise,
            b"POST /push/all HTTP/1.1\r\nContent-Length: -1\r\n\r\n" + noise,
            b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + noise,
            b"\r\n" * 5_000,
        ]
    )


@pytest.mark.parametrize("side", ["port", "api_port"])
def test_noise_on_a_port_harms_nobody(gateway, side):
    with Wire(gateway.port, "/topics/t") as witness:
        for n in range(150):
            throw(getattr(gateway, side), garbage(SEED + n))
        assert gateway.push({"topic": "t"}, ["still here"]).status == 202
        witness.expect_stream(server_frame(TEXT, b'"still here"'))
    serves(gateway)
    eventually(lambda: gateway.metric("handshakes") == 0, "no handshake is left behind")


def test_noise_after_a_right_upgrade_closes_that_connection_only(gateway):
    with Wire(gateway.port, "/topics/t") as witness:
        for n in range(150):
            throw(gateway.port, upgrade_request("/connect") + random.Random(SEED + n).randbytes(2_000))
        witness.expect_still_open()
    gateway.await_connections(0)
    serves(gateway)


def test_frames_with_random_flips_never_stop_a_shard(gateway):
    rng = random.Random(SEED)
    whole = b"".join(frame(TEXT, b'{"type":"JOIN","data":{"room":"r%d"}}' % n) for n in range(20))
    for _ in range(200):
        bent = bytearray(whole)
        for _ in range(rng.randrange(1, 6)):
            bent[rng.randrange(len(bent))] ^= 1 << rng.randrange(8)
        throw(gateway.port, upgrade_request("/connect") + bytes(bent))
    gateway.await_connections(0)
    serves(gateway)


def test_slow_handshakes_end_at_their_deadline_and_others_are_served_meanwhile(start_gateway):
    gateway = start_gateway(**{"clients.upgrade_deadline_s": 1})
    begin = time.monotonic()
    slow = [Connection(gateway.port) for _ in range(100)]
    ended = {}
    request = upgrade_request("/connect", headers=["X-Padding: " + "x" * 1_000])
    sent = 0
    while len(ended) < len(slow):
        assert time.monotonic() - begin < 10, f"{len(slow) - len(ended)} slow handshakes are still open"
        for at, client in enumerate(slow):
            if at not in ended and not drips(client, request[sent : sent + 1]):
                ended[at] = time.monotonic() - begin
        sent += 1
        serves(gateway)
    assert min(ended.values()) > 0.5, "not before the deadline"
    assert max(ended.values()) < 5, "soon after it, however many bytes arrived"
    assert gateway.metric("handshakes_failed_total", reason="timeout") == 100
    for client in slow:
        client.close()


def drips(client, byte):
    """Sends a byte; false once the gateway has given up on the client."""
    try:
        client.send(byte)
        client.fill(timeout=0.001)
    except (TimeoutError, BlockingIOError):
        return True
    except OSError:
        return False
    # Bytes or an end: a 408, or nothing more.
    return False


def test_connections_that_say_nothing_end_at_the_deadline(start_gateway):
    gateway = start_gateway(**{"clients.upgrade_deadline_s": 1})
    silent = [Connection(gateway.port) for _ in range(200)]
    serves(gateway)
    for client in silent:
        rest = client.rest(timeout=5)
        assert rest == b"" or rest.startswith(b"HTTP/1.1 408"), rest
    eventually(lambda: gateway.metric("handshakes") == 0, "no handshake is left behind")


def test_more_half_open_handshakes_than_the_bound_lock_out_nobody_for_long(start_gateway):
    gateway = start_gateway(**{"clients.upgrade_deadline_s": 2, "clients.handshakes_max": 4})
    silent = [Connection(gateway.port) for _ in range(100)]

    def accepted():
        try:
            Wire(gateway.port, timeout=5).close()
            return True
        except (AssertionError, OSError):
            return False

    eventually(accepted, "a real client is taken")
    assert gateway.metric("handshakes") <= 2 * 4
    for client in silent:
        client.close()


def test_idle_api_connections_are_bounded_and_end(gateway):
    idle = [Connection(gateway.api_port, timeout=25) for _ in range(300)]
    with Wire(gateway.port) as device:
        device.expect_still_open()
    for client in idle:
        # 503 at once for those above the bound, a timeout for the others.
        rest = client.rest(timeout=25)
        assert rest == b"" or rest.startswith((b"HTTP/1.1 503", b"HTTP/1.1 408")), rest[:200]
    serves(gateway)


def test_pipelined_api_requests_are_answered_in_order(gateway):
    with Connection(gateway.api_port) as client:
        client.send(b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\nGET /nothing HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
        answers = client.rest(timeout=5)
    assert answers.startswith(b"HTTP/1.1 200") and answers.count(b"HTTP/1.1 404") == 1, answers


def test_a_body_that_never_comes_does_not_hold_the_api(gateway):
    stuck = [Connection(gateway.api_port) for _ in range(20)]
    for client in stuck:
        client.send(b"POST /v1/push HTTP/1.1\r\nHost: localhost\r\nContent-Length: 100\r\n\r\n{")
    serves(gateway)
    for client in stuck:
        client.close()
