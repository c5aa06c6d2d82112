"""The configuration changes while the gateway runs: by a saved file, by PATCH, by etcd, and what wins over what."""

import json
import os
import shutil
import signal
import subprocess
from concurrent.futures import ThreadPoolExecutor

import pytest

from harness.etcd_server import EtcdServer, encoded
from harness.gateway import binary
from harness.poll import eventually
from harness.wire import Wire


@pytest.fixture
def etcd(tmp_path):
    server = EtcdServer(tmp_path)
    yield server
    server.stop()


def config(gateway):
    answer = gateway.get("/v1/config")
    assert answer.status == 200, answer
    return answer.json


def value(gateway, key):
    return config(gateway)["values"][key]["value"]


def place(gateway, key):
    shown = config(gateway)["values"][key]
    return shown["value"], shown["source"]


def await_value(gateway, key, wanted):
    eventually(lambda: value(gateway, key) == wanted, f"{key} is {wanted!r}")


def patch(gateway, **changes):
    """Keys with `__` in the place of the dot."""
    body = json.dumps({key.replace("__", "."): change for key, change in changes.items()})
    return gateway.request("PATCH", "/v1/config", body, {"Content-Type": "application/json"})


def problems(gateway, source):
    told = config(gateway)["problems"]
    return {problem["key"]: problem["message"] for problem in told if problem["source"] == source}


def topics_of_a_device(gateway, topics):
    """How many of these topics a new device gets into that asks for one after the other."""
    with Wire(gateway.port, "/connect") as device:
        for topic in topics:
            device.text(json.dumps({"type": "JOIN", "data": {"room": topic}}))
        device.expect_still_open()
        gateway.await_connections(1)
        joined = sum(gateway.members(topic) for topic in topics)
    gateway.await_connections(0)
    return joined


# --- the file ---------------------------------------------------------------------------------------------------------


class ConfigFile:
    """A file as somebody saves it."""

    def __init__(self, directory, how):
        self.directory, self.how = directory, how
        self.path = directory / "fanfare.toml"
        self.version = 0
        if how == "links":
            self.path.symlink_to("..data/fanfare.toml")

    def save(self, text):
        self.version += 1
        if self.how == "in place":
            self.path.write_text(text)
        elif self.how == "replaced":
            (self.directory / "fanfare.toml~").write_text(text)
            os.replace(self.directory / "fanfare.toml~", self.path)
        else:
            # As the kubelet updates a ConfigMap: a new directory, and one link that is swapped.
            data = self.directory / f"..{self.version}"
            data.mkdir()
            (data / "fanfare.toml").write_text(text)
            (self.directory / "..data_tmp").symlink_to(data.name)
            os.replace(self.directory / "..data_tmp", self.directory / "..data")


@pytest.fixture
def with_file(start_gateway, tmp_path):
    def start(text, how="in place", **options):
        file = ConfigFile(tmp_path, how)
        file.save(text)
        return start_gateway(arguments=("--config", str(file.path)), **options), file

    return start


@pytest.mark.parametrize("how", ["in place", "replaced", "links"])
def test_a_saved_file_takes_effect_without_a_signal(with_file, how):
    gateway, file = with_file("[clients]\ntopics_max = 3\n", how)
    assert topics_of_a_device(gateway, "abc") == 3
    for topics_max in (2, 1):
        file.save(f"# saved\n[clients]\ntopics_max = {topics_max}\n[pacing]\nrate = {topics_max}.5\n")
        await_value(gateway, "clients.topics_max", topics_max)
        eventually(lambda: gateway.metric("config_edition") == 2 * config(gateway)["edition"], "both shards go by it")
        assert topics_of_a_device(gateway, "abc") == topics_max
    shown = config(gateway)["values"]["pacing.rate"]
    assert shown == {"value": 1.5, "source": "file", "origin": f"{file.path}:5", "live": True}
    assert gateway.metric("config_reloads_total", source="save", outcome="applied") == 2


