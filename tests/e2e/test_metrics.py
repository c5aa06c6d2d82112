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
