"""The documents for people: their code blocks, their links, and the tables that follow from the program."""

import os
import re
from collections import namedtuple

from .gateway import ROOT

DOCUMENTS = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
LINKED = [*DOCUMENTS, *(ROOT / name for name in (
    "ARCHITECTURE.md", "CHANGELOG.md", "bench/README.md", "systemd/README.md", "tuning/README.md",
))]
"""Documents whose links are checked too."""

Block = namedtuple("Block", "document line language text")
"""A fenced block; `document` is a path from the root, `line` that of its fence."""

Recipe = namedtuple("Recipe", "where command answer")
"""A line of a shell block; `answer` is what stands behind it or on the next line, a status and JSON, or None."""

Link = namedtuple("Link", "where target")


def name_of(path):
    return str(path.relative_to(ROOT))


def blocks(*languages):
    """Every fenced block in one of these languages."""
    found = []
    for path in DOCUMENTS:
        text = path.read_text()
        for match in re.finditer(r"^```(\S*)\n(.*?)^```$", text, re.M | re.S):
            line = text.count("\n", 0, match.start()) + 1
            found.append(Block(name_of(path), line, match[1], match[2]))
    return [block for block in found if not languages or block.language in languages]


def recipes():
    """Each command of the shell blocks."""
    found = []
    for block in blocks("sh"):
        for at, line in enumerate(block.text.splitlines(), block.line + 1):
            answer = re.search(r"# (\d{3} \{.*\})$", line)
            if line.startswith("#"):
                if answer:
                    found[-1] = found[-1]._replace(answer=answer[1])
                continue
            command = re.split(r"\s+# ", line)[0].strip()
            if command:
                found.append(Recipe(f"{block.document}:{at}", command, answer and answer[1]))
    return found


def without_code(text):
    """The same lines without what stands in fences and between backticks."""
    text = re.sub(r"^```.*?^```$", lambda block: "\n" * block[0].count("\n"), text, flags=re.M | re.S)
    return re.sub(r"`[^`\n]*`", "", text)


def links(path):
    """Every link to a place within the repository."""
    found = []
    for at, line in enumerate(without_code(path.read_text()).splitlines(), 1):
        for target in re.findall(r"\]\(([^)\s]+)\)", line):
            if not re.match(r"[a-z]+:", target):
                found.append(Link(f"{name_of(path)}:{at}", target))
    return found


def anchors(path):
    """Names of a document's headings, as GitHub and mdBook make them."""
    found = []
    for heading in re.findall(r"^#+ (.*)$", re.sub(r"^```.*?^```$", "", path.read_text(), flags=re.M | re.S), re.M):
        text = re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", heading).lower()
        found.append(re.sub(r"[^\w\- ]", "", text).replace(" ", "-"))
    return found


def key_rows(template, values):
    """Rows of the table of keys: the commented file, and what `GET /v1/config` says of each key."""
    section, defaults = None, {}
    for line in template.splitlines():
        if begins := re.match(r"\[(\w+)\]$", line):
            section = begins[1]
        elif key := re.match(r"(\w+) = (.*)$", line):
            defaults[f"{section}.{key[1]}"] = key[2]
    assert sorted(defaults) == sorted(values), "the file and GET /v1/config have the same keys"
    rows = []
    for key, default in defaults.items():
        variable = "FANFARE_" + key.upper().replace(".", "_")
        rows.append(f"| `{key}` | `{default}` | `{variable}` | {'live' if values[key]['live'] else 'restart'} |")
    return rows


def route_rows(openapi):
    """Rows of the table of routes, from the text of the description."""
    rows, path = [], None
    for line in openapi.split("\npaths:\n")[1].split("\ncomponents:\n")[0].splitlines():
        if begins := re.match(r"  (/\S*):$", line):
            path = begins[1]
        elif begins := re.match(r"    (get|post|put|patch|delete):$", line):
            method = begins[1].upper()
        elif summary := re.match(r"      summary: (.*)$", line):
            rows.append(f"| {method} | `{path}` | {summary[1]} |")
    return rows


def table_of(document, first_column):
    """Rows of the first table of a document whose head begins with this column."""
    return _table((ROOT / document).read_text(), first_column)[2].splitlines()


def with_table(text, first_column, rows):
    """The text with other rows in that table."""
    before, head, old = _table(text, first_column)
    return before + head + "".join(f"{row}\n" for row in rows) + text[len(before + head + old):]


def _table(text, first_column):
    """What stands before the table, its head and its rows."""
    found = re.search(rf"^\| {first_column} \|.*\n\|[-|]+\|\n", text, re.M)
    rows = re.match(r"(?:\|.*\n)*", text[found.end():])
    return text[:found.start()], found[0], rows[0]


def with_block(text, language, heading, inside):
    """The text with another first block in this language behind this heading."""
    at = text.index(f"\n## {heading}\n")
    begin = text.index(f"```{language}\n", at) + len(f"```{language}\n")
    return text[:begin] + inside + text[text.index("\n```", begin) + 1:]


def is_as_generated(document, page):
    """Whether the document is this page; with REWRITE_DOCUMENTS=1 in the environment it becomes that."""
    path = ROOT / document
    if os.environ.get("REWRITE_DOCUMENTS") == "1":
        path.write_text(page)
    return path.read_text() == page