def test_a_saved_file_with_mistakes_changes_nothing_and_tells_them_all(with_file):
    gateway, file = with_file("[merge]\ndelay_ms = 7\n")
    before = config(gateway)
    file.save("[merge]\ndelay_ms = 8\nbytes_max = 0\n[log]\nlevle = \"info\"\n[[pacing.topic]]\nmatch = \"a\"\n")
    eventually(lambda: problems(gateway, "file"), "the attempt is refused")
    told = problems(gateway, "file")
    assert set(told) == {"merge.bytes_max", "log.levle", "pacing.topic"}
    assert told["merge.bytes_max"].startswith(f"{file.path}:3: 0 is less than 1; give a whole number from 1")
    assert "rule 1: rate is missing" in told["pacing.topic"]
    for key in told:
        gateway.expect_log(f"{key} ({file.path}:")
    after = config(gateway)
    assert (after["edition"], after["values"]) == (before["edition"], before["values"])
    assert gateway.metric("config_reloads_total", source="save", outcome="refused") == 1
    file.save("[merge]\ndelay_ms = 8\n")
    await_value(gateway, "merge.delay_ms", 8)
    assert config(gateway)["problems"] == []


@pytest.mark.parametrize("what", ["pipe", "pipe with a writer", "/dev/zero", "directory", "long"])
def test_what_is_no_configuration_file_is_told_and_holds_up_nothing(with_file, what):
    gateway, file = with_file("[merge]\ndelay_ms = 7\n")
    file.path.unlink()
    writer = None
    if what == "/dev/zero":
        file.path.symlink_to(what)
    elif what == "directory":
        file.path.mkdir()
    elif what == "long":
        file.path.write_bytes(b"#" * (1 << 20) + b"\n")
    else:
        os.mkfifo(file.path)
        if what == "pipe with a writer":
            writer = os.open(file.path, os.O_RDWR)
    gateway.process.send_signal(signal.SIGHUP)
    eventually(lambda: problems(gateway, "file"), "the attempt is refused")
    assert value(gateway, "merge.delay_ms") == 7
    assert patch(gateway, merge__delay_ms=9).status == 200
    with open(f"/proc/{gateway.process.pid}/status", encoding="ascii") as status:
        assert next(int(line.split()[1]) for line in status if line.startswith("VmRSS")) < 500_000
    if writer is not None:
        os.close(writer)
    file.path.rmdir() if what == "directory" else file.path.unlink()
    file.save("[merge]\nbytes_max = 4096\n")
    await_value(gateway, "merge.bytes_max", 4096)
    assert problems(gateway, "file") == {}
    gateway.process.terminate()
    assert gateway.process.wait(20) == 0


def test_a_check_of_what_has_no_end_ends(tmp_path):
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    for path, told in ((pipe, "nothing came through it"), ("/dev/zero", "more than 1048576 bytes")):
        done = subprocess.run([binary(), "--check", "--config", path], capture_output=True, text=True, timeout=20)
        assert done.returncode != 0 and told in done.stderr, done
    given = "[merge]\ndelay_ms = 7\n"
    check = [binary(), "--check", "--config", "/dev/stdin"]
    done = subprocess.run(check, input=given, capture_output=True, text=True, timeout=20)
    assert done.returncode == 0, done


def test_a_file_that_was_cut_to_nothing_changes_nothing(with_file):
    """As a save leaves it that found no space."""
    gateway, file = with_file("[merge]\ndelay_ms = 7\n")
    for text in ("", "\n"):
        file.save(text)
        eventually(lambda: config(gateway)["problems"], "it is told")
        assert value(gateway, "merge.delay_ms") == 7
        assert "is empty now, and had values" in config(gateway)["problems"][0]["message"]
        file.save("[merge]\ndelay_ms = 7\n")
        eventually(lambda: not config(gateway)["problems"], "it is whole again")
    file.save("# the defaults\n")
    await_value(gateway, "merge.delay_ms", 10)


def test_a_signal_reads_the_file_and_what_waits_for_a_start_is_shown(with_file):
    gateway, file = with_file("")
    file.save("[merge]\ndelay_ms = 7\n[server]\nspin_us = 9\n")
    gateway.signal(signal.SIGHUP)
    await_value(gateway, "merge.delay_ms", 7)
    shown = config(gateway)["values"]["server.spin_us"]
    assert (shown["value"], shown["source"], shown["live"]) == (50, "default", False)
    assert shown["at_start"] == {"value": 9, "source": "file", "origin": f"{file.path}:4"}
    looks = [gateway.metric("config_reloads_total", source=source) for source in ("signal", "save")]
    assert looks == [1, 0], "the signal has read what was saved"


# --- PATCH ------------------------------------------------------------------------------------------------------------


