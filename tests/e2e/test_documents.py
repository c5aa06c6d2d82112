"""README.md and docs/ hold together: links lead somewhere, tables are the program's, configuration is accepted."""

import json
import re
import shutil
import subprocess

import pytest

from harness.documents import (
    DOCUMENTS, LINKED, anchors, blocks, is_as_generated, key_rows, links, name_of, recipes, route_rows, table_of,
    with_block, with_table,
)
from harness.gateway import ROOT, run_to_end
from harness.poll import eventually
from harness.ports import free_port
from harness.wire import TEXT, Wire, server_frame

LANGUAGES = {
    "sh": "test_readme.py", "javascript": "test_snippets.py", "python": "test_snippets.py", "c": "test_snippets.py",
    "toml": "here", "json": "here", "yaml": "here", "nginx": "here", "haproxy": "here",
    "text": "a picture or what a command prints",
}
"""Languages of blocks, and where they are run."""

REWRITE = "the page is behind the program: REWRITE_DOCUMENTS=1 tests/run -k test_documents writes it anew"


def test_no_link_between_documents_is_dead():
    dead = []
    for path in LINKED:
        for link in links(path):
            target, _, anchor = link.target.partition("#")
            place = (path.parent / target).resolve() if target else path
            if not place.exists():
                dead.append(f"{link.where}: {link.target}")
            elif anchor and place.suffix == ".md" and anchor not in anchors(place):
                dead.append(f"{link.where}: {link.target}: no such heading")
    assert dead == []
    assert sum(len(links(path)) for path in LINKED) > 100


def test_every_page_is_in_the_summary_once():
    listed = re.findall(r"\]\(([^)]+)\)", (ROOT / "docs/SUMMARY.md").read_text())
    pages = [name_of(path).removeprefix("docs/") for path in DOCUMENTS if name_of(path).startswith("docs/")]
    assert sorted(listed) == sorted(page for page in pages if page != "SUMMARY.md")
    decisions = re.findall(r"\]\(([^)]+)\)", (ROOT / "docs/decisions/README.md").read_text())
    found = {path.name for path in (ROOT / "docs/decisions").glob("0*.md")}
    assert found and found <= set(decisions)


def test_every_decision_has_its_four_parts_and_a_number_of_its_own():
    numbers = []
    for path in sorted((ROOT / "docs/decisions").glob("0*.md")):
        text = path.read_text()
        numbers.append(int(path.name[:3]))
        assert text.startswith(f"# {path.name[:3]}. "), path.name
        headings = re.findall(r"^## (.*)$", text, re.M)
        assert headings == ["Context", "Decision", "Numbers", "What would change it"], path.name
    assert numbers == list(range(1, len(numbers) + 1))


def test_every_file_that_a_page_names_exists():
    missing = []
    for path in DOCUMENTS:
        for name in re.findall(r"`((?:src|tests|bench|tuning|systemd|docs)/[\w./-]*\w)", path.read_text()):
            if not (ROOT / name).exists():
                missing.append(f"{name_of(path)}: {name}")
    assert missing == []


def test_every_block_has_a_language_that_is_run_somewhere():
    unknown = [f"{b.document}:{b.line}: {b.language}" for b in blocks() if b.language not in LANGUAGES]
    assert unknown == []
    unused = set(LANGUAGES) - {block.language for block in blocks()}
    assert unused == set()


def test_the_configuration_page_is_the_programs(gateway):
    code, template = run_to_end("--print-config")
    assert code == 0
    page = (ROOT / "docs/configuration.md").read_text()
    page = with_table(page, "key", key_rows(template, gateway.get("/v1/config").json["values"]))
    page = with_block(page, "toml", "The file", template)
    assert is_as_generated("docs/configuration.md", page), REWRITE


def test_the_table_of_routes_is_the_descriptions(gateway):
    rows = route_rows(gateway.get("/openapi.yaml").body.decode())
    assert len(rows) > 10
    page = with_table((ROOT / "docs/api.md").read_text(), "method", rows)
    assert is_as_generated("docs/api.md", page), REWRITE


@pytest.mark.parametrize("block", blocks("toml"), ids=lambda block: f"{block.document}:{block.line}")
def test_every_configuration_is_accepted(tmp_path, block):
    path = tmp_path / "fanfare.toml"
    path.write_text(block.text)
    # Events by Redis need one; nothing connects to it here.
    code, output = run_to_end("--config", str(path), "--check", settings={"redis.url": "redis://localhost"})
    assert code == 0, output


def test_every_event_and_answer_that_is_shown_is_json():
    for block in blocks("json"):
        for line in block.text.splitlines():
            json.loads(line)


