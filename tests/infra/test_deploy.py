"""`make deploy`: the operator's values are complete and fit before anything is built or sent."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

import pytest

from infra import deploy
from local import template
from local.place import REPOSITORY, CannotRun

parameters = template.load()["Parameters"]
COMPLETE = """
SiteUrl = "https://optout.example.org"
SenderAddress = "letters@example.org"
SupportAddress = "support@example.org"
EngineName = "Lookalike"
ReviewerDomainPrefix = "lookalike-optout"
"""


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "parameters.toml"


def test_every_parameter_is_in_the_operators_table_with_its_default() -> None:
    text = (REPOSITORY / "docs" / "parameters.md").read_text()
    rows = re.findall(r"(?m)^\| `(\w+)` \| (.+?) \| (.+?) \|$", text)
    written = {name: default.strip("`") for name, default, _ in rows}
    assert len(written) == len(rows)
    assert written == {
        name: str(parameter["Default"]) or "empty" if "Default" in parameter else "**must be set**"
        for name, parameter in parameters.items()
    }
    assert all(len(meaning) > 20 for _, _, meaning in rows)


def test_the_example_of_the_documentation_can_be_deployed(file: Path) -> None:
    (example,) = re.findall(r"```toml\n(.+?)```", (REPOSITORY / "docs" / "parameters.md").read_text(), re.DOTALL)
    file.write_text(example)
    assert deploy.values(file).keys() >= {name for name, found in parameters.items() if "Default" not in found}


def test_every_parameter_says_what_it_means() -> None:
    assert [name for name, parameter in parameters.items() if len(parameter.get("Description", "")) < 20] == []


def test_without_values_the_missing_ones_are_named_in_one_sentence(file: Path) -> None:
    with pytest.raises(CannotRun) as refused:
        deploy.values(file)
    assert str(refused.value) == (
        f"{file} must set SiteUrl, SenderAddress, SupportAddress, EngineName and ReviewerDomainPrefix: "
        "docs/parameters.md tells what each means."
    )


def test_complete_values_are_taken(file: Path) -> None:
    file.write_text(COMPLETE)
    assert deploy.values(file) == tomllib.loads(COMPLETE)


@pytest.mark.parametrize(
    ("line", "sentence"),
    [
        ('SiteURL = "x"', "sets SiteURL, which the operator cannot set"),
        ('Release = "x"', "sets Release, which the operator cannot set"),
        ('LogLevel = "LOUD"', "sets LogLevel to 'LOUD', but it must be one of DEBUG, INFO, WARNING, ERROR"),
        ("AppealWindowDays = 30", "must be a number of at least 184 and at most 3650"),
        ("CaseKeptYears = 2", "must be a number of at least 3 and at most 10"),
        ('ExamineConcurrency = "many"', "must be a number of at least 1"),
        ('CertificateArn = "arn:aws:acm:x"', "sets CertificateArn without DomainName"),
        ('DomainName = "optout.example.org"', "sets DomainName without CertificateArn"),
        ("SnapStart = true", "sets SnapStart to 'true', but it must be one of on, off"),
        ("no toml", "is not TOML"),
    ],
)
def test_a_value_that_cannot_work_is_refused_in_one_sentence(line: str, sentence: str, file: Path) -> None:
    file.write_text(COMPLETE + line)
    with pytest.raises(CannotRun) as refused:
        deploy.values(file)
    assert sentence in str(refused.value)
    assert "\n" not in str(refused.value)


def test_an_address_with_a_slash_at_its_end_is_refused(file: Path) -> None:
    file.write_text(COMPLETE.replace("example.org", "example.org/", 1))
    with pytest.raises(CannotRun, match="scheme and host without a trailing slash"):
        deploy.values(file)


def test_nothing_is_deployed_to_a_region_that_nobody_named(tmp_path: Path) -> None:
    config = tmp_path / "samconfig.toml"
    config.write_text('[default.deploy.parameters]\nregion = "eu-central-1"\n')
    assert deploy.region({"AWS_REGION": "us-east-1"}, config) == "eu-central-1"
    assert deploy.region({"AWS_REGION": "us-east-1"}) == "us-east-1"
    with pytest.raises(CannotRun, match="No region is set"):
        deploy.region({})


def test_a_changed_build_or_value_is_another_release(tmp_path: Path) -> None:
    (tmp_path / "Core.zip").write_bytes(b"one")
    first = deploy.release(tmp_path, {"LogLevel": "INFO"})
    assert deploy.release(tmp_path, {"LogLevel": "INFO"}) == first
    assert deploy.release(tmp_path, {"LogLevel": "DEBUG"}) != first
    (tmp_path / "Core.zip").write_bytes(b"two")
    assert deploy.release(tmp_path, {"LogLevel": "INFO"}) != first


def test_sam_is_told_the_built_template_the_region_and_every_value(tmp_path: Path) -> None:
    (tmp_path / "template.yaml").write_text("")
    words = deploy.command({"EngineName": "Look alike"}, "eu-central-1", tmp_path)
    assert words[1:4] == ["deploy", "--template-file", str(tmp_path / "template.yaml")]
    assert words[words.index("--region") + 1] == "eu-central-1"
    assert words[words.index("--parameter-overrides") + 1] == "EngineName=Look alike"
    assert words[-1].startswith("Release=")


def test_nobody_changes_an_account_unseen() -> None:
    config = tomllib.loads(deploy.SAMCONFIG.read_text())["default"]["deploy"]["parameters"]
    assert config["confirm_changeset"] is True
    assert config["disable_rollback"] is False
    assert config["capabilities"] == "CAPABILITY_IAM"