def test_a_patch_is_in_force_when_it_is_answered_and_null_takes_it_away(gateway):
    assert topics_of_a_device(gateway, "abc") == 3
    answer = patch(gateway, clients__topics_max=1, pacing__rate=2000)
    assert answer.status == 200, answer
    assert answer.json["edition"] == 2
    assert answer.json["values"]["pacing.rate"] == {
        "value": 2000, "source": "api", "origin": "PATCH /v1/config", "live": True,
    }
    assert gateway.metric("config_edition") == 4, "both shards, by the time of the answer"
    assert topics_of_a_device(gateway, "abc") == 1
    answer = patch(gateway, clients__topics_max=None)
    assert answer.json["values"]["clients.topics_max"]["source"] == "default"
    assert place(gateway, "pacing.rate") == (2000, "api"), "the rest of what the API gave stays"
    assert topics_of_a_device(gateway, "abc") == 3


def test_rules_by_topic_are_patched_as_they_are_shown(gateway):
    rules = [{"match": "speaker-*", "rate": 500, "weight": 1}, {"match": "a", "rate": 0.5, "weight": 7}]
    assert patch(gateway, pacing__topic=[{"match": "speaker-*", "rate": 500}, rules[1]]).status == 200
    assert value(gateway, "pacing.topic") == rules
    assert patch(gateway, pacing__topic=rules).json["edition"] == 2, "the same again changes nothing"


@pytest.mark.parametrize("on_redis", [False, True])
def test_a_push_sent_again_after_a_rule_has_changed_is_the_same(start_gateway, start_redis, on_redis):
    gateway = start_gateway(redis=start_redis().url if on_redis else None)
    body = json.dumps({"to": {"topic": "t"}, "messages": ["m"], "id": "x"})
    answers = []
    for rate in (500, 900):
        assert patch(gateway, pacing__topic=[{"match": "t", "rate": rate}]).status == 200
        answers.append(gateway.request("POST", "/v1/push", body))
    assert [answer.status for answer in answers] == [202, 202], answers
    assert [answer.json["duplicate"] for answer in answers] == [False, True]


def test_the_level_of_the_log_follows_a_patch(gateway):
    assert patch(gateway, log__level="error").status == 200
    assert patch(gateway, merge__delay_ms=3).status == 200
    assert patch(gateway, log__level="info").status == 200
    assert patch(gateway, merge__delay_ms=4).status == 200
    gateway.expect_log("takes effect now: merge.delay_ms")
    assert gateway.log.count("takes effect now: merge.delay_ms") == 1


def test_a_bad_patch_changes_nothing_and_tells_every_problem(gateway):
    before = config(gateway)
    bad = {"log__level": "loud", "server__shards": 3, "pacing__rat": 1, "clients__server_ping": 1}
    answer = patch(gateway, merge__delay_ms=99, **bad)
    assert answer.status == 422
    error = answer.json["error"]
    assert error["code"] == "bad_config"
    told = {problem["key"]: problem["message"] for problem in error["problems"]}
    assert set(told) == {"log.level", "server.shards", "pacing.rat", "clients.server_ping"}
    assert "takes effect at a start only" in told["server.shards"]
    assert "did you mean pacing.rate?" in told["pacing.rat"]
    after = config(gateway)
    assert (after["edition"], after["values"]) == (before["edition"], before["values"])
    assert problems(gateway, "api") == told, "the last refused attempt is shown"
    assert patch(gateway).json["problems"] == [], "an attempt that is accepted ends that"


def test_many_patches_at_once_are_all_done_one_after_the_other(gateway):
    with ThreadPoolExecutor(12) as pool:
        answers = list(pool.map(lambda delay: patch(gateway, merge__delay_ms=delay), range(100, 112)))
    assert [answer.status for answer in answers] == [200] * 12
    assert sorted(answer.json["edition"] for answer in answers)[-1] == 13
    assert config(gateway)["edition"] == 13


def test_a_draining_gateway_shows_its_configuration_and_changes_nothing(start_gateway):
    gateway = start_gateway(**{"server.drain_s": 600})
    with Wire(gateway.port):
        gateway.signal(signal.SIGTERM)
        eventually(lambda: gateway.ready() == 503, "it drains")
        assert patch(gateway, merge__delay_ms=3).status == 503
        assert place(gateway, "merge.delay_ms") == (10, "default")
        gateway.may_die = True
        gateway.signal(signal.SIGTERM)
        gateway.exit_code()


