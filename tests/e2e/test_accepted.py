"""Accepted means delivered: what was answered 2xx reaches the devices, whatever Redis does; all else is answered as it is."""

import json
import signal
import socket
import struct
import threading
import time

import pytest

from harness.poll import eventually
from harness.wire import TEXT, Wire, server_frame

ALL_BUT = ("on", ">pass", "~*", "&*", "+@all")


class Reader:
    """Takes every message of a device."""

    def __init__(self, gateway, topic="t"):
        self.device = Wire(gateway.port, f"/topics/{topic}", timeout=60)
        gateway.await_members(topic, 1)
        self.got = []
        threading.Thread(target=self._read, daemon=True).start()

    def _read(self):
        try:
            while True:
                frame = self.device.receive()
                if frame.opcode == TEXT:
                    self.got.append(json.loads(frame.payload))
        except (OSError, EOFError, AssertionError):
            pass


def push(gateway, message, timeout=15, **options):
    body = json.dumps({"to": {"topic": "t"}, "messages": [message], **options})
    return gateway.request("POST", "/v1/push", body, timeout=timeout)


class Stream:
    """Publishes numbers by several connections until it is told to stop."""

    def __init__(self, gateway, connections=4):
        self.gateway, self.accepted, self.other, self.stopped = gateway, [], [], threading.Event()
        self.lock, self.number = threading.Lock(), 0
        self.threads = [threading.Thread(target=self._publish) for _ in range(connections)]
        for thread in self.threads:
            thread.start()

    def _publish(self):
        while not self.stopped.is_set():
            with self.lock:
                self.number += 1
                number = self.number
            answer = push(self.gateway, number)
            (self.accepted if answer.status == 202 else self.other).append(number)
            time.sleep(0.002)

    def stop(self):
        self.stopped.set()
        for thread in self.threads:
            thread.join()


def is_all_there(stream, reader):
    eventually(lambda: set(stream.accepted) <= set(reader.got), "everything that was accepted is delivered")
    assert len(reader.got) == len(set(reader.got)), "nothing comes twice"


def heals(gateway):
    eventually(lambda: push(gateway, "again").status == 202, "publishes are taken again", deadline_s=15)
    eventually(lambda: gateway.ready() == 200, "it is ready again", deadline_s=15)


@pytest.mark.parametrize("kind", ["pubsub", "normal"])
def test_connections_to_redis_are_cut_under_load(gateway_on_redis, redis, kind):
    reader, stream, operator = Reader(gateway_on_redis), Stream(gateway_on_redis), redis.client()
    for _ in range(4):
        time.sleep(0.7)
        operator.call("CLIENT", "KILL", "TYPE", kind, "SKIPME", "yes")
    time.sleep(0.7)
    stream.stop()
    assert len(stream.accepted) > 100
    is_all_there(stream, reader)
    heals(gateway_on_redis)


def test_a_silent_redis_is_never_202_and_what_came_late_comes_once(gateway_on_redis, redis):
    reader = Reader(gateway_on_redis)
    assert push(gateway_on_redis, 0).status == 202
    redis.process.send_signal(signal.SIGSTOP)
    try:
        stream, begin = Stream(gateway_on_redis), time.monotonic()
        time.sleep(0.5)
        answer = push(gateway_on_redis, "by id", id="x")
        assert answer.status == 503 and time.monotonic() - begin < 9, answer
        time.sleep(7)
    finally:
        redis.process.send_signal(signal.SIGCONT)
    heals(gateway_on_redis)
    stream.stop()
    is_all_there(stream, reader)
    # Its id is free, or it ran late: once, either way.
    eventually(lambda: push(gateway_on_redis, "by id", id="x").status == 202, "the push is taken")
    eventually(lambda: "by id" in reader.got, "and delivered")
    time.sleep(0.5)
    assert reader.got.count("by id") == 1


@pytest.mark.parametrize("command", ["publish", "psubscribe"])
def test_a_user_who_may_not_is_told_with_redis_words_and_readiness_says_so(start_redis, start_gateway, command):
    redis = start_redis()
    operator = redis.client()
    operator.call("ACL", "SETUSER", "gate", *ALL_BUT, f"-{command}")
    gateway = start_gateway(redis=f"redis://gate:pass@127.0.0.1:{redis.port}", await_ready=False)
    part = {"publish": "redis_publishing", "psubscribe": "redis_subscription"}[command]

    def missing():
        return {part["part"]: part["message"] for part in gateway.get("/readyz").json["missing"]}

    eventually(lambda: "NOPERM" in missing().get(part, ""), f"/readyz names {command}")
    for number in range(3):
        answer = push(gateway, number)
        assert answer.status == {"publish": 502, "psubscribe": 503}[command], answer
        form = gateway.push_form("/push/room", room="t", items="[1]")
        assert form.status == answer.status, form
    if command == "publish":
        assert "NOPERM" in answer.json["error"]["message"]
    reader = Reader(gateway)
    operator.call("ACL", "SETUSER", "gate", f"+{command}")
    heals(gateway)
    eventually(lambda: "again" in reader.got, "and delivered")
    # Rights that go while it runs are noticed by the next publish, by a look, or by the next subscription.
    operator.call("ACL", "SETUSER", "gate", f"-{command}")
    answer = push(gateway, "late")
    if command == "publish":
        assert answer.status == 502, answer
    else:
        assert answer.status == 202, answer
        eventually(lambda: "late" in reader.got, "the subscription that stands goes on")
        operator.call("CLIENT", "KILL", "TYPE", "pubsub")
    eventually(lambda: gateway.ready() == 503, "/readyz says so again", deadline_s=15)


