"""Silence: a silent client is asked once, and closed when the interval passes without an answer."""

import signal
import time
from concurrent.futures import ThreadPoolExecutor

from harness.poll import eventually
from harness.wire import PING, PONG, TEXT, Wire, frame

INTERVAL_S = 2
GO_PUSH_PING = b'{"type":"PING","data":{}}'
GO_PUSH_PONG = b'{"type":"PONG","data":{}}'


def test_a_silent_client_is_pinged_at_half_time_and_closed_after_the_interval(start_gateway):
    gateway = start_gateway(**{"clients.liveness_s": INTERVAL_S})
    begin = time.monotonic()
    with Wire(gateway.port) as client:
        assert client.receive().opcode == PING
        pinged = time.monotonic() - begin
        client.expect_close(1001)
        closed = time.monotonic() - begin
    # Each connection is looked at once per sweep, so that both times have a tick of play, never towards too early.
    assert 0.4 * INTERVAL_S <= pinged < INTERVAL_S, pinged
    assert 0.9 * INTERVAL_S <= closed < 2.5 * INTERVAL_S, closed
    eventually(lambda: gateway.metric("closed_total", reason="silent") == 1, "it is counted as silent")
    assert gateway.metric("pings_sent_total") == 1


def test_a_client_that_answers_pings_stays(start_gateway, device):
    gateway = start_gateway(**{"clients.liveness_s": INTERVAL_S})
    client = device(gateway.port)
    # The libraries answer pings unasked; three rounds of ping are more than one interval of silence.
    eventually(lambda: gateway.metric("pings_sent_total") >= 3, "three pings", deadline_s=5 * INTERVAL_S)
    client.send(GO_PUSH_PING.decode())
    assert client.receive() == GO_PUSH_PONG.decode()
    assert gateway.metric("closed_total") == 0


def test_any_frame_renews_liveness(start_gateway):
    gateway = start_gateway(**{"clients.liveness_s": INTERVAL_S, "clients.server_ping": "false"})
    with Wire(gateway.port) as client:
        stop = time.monotonic() + 2.5 * INTERVAL_S
        while time.monotonic() < stop:
            client.expect_still_open()
            time.sleep(0.3)


def test_without_server_pings_a_silent_client_is_closed_unasked(start_gateway):
    gateway = start_gateway(**{"clients.liveness_s": INTERVAL_S, "clients.server_ping": "false"})
    with Wire(gateway.port) as client:
        client.expect_close(1001)


def test_with_ping_only_pongs_and_other_frames_do_not_count(start_gateway):
    gateway = start_gateway(**{"clients.liveness_s": INTERVAL_S, "clients.liveness": "ping-only"})
    begin = time.monotonic()
    with Wire(gateway.port) as client:
        while (got := client.receive()).opcode in (PING, PONG):
            client.send(frame(PONG, got.payload) if got.opcode == PING else frame(PING, b"alive"))
        assert got.payload[:2] == (1001).to_bytes(2, "big"), got
        assert time.monotonic() - begin < 3 * INTERVAL_S


def test_with_ping_only_the_formats_own_ping_counts(start_gateway):
    gateway = start_gateway(
        **{"clients.liveness_s": INTERVAL_S, "clients.liveness": "ping-only", "clients.server_ping": "false"}
    )
    with Wire(gateway.port) as client:
        stop = time.monotonic() + 2.5 * INTERVAL_S
        while time.monotonic() < stop:
            client.send(frame(TEXT, GO_PUSH_PING))
            client.expect(TEXT, GO_PUSH_PONG)
            time.sleep(0.3)


def test_a_client_that_is_only_sent_to_is_silent(start_gateway):
    gateway = start_gateway(**{"clients.liveness_s": INTERVAL_S, "clients.server_ping": "false"})
    begin = time.monotonic()
    with Wire(gateway.port, "/topics/t") as client:
        number = 0
        while time.monotonic() - begin < 4 * INTERVAL_S:
            gateway.push({"topic": "t"}, [number])
            number += 1
            if client.receive().opcode != TEXT:
                break
        assert time.monotonic() - begin < 3 * INTERVAL_S, "messages to a client are no sign of its life"


def test_a_gateway_that_was_stopped_takes_nobody_for_silent_who_is_not(start_gateway):
    gateway = start_gateway(**{"clients.liveness_s": INTERVAL_S})
    clients = [Wire(gateway.port, "/topics/t") for _ in range(20)]
    silent = Wire(gateway.port, "/topics/t")

    def answer_pings(client, until):
        client.timeout = 0.2
        while time.monotonic() < until:
            try:
                got = client.receive()
            except TimeoutError:
                continue
            assert got.opcode == PING, got
            client.send(frame(PONG, got.payload))

    with ThreadPoolExecutor(len(clients)) as threads:
        until = time.monotonic() + 10 * INTERVAL_S
        answers = [threads.submit(answer_pings, client, until) for client in clients]
        time.sleep(0.6 * INTERVAL_S)
        for pause_s in (1.5 * INTERVAL_S, 2.5 * INTERVAL_S):
            gateway.signal(signal.SIGSTOP)
            time.sleep(pause_s)
            gateway.signal(signal.SIGCONT)
            time.sleep(INTERVAL_S)
        for answer in answers:
            answer.result()
    assert gateway.metric("connections_by_state", state="open") == len(clients)
    assert gateway.metric("pauses_total") >= 2
    while (got := silent.receive()).opcode == PING:
        pass
    assert got.payload[:2] == (1001).to_bytes(2, "big"), "whoever really is silent is closed"
    for client in [silent, *clients]:
        client.close()
