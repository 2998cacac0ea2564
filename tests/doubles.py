"""DynamoDB and S3 in memory, as far as the exclusion list asks them: fast enough for thousands of histories, with a
clock that can be moved and a place to break every call.

The same code runs over moto and over the embedded AWS in other tests; here its calls are met one by one.
"""

from __future__ import annotations

import hashlib
import io
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

from botocore.exceptions import ClientError

START = datetime(2026, 1, 1, tzinfo=UTC)


def refusal(code: str, operation: str) -> ClientError:
    """What boto3 raises for an answer of this code."""
    kind = ConditionalCheckFailed if code == "ConditionalCheckFailedException" else ClientError
    return kind({"Error": {"Code": code, "Message": ""}}, operation)


class ConditionalCheckFailed(ClientError):
    """What boto3 makes of a condition that does not hold."""


class Exceptions:
    """A client's `exceptions`, as far as they are caught."""

    ConditionalCheckFailedException = ConditionalCheckFailed


class Faults:
    """Asked before and after every call; raises or moves the clock as its test wants."""

    def before(self, call: str, arguments: dict[str, Any]) -> None:
        """Nothing has happened yet."""

    def after(self, call: str, arguments: dict[str, Any]) -> None:
        """It has happened; whoever called does not know yet."""


class _Client:
    def __init__(self, faults: Faults | None) -> None:
        self.faults = faults or Faults()

    def _call(self, name: str, arguments: dict[str, Any], act: Callable[[], Any]) -> Any:
        self.faults.before(name, arguments)
        answer = act()
        self.faults.after(name, arguments)
        return answer

    def get_paginator(self, name: str) -> Any:
        client = self

        class Paginator:
            def paginate(self, **arguments: Any) -> Iterator[dict[str, Any]]:
                yield getattr(client, name)(**arguments)

        return Paginator()


class Table(_Client):
    """DynamoDB with one table of `pk` and `seq`. What a transaction wrote is seen at once and whole."""

    exceptions = Exceptions

    def __init__(self, faults: Faults | None = None) -> None:
        super().__init__(faults)
        self.items: dict[tuple[str, int], dict[str, Any]] = {}

    @staticmethod
    def _key(item: dict[str, Any]) -> tuple[str, int]:
        return item["pk"]["S"], int(item["seq"]["N"])

    def get_item(self, **arguments: Any) -> dict[str, Any]:
        def act() -> dict[str, Any]:
            item = self.items.get(self._key(arguments["Key"]))
            return {} if item is None else {"Item": item}

        return dict(self._call("get_item", arguments, act))

    def query(self, **arguments: Any) -> dict[str, Any]:
        def act() -> dict[str, Any]:
            values = arguments["ExpressionAttributeValues"]
            after, upto = (int(values[name]["N"]) if name in values else None for name in (":after", ":upto"))
            found = [
                item
                for (pk, seq), item in sorted(self.items.items())
                if pk == values[":log"]["S"] and (after is None or seq > after) and (upto is None or seq <= upto)
            ]
            return {"Items": found[: arguments.get("Limit", len(found))]}

        return dict(self._call("query", arguments, act))

    def delete_item(self, **arguments: Any) -> None:
        self._call("delete_item", arguments, lambda: self.items.pop(self._key(arguments["Key"]), None))

    def put_item(self, **arguments: Any) -> None:
        """On condition that it is not there."""

        def act() -> None:
            if self._key(arguments["Item"]) in self.items:
                raise refusal("ConditionalCheckFailedException", "PutItem")
            self.items[self._key(arguments["Item"])] = arguments["Item"]

        self._call("put_item", arguments, act)

    def update_item(self, **arguments: Any) -> None:
        """The head's move into a new epoch."""

        def act() -> None:
            values, head = arguments["ExpressionAttributeValues"], self.items.get(("head", 0))
            seen = (values[":seen_epoch"], values[":seen_head"]) if ":seen_epoch" in values else None
            if seen != (None if head is None else (head["epoch"], head["head"])):
                raise refusal("ConditionalCheckFailedException", "UpdateItem")
            self.items["head", 0] = arguments["Key"] | {"epoch": values[":epoch"], "head": values[":head"]}

        self._call("update_item", arguments, act)

    def transact_write_items(self, **arguments: Any) -> None:
        def act() -> None:
            put, move = arguments["TransactItems"][0]["Put"], arguments["TransactItems"][1]["Update"]
            values, head = move["ExpressionAttributeValues"], self.items.get(("head", 0))
            stands = (
                "ConditionExpression" not in move
                or (head is None and values[":seen"]["N"] == "0")
                or (head is not None and head["epoch"] == values[":epoch"] and head["head"] == values[":seen"])
            )
            if not stands or ("ConditionExpression" in put and self._key(put["Item"]) in self.items):
                raise refusal("TransactionCanceledException", "TransactWriteItems")
            self.items[self._key(put["Item"])] = put["Item"]
            self.items["head", 0] = move["Key"] | {"epoch": values[":epoch"], "head": values[":next"]}

        self._call("transact_write_items", arguments, act)


