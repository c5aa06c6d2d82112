"""A backend is told when connections open, join, leave and close, by Redis and by a webhook, and told what it missed."""

import json
import signal
import threading
import time

import pytest

from harness.poll import eventually
from harness.receiver import Receiver, numbers
from harness.redis_server import command
from harness.wire import CLOSE, TEXT, Wire, close_payload, frame

NAME = "fanfare-events"


@pytest.fixture
def receiver():
    made = Receiver()
    yield made
    made.stop()


@pytest.fixture
def start_told(start_gateway, receiver):
    """Starts gateways that tell the receiver."""

    def start(**settings):
        return start_gateway(**{"events.webhook": receiver.url, "events.delay_ms": 20} | settings)

    return start


def join(room):
    return json.dumps({"type": "JOIN", "data": {"room": room}})


def leave(room):
    return json.dumps({"type": "LEAVE", "data": {"room": room}})


def say_goodbye(client, code=1000):
    client.send(frame(CLOSE, close_payload(code)))
    client.expect(CLOSE, close_payload(code))
    client.expect_end()


def test_a_life_is_told_in_order_with_reason_and_duration(start_told, receiver):
    gateway = start_told()
    begin = time.time() * 1000
    with Wire(gateway.port, "/connect?join=a") as client:
        peer = "127.0.0.1:%d" % client.socket.getsockname()[1]
        client.text(join("b"))
        client.text(leave("a"))
        client.expect_still_open()
        time.sleep(0.7)
        said = time.time() * 1000
        say_goodbye(client)
    close = receiver.await_events("close", 1)[0]
    events = receiver.events
    assert [event["event"] for event in events] == ["open", "join", "join", "leave", "close"]
    assert [event["seq"] for event in events] == [1, 2, 3, 4, 5]
    assert len({event["connection"] for event in events}) == 1
    assert events[0]["format"] == "go-push-v1" and events[0]["peer"] == peer
    assert [event.get("topic") for event in events[1:4]] == ["a", "b", "a"]
    assert (close["reason"], close["code"], close["topics"]) == ("client_close", 1000, ["b"])
    assert 600 <= close["duration_ms"] <= said - begin + 500
    assert begin - 500 <= events[0]["at_ms"] <= close["at_ms"] <= time.time() * 1000 + 500
    # Six bytes of header and mask for each of JOIN, LEAVE, two pings of eight bytes and Close with its code.
    assert close["bytes_in"] == 6 + len(join("b")) + 6 + len(leave("a")) + 2 * (6 + 8) + 6 + 2
    assert close["bytes_out"] > 2 * (2 + 8) + len("HTTP/1.1 101 Switching Protocols")
    path, headers, _ = receiver.requests[0]
    assert path == "/events" and headers["content-type"] == "application/json"
    assert headers["fanfare-gateway"] == events[0]["gateway"]
    assert events[0]["connection"].startswith(events[0]["gateway"] + "-")


def test_each_end_has_its_reason_and_code(start_told, receiver):
    gateway = start_told(**{"clients.liveness_s": 2, "clients.server_ping": "false"})
    gone = Wire(gateway.port)
    gone.close()
    reset = Wire(gateway.port)
    reset.reset()
    rude = Wire(gateway.port)
    rude.send(b"\xff\xff\xff\xff\xff\xff")
    wordless = Wire(gateway.port)
    wordless.send(frame(CLOSE, b""))
    silent = Wire(gateway.port)
    closes = receiver.await_events("close", 5)
    told = sorted((event["reason"], event["code"]) for event in closes)
    assert told == [
        ("client_close", 1005), ("client_gone", 1006), ("protocol_error", 1002), ("reset", 1006), ("silent", 1001),
    ]
    for client in (rude, wordless, silent):
        client.close()
    eventually(lambda: gateway.connections() == 0, "all are gone")
    assert {event["connection"] for event in receiver.of("open")} == {event["connection"] for event in closes}
    for reason, _ in told:
        assert gateway.metric("closed_total", reason=reason) == 1, "told and counted alike"


def test_a_slow_client_is_told_as_slow(start_told, receiver):
    gateway = start_told(**{"outbox.bytes_max": 300_000})
    with Wire(gateway.port, "/topics/t", receive_buffer=2_048) as slow:
        payload = "x" * 60_000
        for _ in range(60):
            gateway.push({"topic": "t"}, [payload] * 2)
            if receiver.of("close"):
                break
        close = receiver.await_events("close", 1)[0]
        assert (close["reason"], close["code"], close["topics"]) == ("slow", 4008, ["t"])
        assert close["bytes_out"] > 60_000
        slow.reset()