def test_a_user_with_nothing_but_publish_and_psubscribe_is_enough(start_redis, start_gateway):
    redis = start_redis()
    rules = ("on", ">pass", "resetchannels", "&fanfare:*", "+publish", "+psubscribe")
    redis.client().call("ACL", "SETUSER", "gate", *rules)
    gateway = start_gateway(redis=f"redis://gate:pass@127.0.0.1:{redis.port}")
    reader = Reader(gateway)
    for number in range(10):
        assert push(gateway, number).status == 202
    eventually(lambda: reader.got == list(range(10)), "all of them, in order")
    assert gateway.metric("messages_refused_total") == 0


def test_one_channel_that_the_user_may_not_use_leaves_the_gateway_ready(start_redis, start_gateway):
    redis = start_redis()
    may = "(+publish resetchannels &fanfare:topic:t &fanfare:probe)"
    try:
        redis.client().call("ACL", "SETUSER", "gate", "on", ">pass", "resetchannels", "&fanfare:*", "+psubscribe", may)
    except RuntimeError as error:
        pytest.skip(f"this Redis has no selectors: {error}")
    gateway = start_gateway(redis=f"redis://gate:pass@127.0.0.1:{redis.port}")
    for _ in range(3):
        answer = gateway.push({"topic": "elsewhere"}, [1])
        assert answer.status == 502 and "NOPERM" in answer.json["error"]["message"], answer
        assert gateway.ready() == 200
        assert push(gateway, 1).status == 202


def test_publishes_of_a_client_that_leaves_are_counted(start_redis, start_gateway):
    redis = start_redis()
    gateway = start_gateway(redis=redis.url)
    assert push(gateway, "first").status == 202
    topics, count = [f"t{number}" for number in range(100)], 12
    body = json.dumps({"to": {"topics": topics}, "messages": ["x" * 250]})
    head = f"POST /v1/push HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: {len(body)}\r\n\r\n"
    operator = redis.client()
    operator.call("CLIENT", "PAUSE", "1000")
    client = socket.create_connection(("127.0.0.1", gateway.api_port))
    # It is gone at once, and whatever is written to it fails.
    client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    client.sendall((head + body).encode() * count)
    time.sleep(0.4)
    client.close()
    taken = lambda: gateway.metric("api_messages_total")  # noqa: E731
    eventually(lambda: taken() == 1 + count * len(topics), "every message is counted", deadline_s=10)


def test_a_replica_is_noticed_and_so_is_its_end(start_redis, start_gateway):
    first, second = start_redis(), start_redis()
    gateway = start_gateway(redis=first.url)
    reader = Reader(gateway)
    operator = first.client()
    operator.call("REPLICAOF", "127.0.0.1", second.port)
    eventually(lambda: gateway.ready() == 503, "/readyz notices", deadline_s=12)
    assert {part["part"] for part in gateway.get("/readyz").json["missing"]} >= {"redis_role"}
    assert gateway.metric("redis_replica") == 1
    answer = push(gateway, 1)
    assert answer.status == 503 and "replica" in answer.json["error"]["message"], answer
    operator.call("REPLICAOF", "NO", "ONE")
    heals(gateway)
    eventually(lambda: "again" in reader.got, "and delivered")
    assert gateway.metric("redis_primary") == 1


class Switch:
    """Leads to one Redis or another, as a virtual address does; connections that stand stay where they are."""

    def __init__(self, port):
        self.target, self.listener = port, socket.create_server(("127.0.0.1", 0))
        self.port = self.listener.getsockname()[1]
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self):
        while True:
            near, _ = self.listener.accept()
            far = socket.create_connection(("127.0.0.1", self.target))
            for ends in ((near, far), (far, near)):
                threading.Thread(target=self._pass, args=ends, daemon=True).start()

    @staticmethod
    def _pass(source, sink):
        try:
            while data := source.recv(1 << 16):
                sink.sendall(data)
        except OSError:
            pass
        for end in (source, sink):
            try:
                end.shutdown(socket.SHUT_RDWR)
            except OSError:
                pass


def test_two_connections_at_two_servers_are_noticed_and_no_publish_is_202_without_its_message(
    start_redis, start_gateway
):
    first, second = start_redis(), start_redis()
    switch = Switch(first.port)
    gateway = start_gateway(redis=f"redis://127.0.0.1:{switch.port}")
    reader = Reader(gateway)
    # Another gateway at the second server: a publish there reaches somebody.
    other = second.client()
    other.call("PSUBSCRIBE", "fanfare:*")
    stream = Stream(gateway)
    eventually(lambda: len(stream.accepted) > 50, "publishes are taken")
    switch.target = second.port
    first.client().call("CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes")
    moved = len(stream.accepted)
    eventually(lambda: len(stream.accepted) > moved + 50, "publishes are taken at the second server", deadline_s=20)
    stream.stop()
    is_all_there(stream, reader)
    heals(gateway)