def test_no_password_is_shown(start_gateway):
    settings = {"etcd.user": "dev", "etcd.password": "hunter2", "redis.url": "redis://dev:hunter2@127.0.0.1:1"}
    gateway = start_gateway(await_ready=False, **settings)
    answer = gateway.get("/v1/config")
    assert answer.json["values"]["redis.url"]["value"] == "redis://dev:***@127.0.0.1:1"
    assert answer.json["values"]["etcd.password"]["value"] == "***"
    assert b"hunter2" not in answer.body
    assert "hunter2" not in gateway.log


# --- etcd -------------------------------------------------------------------------------------------------------------


@pytest.fixture
def on_etcd(start_gateway, etcd):
    def start(**options):
        gateway = start_gateway(**{"etcd.endpoints": etcd.url} | options)
        return gateway

    return start


def await_watch(gateway):
    eventually(lambda: gateway.metric("etcd_connected") == 1, "the watch stands")


def test_a_key_of_etcd_is_in_force_until_it_is_deleted(on_etcd, etcd):
    etcd.start()
    etcd.put("/fanfare/pacing.rate", "500")
    etcd.put("/fanfarewell/pacing.rate", "7")
    gateway = on_etcd()
    await_value(gateway, "pacing.rate", 500)
    shown = config(gateway)["values"]["pacing.rate"]
    assert (shown["source"], shown["origin"]) == ("etcd", "etcd /fanfare/pacing.rate")
    await_watch(gateway)
    etcd.put("/fanfare/clients.topics_max", "1")
    etcd.put("/fanfare/pacing.topic", '[{ match = "speaker-*", rate = 500, weight = 3 }]')
    revision = etcd.put("/fanfare/log.level", '"warn,fanfare=debug"')
    await_value(gateway, "log.level", "warn,fanfare=debug")
    assert value(gateway, "pacing.topic") == [{"match": "speaker-*", "rate": 500, "weight": 3}]
    eventually(lambda: gateway.metric("config_edition") == 2 * config(gateway)["edition"], "both shards go by it")
    assert topics_of_a_device(gateway, "abc") == 1
    eventually(lambda: gateway.metric("etcd_revision") == revision, "the metric says how far it is")
    etcd.delete("/fanfare/clients.topics_max")
    eventually(lambda: place(gateway, "clients.topics_max") == (5, "default"), "the key is gone")
    assert place(gateway, "pacing.rate") == (500, "etcd"), "the others stay"


def test_another_prefix_is_another_configuration(on_etcd, etcd):
    etcd.start()
    etcd.put("/fanfare/pacing.rate", "500")
    etcd.put("shop:pacing.rate", "700")
    gateway = on_etcd(**{"etcd.prefix": "shop:"})
    await_value(gateway, "pacing.rate", 700)


def test_of_many_changes_at_once_the_last_one_stays(on_etcd, etcd):
    etcd.start()
    gateway = on_etcd()
    await_watch(gateway)
    for rate in range(1, 200):
        etcd.put("/fanfare/pacing.rate", str(rate))
    await_value(gateway, "pacing.rate", 199)


def test_without_etcd_the_gateway_starts_and_takes_its_values_when_it_comes(on_etcd, etcd):
    gateway = on_etcd(**{"pacing.rate": 100, "merge.delay_ms": 7})
    gateway.expect_log("what is in force stays")
    assert gateway.metric("etcd_connected") == 0
    assert gateway.metric("etcd_connect_errors_total") > 0
    with Wire(gateway.port, "/topics/t"):
        assert gateway.push({"topic": "t"}, [1]).status == 202
    etcd.start()
    etcd.put("/fanfare/clients.liveness_s", "99")
    await_value(gateway, "clients.liveness_s", 99)
    assert place(gateway, "merge.delay_ms") == (7, "environment")


