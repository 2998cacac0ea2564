"""Which faces on the exclusion list look like those of a case, for the reviewer who decides it.

Comparing with the whole list takes NumPy and the list in memory. Page functions have neither, so they ask
`exclude_check`, which has both. It answers ids of exclusions and reads no case, so the two tables stay apart.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Sequence

from optout import settings
from optout.errors import Unavailable
from optout.exclusions.entry import Scope
from optout.requests import Photo


def alike_on_the_list(photos: Sequence[Photo]) -> list[str]:
    """Ids of the listed faces that the chosen faces of `photos` match or may match, each once. What open cases hold
    back is not among them: the case itself may be one of those.

    Raises `Unavailable` when that cannot be said now.
    """
    items = [
        {
            "id": photo.ticket,
            "faces": [base64.b64encode(photo.own_face.embedding).decode()],
            "faces_model": photo.face_model,
        }
        for photo in photos
        if photo.own_face is not None and photo.face_model is not None
    ]
    if not items:
        return []
    answer = settings.aws("lambda").invoke(
        FunctionName=settings.exclude_check_alias(),
        Payload=json.dumps({"lookup": {"items": items, "scopes": [Scope.FACE]}}),
    )
    if "FunctionError" in answer:
        raise Unavailable
    results = json.loads(answer["Payload"].read())["results"]
    listed = [result for result in results if result["reason"] != "pending_case"]
    return list(dict.fromkeys(match["exclusion_id"] for result in listed for match in result["matches"]))