def test_a_script_that_blocks_redis_delays_publishes_in_order(start_redis, start_gateway):
    redis = start_redis("--lua-time-limit", "50")
    gateway = start_gateway(redis=redis.url)
    reader, stream = Reader(gateway), Stream(gateway, connections=1)
    time.sleep(0.3)
    busy = redis.client()
    thread = threading.Thread(target=lambda: pytest.raises(RuntimeError, busy.call, "EVAL", "while true do end", 0))
    thread.start()
    time.sleep(1.5)
    redis.client().call("SCRIPT", "KILL")
    thread.join()
    time.sleep(0.5)
    stream.stop()
    is_all_there(stream, reader)
    assert reader.got == sorted(reader.got)
    heals(gateway)


class LyingRedis:
    """Says whatever a test wants, to whatever it hears."""

    def __init__(self, say):
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.port = self.listener.getsockname()[1]
        self.say = say
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self):
        while True:
            peer, _ = self.listener.accept()
            threading.Thread(target=self._serve, args=(peer,), daemon=True).start()

    def _serve(self, peer):
        try:
            while peer.recv(65536):
                for words in self.say:
                    peer.sendall(words)
        except OSError:
            pass


SUBSCRIBED = b"*3\r\n$10\r\npsubscribe\r\n$9\r\nfanfare:*\r\n:1\r\n"


@pytest.mark.parametrize("say", [
    [b":1\r\n" * 50], [b"+PONG\r\n"], [b"+PONG\r\n", SUBSCRIBED, b":1\r\n"], [b"HTTP/1.1 400\r\n\r\n"], [b"$100\r\nhalf"], [],
], ids=["integers", "pongs", "everything", "garbage", "half a reply", "nothing"])
def test_a_redis_that_lies_is_never_believed(start_gateway, say):
    liar = LyingRedis(say)
    gateway = start_gateway(redis=f"redis://127.0.0.1:{liar.port}", await_ready=False, **{"server.drain_s": 1})
    end = time.monotonic() + 3
    while time.monotonic() < end:
        assert push(gateway, 1).status in (429, 502, 503)
        assert gateway.ready() == 503
        time.sleep(0.1)
    begin = time.monotonic()
    gateway.signal()
    assert gateway.exit_code() == 0
    assert time.monotonic() - begin < 1 + 4


@pytest.mark.parametrize("on_redis", [False, True])
def test_an_id_is_one_push_however_many_come_between(start_gateway, start_redis, on_redis):
    gateway = start_gateway(redis=start_redis().url if on_redis else None)
    reader = Reader(gateway)
    for name in ("a", "b"):
        answer = push(gateway, "first", id=name)
        assert (answer.status, answer.json["duplicate"]) == (202, False)
    for number in range(1100):
        body = json.dumps({"to": {"topic": "elsewhere"}, "messages": [number], "id": f"other-{number}"})
        assert gateway.request("POST", "/v1/push", body).status == 202
    again = push(gateway, "first", id="a")
    assert (again.status, again.json["duplicate"]) == (202, True)
    assert push(gateway, "changed", id="b").status == 409
    eventually(lambda: len(reader.got) >= 2, "both pushes")
    assert reader.got == ["first", "first"]


def test_of_one_push_sent_by_many_at_once_one_runs(gateway_on_redis):
    reader, answers = Reader(gateway_on_redis), []
    threads = [threading.Thread(target=lambda: answers.append(push(gateway_on_redis, "m", id="x"))) for _ in range(20)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert {answer.status for answer in answers} == {202}
    assert [answer.json["duplicate"] for answer in answers].count(False) == 1
    eventually(lambda: reader.got, "it is delivered")
    assert reader.got == ["m"]


def test_a_mistyped_channel_is_told_with_the_nearest_right_one(gateway_on_redis, redis):
    operator = redis.client()
    for channel in ("fanfare:uid:7", "fanfare:topics:news", "fanfare:topic:", b"fanfare:all\x1b[2J\n", "fanfare:xyz"):
        operator.call("PUBLISH", channel, "m")
    gateway_on_redis.expect_log("fanfare:xyz")
    log = gateway_on_redis.log
    assert "did you mean fanfare:topic:news?" in log and "fanfare:topic:7" in log
    assert "\x1b[2J" not in log.replace("\x1b[2J\x1b[2J", "") or "\\u{1b}[2J" in log
    for number in range(1000):
        operator.call("PUBLISH", f"fanfare:flood-{number}", "m")
    eventually(lambda: gateway_on_redis.metric("messages_refused_total") >= 1005, "all are counted")
    assert gateway_on_redis.log.count("reaches nobody") < 20
    with Wire(gateway_on_redis.port, "/topics/t") as device:
        gateway_on_redis.await_members("t", 1)
        operator.call("PUBLISH", "fanfare:topic:t", "right")
        device.expect_stream(server_frame(TEXT, b"right"))
