"""What foreign clients and proxies make of a handshake: subprotocols, large heads, odd keys, slashes, bodies."""

import base64
import hashlib
import json
import shutil
import subprocess
import time
from pathlib import Path

import pytest
from websockets.exceptions import InvalidHandshake
from websockets.sync.client import connect

from harness.gateway import run_to_end
from harness.poll import eventually
from harness.wire import GUID, TEXT, Connection, Wire, frame, server_frame, upgrade_request

HERE = Path(__file__).parent


def told(port, data, piece=None):
    """Status, header fields and body of the answer; `piece`: how many bytes are sent at once."""
    with Connection(port) as client:
        try:
            for at in range(0, len(data), piece or len(data)):
                client.send(data[at : at + (piece or len(data))])
        except OSError:
            pass  # Refused before it has said all.
        status, headers = client.response()
        body = b"" if status == 101 else client.rest(timeout=5)
        return status, headers, body.decode()


def ask(port, path, *headers, **options):
    return told(port, upgrade_request(path, headers=headers, **options))


# Subprotocols.


def node(script, *arguments, flags=()):
    binary = shutil.which("node")
    assert binary, "node is missing: tests/setup installs it"
    done = subprocess.run(
        [binary, *flags, str(HERE / script), *arguments], stdout=subprocess.PIPE, timeout=20, check=True, text=True
    )
    return json.loads(done.stdout)


def of_ws(url, offers):
    return node("offer_subprotocols.js", url, "ws", *offers)


def of_undici(url, offers):
    """The WebSocket of the browsers, as Node has it built in."""
    return node("offer_subprotocols.js", url, "undici", *offers, flags=["--experimental-websocket", "--no-warnings"])


def of_websockets(url, offers):
    try:
        with connect(url, proxy=None, subprotocols=list(offers) or None, open_timeout=10) as device:
            return {"opened": True, "selected": device.subprotocol or "", "got": device.recv(timeout=10)}
    except InvalidHandshake:
        return {"opened": False}


def of_websocket_client(url, offers):
    import websocket

    try:
        device = websocket.create_connection(url, subprotocols=list(offers) or None, timeout=10)
    except websocket.WebSocketException:
        return {"opened": False}
    selected, got = device.getsubprotocol() or "", device.recv()
    device.close()
    return {"opened": True, "selected": selected, "got": got}


CLIENTS = [of_ws, of_undici, of_websockets, of_websocket_client]


@pytest.fixture
def talkative(start_gateway):
    """Starts gateways at which whoever is in `news` gets a message within a moment, again and again."""
    import threading

    over, threads = threading.Event(), []

    def start(**settings):
        gateway = start_gateway(**settings)

        def talk():
            while not over.wait(0.1):
                gateway.push({"topic": "news"}, ["hello"])

        threads.append(threading.Thread(target=talk))
        threads[-1].start()
        return gateway

    yield start
    over.set()
    for thread in threads:
        thread.join()


@pytest.mark.parametrize("client", CLIENTS)
@pytest.mark.parametrize("path", ["/topics/news", "/connect?join=news"])
def test_a_foreign_client_that_offers_subprotocols_connects_and_gets_messages(talkative, client, path):
    gateway = talkative(**{"clients.subprotocols": "v2.json"})
    url = f"ws://127.0.0.1:{gateway.port}{path}"
    for offers, selected in ([], ""), (["json"], "json"), (["json", "v2.json"], "v2.json"), (["a", "b"], "a"):
        outcome = client(url, offers)
        assert (outcome["opened"], outcome.get("selected")) == (True, selected), (offers, outcome)
        assert "hello" in outcome["got"]


@pytest.mark.parametrize("client", CLIENTS)
def test_an_offer_without_a_known_subprotocol_ends_as_it_is_configured(talkative, client):
    gateway = talkative(**{"clients.subprotocols": "json", "clients.subprotocol_unknown": "refuse"})
    url = f"ws://127.0.0.1:{gateway.port}/topics/news"
    assert client(url, ["x", "json"])["selected"] == "json"
    assert not client(url, ["x", "y"])["opened"]
    assert gateway.request("PATCH", "/v1/config", '{"clients.subprotocol_unknown": "none"}',
                           {"Content-Type": "application/json"}).status == 200
    status, headers, _ = ask(gateway.port, "/topics/news", "Sec-WebSocket-Protocol: x, y")
    assert (status, headers.get("sec-websocket-protocol")) == (101, None)


