"""Pushes as jobs: a pace, a ledger that agrees with what devices saw, and hands on it while it runs."""

import http.client
import json
import threading

import pytest

from harness.poll import eventually
from harness.wire import TEXT, Wire, server_frame

DEVICES = 40


@pytest.fixture
def crowd(gateway):
    """Devices in the topic `news`, of a gateway of their own."""
    devices = [Wire(gateway.port, "/topics/news") for _ in range(DEVICES)]
    gateway.await_members("news", DEVICES)
    yield gateway, devices
    for device in devices:
        device.close()


@pytest.fixture
def gateway(start_gateway):
    return start_gateway()


def begin(gateway, to=None, messages=("hello",), **options):
    body = json.dumps({"to": to or {"topic": "news"}, "messages": list(messages)} | options, separators=(",", ":"))
    return gateway.request("POST", "/v1/push", body)


def show(gateway, push):
    answer = gateway.get(f"/v1/pushes/{push}")
    assert answer.status == 200, answer
    state = answer.json
    if state["targeted"] is not None:
        assert state["targeted"] == state["sent"] + sum(state["failed"].values()) + state["remaining"], state
    return state


def change(gateway, push, **changes):
    return gateway.request("PATCH", f"/v1/pushes/{push}", json.dumps(changes))


def await_over(gateway, push, deadline_s=20):
    eventually(lambda: show(gateway, push)["finished_at"] is not None, f"{push} is over", deadline_s=deadline_s)
    return show(gateway, push)


def frame(payload):
    return server_frame(TEXT, json.dumps(payload, separators=(",", ":")).encode())


def test_a_push_says_whom_it_is_for_and_ends_with_a_ledger_that_devices_agree_with(crowd):
    gateway, devices = crowd
    answer = begin(gateway, rate=400)
    assert answer.status == 202, answer
    assert answer.json["targeted"] == DEVICES and not answer.json["duplicate"]
    assert answer.headers["location"] == f"/v1/pushes/{answer.json['id']}"
    over = await_over(gateway, answer.json["id"])
    assert over["state"] == "done" and over["sent"] == DEVICES and over["remaining"] == 0
    latency = over["latency_ms"]
    assert 0 < latency["first"] <= latency["p50"] <= latency["p99"] <= latency["last"]
    # 40 devices at 400 a second: the last is served no sooner than the pace allows.
    assert latency["last"] >= 85
    for device in devices:
        device.expect_stream(frame("hello"))
    assert gateway.metric("push_devices_sent_total") == DEVICES
    assert gateway.metric("pushes_finished_total", state="done") == 1


def test_a_publish_without_options_is_no_push(crowd):
    gateway, devices = crowd
    answer = begin(gateway)
    assert answer.status == 202 and answer.json["targeted"] is None
    assert gateway.get(f"/v1/pushes/{answer.json['id']}").status == 404
    devices[0].expect_stream(frame("hello"))


def test_the_pace_changes_while_it_runs(crowd):
    gateway, _ = crowd
    push = begin(gateway, rate=1).json["id"]
    state = change(gateway, push, rate=100_000).json
    assert state["rate"] == 100_000
    assert await_over(gateway, push, deadline_s=5)["sent"] == DEVICES


def test_a_paused_push_stands_still_and_goes_on(crowd):
    gateway, devices = crowd
    push = begin(gateway, rate=1000, ramp_s=3600).json["id"]
    assert change(gateway, push, state="paused", rate=1000).json["state"] == "paused"
    assert show(gateway, push)["eta_s"] is None
    before = show(gateway, push)["sent"]
    # Half the time in which the rest would be served, seen by a clock of the gateway's.
    marker = begin(gateway, to={"topic": "elsewhere"}, track=True).json["id"]
    await_over(gateway, marker)
    assert show(gateway, push)["sent"] <= before + 2
    assert gateway.metric("pushes", state="paused") == 1
    change(gateway, push, state="running")
    assert await_over(gateway, push)["sent"] == DEVICES
    for device in devices:
        device.expect_stream(frame("hello"))


def test_a_later_message_never_comes_before_a_paced_one(crowd):
    gateway, devices = crowd
    push = begin(gateway, messages=["first"], rate=100).json["id"]
    begin(gateway, messages=["second"])
    begin(gateway, messages=["third"], rate=100_000)
    begin(gateway, messages=["fourth"])
    for device in devices:
        device.expect_stream(b"".join(frame(word) for word in ("first", "second", "third", "fourth")))
    assert show(gateway, push)["sent"] == DEVICES