def test_etcd_that_is_killed_leaves_its_values_and_goes_on_where_it_was(on_etcd, etcd):
    etcd.start()
    etcd.put("/fanfare/pacing.rate", "500")
    gateway = on_etcd()
    await_value(gateway, "pacing.rate", 500)
    await_watch(gateway)
    etcd.kill()
    eventually(lambda: gateway.metric("etcd_connected") == 0, "the gateway notices")
    assert place(gateway, "pacing.rate") == (500, "etcd")
    assert patch(gateway, merge__delay_ms=7).status == 200, "the other sources go on"
    # What changes while the gateway cannot look is caught up with, from the revision that was known.
    etcd.start(apart=True)
    etcd.put("/fanfare/pacing.rate", "600")
    etcd.put("/fanfare/clients.topics_max", "2")
    etcd.put("/fanfare/pacing.rate", "700")
    assert value(gateway, "pacing.rate") == 500, "the old value in between"
    etcd.kill()
    etcd.start()
    await_value(gateway, "pacing.rate", 700)
    assert value(gateway, "clients.topics_max") == 2
    assert gateway.metric("etcd_reads_total") == 2, "what is true now is read, whatever its history says"


def test_what_was_compacted_while_nobody_looked_is_read_again(on_etcd, etcd):
    etcd.start()
    etcd.put("/fanfare/pacing.rate", "500")
    etcd.put("/fanfare/merge.delay_ms", "7")
    gateway = on_etcd()
    await_value(gateway, "merge.delay_ms", 7)
    await_watch(gateway)
    etcd.kill()
    etcd.start(apart=True)
    etcd.delete("/fanfare/merge.delay_ms")
    for rate in range(1000, 1100):
        revision = etcd.put("/fanfare/pacing.rate", str(rate))
    etcd.compact(revision)
    assert place(gateway, "pacing.rate") == (500, "etcd")
    etcd.kill()
    etcd.start()
    await_value(gateway, "pacing.rate", 1099)
    assert place(gateway, "merge.delay_ms") == (10, "default"), "a deletion that was compacted is a deletion"
    assert gateway.metric("etcd_reads_total") == 2
    await_watch(gateway)
    etcd.put("/fanfare/pacing.rate", "1200")
    await_value(gateway, "pacing.rate", 1200)


def test_compaction_under_a_watch_that_stands_costs_nothing(on_etcd, etcd):
    etcd.start()
    gateway = on_etcd()
    await_watch(gateway)
    for rate in range(1, 50):
        revision = etcd.put("/fanfare/pacing.rate", str(rate))
        etcd.compact(revision)
    await_value(gateway, "pacing.rate", 49)
    assert gateway.metric("etcd_reads_total") == 1


def test_another_etcd_at_the_same_address_is_read_from_the_beginning(on_etcd, etcd, tmp_path):
    etcd.start()
    for rate in (500, 600, 700):
        etcd.put("/fanfare/pacing.rate", str(rate))
    gateway = on_etcd()
    await_value(gateway, "pacing.rate", 700)
    await_watch(gateway)
    etcd.kill()
    other = EtcdServer(tmp_path)
    try:
        other.port = etcd.port
        other.start()
        other.put("/fanfare/merge.delay_ms", "7")
        await_value(gateway, "merge.delay_ms", 7)
        assert place(gateway, "pacing.rate") == (0, "default")
    finally:
        other.stop()


def fill(etcd, count, prefix="/fanfare/a"):
    """Keys of somebody else, in few requests."""
    for first in range(0, count, 100):
        puts = [
            {"requestPut": {"key": encoded(f"{prefix}{n:06}"), "value": encoded("x")}}
            for n in range(first, min(first + 100, count))
        ]
        etcd.call("kv/txn", success=puts)


def empty(etcd, prefix="/fanfare/a"):
    etcd.call("kv/deleterange", key=encoded(prefix), range_end=encoded(prefix[:-1] + chr(ord(prefix[-1]) + 1)))


@pytest.mark.parametrize("strangers", [300, 9000])
def test_keys_of_others_below_the_prefix_never_take_a_value_away(on_etcd, etcd, strangers):
    """Before a key of ours in their order, more than one page and more than are read at all."""
    etcd.start()
    etcd.put("/fanfare/pacing.rate", "500")
    gateway = on_etcd()
    await_value(gateway, "pacing.rate", 500)
    await_watch(gateway)
    fill(etcd, strangers)
    eventually(lambda: config(gateway)["problems"], "they are told")
    if strangers > 8192:
        eventually(lambda: gateway.metric("etcd_incomplete") == 1, "the metric tells")
        why = "the keys cannot be read whole, so none of them is used: there are more than 8192 keys"
        # Lines of refusals are throttled: the last state is told when the next may be.
        gateway.expect_log(why, within_s=25)
    seen = set()

    def is_well():
        seen.add(value(gateway, "pacing.rate"))
        return not config(gateway)["problems"] and gateway.metric("etcd_incomplete") == 0

    empty(etcd)
    eventually(is_well, "the others are gone", deadline_s=20)
    await_watch(gateway)
    assert place(gateway, "pacing.rate") == (500, "etcd")
    assert seen == {500}, "no moment without the cap"
    etcd.put("/fanfare/pacing.rate", "600")
    await_value(gateway, "pacing.rate", 600)