def test_every_job_for_prometheus_is_one(tmp_path):
    (tmp_path / "alerts.yml").write_text((ROOT / "tuning/alerts.yml").read_text())
    promtool = shutil.which("promtool")
    assert promtool, "promtool is missing: tests/setup installs it"
    for block in blocks("yaml"):
        path = tmp_path / "prometheus.yml"
        path.write_text(block.text)
        done = subprocess.run([promtool, "check", "config", path], capture_output=True, text=True, check=False)
        assert done.returncode == 0, f"{block.document}:{block.line}: {done.stdout}{done.stderr}"


def test_every_close_code_of_the_gateway_is_described():
    """Each reason with its code, in the table of devices.md."""
    source = (ROOT / "src/core/model/close_reason.rs").read_text()
    labels = dict(re.findall(r"Self::(\w+) => \"(\w+)\"", source))
    codes = {}
    for names, code in re.findall(r"((?:Self::\w+ ?\|? ?)+)=> Some\((\d+)\)", source):
        codes |= {labels[name]: code for name in re.findall(r"\w+", names) if name in labels}
    assert len(labels) >= 15 and len(codes) >= 11
    rows = [[cell.strip() for cell in row.split("|")[1:-1]] for row in table_of("docs/devices.md", "code")]
    described = {label: cells[0] for cells in rows for label in re.findall(r"\w+", cells[1])}
    assert set(described) == set(labels.values())
    assert {label: described[label] for label in codes} == codes


PROXIES = {
    "nginx": lambda directory: ["/usr/sbin/nginx", "-p", directory, "-c", "proxy.conf", "-e", "stderr", "-g", "pid nginx.pid; daemon off;"],
    "haproxy": lambda directory: [shutil.which("haproxy", path="/usr/sbin:/usr/bin"), "-f", directory / "proxy.conf", "-db"],
}


@pytest.mark.parametrize("name", PROXIES)
def test_a_device_behind_the_proxy_of_the_page_receives(gateway, tmp_path, name):
    (block,) = blocks(name)
    port = free_port()
    text = block.text
    # The addresses, and what depends on this host's limit of descriptors and on its paths.
    for ours, theirs in {
        "127.0.0.1:7777": f"127.0.0.1:{gateway.port}", "check port 7799": f"check port {gateway.api_port}",
        "listen 8080;": f"listen 127.0.0.1:{port}; access_log off;", "bind :8080": f"bind 127.0.0.1:{port}",
        "maxconn 100000": "maxconn 1000", "worker_rlimit_nofile 65536;": "", "worker_connections 32768": "worker_connections 256",
        "http {": "http { " + "".join(f"{kind}_temp_path {kind};" for kind in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")),
    }.items():
        text = text.replace(ours, theirs)
    (tmp_path / "proxy.conf").write_text(text)
    (tmp_path / "logs").mkdir()
    command = PROXIES[name](tmp_path)
    assert command[0], f"{name} is missing: tests/setup installs it"
    proxy = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    try:
        def connects():
            assert proxy.poll() is None, proxy.stdout.read()
            try:
                return Wire(port, "/topics/news", settled=False)
            except (OSError, AssertionError):
                return None

        with eventually(connects, f"a device connects by way of {name}") as device:
            gateway.await_members("news", 1)
            assert gateway.push({"topic": "news"}, [{"id": 7}]).status == 202
            device.expect_stream(server_frame(TEXT, b'{"id":7}'))
            device.close()
        eventually(lambda: gateway.connections() == 0, "the end is passed on")
    finally:
        proxy.terminate()
        proxy.wait()
        proxy.stdout.close()


def test_the_probe_that_haproxy_asks_answers(gateway):
    (block,) = blocks("haproxy")
    method, path, host = re.search(r"http-check send meth (\S+) uri (\S+) ver HTTP/1.1 hdr Host (\S+)", block.text).groups()
    assert gateway.request(method, path, headers={"Host": host}).status == 200


@pytest.mark.parametrize("name", PROXIES)
def test_no_timeout_of_a_proxy_is_shorter_than_a_silence_that_is_allowed(name, gateway):
    (block,) = blocks(name)
    wanted = r"(?:timeout tunnel|proxy_read_timeout|proxy_send_timeout) (\d+)s"
    liveness_s = gateway.get("/v1/config").json["values"]["clients.liveness_s"]["value"]
    found = [int(seconds) for seconds in re.findall(wanted, block.text)]
    assert found and min(found) > 2 * liveness_s


def test_every_recipe_stands_in_a_block_that_is_found():
    """The scanner sees each fence: they are in pairs."""
    for path in DOCUMENTS:
        fences = [line for line in path.read_text().splitlines() if line.startswith("```")]
        assert len(fences) % 2 == 0, name_of(path)
        assert all(fence == "```" for fence in fences[1::2]), name_of(path)
    assert len(recipes()) > 40
