"""One lookup as a crawler makes it, from the command line."""

from __future__ import annotations

import argparse
import base64
import json
from pathlib import Path
from typing import Any

from local.place import CannotRun, Place
from local.running import Running
from optout.errors import PhotoUnreadable


def run(arguments: argparse.Namespace) -> int:
    """Asks about the files and addresses and prints the answer as JSON. 0 when an answer came."""
    items = [_of_file(Path(name)) for name in arguments.file]
    items += [{"id": url, "url": url} for url in arguments.url]
    if not items:
        raise CannotRun("Name at least one --file or --url.")
    answer = Running.at(Place.from_environment()).lookup({"items": items})
    print(f"HTTP {answer.status_code}")
    try:
        print(json.dumps(answer.json(), indent=2))
    except ValueError:
        print(answer.text)
    return 0 if answer.is_success else 1


def _of_file(path: Path) -> dict[str, Any]:
    """Everything a crawler can say about a picture it holds."""
    from optout import Fingerprint
    from optout.fingerprint import FACE_MODEL

    try:
        content = path.read_bytes()
    except OSError as error:
        raise CannotRun(f"{path} cannot be read: {error.strerror}.") from error
    try:
        fingerprint = Fingerprint.of(content)
    except PhotoUnreadable as error:
        raise CannotRun(f"{path} is not a picture that can be looked up ({error.code}).") from error
    item: dict[str, Any] = {
        "id": path.name,
        "sha256": fingerprint.sha256,
        "pdq": fingerprint.pdq.hex() if fingerprint.pdq is not None else None,
        "pdq_quality": fingerprint.quality,
        "fingerprint_version": fingerprint.version,
    }
    if fingerprint.faces is not None:
        item["faces"] = [
            base64.b64encode(face.embedding.astype("<f4").tobytes()).decode() for face in fingerprint.faces
        ]
        item["faces_model"] = FACE_MODEL
    return item