def test_a_drain_tells_every_close_before_the_process_ends(start_told, receiver):
    gateway = start_told(**{"server.drain_s": 1, "events.delay_ms": 5_000})
    clients = [Wire(gateway.port, "/topics/t") for _ in range(20)]

    def read(client):
        while (got := client.receive()).opcode != CLOSE:
            pass
        client.answer_close(got.payload)

    gateway.signal(signal.SIGTERM)
    for client in clients:
        read(client)
    assert gateway.exit_code() == 0
    closes = receiver.of("close")
    assert len(closes) == 20 and len(receiver.of("open")) == 20 and len(receiver.of("join")) == 20
    assert {(event["reason"], event["code"]) for event in closes} == {("shutdown", 1001)}
    assert numbers(receiver.events) == list(range(1, 61))


def test_a_drain_does_not_wait_for_a_receiver_that_hangs(start_told, receiver):
    receiver.answer = None
    gateway = start_told(**{"server.drain_s": 0, "events.webhook_timeout_s": 30})
    with Wire(gateway.port) as client:
        gateway.signal(signal.SIGTERM)
        client.expect_close(1001)
    begin = time.monotonic()
    assert gateway.exit_code(timeout=10) == 0
    assert time.monotonic() - begin < 6
    assert "did not take the last of them" in gateway.log


def test_a_webhook_that_hangs_costs_devices_nothing_and_is_told_what_it_missed(start_told, receiver):
    receiver.answer = None
    gateway = start_told(**{"events.queue_bytes_max": 65_536, "events.webhook_timeout_s": 1})
    with Wire(gateway.port, "/topics/t") as device:
        latencies = []
        for number in range(300):
            with Wire(gateway.port, "/connect?join=a&join=b", settled=False) as passing:
                say_goodbye(passing)
            if number % 20 == 0:
                begin = time.monotonic()
                gateway.push({"topic": "t"}, [number])
                device.expect(TEXT, str(number).encode())
                latencies.append(time.monotonic() - begin)
        assert max(latencies) < 1, latencies
        dropped = lambda: gateway.metric("events_dropped_total", sink="webhook", reason="queue_full")
        assert eventually(dropped, "the bound is reached") > 100
        assert gateway.metric("events_queue_bytes", sink="webhook") <= 65_536
        eventually(lambda: gateway.metric("events_failed_total", sink="webhook") >= 1, "an attempt ran into its timeout")
        assert gateway.metric("events_sent_total", sink="webhook") == 0
        receiver.answer = 200
        eventually(lambda: gateway.metric("events_queue", sink="webhook") == 0, "the receiver catches up", deadline_s=20)
        with Wire(gateway.port) as last:
            say_goodbye(last)
        eventually(lambda: receiver.of("close") and receiver.of("close")[-1]["code"] == 1000, "the last one is told")
        gateway.metric("events_total")
        noted = gateway.metric("events_total")
        eventually(lambda: numbers(receiver.events)[-1] == noted, "every number is told of")
    assert numbers(receiver.events) == list(range(1, int(noted) + 1)), "each is an event or told as lost, once and in order"
    assert sum(event["count"] for event in receiver.of("lost")) == dropped()
    told = lambda: sum(event["event"] != "lost" for event in receiver.events)
    eventually(lambda: gateway.metric("events_sent_total", sink="webhook") == told(), "what was told is counted")


@pytest.mark.parametrize("status", [500, 503, 404, 302])
def test_what_is_not_taken_comes_again(start_told, receiver, status):
    receiver.answer = status
    gateway = start_told(**{"events.kinds": "open"})
    clients = [Wire(gateway.port) for _ in range(3)]
    eventually(lambda: len(receiver.requests) >= 3, "it is tried again")
    receiver.answer = 200
    assert len(receiver.await_events("open", 3)) == 3
    assert numbers(receiver.events) == [1, 2, 3]
    assert gateway.metric("events_dropped_total", sink="webhook") == 0
    for client in clients:
        client.close()


