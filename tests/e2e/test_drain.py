"""Stopping: what was accepted is delivered, every device is told why, and the process ends in time."""

import signal
import socket
import threading
import time

import pytest

from harness.poll import eventually
from harness.wire import CLOSE, TEXT, Connection, Wire, close_payload, frame, upgrade_request


def read_to_close(client):
    """Payloads until the Close frame, which is answered; and its code."""
    payloads = []
    while (got := client.receive()).opcode == TEXT:
        payloads.append(got.payload)
    assert got.opcode == CLOSE, got
    client.answer_close(got.payload)
    return payloads, int.from_bytes(got.payload[:2], "big")


def test_sigterm_under_load_delivers_every_accepted_message_and_closes_with_1001(start_gateway):
    gateway = start_gateway(**{"server.drain_s": 2})
    clients = [Wire(gateway.port, "/topics/t", timeout=20) for _ in range(50)]
    gateway.await_members("t", 50)
    accepted = []

    def load():
        number = 0
        while True:
            try:
                status = gateway.push({"topic": "t"}, [number]).status
            except OSError:
                return
            if status == 503:
                return
            if status == 202:
                accepted.append(number)
            number += 1

    publisher = threading.Thread(target=load)
    publisher.start()
    eventually(lambda: len(accepted) > 100, "load is under way")
    told_to_stop = time.monotonic()
    gateway.signal(signal.SIGTERM)
    outcomes = [None] * len(clients)

    def read(at):
        outcomes[at] = read_to_close(clients[at])

    readers = [threading.Thread(target=read, args=(at,)) for at in range(len(clients))]
    for reader in readers:
        reader.start()
    for thread in [publisher, *readers]:
        thread.join()
    assert gateway.exit_code() == 0
    assert time.monotonic() - told_to_stop < 2 + 3, "within the drain, and some time to end"
    for payloads, code in outcomes:
        numbers = [int(payload) for payload in payloads]
        assert code == 1001
        assert numbers == sorted(set(numbers))
        assert set(accepted) <= set(numbers), "an accepted message was lost"


def test_messages_that_redis_handed_over_before_the_stop_are_delivered(start_gateway, redis):
    gateway = start_gateway(redis=redis.url, **{"server.drain_s": 1, "merge.delay_ms": 2_000})
    with Wire(gateway.port, "/topics/t") as client:
        redis.client().pipeline([("PUBLISH", "fanfare:topic:t", n) for n in range(42)])
        eventually(lambda: gateway.metric("messages_total", source="redis") == 42, "all are in, most are in an open batch")
        gateway.signal(signal.SIGTERM)
        payloads, code = read_to_close(client)
    assert [int(payload) for payload in payloads] == list(range(42))
    assert code == 1001
    assert gateway.exit_code() == 0


def test_closes_are_spread_over_the_drain_and_readyz_says_503_meanwhile(start_gateway):
    gateway = start_gateway(**{"server.drain_s": 3})
    clients = [Wire(gateway.port, timeout=20) for _ in range(60)]
    gateway.await_connections(60)
    begin = time.monotonic()
    gateway.signal(signal.SIGTERM)
    eventually(lambda: gateway.ready() == 503, "/readyz tells the load balancer", deadline_s=2)
    assert gateway.get("/healthz").status == 200
    assert gateway.push({"all": True}, [1]).status == 503
    closed_at = []

    def wait(client):
        read_to_close(client)
        closed_at.append(time.monotonic() - begin)

    waiting = [threading.Thread(target=wait, args=(client,)) for client in clients]
    for thread in waiting:
        thread.start()
    for thread in waiting:
        thread.join()
    assert gateway.exit_code() == 0
    assert len(closed_at) == 60
    closed_at.sort()
    assert closed_at[-1] - closed_at[0] > 1.0, closed_at
    assert closed_at[-1] < 4.5, closed_at


def is_taken(port):
    """Whether a device that comes now is upgraded."""
    try:
        with Connection(port) as late:
            late.send(upgrade_request("/connect"))
            response = late.response()
            assert response is None or response[0] in (101, 503), response
            return response is not None and response[0] == 101
    except (ConnectionRefusedError, ConnectionResetError, BrokenPipeError):
        return False


def test_no_device_is_taken_while_draining(start_gateway):
    gateway = start_gateway(**{"server.drain_s": 5})
    clients = [Wire(gateway.port, timeout=20) for _ in range(20)]
    gateway.signal(signal.SIGTERM)
    eventually(lambda: gateway.ready() == 503, "draining")
    # A balancer hears of the drain first, each shard when the messages before it are delivered.
    eventually(lambda: not any(is_taken(gateway.port) for _ in range(10)), "all shards refuse")
    for _ in range(10):
        assert not is_taken(gateway.port)
    for client in clients:
        client.close()
    assert gateway.exit_code() == 0


def test_a_gateway_without_devices_stops_at_once(start_gateway):
    gateway = start_gateway(**{"server.drain_s": 60})
    gateway.signal(signal.SIGTERM)
    assert gateway.exit_code(timeout=5) == 0


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_second_signal_ends_at_once(start_gateway, number):
    gateway = start_gateway(**{"server.drain_s": 60})
    clients = [Wire(gateway.port) for _ in range(20)]
    gateway.signal(number)
    eventually(lambda: gateway.ready() == 503, "draining")
    assert gateway.process.poll() is None
    gateway.may_die = True
    gateway.signal(number)
    gateway.exit_code(timeout=5)
    for client in clients:
        client.close()


def test_a_device_that_never_answers_the_close_does_not_hold_the_process(start_gateway):
    gateway = start_gateway(**{"server.drain_s": 1})
    deaf = [Wire(gateway.port) for _ in range(5)]
    gateway.signal(signal.SIGTERM)
    assert gateway.exit_code(timeout=20) == 0
    for client in deaf:
        assert client.receive().payload[:2] == close_payload(1001)
        client.close()


def test_the_port_is_free_for_a_successor(start_gateway):
    gateway = start_gateway(**{"server.drain_s": 1})
    with Wire(gateway.port) as client:
        gateway.signal(signal.SIGTERM)
        read_to_close(client)
    assert gateway.exit_code() == 0
    with socket.socket() as successor:
        successor.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        successor.bind(("127.0.0.1", gateway.port))


def test_a_client_that_is_saying_goodbye_is_not_told_twice(start_gateway):
    gateway = start_gateway(**{"server.drain_s": 1})
    with Wire(gateway.port) as client:
        client.send(frame(CLOSE, close_payload(1000)))
        gateway.signal(signal.SIGTERM)
        assert client.receive().opcode == CLOSE
        client.expect_end()
    assert gateway.exit_code() == 0
