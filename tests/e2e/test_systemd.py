"""The files in systemd/: judged by systemd's own tools, tried under their own filters, installed into a directory."""

import os
import re
import signal
import subprocess
import sys
from pathlib import Path

from harness.gateway import ROOT, binary, run_to_end
from harness.wire import CLOSE, TEXT, Wire, server_frame

UNITS = ROOT / "systemd"
SERVICE = UNITS / "fanfare.service"
UNDER_THE_UNIT = Path(__file__).with_name("under_the_unit.py")
EXPOSURE_TENTHS_MAX = 20


def run(*command, **options):
    done = subprocess.run(
        [str(word) for word in command], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False,
        timeout=60, **options,
    )
    return done.returncode, done.stdout


def option(name, path=SERVICE):
    found = re.findall(rf"^{name}=(.*)$", path.read_text(), re.MULTILINE)
    assert len(found) == 1, (name, found)
    return found[0]


def install(root, *arguments):
    return run(UNITS / "install.sh", "--binary", binary(), "--root", root, *arguments)


def tree(root):
    return {
        str(path.relative_to(root)): (path.read_bytes(), path.stat().st_mode & 0o777)
        for path in sorted(root.rglob("*")) if path.is_file()
    }


def test_systemd_finds_nothing_wrong_with_the_units(tmp_path):
    # The unit names its program by path, which systemd looks for: everything is installed below a root of its own.
    assert install(tmp_path)[0] == 0
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin" / "kill").symlink_to("/bin/true")
    for unit in ("fanfare.service", "fanfare.socket"):
        text = (UNITS / unit).read_text().replace("/usr/local/bin/fanfare", f"{tmp_path}/usr/local/bin/fanfare")
        (tmp_path / unit).write_text(text)
    code, output = run(
        "systemd-analyze", "verify", "--man=no", tmp_path / "fanfare.service", tmp_path / "fanfare.socket"
    )
    ours = [line for line in output.splitlines() if "fanfare" in line]
    assert code == 0 and not ours, output


def test_the_service_is_exposed_to_little():
    code, output = run(
        "systemd-analyze", "security", "--offline=true", f"--threshold={EXPOSURE_TENTHS_MAX}", SERVICE
    )
    assert code == 0, output
    # The same tool with a bound that nothing can keep: the exit code is no formality.
    assert run("systemd-analyze", "security", "--offline=true", "--threshold=1", SERVICE)[0] != 0


def test_systemd_waits_longer_than_a_drain_takes():
    limits = (ROOT / "src" / "core" / "limits.rs").read_text()

    def seconds(name):
        return int(re.search(rf"{name}: Duration = Duration::from_secs\((\d+)\)", limits)[1])

    drain = seconds("DRAIN_DEFAULT") + seconds("DRAIN_REDIS") + seconds("DRAIN_TAIL")
    assert re.search(r"^drain_s = (\d+)$", (ROOT / "fanfare.toml").read_text(), re.MULTILINE)[1] == str(
        seconds("DRAIN_DEFAULT")
    )
    assert int(option("TimeoutStopSec")) > drain


def test_a_start_that_fails_is_tried_again_for_ever():
    # What is given up takes the socket with it, and everybody who waits there.
    assert option("Restart") == "on-failure" and option("StartLimitIntervalSec") == "0"
    assert not re.search(r"^RestartPreventExitStatus=", SERVICE.read_text(), re.MULTILINE)


def test_the_number_of_tasks_allows_every_shard():
    shards = int(re.search(r"SHARDS_MAX: usize = (\d+);", (ROOT / "src" / "core" / "limits.rs").read_text())[1])
    assert int(option("TasksMax")) >= 2 * (shards + 4)


def test_the_socket_is_named_as_the_program_expects():
    socket = UNITS / "fanfare.socket"
    assert option("FileDescriptorName", socket) == "devices"
    assert f":{option('ListenStream', socket)}\"" in (ROOT / "fanfare.toml").read_text()