def test_an_urgent_push_overtakes(crowd):
    gateway, devices = crowd
    slow = begin(gateway, messages=["slow"], rate=0.1).json["id"]
    urgent = begin(gateway, messages=["urgent"], lane="urgent").json["id"]
    assert await_over(gateway, urgent)["sent"] == DEVICES
    change(gateway, slow, rate=None)
    await_over(gateway, slow)
    for device in devices[1:]:
        got = {bytes(device.receive().payload), bytes(device.receive().payload)}
        assert got == {b'"slow"', b'"urgent"'}
    assert sum(show(gateway, push)["sent"] for push in (slow, urgent)) == 2 * DEVICES


def test_a_cancelled_push_reaches_nobody_else(crowd):
    gateway, devices = crowd
    push = begin(gateway, messages=["one"], rate=0.1).json["id"]
    assert gateway.request("DELETE", f"/v1/pushes/{push}").status == 200
    over = await_over(gateway, push)
    assert over["state"] == "cancelled" and over["failed"]["cancelled"] + over["sent"] == DEVICES
    begin(gateway, messages=["two"])
    seen = 0
    for device in devices:
        first = bytes(device.receive().payload)
        seen += first == b'"one"'
        assert first == b'"two"' or bytes(device.receive().payload) == b'"two"'
    assert seen == over["sent"]
    again = gateway.request("DELETE", f"/v1/pushes/{push}")
    assert again.status == 409 and again.json["error"]["code"] == "finished"


def test_a_push_expires(crowd):
    gateway, _ = crowd
    over = await_over(gateway, begin(gateway, rate=0.1, expires_in_s=0.3).json["id"])
    assert over["state"] == "expired" and over["failed"]["expired"] >= DEVICES - 4


def test_who_leaves_before_its_turn_is_counted(crowd):
    gateway, devices = crowd
    push = begin(gateway, rate=0.1).json["id"]
    for device in devices:
        device.close()
    gateway.await_members("news", 0)
    over = await_over(gateway, push)
    assert over["state"] == "done" and over["failed"]["closed"] + over["sent"] == DEVICES
    assert over["failed"]["closed"] >= DEVICES - 4


def test_the_same_push_again_is_not_sent_again(crowd):
    gateway, devices = crowd
    first = begin(gateway, id="nightly-3", rate=100_000)
    again = begin(gateway, id="nightly-3", rate=100_000)
    assert (first.json["duplicate"], again.json["duplicate"]) == (False, True)
    other = begin(gateway, messages=["other"], id="nightly-3")
    assert other.status == 409 and other.json["error"]["code"] == "id_conflict"
    await_over(gateway, "nightly-3")
    assert begin(gateway, id="nightly-3", rate=100_000).json["duplicate"]
    begin(gateway, messages=["end"])
    for device in devices:
        device.expect_stream(frame("hello") + frame("end"))


def test_progress_is_streamed_until_the_end(crowd):
    gateway, _ = crowd
    push = begin(gateway, rate=80).json["id"]
    connection = http.client.HTTPConnection("127.0.0.1", gateway.api_port, timeout=20)
    connection.request("GET", f"/v1/pushes/{push}/events")
    answer = connection.getresponse()
    assert answer.status == 200 and answer.headers["Content-Type"] == "text/event-stream"
    events = [block.split("\n") for block in answer.read().decode().strip().split("\n\n")]
    names = [lines[0] for lines in events]
    assert names[-1] == "event: end" and set(names[:-1]) == {"event: progress"} and len(names) >= 3
    states = [json.loads(lines[1].removeprefix("data: ")) for lines in events]
    assert [state["sent"] for state in states] == sorted(state["sent"] for state in states)
    assert states[-1]["sent"] == DEVICES and states[-1]["state"] == "done"
    assert gateway.get("/v1/pushes/none/events").status == 404


def test_the_list_has_what_runs_and_what_is_over(crowd):
    gateway, _ = crowd
    over = begin(gateway, id="over", track=True).json["id"]
    await_over(gateway, over)
    begin(gateway, id="runs", rate=0.1)
    listed = gateway.get("/v1/pushes").json
    assert [push["id"] for push in listed["running"]] == ["runs"]
    assert [push["id"] for push in listed["recent"]] == ["over"]
    assert change(gateway, "runs", rate=-1).status == 400
    assert change(gateway, "runs", speed=1).status == 400
    assert change(gateway, "over", rate=1).json["error"]["code"] == "finished"
    assert change(gateway, "nobody", rate=1).status == 404


def test_a_push_for_nobody_is_over_at_once(gateway):
    answer = begin(gateway, to={"topic": "empty"}, rate=1).json
    assert answer["targeted"] == 0
    assert await_over(gateway, answer["id"])["state"] == "done"


def test_a_device_in_two_topics_counts_for_each(gateway):
    with Wire(gateway.port, "/topics/a?topic=b") as device:
        answer = begin(gateway, to={"topics": ["a", "b", "c"]}, messages=[1, 2], rate=1000).json
        assert answer["targeted"] == 2
        device.expect_stream((frame(1) + frame(2)) * 2)
        assert await_over(gateway, answer["id"])["sent"] == 2