class Bucket(_Client):
    """S3 with one versioned bucket."""

    def __init__(self, faults: Faults | None = None) -> None:
        super().__init__(faults)
        self.now = START
        self.versions: dict[str, list[dict[str, Any]]] = {}
        self._count = 0

    def pass_by(self, time: timedelta) -> None:
        self.now += time

    def latest(self, key: str) -> dict[str, Any] | None:
        versions = self.versions.get(key)
        return versions[-1] if versions else None

    def put_object(self, **arguments: Any) -> dict[str, Any]:
        def act() -> dict[str, Any]:
            found = self.latest(arguments["Key"])
            if "IfNoneMatch" in arguments and found is not None:
                raise refusal("PreconditionFailed", "PutObject")
            if "IfMatch" in arguments and (found is None or found["ETag"] != arguments["IfMatch"]):
                raise refusal("PreconditionFailed" if found else "NoSuchKey", "PutObject")
            self._count += 1
            body = bytes(arguments["Body"])
            stored = {
                "ETag": f'"{hashlib.sha256(body).hexdigest()}"',
                "VersionId": str(self._count),
                "LastModified": self.now,
                "Body": body,
            }
            self.versions.setdefault(arguments["Key"], []).append(stored)
            return {"ETag": stored["ETag"]}

        return dict(self._call("put_object", arguments, act))

    def get_object(self, **arguments: Any) -> dict[str, Any]:
        def act() -> dict[str, Any]:
            found = self.latest(arguments["Key"])
            if found is None:
                raise refusal("NoSuchKey", "GetObject")
            body = found["Body"]
            if span := arguments.get("Range"):
                first, last = map(int, span.removeprefix("bytes=").split("-"))
                if first >= len(body):
                    raise refusal("InvalidRange", "GetObject")
                body = body[first : last + 1]
            return {"Body": io.BytesIO(body), "ETag": found["ETag"]}

        return dict(self._call("get_object", arguments, act))

    def head_object(self, **arguments: Any) -> dict[str, Any]:
        def act() -> dict[str, Any]:
            found = self.latest(arguments["Key"])
            if found is None:
                raise refusal("404", "HeadObject")
            return {"LastModified": found["LastModified"]}

        return dict(self._call("head_object", arguments, act))

    def list_object_versions(self, **arguments: Any) -> dict[str, Any]:
        def act() -> dict[str, Any]:
            found = [
                {"Key": key, "VersionId": one["VersionId"], "LastModified": one["LastModified"]}
                | {"IsLatest": one is versions[-1]}
                for key, versions in sorted(self.versions.items())
                if key.startswith(arguments["Prefix"])
                for one in versions
            ]
            return {"Versions": found}

        return dict(self._call("list_object_versions", arguments, act))

    def delete_objects(self, **arguments: Any) -> None:
        def act() -> None:
            for named in arguments["Delete"]["Objects"]:
                left = [one for one in self.versions[named["Key"]] if one["VersionId"] != named["VersionId"]]
                if left:
                    self.versions[named["Key"]] = left
                else:
                    del self.versions[named["Key"]]

        self._call("delete_objects", arguments, act)