def test_a_gateway_that_starts_beside_too_many_keys_waits_for_a_whole_read(on_etcd, etcd):
    etcd.start()
    fill(etcd, 9000)
    etcd.put("/fanfare/pacing.rate", "500")
    gateway = on_etcd(**{"pacing.rate": 100})
    eventually(lambda: gateway.metric("etcd_incomplete") == 1, "the metric tells")
    assert place(gateway, "pacing.rate") == (100, "environment")
    assert gateway.metric("etcd_reads_total") == 0
    gateway = on_etcd()
    eventually(lambda: config(gateway)["problems"], "it is told")
    # Some are deleted, and enough stay: still nothing is believed.
    etcd.call("kv/deleterange", key=encoded("/fanfare/a000000"), range_end=encoded("/fanfare/a000100"))
    assert place(gateway, "pacing.rate") == (0, "default")
    empty(etcd)
    eventually(lambda: place(gateway, "pacing.rate") == (500, "etcd"), "the read is whole", deadline_s=20)


def test_values_that_one_answer_does_not_hold_are_read_all_the_same(on_etcd, etcd):
    etcd.start()
    for n in range(6):
        etcd.call("kv/put", key=encoded(f"/fanfare/a{n}"), value=encoded("x" * 1_000_000))
    etcd.put("/fanfare/pacing.rate", "500")
    gateway = on_etcd()
    eventually(lambda: len(config(gateway)["problems"]) == 6, "each is told, so all were read", deadline_s=20)
    assert gateway.metric("etcd_incomplete") == 0
    empty(etcd)
    await_value(gateway, "pacing.rate", 500)


def test_an_etcd_that_was_set_back_and_went_on_is_read_whole(on_etcd, etcd, tmp_path):
    """Restored from an older copy it has the same name, and may have passed the revision that was known."""
    etcd.start()
    etcd.put("/fanfare/pacing.rate", "500")
    etcd.kill()
    shutil.copytree(etcd.directory, tmp_path / "copy")
    etcd.start()
    etcd.put("/fanfare/merge.delay_ms", "7")
    gateway = on_etcd()
    await_value(gateway, "merge.delay_ms", 7)
    await_watch(gateway)
    etcd.kill()
    shutil.rmtree(etcd.directory)
    shutil.copytree(tmp_path / "copy", etcd.directory)
    etcd.start(apart=True)
    for rate in range(600, 620):
        etcd.put("/fanfare/pacing.rate", str(rate))
    etcd.put("/fanfare/clients.topics_max", "3")
    etcd.put("/fanfare/other", "1")
    etcd.delete("/fanfare/other")
    etcd.kill()
    etcd.start()
    await_value(gateway, "clients.topics_max", 3)
    assert place(gateway, "pacing.rate") == (619, "etcd")
    assert place(gateway, "merge.delay_ms") == (10, "default"), "the copy is older than that"


