"""`make deploy`: builds, and hands the result to `sam deploy` with the operator's values.

The values are in `infra/parameters.toml`, a line for each parameter of the template (docs/parameters.md lists them).
What the template would refuse after minutes is refused here at once, in one sentence.
"""

from __future__ import annotations

import hashlib
import os
import re
import subprocess
import sys
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from infra.build import BUILD, build
from local import template
from local.place import REPOSITORY, CannotRun

VALUES = REPOSITORY / "infra" / "parameters.toml"
SAMCONFIG = REPOSITORY / "infra" / "samconfig.toml"
SAM = REPOSITORY / ".venv-sam" / "bin" / "sam"
# Set by this module; see its description in the template.
RELEASE = "Release"


def values(path: Path = VALUES) -> dict[str, str]:
    """The operator's values, complete and fit for the template. Raises `CannotRun` with the first thing to mend."""
    parameters: dict[str, dict[str, Any]] = template.load()["Parameters"]
    name = path.relative_to(REPOSITORY) if path.is_relative_to(REPOSITORY) else path
    try:
        given = {key: _text(value) for key, value in tomllib.loads(path.read_text(encoding="utf-8")).items()}
    except FileNotFoundError:
        given = {}
    except tomllib.TOMLDecodeError as error:
        raise CannotRun(f"{name} is not TOML: {error}.") from error
    missing = [key for key, parameter in parameters.items() if "Default" not in parameter and not given.get(key)]
    if missing:
        raise CannotRun(f"{name} must set {_listed(missing)}: docs/parameters.md tells what each means.")
    unknown = sorted(given.keys() - parameters.keys() | given.keys() & {RELEASE})
    if unknown:
        raise CannotRun(f"{name} sets {_listed(unknown)}, which the operator cannot set: see docs/parameters.md.")
    for key, value in given.items():
        if wrong := _wrong(parameters[key], value):
            raise CannotRun(f"{name} sets {key} to {value!r}, but it must be {wrong}.")
    if given.get("CertificateArn") and not given.get("DomainName"):
        raise CannotRun(f"{name} sets CertificateArn without DomainName, whose certificate it is.")
    if given.get("DomainName") and not given.get("CertificateArn"):
        raise CannotRun(f"{name} sets DomainName without CertificateArn, without which AWS serves no domain.")
    return given


def _text(value: Any) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)


def _listed(names: list[str]) -> str:
    return ", ".join(names[:-1]) + " and " + names[-1] if len(names) > 1 else names[0]


def _wrong(parameter: dict[str, Any], value: str) -> str | None:
    """What a value must be, when it is not."""
    allowed = [_text(choice) for choice in parameter.get("AllowedValues", [])]
    if allowed and value not in allowed:
        return f"one of {', '.join(allowed)}"
    if "AllowedPattern" in parameter and not re.fullmatch(parameter["AllowedPattern"], value):
        return str(parameter.get("ConstraintDescription", parameter["AllowedPattern"]))
    if parameter["Type"] == "Number":
        least, most = parameter.get("MinValue", 0), parameter.get("MaxValue")
        range_ = f"a number of at least {least}" + (f" and at most {most}" if most is not None else "")
        try:
            number = float(value)
        except ValueError:
            return range_
        if number < least or (most is not None and number > most):
            return range_
    return None


def region(environment: Mapping[str, str], samconfig: Path = SAMCONFIG) -> str:
    """Where to deploy. Raises `CannotRun` when nobody said."""
    config = tomllib.loads(samconfig.read_text(encoding="utf-8"))["default"]["deploy"]["parameters"]
    found = config.get("region") or environment.get("AWS_REGION") or environment.get("AWS_DEFAULT_REGION")
    if not found:
        raise CannotRun("No region is set: write it into infra/samconfig.toml, or set AWS_REGION.")
    return str(found)


def release(folder: Path, given: dict[str, str]) -> str:
    """Names this build with these values; the same of both give the same name."""
    digest = hashlib.sha256(repr(sorted(given.items())).encode())
    for path in sorted(folder.iterdir()):
        digest.update(path.name.encode() + hashlib.sha256(path.read_bytes()).digest())
    return digest.hexdigest()[:16]


def command(given: dict[str, str], where: str, folder: Path = BUILD) -> list[str]:
    """The words of `sam deploy`; what they do not say is in `infra/samconfig.toml`."""
    overrides = given | {RELEASE: release(folder, given)}
    words = [str(SAM), "deploy", "--template-file", str(folder / "template.yaml"), "--config-file", str(SAMCONFIG)]
    return [*words, "--region", where, "--parameter-overrides", *(f"{key}={value}" for key, value in overrides.items())]


def main() -> int:
    """`make deploy`"""
    try:
        given, where = values(), region(os.environ)
        build()
    except CannotRun as error:
        print(error, file=sys.stderr)
        return 1
    words = command(given, where)
    return subprocess.run(words, check=False, env={**os.environ, "SAM_CLI_TELEMETRY": "0"}).returncode  # noqa: S603


if __name__ == "__main__":
    sys.exit(main())