def test_a_batch_that_is_refused_for_good_is_dropped_and_told(start_told, receiver):
    receiver.answer = 400
    gateway = start_told(**{"events.kinds": "open", "events.batch_events_max": 2})
    with Wire(gateway.port), Wire(gateway.port):
        refused = lambda: gateway.metric("events_dropped_total", sink="webhook", reason="refused")
        eventually(lambda: refused() == 2, "they are dropped")
        receiver.answer = 200
        with Wire(gateway.port):
            receiver.await_events("open", 1)
    assert [event["event"] for event in receiver.events] == ["lost", "open"]
    assert numbers(receiver.events) == [1, 2, 3]


def test_a_webhook_of_https_is_told_if_its_certificate_is_trusted(start_gateway, certificates):
    root, leaf, leaf_key = certificates
    receiver = Receiver((leaf, leaf_key))
    try:
        stranger = start_gateway(**{"events.webhook": receiver.url})
        with Wire(stranger.port):
            eventually(lambda: stranger.metric("events_failed_total", sink="webhook") >= 2, "it is tried, and again")
        stranger.expect_log("certificate")
        assert not receiver.requests
        known = start_gateway(variables={"SSL_CERT_FILE": str(root)}, **{"events.webhook": receiver.url})
        with Wire(known.port) as client:
            say_goodbye(client)
        receiver.await_events("close", 1)
    finally:
        receiver.stop()


def test_only_the_kinds_that_are_wanted_are_told_and_they_change_with_a_reload(start_told, receiver, tmp_path):
    file = tmp_path / "fanfare.toml"
    file.write_text('[events]\nkinds = ["close"]\n')
    gateway = start_told(arguments=["--config", str(file)])
    with Wire(gateway.port, "/topics/t") as client:
        client.close()
    receiver.await_events("close", 1)
    file.write_text('[events]\nkinds = ["open", "close"]\n')
    gateway.signal(signal.SIGHUP)
    eventually(lambda: gateway.metric("config_edition") == 4, "both shards go by the second edition")
    with Wire(gateway.port, "/topics/t") as client:
        client.close()
    receiver.await_events("close", 2)
    assert [event["event"] for event in receiver.events] == ["close", "open", "close"]


def subscribed(redis):
    """Batches from the channel, as they come."""
    client = redis.client()
    client.socket.sendall(command("SUBSCRIBE", NAME))
    assert client._reply() == [b"subscribe", NAME.encode(), 1]
    got = []

    def read():
        while True:
            try:
                got.extend(json.loads(client._reply()[2]))
            except (OSError, ConnectionError, ValueError):
                return

    threading.Thread(target=read, daemon=True).start()
    return got


def test_a_channel_carries_batches(start_gateway, redis):
    got = subscribed(redis)
    gateway = start_gateway(redis=redis.url, **{"events.redis": "channel", "events.delay_ms": 20})
    for _ in range(10):
        with Wire(gateway.port, "/topics/t") as client:
            say_goodbye(client)
    eventually(lambda: len(got) == 30, "ten lives")
    assert numbers(got) == list(range(1, 31))
    assert {event["event"] for event in got} == {"open", "join", "close"}
    assert gateway.metric("messages_refused_total") == 0, "the gateway does not hear itself"


def entries(redis):
    """The stream's events."""
    fields = [fields for _, fields in redis.client().call("XRANGE", NAME, "-", "+")]
    assert all(name == b"event" for name, _ in fields)
    return [json.loads(event) for _, event in fields]


def test_a_stream_has_an_entry_an_event_and_a_length(start_gateway, redis):
    settings = {"events.redis": "stream", "events.delay_ms": 20, "events.stream_length_max": 100}
    gateway = start_gateway(redis=redis.url, **settings)
    for _ in range(5):
        with Wire(gateway.port, "/topics/t") as client:
            say_goodbye(client)
    eventually(lambda: len(entries(redis)) == 15, "five lives")
    assert numbers(entries(redis)) == list(range(1, 16))
    for _ in range(150):
        with Wire(gateway.port, "/topics/t", settled=False) as client:
            say_goodbye(client)
    eventually(lambda: gateway.metric("events_sent_total", sink="redis") == 465, "all are sent")
    assert redis.client().call("XLEN", NAME) < 300, "MAXLEN ~ 100 keeps whole nodes of a hundred"