def test_a_bad_value_in_etcd_is_refused_whole_with_its_reason(on_etcd, etcd):
    etcd.start()
    etcd.put("/fanfare/pacing.rate", "500")
    gateway = on_etcd()
    await_value(gateway, "pacing.rate", 500)
    await_watch(gateway)
    before = config(gateway)
    etcd.put("/fanfare/merge.delay_ms", "soon")
    eventually(lambda: problems(gateway, "etcd"), "it is refused")
    etcd.put("/fanfare/server.shards", "3")
    etcd.put("/fanfare/pacing.rat", "3")
    etcd.put("/fanfare/pacing.rate", "-1")
    eventually(lambda: len(problems(gateway, "etcd")) == 4, "everything that is wrong")
    told = problems(gateway, "etcd")
    assert told["merge.delay_ms"].startswith("etcd /fanfare/merge.delay_ms: the value is not TOML")
    assert "takes effect at a start only" in told["server.shards"]
    assert "did you mean pacing.rate?" in told["pacing.rat"]
    assert "-1 is not a rate; give 0 for no cap, or devices per second from 0.1 to 10000000" in told["pacing.rate"]
    gateway.expect_log(
        "etcd: the old configuration stays", "pacing.rate (etcd /fanfare/pacing.rate): -1 is not a rate", within_s=25
    )
    after = config(gateway)
    assert (after["edition"], after["values"]) == (before["edition"], before["values"]), "nothing has changed"
    assert gateway.metric("config_reloads_total", source="etcd", outcome="refused") >= 2
    # A good value beside the bad ones waits for them.
    etcd.put("/fanfare/pacing.rate", "800")
    eventually(lambda: len(problems(gateway, "etcd")) == 3, "one mistake less")
    assert value(gateway, "pacing.rate") == 500
    for key in ("merge.delay_ms", "server.shards", "pacing.rat"):
        etcd.delete("/fanfare/" + key)
    await_value(gateway, "pacing.rate", 800)
    assert config(gateway)["problems"] == []


def test_what_did_not_fit_another_source_is_taken_once_it_fits(on_etcd, etcd):
    etcd.start()
    gateway = on_etcd()
    await_watch(gateway)
    assert patch(gateway, clients__topics_max=1).status == 200
    etcd.put("/fanfare/clients.auto_join", '["a", "b"]')
    eventually(lambda: "clients.auto_join" in problems(gateway, "etcd"), "two topics are more than one")
    assert patch(gateway, clients__topics_max=2).status == 200
    await_value(gateway, "clients.auto_join", ["a", "b"])
    assert config(gateway)["problems"] == []


def test_the_api_wins_over_flags_over_the_environment_over_etcd_over_the_file(start_gateway, etcd, tmp_path):
    etcd.start()
    for key, text in (("merge.delay_ms", "2"), ("merge.messages_max", "2"), ("merge.bytes_max", "2")):
        etcd.put("/fanfare/" + key, text)
    file = tmp_path / "fanfare.toml"
    file.write_text(
        "[merge]\ndelay_ms = 1\nmessages_max = 1\nbytes_max = 1\n"
        "[server]\nlisten = \"127.0.0.1:1\"\n[log]\nlevel = \"warn\"\n"
    )
    settings = {"etcd.endpoints": etcd.url, "merge.messages_max": 3, "merge.bytes_max": 3, "api.listen": "127.0.0.1:1"}
    gateway = start_gateway(arguments=("--config", str(file)), **settings)
    await_value(gateway, "merge.delay_ms", 2)
    assert patch(gateway, merge__bytes_max=4).status == 200
    assert place(gateway, "log.level") == ("warn", "file")
    assert place(gateway, "merge.delay_ms") == (2, "etcd")
    assert place(gateway, "merge.messages_max") == (3, "environment")
    assert place(gateway, "merge.bytes_max") == (4, "api")
    assert place(gateway, "server.listen") == (f"127.0.0.1:{gateway.port}", "flag"), "over the file"
    assert place(gateway, "api.listen") == (f"127.0.0.1:{gateway.api_port}", "flag"), "over the environment"
    assert place(gateway, "outbox.age_max_s") == (30, "default")
    # What covered a value goes, and the value is there again.
    assert patch(gateway, merge__bytes_max=None).status == 200
    assert place(gateway, "merge.bytes_max") == (3, "environment")
    etcd.delete("/fanfare/merge.delay_ms")
    eventually(lambda: place(gateway, "merge.delay_ms") == (1, "file"), "the file's value is uncovered")


def test_etcd_with_users_is_asked_as_one(on_etcd, etcd):
    etcd.start()
    etcd.put("/fanfare/pacing.rate", "500")
    etcd.demand_a_password("hunter2")
    stranger = on_etcd()
    stranger.expect_log("look at etcd.user")
    gateway = on_etcd(**{"etcd.user": "root", "etcd.password": "hunter2"})
    await_value(gateway, "pacing.rate", 500)
    await_watch(gateway)
    etcd.put("/fanfare/pacing.rate", "600")
    await_value(gateway, "pacing.rate", 600)
    assert "hunter2" not in gateway.log
    assert value(stranger, "pacing.rate") == 0
