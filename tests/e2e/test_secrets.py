"""No secret of the configuration is shown: not by the API, not on standard output, not in the log at any level."""

import pytest

from harness.gateway import run_to_end
from harness.ports import free_port
from harness.wire import Wire

SECRET = "hunter2-hunter2"


@pytest.mark.parametrize("auth", ["wrong", "unknown"])
def test_no_secret_is_shown_anywhere(start_gateway, start_redis, auth):
    # Where AUTH is renamed, Redis' own sentence quotes what it was sent.
    options = ["--requirepass", "other"] if auth == "wrong" else ["--rename-command", "AUTH", "GATE"]
    redis = start_redis(*options, password="other" if auth == "wrong" else None)
    settings = {
        "redis.url": f"redis://default:{SECRET}@127.0.0.1:{redis.port}",
        "events.webhook": f"http://127.0.0.1:{free_port()}/{SECRET}?token={SECRET}",
        "etcd.endpoints": f"http://127.0.0.1:{free_port()}",
        "etcd.user": "dev",
        "etcd.password": SECRET,
        "log.level": "trace",
    }
    gateway = start_gateway(await_ready=False, **settings)
    with Wire(gateway.port):
        for sentence in ("webhook takes nothing", "etcd: ", "redis"):
            gateway.expect_log(sentence)
        config = gateway.get("/v1/config")
        values = config.json["values"]
        assert values["redis.url"]["value"] == f"redis://default:***@127.0.0.1:{redis.port}"
        assert values["events.webhook"]["value"].endswith("/***") and values["etcd.password"]["value"] == "***"
        told = [config.body.decode(), gateway.get("/metrics").body.decode(), gateway.get("/readyz").body.decode()]
    for command in (["--print-config"], ["--check"], ["doctor"]):
        _, output = run_to_end(*command, settings=settings)
        told.append(output)
    for text in (gateway.log, *told):
        assert SECRET not in text, [line for line in text.splitlines() if SECRET in line][:3]


def test_a_printed_secret_has_to_be_given_again(tmp_path):
    settings = {"events.webhook": f"https://hooks.example/services/{SECRET}"}
    code, printed = run_to_end("--print-config", settings=settings)
    assert code == 0 and 'webhook = "https://hooks.example/***"' in printed
    file = tmp_path / "printed.toml"
    file.write_text(printed)
    code, output = run_to_end("--check", "--config", str(file))
    assert code == 78 and "FANFARE_EVENTS_WEBHOOK" in output, output
    code, _ = run_to_end("--check", "--config", str(file), settings=settings)
    assert code == 0


@pytest.mark.parametrize("wrong", [f"http://dev:{SECRET}@gateway:1", f"https://{SECRET}@gateway:1/x"])
def test_a_command_does_not_repeat_the_secret_that_it_was_given(wrong):
    code, output = run_to_end("pushes", "--api", wrong)
    assert code == 78 and SECRET not in output, output
