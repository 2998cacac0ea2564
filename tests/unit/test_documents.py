"""The documents say what the code does: links lead somewhere, commands and files exist, numbers agree."""

from __future__ import annotations

import re
import shlex
import subprocess
from datetime import timedelta
from pathlib import Path

import pytest

from optout import cli, deadlines, settings

REPOSITORY = Path(__file__).resolve().parents[2]
OPERATING = REPOSITORY / "docs" / "operating.md"
# DynamoDB's own deletion of what the sweep never reached: nobody is promised it.
UNPUBLISHED = {"DRAFT_BACKSTOP"}
UNITS = {"hours": timedelta(hours=1), "days": timedelta(days=1), "s": timedelta(seconds=1)}


def documents() -> list[Path]:
    """Every document of the repository; what installed packages or a running instance bring along is none."""
    listed = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard", "*.md"],  # noqa: S607
        cwd=REPOSITORY,
        capture_output=True,
        text=True,
        check=False,
    ).stdout.split()
    # Without git (an unpacked archive), the folders that documents are in.
    found = [REPOSITORY / name for name in listed] or [*REPOSITORY.glob("*.md"), *REPOSITORY.glob("docs/**/*.md")]
    return sorted(path for path in found if path.is_file())


DOCUMENTS = documents()
NESTED = {"faces"}
EACH = pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: str(path.relative_to(REPOSITORY)))


def anchors(document: Path) -> set[str]:
    """The anchors that a document's headings get."""
    headings = re.findall(r"^#+ (.+)$", document.read_text(), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def spans(document: Path) -> list[str]:
    """What stands in backticks, and each line of shell commands."""
    text = document.read_text()
    blocks = re.findall(r"^ *```sh\n(.*?)^ *```", text, re.MULTILINE | re.DOTALL)
    prose = re.sub(r"^ *```.*?^ *```", "", text, flags=re.MULTILINE | re.DOTALL)
    return [line.strip() for block in blocks for line in block.splitlines()] + re.findall(r"`([^`\n]+)`", prose)


def test_there_are_documents() -> None:
    names = {path.name for path in DOCUMENTS}
    assert names >= {"README.md", "CONTRIBUTING.md", "SECURITY.md", "CHANGELOG.md", "operating.md", "privacy.md"}


@EACH
def test_every_link_leads_somewhere(document: Path) -> None:
    for target in re.findall(r"\]\(([^)\s]+)\)", document.read_text()):
        if re.match(r"https?:|mailto:", target):
            continue
        path, _, anchor = target.partition("#")
        file = (document.parent / path) if path else document
        assert file.exists(), target
        if anchor:
            assert anchor in anchors(file), target


@EACH
def test_every_command_is_one(document: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for span in spans(document):
        if not re.match(r"optout [a-z-]+", span):
            continue
        words = shlex.split(span, comments=True)[1:]
        # A command of commands, such as `optout faces calibrate`, is asked about the inner one.
        named = words[: 2 if words[0] in NESTED else 1]
        with pytest.raises(SystemExit) as stopped:
            cli.main([*named, "--help"])
        printed = capsys.readouterr()
        assert stopped.value.code == 0, span
        for option in (word for word in words[1:] if word.startswith("--")):
            assert option in printed.out, span


@EACH
def test_every_target_of_make_is_one(document: Path) -> None:
    targets = set(re.findall(r"^([a-z-]+):", (REPOSITORY / "Makefile").read_text(), re.MULTILINE))
    for span in spans(document):
        for target in re.findall(r"\bmake ([a-z-]+)", span):
            assert target in targets, span


@EACH
def test_every_file_named_is_there(document: Path) -> None:
    for span in spans(document):
        if re.fullmatch(r"(optout|functions|infra|local|tests|bench|docs|requirements)(/[\w.-]+)+/?", span):
            made_by_the_operator = span == "infra/parameters.toml"
            assert made_by_the_operator or (REPOSITORY / span).exists(), span


@EACH
def test_no_number_is_another_than_the_codes(document: Path) -> None:
    text = document.read_text()
    marked = re.findall(r"([\d,]+) (hours|days|s)<!-- (\w+) -->", text)
    assert len(marked) == len(re.findall(r"<!-- [A-Z_]+ -->", text)), "a marker stands right behind number and unit"
    for number, unit, name in marked:
        real = getattr(deadlines, name, None) or timedelta(seconds=getattr(settings, name, 0))
        assert int(number.replace(",", "")) * UNITS[unit] == real, name


@pytest.mark.parametrize("document", [OPERATING, REPOSITORY / "docs" / "privacy.md"], ids=["operating", "privacy"])
def test_every_period_is_published(document: Path) -> None:
    periods = {name for name, value in vars(deadlines).items() if name.isupper() and isinstance(value, timedelta)}
    published = set(re.findall(r"<!-- ([A-Z_]+) -->", document.read_text()))
    assert periods - UNPUBLISHED - published == set()


def test_every_setting_is_explained() -> None:
    sources = "".join((REPOSITORY / "optout" / name).read_text() for name in ("settings.py", "deadlines.py"))
    read = set(re.findall(r'(?:os\.environ\[|_at_least\()"([A-Z_]+)"', sources))
    explained = set(re.findall(r"^\| `([A-Z_]+)` \| .+ \| .+ \|$", OPERATING.read_text(), re.MULTILINE))
    assert read
    assert read == explained


def test_every_command_is_explained_somewhere(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        cli.main(["--help"])
    commands = set(re.findall(r"^    ([a-z-]+)\b", capsys.readouterr().out, re.MULTILINE))
    assert commands >= {"fingerprint", "new-epoch", "reconcile", "put-back", "revoke-links"}
    named = [span.split()[1] for document in DOCUMENTS for span in spans(document) if re.match(r"optout [a-z-]", span)]
    assert commands - set(named) == set()


def test_decisions_are_numbered_and_listed() -> None:
    folder = REPOSITORY / "docs" / "decisions"
    decisions = sorted(folder.glob("0*.md"))
    listed = re.findall(r"^- \[(\d{4})\]\((\S+)\) (.+)$", (folder / "README.md").read_text(), re.MULTILINE)
    assert [name for _, name, _ in listed] == [path.name for path in decisions]
    # Numbers are given out when work begins, so one may be missing until it lands.
    assert len({number for number, _, _ in listed}) == len(listed)
    for path, (number, _, title) in zip(decisions, listed, strict=True):
        assert path.name[:4] == number
        heading, *_ = path.read_text().splitlines()
        assert heading == f"# {number} {title.partition(' (')[0]}"
        for part in ("**Context.**", "**Decision.**", "**Numbers.**", "**Consequences.**"):
            assert part in path.read_text(), path.name


def test_the_licence_is_apache_2() -> None:
    text = (REPOSITORY / "LICENSE").read_text()
    assert "Apache License" in text
    assert "Version 2.0, January 2004" in text
    assert 'license = "Apache-2.0"' in (REPOSITORY / "pyproject.toml").read_text()
