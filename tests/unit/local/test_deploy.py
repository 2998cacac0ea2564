from __future__ import annotations

import io
import os
import zipfile
from pathlib import Path

import pytest

from local import deploy, template
from local.place import CannotRun, Place


def test_the_same_sources_make_the_same_package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(template, "TEMPLATE", tmp_path / "infra" / "template.yaml")
    folder = tmp_path / "functions" / "decide"
    (folder / "__pycache__").mkdir(parents=True)
    (folder / "handler.py").write_text("x = 1\n")
    (folder / "__pycache__" / "handler.pyc").write_bytes(b"not a source")
    first = deploy.zipped(deploy.sources("../functions/decide"))
    os.utime(folder / "handler.py", (1, 1))
    assert deploy.zipped(deploy.sources("../functions/decide")) == first
    assert zipfile.ZipFile(io.BytesIO(first)).namelist() == ["handler.py"]
    (folder / "handler.py").write_text("x = 2\n")
    assert deploy.zipped(deploy.sources("../functions/decide")) != first


def test_a_function_without_its_entry_is_said_in_one_sentence(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(template, "TEMPLATE", tmp_path / "infra" / "template.yaml")
    with pytest.raises(
        CannotRun, match=r"^functions/decide/handler\.py is missing, so the stack cannot be deployed\.$"
    ):
        list(deploy.sources("../functions/decide"))


def test_every_parameter_without_a_default_is_filled_in() -> None:
    declared = template.load()["Parameters"]
    given = deploy.parameters(Place())
    assert set(given) <= set(declared)
    assert {name for name, parameter in declared.items() if "Default" not in parameter} <= set(given)


def test_the_real_template_is_what_is_deployed() -> None:
    assert template.TEMPLATE.is_file()
    assert template.load()["Resources"].keys() >= {"Requests", "Exclusions", "Photos", "Site"}
