"""What `make build` makes: small, complete, for Lambda's machine, and the same bytes every time."""

from __future__ import annotations

import hashlib
import json
import os
import re
import subprocess
import sys
import sysconfig
import zipfile
from pathlib import Path

import pytest

from infra import build
from local import carriers, template
from local.place import REPOSITORY

FUNCTIONS = sorted(path.parent.name for path in (REPOSITORY / "functions").glob("*/handler.py"))
# e_machine of an ELF file: AArch64.
ARM64 = (183).to_bytes(2, "little")


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("build")
    build.build(folder)
    return folder


@pytest.fixture(scope="module")
def layers(built: Path) -> dict[str, dict[str, bytes]]:
    found = {}
    for name in ("Core", "Vision"):
        with zipfile.ZipFile(built / f"{name}.zip") as archive:
            found[name] = {entry: archive.read(entry) for entry in archive.namelist()}
    return found


@pytest.fixture(scope="module")
def trimmed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """This machine's own packages with only the files that go into the layers."""
    folder = tmp_path_factory.mktemp("trimmed")
    packages = Path(sysconfig.get_path("purelib"))
    wanted = {line.partition("==")[0].replace("-", "_") for line in pinned()}
    for record in packages.glob("*.dist-info/RECORD"):
        if record.parent.name.partition("-")[0].lower() not in wanted:
            continue
        for line in record.read_text().splitlines():
            name = line.partition(",")[0]
            if not name.startswith("..") and build.keeps(name):
                target = folder / name
                target.parent.mkdir(parents=True, exist_ok=True)
                target.symlink_to(packages / name)
    (folder / "optout").symlink_to(REPOSITORY / "optout")
    return folder


def pinned() -> list[str]:
    """`name==version` of everything that Python 3.13 on Lambda's machine needs."""
    lines = re.findall(r"(?m)^([a-z][^ ]+)(?: ; (.*?))? \\$", build.REQUIREMENTS.read_text())
    return [name for name, marker in lines if marker != "python_full_version < '3.12'"]


def digests(folder: Path) -> dict[str, str]:
    return {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in folder.iterdir()}


def test_a_second_build_has_the_same_bytes(built: Path, tmp_path: Path) -> None:
    elsewhere = tmp_path / "another folder"
    build.build(elsewhere)
    assert digests(elsewhere) == digests(built)
    assert len(digests(built)) == len(FUNCTIONS) + 2 + 1


def test_no_artefact_names_the_machine_it_was_built_on(layers: dict[str, dict[str, bytes]]) -> None:
    for files in layers.values():
        for name, content in files.items():
            assert str(REPOSITORY).encode() not in content, name
            assert not name.endswith((".pyc", ".lock", "/INSTALLER", "/direct_url.json")), name


def test_page_functions_stay_small_and_all_others_below_the_limit_of_lambda(built: Path) -> None:
    own = {}
    for path in built.glob("*.zip"):
        with zipfile.ZipFile(path) as archive:
            own[path.stem] = sum(entry.file_size for entry in archive.infolist())
    for function in ("submit", "decide", "notify"):
        assert own[function] + own["Core"] < 60_000_000
    for function in ("compact", "examine", "exclude_check"):
        assert own[function] + own["Core"] + own["Vision"] < 262_144_000 * 0.8, "room for what comes"


def test_a_function_that_is_too_large_stops_the_build() -> None:
    assert build.too_large({"Submit": 59_999_999, "Examine": 262_143_999}) == []
    assert build.too_large({"Submit": 60_000_000}) == [
        "Submit unpacks to 60,000,000 bytes, and 60,000,000 are too many."
    ]
    assert build.too_large({"Examine": 262_144_000}) == [
        "Examine unpacks to 262,144,000 bytes, and 262,144,000 are too many."
    ]


def test_the_limit_of_pages_holds_for_every_function_without_the_vision_layer() -> None:
    functions = template.resources("AWS::Serverless::Function")
    assert set(build.PAGES) == {name for name, found in functions.items() if {"Ref": "Vision"} not in found["Layers"]}


def test_the_layers_hold_every_pinned_package_in_its_version(layers: dict[str, dict[str, bytes]]) -> None:
    found = set()
    for files in layers.values():
        for name, content in files.items():
            if name.endswith(".dist-info/METADATA"):
                facts = dict(re.findall(r"(?m)^(Name|Version): (.+)$", content.decode()))
                found.add(f"{facts['Name'].lower().replace('_', '-')}=={facts['Version']}")
    assert found == set(pinned())