def test_the_answer_has_one_subprotocol_of_those_offered_and_none_without_an_offer(gateway):
    for lines, selected in [
        ([], None),
        (["Sec-WebSocket-Protocol: json"], "json"),
        (["Sec-WebSocket-Protocol: json", "Sec-WebSocket-Protocol: v2.json"], "json"),
        (["sec-websocket-protocol:  , json ,v2.json"], "json"),
        (["SEC-WEBSOCKET-PROTOCOL: json,json"], "json"),
        (["Sec-WebSocket-Protocol:"], None),
    ]:
        with Connection(gateway.port) as client:
            client.send(upgrade_request("/topics/news", headers=lines))
            while b"\r\n\r\n" not in client.buffer:
                assert client.fill()
        fields = [line for line in bytes(client.buffer).split(b"\r\n") if line.lower().startswith(b"sec-websocket-pro")]
        expected = [] if selected is None else [b"Sec-WebSocket-Protocol: " + selected.encode()]
        assert fields == expected, (lines, bytes(client.buffer))
    for bad in ["a b", "json;x", '"json"', "a/b", "json, x\x7f", "a\tb"]:
        assert ask(gateway.port, "/topics/news", f"Sec-WebSocket-Protocol: {bad}")[0] == 400, bad


# Large heads.


def large(size, lines=1):
    """A request of exactly this many bytes with cookies in so many lines."""
    bare = len(upgrade_request("/topics/news", headers=["Cookie: "] * lines))
    fill, extra = divmod(size - bare, lines)
    cookies = ["Cookie: " + "c" * (fill + (extra if line == 0 else 0)) for line in range(lines)]
    request = upgrade_request("/topics/news", headers=cookies)
    assert len(request) == size
    return request


@pytest.mark.parametrize("size", [8_193, 12_000, 16_384, 16_385, 32_768])
@pytest.mark.parametrize("lines", [1, 4, 300])
def test_a_large_head_is_upgraded_however_it_is_cut(gateway, size, lines):
    request = large(size, lines)
    for piece in [None, 1_000, 16_383]:
        with Connection(gateway.port) as client:
            for at in range(0, len(request), piece or len(request)):
                client.send(request[at : at + (piece or len(request))])
                time.sleep(0.001 if piece else 0)
            status, _ = client.response()
            assert status == 101, (size, lines, piece)
            client.send(frame(0x9, b"x"))
            assert client.take(3) == server_frame(0xA, b"x")


def test_a_large_head_is_upgraded_byte_by_byte_and_cut_at_every_line_end(gateway):
    request = large(20_000, 30)
    with Connection(gateway.port) as client:
        for at in range(len(request)):
            client.send(request[at : at + 1])
        assert client.response()[0] == 101
    with Connection(gateway.port) as client:
        # Each CR with its line, each LF with the next one.
        for part in request.replace(b"\r\n", b"\r\0\n").split(b"\0"):
            client.send(part)
            time.sleep(0.001)
        assert client.response()[0] == 101
    eventually(lambda: gateway.metric("handshake_bytes") == 0, "nothing is kept")


@pytest.mark.parametrize("settings, bound", [({}, 32_768), ({"clients.head_bytes_max": 2_000}, 2_000),
                                            ({"clients.head_bytes_max": 65_536}, 65_536)])
def test_a_head_above_the_bound_is_told_431(start_gateway, settings, bound):
    gateway = start_gateway(**settings)
    assert told(gateway.port, large(bound))[0] == 101
    for size in [bound + 1, bound + 4_000, bound + 100_000]:
        assert told(gateway.port, large(size))[0] == 431
    assert told(gateway.port, large(bound + 1), piece=999)[0] == 431


def test_many_large_heads_that_never_end_are_bounded_in_memory_and_others_are_served(start_gateway):
    gateway = start_gateway(**{"server.shards": 1, "clients.handshake_bytes_max": 4 * 1024 * 1024})
    before = gateway.metric("process_resident_memory_bytes")
    unfinished, slow = large(32_768)[:-2], []
    for _ in range(600):
        slow.append(Connection(gateway.port))
        slow[-1].send(unfinished)
    eventually(lambda: gateway.metric("handshakes_failed_total", reason="overload") > 300, "503 beyond the bound")
    assert gateway.metric("handshake_bytes") <= 4 * 1024 * 1024
    assert gateway.metric("handshakes") <= 128
    assert gateway.metric("process_resident_memory_bytes") - before < 12 * 1024 * 1024
    with Wire(gateway.port, "/topics/news") as device:
        device.expect_still_open()
    for client in slow:
        client.close()


# Keys, bodies, paths, topics.


@pytest.mark.parametrize("key", [b"AQIDBAUGBwgJCgsMDQ4PEC==", b"dGhlIHNhbXBsZSBub25jZR==", b"dGhlIHNhbXBsZSBub25jZf=="])
def test_a_key_whose_unused_bits_are_set_is_answered_as_it_was_sent(gateway, key):
    status, headers, _ = ask(gateway.port, "/topics/news", key=key)
    accept = base64.b64encode(hashlib.sha1(key + GUID).digest()).decode()
    assert (status, headers.get("sec-websocket-accept")) == (101, accept)


