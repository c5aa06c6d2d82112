"""Redis comes, goes and comes back; devices stay."""

import threading

import pytest

from harness.poll import eventually
from harness.ports import free_port
from harness.wire import TEXT, Wire, server_frame


def read_until(client, payload):
    """Payloads up to this one."""
    got = []
    while not got or got[-1] != payload:
        got.append(client.receive().payload)
    return got


def test_a_killed_redis_is_a_counted_gap_and_no_device_notices(gateway_on_redis, redis):
    gateway = gateway_on_redis
    clients = [Wire(gateway.port, "/topics/t") for _ in range(50)]
    gateway.await_members("t", 50)
    killed, sent = threading.Event(), []

    def load():
        publisher = redis.client()
        try:
            while not killed.is_set():
                publisher.call("PUBLISH", "fanfare:topic:t", len(sent))
                sent.append(len(sent))
        except OSError:
            pass

    thread = threading.Thread(target=load)
    thread.start()
    eventually(lambda: len(sent) > 500, "load is under way")
    gaps_before = gateway.metric("redis_gaps_total")
    redis.kill()
    killed.set()
    thread.join()
    eventually(lambda: gateway.ready() == 503, "/readyz says that Redis is gone", deadline_s=15)
    assert gateway.get("/healthz").status == 200
    assert gateway.connections() == 50

    redis.start()
    eventually(lambda: gateway.ready() == 200, "/readyz says that Redis is back")
    redis.client().call("PUBLISH", "fanfare:topic:t", "after")
    for client in clients:
        got = read_until(client, b"after")[:-1]
        numbers = [int(payload) for payload in got]
        assert numbers == list(range(len(numbers))), "what came before the gap is whole"
        assert len(numbers) >= len(sent) - 1, "at most the message that the kill cut off is lost"
        client.expect_still_open()
        client.close()
    assert gateway.metric("redis_gaps_total") == gaps_before + 1


def test_delivery_resumes_within_a_second_of_a_short_outage(gateway_on_redis, redis):
    with Wire(gateway_on_redis.port, "/topics/t") as client:
        redis.kill()
        eventually(lambda: gateway_on_redis.ready() == 503, "the gateway has noticed")
        redis.start()
        publisher = redis.client()
        # PUBLISH answers with the number of subscribers that it reached.
        eventually(lambda: publisher.call("PUBLISH", "fanfare:topic:t", "back") == 1, "a subscriber", deadline_s=1.5)
        client.expect_stream(server_frame(TEXT, b"back"))


def test_http_pushes_are_refused_while_redis_is_gone_or_delivered_once_it_is_back(gateway_on_redis, redis):
    with Wire(gateway_on_redis.port, "/topics/t") as client:
        redis.kill()
        eventually(lambda: gateway_on_redis.ready() == 503, "the gateway has noticed")
        status = gateway_on_redis.push({"topic": "t"}, ["during"]).status
        assert status == 202 or status in (429, 503), status
        redis.start()
        eventually(lambda: gateway_on_redis.ready() == 200, "Redis is back")
        eventually(lambda: gateway_on_redis.push({"topic": "t"}, ["after"]).status == 202, "pushes are taken again")
        got = read_until(client, b'"after"')
        assert got.count(b'"during"') <= (1 if status == 202 else 0)


def test_a_gateway_starts_without_its_redis_and_is_ready_when_it_comes(start_redis, start_gateway):
    redis = start_redis()
    redis.kill()
    gateway = start_gateway(redis=redis.url, await_ready=False)
    assert gateway.ready() == 503
    with Wire(gateway.port, "/topics/t") as client:
        redis.start()
        eventually(lambda: gateway.ready() == 200, "ready")
        redis.client().call("PUBLISH", "fanfare:topic:t", "1")
        client.expect_stream(server_frame(TEXT, b"1"))


def test_two_connections_a_gateway_whatever_the_number_of_devices(gateway_on_redis, redis):
    clients = [Wire(gateway_on_redis.port, f"/topics/t{n}") for n in range(100)]
    gateway_on_redis.await_connections(100)
    # The second connection may be made only when something is to be published.
    assert gateway_on_redis.push({"topic": "t0"}, [1]).status == 202
    clients[0].expect_stream(server_frame(TEXT, b"1"))
    control = redis.client()
    mine = b"id=%d " % control.call("CLIENT", "ID")
    others = [line for line in control.call("CLIENT", "LIST").splitlines() if not line.startswith(mine)]
    assert len(others) == 2, others
    assert sorted(b" psub=1 " in line for line in others) == [False, True], others
    for client in clients:
        client.close()


def delivers(gateway, redis):
    with Wire(gateway.port, "/topics/t") as client:
        assert redis.client().call("PUBLISH", "fanfare:topic:t", "in") == 1
        client.expect_stream(server_frame(TEXT, b"in"))
        assert gateway.push({"topic": "t"}, ["out"]).status == 202
        client.expect_stream(server_frame(TEXT, b'"out"'))


def test_a_password_in_the_url_is_used(start_redis, start_gateway):
    redis = start_redis("--requirepass", "p@ss word", password="p@ss word")
    delivers(start_gateway(redis=f"redis://:p%40ss%20word@127.0.0.1:{redis.port}"), redis)


def test_an_acl_user_in_the_url_is_used(start_redis, start_gateway):
    redis = start_redis("--user", "gate", "on", ">secret", "allchannels", "+@pubsub", "+@connection")
    delivers(start_gateway(redis=f"redis://gate:secret@127.0.0.1:{redis.port}/3"), redis)


def test_a_unix_socket_in_the_url_is_used(redis, start_gateway):
    delivers(start_gateway(redis=f"unix://{redis.socket_path}"), redis)


def test_a_wrong_password_is_told_in_the_log_and_the_password_is_not(start_redis, start_gateway):
    redis = start_redis("--requirepass", "right", password="right")
    gateway = start_gateway(redis=f"redis://:wr0ngsecret@127.0.0.1:{redis.port}", await_ready=False)
    eventually(lambda: "WRONGPASS" in gateway.log or "invalid" in gateway.log.lower(), "a line about the password")
    assert gateway.ready() == 503
    assert "wr0ngsecret" not in gateway.log


@pytest.fixture
def redis_over_tls(start_redis, certificates):
    root, leaf, leaf_key = certificates
    port = free_port()
    server = start_redis(
        "--tls-port", str(port), "--tls-cert-file", str(leaf), "--tls-key-file", str(leaf_key),
        "--tls-ca-cert-file", str(root), "--tls-auth-clients", "no",
    )
    server.tls_port = port
    return server


def test_tls_to_redis_is_spoken_and_its_certificate_checked(redis_over_tls, certificates, start_gateway, monkeypatch):
    url = f"rediss://localhost:{redis_over_tls.tls_port}"
    stranger = start_gateway(redis=url, await_ready=False)
    stranger.expect_log("certificate")
    assert stranger.ready() == 503
    monkeypatch.setenv("SSL_CERT_FILE", str(certificates[0]))
    delivers(start_gateway(redis=url), redis_over_tls)