def test_the_gateway_works_under_the_filters_of_its_unit(start_gateway, redis):
    gateway = start_gateway(
        launcher=[sys.executable, str(UNDER_THE_UNIT), str(SERVICE)], redis=redis.url,
        **{"server.drain_s": 1, "server.pin": "true"},
    )
    status = Path(f"/proc/{gateway.process.pid}/status").read_text()
    assert re.search(r"^Seccomp:\s+2$", status, re.MULTILINE), "the filters are there"
    with Wire(gateway.port, "/topics/t", timeout=20) as client:
        gateway.await_members("t", 1)
        assert gateway.push({"topic": "t"}, [1]).status == 202
        client.expect_stream(server_frame(TEXT, b"1"))
        redis.client().pipeline([("PUBLISH", "fanfare:topic:t", 2)])
        client.expect_stream(server_frame(TEXT, b"2"))
        gateway.signal(signal.SIGHUP)
        assert "cannot pin" not in gateway.log, gateway.log
        gateway.signal(signal.SIGTERM)
        got = client.receive()
        assert got.opcode == CLOSE
        client.answer_close(got.payload)
    assert gateway.exit_code() == 0, gateway.log


def test_the_check_before_the_start_works_under_the_filters_too():
    code, output = run_to_end("--check", launcher=[sys.executable, str(UNDER_THE_UNIT), str(SERVICE)])
    assert code == 0 and "configuration ok" in output, output


def test_the_filters_kill_what_the_unit_does_not_allow():
    script = "import os; os.chown('/dev/null', 0, 0)"
    code, _ = run(sys.executable, UNDER_THE_UNIT, SERVICE, sys.executable, "-c", script)
    assert code == -signal.SIGSYS


def test_installing_again_changes_nothing_and_keeps_the_configuration(tmp_path):
    code, output = install(tmp_path)
    assert code == 0, output
    first = tree(tmp_path)
    assert set(first) == {
        "etc/fanfare/fanfare.env", "etc/fanfare/fanfare.toml", "etc/systemd/system/fanfare.service",
        "etc/systemd/system/fanfare.socket", "usr/lib/sysusers.d/fanfare.conf", "usr/lib/tmpfiles.d/fanfare.conf",
        "usr/local/bin/fanfare",
    }
    assert first["etc/fanfare/fanfare.env"][1] == 0o640, "it may hold a password"
    (tmp_path / "etc/fanfare/fanfare.toml").write_text("# mine\n")
    (tmp_path / "etc/systemd/system/fanfare.service").write_text("# stale\n")
    code, output = install(tmp_path)
    assert code == 0 and "keep" in output, output
    second = tree(tmp_path)
    assert second["etc/fanfare/fanfare.toml"][0] == b"# mine\n"
    del first["etc/fanfare/fanfare.toml"], second["etc/fanfare/fanfare.toml"]
    assert second == first


def test_a_dry_run_and_an_uninstall_leave_what_they_must(tmp_path):
    code, output = install(tmp_path, "--dry-run")
    assert code == 0 and "would run" in output, output
    assert tree(tmp_path) == {}
    assert install(tmp_path)[0] == 0
    code, output = install(tmp_path, "--uninstall")
    assert code == 0, output
    assert set(tree(tmp_path)) == {"etc/fanfare/fanfare.env", "etc/fanfare/fanfare.toml"}
    assert install(tmp_path, "--uninstall")[0] == 0


def test_destdir_is_a_root_too_and_a_missing_program_is_told(tmp_path):
    code, output = run(
        UNITS / "install.sh", "--binary", binary(), env=os.environ | {"DESTDIR": str(tmp_path)}
    )
    assert code == 0 and (tmp_path / "usr/local/bin/fanfare").exists(), output
    code, output = install(tmp_path, "--binary", tmp_path / "nothing")
    assert code == 1 and "--binary" in output, output


def test_users_and_files_are_what_systemd_understands(tmp_path):
    assert install(tmp_path)[0] == 0
    code, output = run("systemd-sysusers", "--root", tmp_path, "fanfare.conf")
    assert code == 0, output
    assert "fanfare:" in (tmp_path / "etc/passwd").read_text()
    line = next(line for line in (tmp_path / "etc/passwd").read_text().splitlines() if line.startswith("fanfare:"))
    assert line.endswith("nologin"), line
