"""What web pages of other sites can make a browser send to the private API."""

import json
import socket

import pytest

from harness.gateway import run_to_end
from harness.ports import free_port
from harness.service_manager import activation, listening
from harness.wire import TEXT, Wire, server_frame

PAGE = {"Origin": "https://evil.example", "Referer": "https://evil.example/"}
FORM = {"Content-Type": "application/x-www-form-urlencoded"}
PUSH = json.dumps({"to": {"all": True}, "messages": ["from a page"]})


@pytest.mark.parametrize(
    "headers",
    [
        {**PAGE, "Content-Type": "text/plain"},
        {**PAGE, **FORM},
        {"Origin": "null"},
        {"Sec-Fetch-Site": "cross-site"},
        {"Sec-Fetch-Site": "same-site"},
        {"Host": "evil.example"},
        {"Host": "localhost.evil.example:7799"},
        {"Host": "evil.example", "Origin": "http://evil.example", "Sec-Fetch-Site": "same-origin"},
    ],
)
def test_a_page_of_another_site_neither_publishes_nor_configures(gateway, headers):
    with Wire(gateway.port, "/topics/a") as device:
        gateway.await_members("a", 1)
        for method, path, body in (
            ("POST", "/v1/push", PUSH),
            ("POST", "/push/all", "items=[1]"),
            ("POST", "/push/room", "room=a&items=[1]"),
            ("PATCH", "/v1/config", '{"outbox.age_max_s":7}'),
            ("DELETE", "/v1/pushes/p", None),
            ("GET", "/v1/config", None),
            ("GET", "/metrics", None),
            ("OPTIONS", "/v1/config", None),
        ):
            answer = gateway.request(method, path, body, headers)
            assert answer.status == 403, (method, path, answer)
            assert not [name for name in answer.headers if name.startswith("access-control")]
            assert "api." in answer.json["error"]["message"]
        assert gateway.get("/v1/config").json["values"]["outbox.age_max_s"]["value"] == 30
        # What is published now is the first that arrives.
        assert gateway.push({"topic": "a"}, [7]).status == 202
        device.expect_stream(server_frame(TEXT, b"7"))


def test_backends_and_probes_are_served_as_before(gateway):
    for host in ("localhost", "LOCALHOST.:1", "127.0.0.1", f"127.0.0.1:{gateway.api_port}", "[::1]:7799", "10.1.2.3"):
        for method, path, body in (
            ("POST", "/v1/push", PUSH), ("POST", "/push/all", "items=[1]"), ("GET", "/v1/config", None),
        ):
            answer = gateway.request(method, path, body, {"Host": host, **FORM})
            assert answer.status in (200, 202), (host, path, answer)
    for path in ("/healthz", "/readyz"):
        assert gateway.request("GET", path, None, {"Host": "fanfare.default.svc"}).status == 200


def test_names_and_pages_are_listed_while_it_runs(gateway):
    by_name = {"Host": "gateway.internal:7799"}
    refused = gateway.request("GET", "/stats", None, by_name)
    assert refused.status == 403 and 'api.hosts = ["gateway.internal"]' in refused.json["error"]["message"]
    gateway.expect_log('api.hosts = ["gateway.internal"]')
    change = json.dumps({"api.hosts": ["Gateway.internal"], "api.origins": ["https://admin.example"]})
    assert gateway.request("PATCH", "/v1/config", change).status == 200
    assert gateway.request("GET", "/stats", None, by_name).status == 200
    page = {"Origin": "https://admin.example", "Sec-Fetch-Site": "cross-site"}
    assert gateway.request("POST", "/v1/push", PUSH, page).status == 202
    assert gateway.metric("api_foreign_total", reason="host") == 1


def test_a_command_that_calls_the_gateway_by_a_name_is_told_the_key(start_gateway):
    gateway = start_gateway(api_host="0.0.0.0")
    name = socket.gethostname()
    for command in (["pushes"], ["push", "--topic", "a", "1"], ["top", "--once"]):
        code, output = run_to_end(*command, "--api", f"http://{name}:{gateway.api_port}")
        assert code == 78 and f'api.hosts = ["{name}"]' in output, (command, output)


def test_an_api_that_others_reach_says_so(start_gateway):
    warning = "is not a loopback address"
    gateway = start_gateway(api_host="0.0.0.0")
    line = f"WARN fanfare: the API listens on 0.0.0.0:{gateway.api_port}, which {warning}"
    gateway.expect_log(line)
    private = start_gateway()
    private.expect_log("devices connect to")
    assert warning not in private.log
    for listen, told in (("0.0.0.0:1", True), ("[::]:1", True), ("10.1.2.3:1", True), ("127.0.0.2:1", False),
                         ("[::1]:1", False), ("[::ffff:127.0.0.1]:1", False), ("[::ffff:10.1.2.3]:1", True)):
        code, output = run_to_end("--check", "--api", listen)
        assert code == 0 and (warning in output) == told, (listen, output)
        _, output = run_to_end("doctor", "--json", "--api", listen)
        finding = next(one for one in json.loads(output)["findings"] if one["name"] == "api.listen")
        assert finding["verdict"] == ("warn" if told else "ok"), (listen, finding)


def test_an_inherited_socket_is_judged_by_where_it_is(start_gateway):
    with listening(free_port(), host="0.0.0.0") as api:
        gateway = start_gateway(api_port=api.getsockname()[1], **activation([api], ["api"]))
        line = f"the API listens on 0.0.0.0:{gateway.api_port}, which is not a loopback address"
        gateway.expect_log(line)