def test_all_machine_code_is_for_lambdas_machine(layers: dict[str, dict[str, bytes]]) -> None:
    native = [
        (name, content) for files in layers.values() for name, content in files.items() if re.search(r"\.so\b", name)
    ]
    assert len(native) > 10
    for name, content in native:
        assert content[:4] == b"\x7fELF", name
        assert content[18:20] == ARM64, name
        assert "cpython-313-aarch64" in name or "cpython" not in name


def test_the_index_kernel_is_compiled_for_lambdas_machine_beside_its_module(
    layers: dict[str, dict[str, bytes]],
) -> None:
    compiled = layers["Core"]["python/optout/exclusions/_kernel.so"]
    assert compiled[:4] == b"\x7fELF"
    assert compiled[18:20] == ARM64
    assert b"optout_search" in compiled
    assert [name for name in layers["Core"] if name.endswith("/kernel.py")] == ["python/optout/exclusions/kernel.py"]


def test_the_library_is_whole(layers: dict[str, dict[str, bytes]]) -> None:
    for path in (REPOSITORY / "optout").rglob("*"):
        if path.is_file() and "__pycache__" not in path.parts and path.suffix != ".so":
            assert layers["Core"][f"python/optout/{path.relative_to(REPOSITORY / 'optout')}"] == path.read_bytes()
    assert f"python/{carriers.HTMX.relative_to(REPOSITORY)}" in layers["Core"]


@pytest.mark.parametrize("function", FUNCTIONS)
def test_a_handler_starts_with_what_the_layers_hold(
    function: str, trimmed: Path, layers: dict[str, dict[str, bytes]]
) -> None:
    """Here on this machine's build of the same packages; the modules it loads must lie in the built layers, too."""
    code = (
        "import sys, json; import handler; from pathlib import Path;"
        "print(json.dumps([m.__file__ for m in list(sys.modules.values()) if getattr(m, '__file__', None)]))"
    )
    said = run(code, REPOSITORY / "functions" / function, trimmed)
    modules = [Path(name).relative_to(trimmed) for name in json.loads(said) if name.startswith(str(trimmed))]
    assert len(modules) > 100
    held = layers["Core"] | (layers["Vision"] if function in ("compact", "examine", "exclude_check") else {})
    missing = [name for name in modules if name.suffix == ".py" and f"python/{name}" not in held]
    # NumPy's versions for Python 3.11 and 3.13 differ by a few modules.
    assert [name for name in missing if name.parts[0] != "numpy"] == []


def test_what_was_left_out_is_needed_by_nothing_that_is_loaded_late(trimmed: Path) -> None:
    code = """
from optout import settings
from optout.fingerprint import faces
from optout.web.countries import countries
assert countries()["DE"] == "Germany" and len(countries()) > 240
import email_validator
assert email_validator.validate_email("a@example.org", check_deliverability=False)
for service in ("dynamodb", "s3", "secretsmanager", "sesv2", "sqs"):
    settings.aws(service)
import boto3.dynamodb.types
faces._models()
"""
    run(code, trimmed)


def test_every_service_that_the_code_asks_for_is_in_the_layer() -> None:
    asked: set[str] = set()
    for path in [*(REPOSITORY / "optout").rglob("*.py"), *(REPOSITORY / "functions").rglob("*.py")]:
        if path.name == "cli.py":
            continue  # runs on an operator's own machine
        asked |= set(re.findall(r'\baws\("([a-z0-9-]+)"\)', path.read_text()))
    assert asked == set(build.AWS_SERVICES)


def run(code: str, *paths: Path) -> str:
    """Runs code in a fresh Python that finds its own library and `paths`, and nothing else. Returns what it printed."""
    setup = f"import sys; sys.path += {[str(path) for path in paths]!r}; "
    done = subprocess.run(  # noqa: S603  its words are all in this file
        [sys.executable, "-I", "-S", "-B", "-c", setup + code],
        check=False,
        capture_output=True,
        text=True,
        env={
            "PATH": os.environ["PATH"],
            "AWS_DEFAULT_REGION": "us-east-1",
            "POWERTOOLS_METRICS_NAMESPACE": "Test",
            "POWERTOOLS_SERVICE_NAME": "test",
        },
    )
    assert done.returncode == 0, done.stderr
    return done.stdout
