"""What the gateway tells about itself can be read by others and is true."""

from harness.poll import eventually
from harness.wire import TEXT, Wire, frame, server_frame


def test_metrics_parse_as_openmetrics_and_are_served_as_such(gateway_on_redis):
    answer = gateway_on_redis.get("/metrics")
    assert answer.status == 200
    assert answer.headers["content-type"].startswith("application/openmetrics-text")
    assert answer.body.endswith(b"# EOF\n")
    samples = gateway_on_redis.samples()
    assert len(samples) > 50
    assert all(sample.name.startswith(("fanfare_", "process_")) for sample in samples)


def test_a_connection_is_counted_by_its_format(gateway):
    with Wire(gateway.port), Wire(gateway.port, "/connect?v=2"), Wire(gateway.port, "/topics"):
        gateway.await_connections(3)
        by_format = {}
        for sample in gateway.samples():
            if sample.name == "fanfare_connections":
                by_format[sample.labels["format"]] = by_format.get(sample.labels["format"], 0) + sample.value
        assert sorted(by_format.values()) == [1, 1, 1], by_format
    gateway.await_connections(0)


def test_each_way_to_end_is_counted_under_its_reason(gateway):
    with Wire(gateway.port) as bad:
        bad.send(frame(TEXT, b"x", mask=None))
        bad.expect_close(1002)
    with Wire(gateway.port) as bad:
        bad.send(frame(TEXT, b"\xff"))
        bad.expect_close(1007)
    with Wire(gateway.port) as bad:
        bad.send(frame(TEXT, b"[]"))
        bad.expect_close(1008)
    with Wire(gateway.port) as bad:
        bad.send(frame(TEXT, b"x" * 70_000))
        bad.expect_close(1009)
    Wire(gateway.port).close()
    Wire(gateway.port).reset()
    gateway.await_connections(0)
    for reason in ("protocol_error", "bad_text", "bad_request", "too_big", "client_gone", "reset"):
        eventually(lambda: gateway.metric("closed_total", reason=reason) == 1, f"one {reason}")


def test_deliveries_count_each_message_to_each_member(gateway):
    clients = [Wire(gateway.port, "/topics/t") for _ in range(10)]
    gateway.await_members("t", 10)
    assert gateway.push({"topic": "t"}, list(range(7))).status == 202
    for client in clients:
        client.expect_stream(b"".join(server_frame(TEXT, b"%d" % n) for n in range(7)))
    eventually(lambda: gateway.metric("deliveries_total") == 70, "seventy deliveries")
    assert gateway.metric("messages_total", source="http") == 7
    for client in clients:
        client.close()


def test_a_connection_is_open_then_closing_then_a_duration(gateway):
    client = Wire(gateway.port, "/topics/t")
    gateway.await_connections(1)
    assert gateway.metric("connections_by_state", state="open") == 1
    assert gateway.metric("connection_duration_seconds_count") == 0
    client.send(frame(TEXT, b"\xff"))
    client.expect_close(1007)
    eventually(lambda: gateway.metric("connections_by_state", state="closing") == 1, "our Close has been sent")
    assert gateway.metric("connections_by_state", state="open") == 0
    client.close()
    eventually(lambda: gateway.metric("connection_duration_seconds_count") == 1, "one connection has ended")
    assert gateway.metric("connection_duration_seconds_bucket", le="+Inf") == 1
    assert gateway.metric("connections_by_state", state="closing") == 0
    assert gateway.metric("closed_total", reason="bad_text", code="1007") == 1
    assert gateway.metric("receive_bytes_total") > 0


def test_batches_are_counted_by_messages_bytes_and_delay(gateway):
    with Wire(gateway.port, "/topics/t") as client:
        gateway.await_members("t", 1)
        assert gateway.push({"topic": "t"}, list(range(7))).status == 202
        client.expect_stream(b"".join(server_frame(TEXT, b"%d" % n) for n in range(7)))
        assert gateway.metric("batch_messages_sum") == 7
        assert gateway.metric("batch_bytes_sum") == 7
        assert gateway.metric("merge_delay_seconds_count") == gateway.metric("batch_messages_count") > 0
        assert gateway.metric("ring_downlinks") == 0


def test_the_process_its_loops_and_its_readiness_are_shown(gateway):
    assert gateway.metric("ready") == 1
    assert gateway.metric("redis_configured") == 0
    assert gateway.metric("turn_seconds_count", shard="1") > 0
    with Wire(gateway.port):
        gateway.await_connections(1)
        assert gateway.metric("shard_open_fds") >= 1
    for name in ("process_open_fds", "process_max_fds", "process_cpu_seconds_total", "host_memory_available_bytes"):
        assert gateway.metric(name) >= 0, name
    assert 0 < gateway.metric("host_memory_available_bytes") < gateway.metric("host_memory_bytes")