def test_redis_killed_and_restarted_gets_what_happened_meanwhile(start_gateway, redis):
    settings = {"events.redis": "stream", "events.delay_ms": 20}
    gateway = start_gateway(redis=redis.url, **settings)
    with Wire(gateway.port) as client:
        say_goodbye(client)
    eventually(lambda: len(entries(redis)) == 2, "one life")
    redis.kill()
    for _ in range(10):
        with Wire(gateway.port, "/topics/t") as client:
            say_goodbye(client)
    eventually(lambda: gateway.metric("events_queue", sink="redis") == 30, "they wait")
    eventually(lambda: gateway.metric("events_failed_total", sink="redis") >= 1, "it is tried")
    redis.start()
    # The server keeps nothing on disk: what it had taken before is gone with it.
    eventually(lambda: numbers(entries(redis)) == list(range(3, 33)), "all that waited, in order", deadline_s=20)
    assert gateway.metric("events_dropped_total", sink="redis") == 0


def test_what_redis_refuses_waits_until_somebody_mends_it(start_gateway, redis):
    redis.client().call("SET", NAME, "no stream")
    gateway = start_gateway(redis=redis.url, **{"events.redis": "stream", "events.delay_ms": 20})
    with Wire(gateway.port) as client:
        say_goodbye(client)
    gateway.expect_log("WRONGTYPE")
    assert gateway.metric("events_sent_total", sink="redis") == 0
    redis.client().call("DEL", NAME)
    eventually(lambda: len(entries(redis)) == 2, "nothing was lost")


def test_both_receivers_are_told_the_same_and_one_that_is_away_does_not_hold_the_other(start_told, receiver, redis):
    receiver.answer = 503
    gateway = start_told(redis=redis.url, **{"events.redis": "stream"})
    with Wire(gateway.port, "/topics/t") as client:
        say_goodbye(client)
    eventually(lambda: len(entries(redis)) == 3, "Redis has them")
    receiver.answer = 200
    receiver.await_events("close", 1)
    assert receiver.events == entries(redis)


def test_without_a_receiver_nothing_is_noted(gateway):
    with Wire(gateway.port, "/topics/t") as client:
        say_goodbye(client)
    gateway.await_connections(0)
    assert gateway.metric("events_total") == 0


IDLE_S = 2


def test_a_client_that_only_pings_is_closed_as_idle(start_told, receiver):
    gateway = start_told(**{"clients.idle_after_s": IDLE_S})
    begin = time.monotonic()
    with Wire(gateway.port) as client:
        while True:
            client.text('{"type":"PING","data":{}}')
            got = client.receive()
            if got.opcode == CLOSE:
                break
            time.sleep(0.1)
        assert got.payload == close_payload(4009, b"no messages") and time.monotonic() - begin >= IDLE_S - 0.3
        client.answer_close(got.payload)
    assert time.monotonic() - begin < 2 * IDLE_S + 1
    close = receiver.await_events("close", 1)[0]
    assert (close["reason"], close["code"]) == ("idle", 4009)
    assert IDLE_S * 1000 - 300 <= close["duration_ms"] <= 2 * IDLE_S * 1000 + 1000
    eventually(lambda: gateway.metric("closed_total", reason="idle") == 1, "it is counted as idle")


def test_a_client_with_messages_either_way_is_not_idle(start_gateway):
    gateway = start_gateway(**{"clients.idle_after_s": IDLE_S})
    with Wire(gateway.port, "/topics/t") as told, Wire(gateway.port) as speaks:
        end = time.monotonic() + 2.5 * IDLE_S
        number = 0
        while time.monotonic() < end:
            gateway.push({"topic": "t"}, [number])
            told.expect(TEXT, str(number).encode())
            speaks.text(join("x") if number % 2 else leave("x"))
            speaks.expect_still_open()
            number += 1
            time.sleep(0.3)
    assert gateway.metric("closed_total", reason="idle") == 0


def test_whoever_waits_for_a_paced_push_is_not_idle(start_gateway):
    gateway = start_gateway(**{"clients.idle_after_s": IDLE_S})
    clients = [Wire(gateway.port, "/topics/t") for _ in range(3)]
    body = json.dumps({"to": {"topic": "t"}, "messages": [7], "rate": 0.1, "id": "slow"})
    assert gateway.request("POST", "/v1/push", body, {"Content-Type": "application/json"}).status == 202
    # Ten seconds lie between two of the three.
    time.sleep(2.5 * IDLE_S)
    assert gateway.connections() == 3 and gateway.metric("closed_total", reason="idle") == 0
    assert gateway.request("DELETE", "/v1/pushes/slow").status == 200
    for client in clients:
        while (got := client.receive()).opcode != CLOSE:
            assert got.payload == b"7"
        assert got.payload[:2] == close_payload(4009)
        client.answer_close(got.payload)