def test_a_request_with_a_body_is_refused_and_what_follows_is_no_frame(gateway):
    smuggled = frame(TEXT, b'{"type":"JOIN","data":{"room":"smuggled"}}')
    for line in "Content-Length: 5", f"Content-Length: {len(smuggled)}", "Transfer-Encoding: chunked":
        data = upgrade_request("/connect", headers=[line]) + smuggled
        status, _, body = told(gateway.port, data)
        assert status == 400 and "body" in body, (line, status)
    both = ["Content-Length: 0", "Transfer-Encoding: chunked"]
    assert ask(gateway.port, "/connect", *both)[0] == 400
    assert ask(gateway.port, "/connect", "Content-Length: 0")[0] == 101
    assert gateway.members("smuggled") == 0


@pytest.mark.parametrize("path, topic", [("/topics/news/", "news"), ("/topics/a/b", "a/b"), ("/topics/a%2Fb/", "a/b"),
                                        ("/topics/a%2F", "a/"), ("/topics/?topic=news", "news"),
                                        ("/connect/?join=news", "news"), ("/connect?join=news/", "news/")])
def test_a_slash_at_the_end_of_a_path_means_nothing(gateway, path, topic):
    with Wire(gateway.port, path) as device:
        gateway.await_members(topic, 1)
        assert gateway.push({"topic": topic}, [1]).status == 202
        expected = b"1" if path.startswith("/topics") else b'{"type":"PUSH","data":{"items":[1]}}'
        device.expect(TEXT, expected)


def test_two_slashes_side_by_side_are_refused_with_the_reason(gateway):
    for path in "/topics//news", "/topics/news//", "//connect", "/connect//":
        status, _, body = ask(gateway.port, path)
        assert status == 400 and "%2F" in body, (path, status, body)


@pytest.mark.parametrize("path", [
    "/topics/a?" + "&".join(f"topic={topic}" for topic in "bcdefg"),
    "/topics?" + "&".join(f"topic={topic}" for topic in "abcdef"),
    "/connect?" + "&".join(f"join={topic}" for topic in "abcdef"),
    "/connect?" + "&".join(f"join={topic}" for topic in "abcde") + "&product_id=p&alias_key=k",
    "/topics/%00", "/topics/" + "x" * 257, "/connect?join=", "/connect?join=%FF", "/connect?product_id=%00&alias_key=k",
])
def test_a_url_whose_topics_cannot_all_be_joined_is_refused_with_the_reason(start_gateway, path):
    gateway = start_gateway(**{"clients.auto_join": "{product_id}:{alias_key}"})
    status, _, body = ask(gateway.port, path)
    assert status == 400 and ("clients.topics_max" in body or "topic" in body), (status, body)
    repeats = "&".join(f"join={topic}" for topic in "abcdaabbccdd")
    with Wire(gateway.port, f"/connect?{repeats}&product_id=p&alias_key=k"):
        gateway.await_members("p:k", 1)


@pytest.mark.parametrize("query", ["product_id=&alias_key=", "product_id=p", "product_id=p&alias_key=", "alias_key=k"])
def test_a_template_without_all_of_its_parameters_joins_nothing(start_gateway, query):
    gateway = start_gateway(**{"clients.auto_join": "{product_id}:{alias_key}"})
    with Wire(gateway.port, f"/connect?{query}&join=a"):
        gateway.await_members("a", 1)
        assert gateway.metric("memberships") == 1


def test_joins_beyond_the_bound_are_ignored_and_counted(start_gateway):
    gateway = start_gateway(**{"clients.topics_max": 2, "server.shards": 1})
    with Wire(gateway.port, "/connect?join=a&join=b") as device:
        for topic in ["b", "c", "d", "c"]:
            device.text(json.dumps({"type": "JOIN", "data": {"room": topic}}))
        device.expect_still_open()
        assert gateway.metric("joins_refused_total") == 3, "a repeat of one that was joined is none"
        assert gateway.metric("memberships") == 2
    gateway.expect_log("ignored JOINs")
    assert gateway.log.count("ignored JOINs") == 1


# Addresses.


def test_an_ipv4_device_of_an_ipv6_listener_is_told_as_ipv4(start_gateway, redis):
    gateway = start_gateway(redis=redis.url, host="[::]", **{"events.redis": "stream", "events.delay_ms": 0})
    client = redis.client()
    with Wire(gateway.port) as device:
        own = device.socket.getsockname()[1]
        entries = eventually(lambda: client.call("XRANGE", "fanfare-events", "-", "+"), "an event in the stream")
        assert f'"peer":"127.0.0.1:{own}"' in str(entries), entries
    client.close()


def test_the_keys_of_handshakes_are_checked():
    for key, bad in [("clients.head_bytes_max", "1023"), ("clients.head_bytes_max", "65537"),
                     ("clients.subprotocols", "a b"), ("clients.subprotocol_unknown", "maybe")]:
        code, said = run_to_end("--check", settings={key: bad})
        assert code == 78 and key in said, said