def test_a_stop_ends_paced_pushes_and_delivers_the_others(start_gateway):
    gateway = start_gateway(**{"server.drain_s": 1})
    devices = [Wire(gateway.port, "/topics/news") for _ in range(10)]
    gateway.await_members("news", 10)
    begin(gateway, messages=["slow"], rate=0.1)
    begin(gateway, messages=["plain"])
    gateway.signal()
    for device in devices:
        payload = bytes(device.receive().payload)
        assert payload == b'"plain"' or (payload == b'"slow"' and bytes(device.receive().payload) == b'"plain"')
        device.expect_close(1001)
    assert gateway.exit_code() == 0


@pytest.mark.parametrize("way", ["http", "header", "object"])
def test_with_redis_every_gateway_runs_the_push(start_gateway, redis, way):
    gateways = [start_gateway(redis=redis.url) for _ in range(2)]
    devices = [[Wire(gateway.port, "/topics/news") for _ in range(5)] for gateway in gateways]
    publisher = redis.client()
    if way == "http":
        answer = begin(gateways[0], messages=[{"v": 2}], id="p1", rate=500)
        assert answer.status == 202 and answer.json["targeted"] in (5, None), answer
    elif way == "header":
        publisher.call("PUBLISH", "fanfare:topic:news", '@push rate=500 id=p1\n{"v":2}')
    else:
        body = {"to": {"topic": "news"}, "messages": [{"v": 2}], "rate": 500, "id": "p1"}
        publisher.call("PUBLISH", "fanfare:push", json.dumps(body, separators=(",", ":")))
    for gateway, members in zip(gateways, devices, strict=True):
        for device in members:
            device.expect_stream(frame({"v": 2}))
        eventually(lambda: gateway.get("/v1/pushes/p1").status == 200, "the push is known", deadline_s=5)
        over = await_over(gateway, "p1")
        assert (over["sent"], over["rate"]) == (5, 500)
        assert over["source"] == ("http" if way == "http" and gateway is gateways[0] else "redis")


def test_what_is_no_header_is_payload_and_a_wrong_one_is_refused(gateway_on_redis, redis):
    publisher = redis.client()
    refused = gateway_on_redis.metric("messages_refused_total", reason="bad_push")
    with Wire(gateway_on_redis.port, "/topics/t") as device:
        for payload in ("@push rate=fast\nlost", "@push\n@push kept", "@pusher kept", "@push rate=9000\npaced"):
            publisher.call("PUBLISH", "fanfare:topic:t", payload)
        publisher.call("PUBLISH", "fanfare:push", "{}")
        publisher.call("PUBLISH", "fanfare:topic:t", "end")
        kept = ["@push kept", "@pusher kept", "paced", "end"]
        device.expect_stream(b"".join(server_frame(TEXT, word.encode()) for word in kept))
    assert gateway_on_redis.metric("messages_refused_total", reason="bad_push") == refused + 2


def test_many_pushes_at_once_are_all_exact(crowd):
    gateway, devices = crowd
    ids, lock = [], threading.Lock()

    def publish(worker):
        for n in range(10):
            rate = [None, 200, 2000][(worker + n) % 3]
            answer = begin(gateway, messages=[[worker, n]], id=f"p-{worker}-{n}", track=True, **({"rate": rate} if rate else {}))
            with lock:
                ids.append(answer.json["id"])

    workers = [threading.Thread(target=publish, args=(worker,)) for worker in range(4)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    for push in ids:
        assert await_over(gateway, push, deadline_s=60)["sent"] == DEVICES
    for device in devices:
        got = [tuple(json.loads(device.receive().payload)) for _ in ids]
        assert sorted(got) == sorted({(worker, n) for worker in range(4) for n in range(10)})
        for worker in range(4):
            assert [n for w, n in got if w == worker] == list(range(10))


def test_a_stop_is_heard_by_shards_that_hold_all_they_may(start_gateway):
    gateway = start_gateway(**{"server.drain_s": 0, "server.shards": 1, "merge.messages_max": 1, "outbox.bytes_max": 64 << 20})
    with Wire(gateway.port, "/topics/news") as device:
        push = begin(gateway, messages=["slow"], rate=0.1, ramp_s=3600).json["id"]
        assert change(gateway, push, state="paused").json["state"] == "paused"
        payload = "x" * 900_000
        full = lambda: begin(gateway, messages=[payload] * 8).status == 429
        eventually(full, "nothing more is taken", deadline_s=30)
        assert gateway.metric("backlog_held_bytes") >= 16 << 20
        gateway.signal()
        while (frame_ := device.receive()).opcode == TEXT:
            assert frame_.payload
        assert gateway.exit_code(timeout=20) == 0
