"""An instance that runs: its addresses, and what a test or the demo asks of it."""

from __future__ import annotations

import json
from dataclasses import dataclass
from email.message import EmailMessage
from typing import Any

import httpx
from botocore.auth import SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials

from local import deploy, inbox, people
from local.place import REGION, CannotRun, Place


@dataclass(frozen=True)
class Running:
    """A deployed instance. `outputs` are the stack's, `keys` the demo people's."""

    place: Place
    outputs: dict[str, str]
    keys: people.Keys

    @classmethod
    def at(cls, place: Place) -> Running:
        """The instance that runs in this place. Raises `CannotRun` when none does."""
        try:
            known = json.loads(place.ready.read_text())
        except (OSError, ValueError) as error:
            raise CannotRun("The embedded AWS does not run; `make run` starts it.") from error
        where = Place(place.folder, known["port"], known["inbox_port"])
        return cls(where, known["outputs"], people.Keys(**known["keys"]))

    def announce(self, pid: int) -> None:
        """Writes down that the instance is ready, for `at`."""
        known = {
            "pid": pid,
            "port": self.place.port,
            "inbox_port": self.place.inbox_port,
            "outputs": self.outputs,
            "keys": {
                "passwords": self.keys.passwords,
                "crawler_key": self.keys.crawler_key,
                "crawler_secret": self.keys.crawler_secret,
            },
        }
        half = self.place.ready.with_suffix(".new")
        half.touch(mode=0o600)
        half.write_text(json.dumps(known))
        half.replace(self.place.ready)

    @property
    def site(self) -> str:
        """Origin of the public site."""
        return self.place.site

    def client(self, service: str) -> Any:
        """A boto3 client that acts as root."""
        return deploy.client(self.place, service)

    def http(self, **settings: Any) -> httpx.Client:
        """An HTTP client whose relative addresses are the site's; it follows no redirect unless told to."""
        return httpx.Client(base_url=self.site, transport=_Loopback(), timeout=60, **settings)

    def id_token(self, reviewer: str) -> str:
        """A fresh ID token of `anna` or `ben`, got through the sign-in page. Send it as `Authorization`."""
        return people.sign_in(self.place, self.outputs, reviewer, self.keys.passwords[reviewer])

    def lookup(self, body: object) -> httpx.Response:
        """One `POST /exclusions/check` with this JSON body, signed with the crawler's keys."""
        content = json.dumps(body).encode()
        request = AWSRequest("POST", f"{self.site}/exclusions/check", {"Content-Type": "application/json"}, content)
        SigV4Auth(Credentials(self.keys.crawler_key, self.keys.crawler_secret), "execute-api", REGION).add_auth(request)
        with self.http() as http:
            return http.post("/exclusions/check", content=content, headers=dict(request.headers))

    def letters(self, to: str | None = None) -> list[EmailMessage]:
        """The letters that were sent, oldest first; only those to one address when `to` is given."""
        return inbox.letters(self.place.mail, to)

    def invoke(self, function: str, event: dict[str, Any]) -> Any:
        """Runs a function (`Notify`) with an event and returns its answer.

        Raises `RuntimeError` with the error's type when the function failed.
        """
        answer = self.client("lambda").invoke(
            FunctionName=self.outputs[f"{function}Function"], Payload=json.dumps(event).encode()
        )
        payload = json.loads(answer["Payload"].read() or b"null")
        if "FunctionError" in answer:
            raise RuntimeError(f"{function}: {payload.get('errorType') if isinstance(payload, dict) else payload}")
        return payload

    def sweep(self, name: str) -> Any:
        """Runs one sweep now, `letters` or `retention`, as its schedule does."""
        return self.invoke("Notify", {"sweep": name})

    def log_lines(self) -> list[str]:
        """Every line the functions have logged since the instance was made."""
        logs = self.client("logs")
        lines: list[str] = []
        for page in logs.get_paginator("describe_log_groups").paginate():
            for group in page["logGroups"]:
                events = logs.get_paginator("filter_log_events").paginate(logGroupName=group["logGroupName"])
                lines += [event["message"] for found in events for event in found["events"]]
        return lines


class _Loopback(httpx.HTTPTransport):
    """Python asks the system's resolver for `*.localhost`, which often does not know it; browsers do.

    No connection is kept: whoever asks this service needs no clean-up.
    """

    def __init__(self) -> None:
        super().__init__(limits=httpx.Limits(max_keepalive_connections=0))

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        if request.url.host.endswith("localhost"):
            request.url = request.url.copy_with(host="127.0.0.1")  # the Host header keeps the name
        return super().handle_request(request)


def redrive(running: Running) -> int:
    """Moves every letter that could not be sent back into the mail queue; returns how many."""
    sqs = running.client("sqs")
    moved = 0
    while True:
        found = sqs.receive_message(
            QueueUrl=running.outputs["MailDeadLettersUrl"], MaxNumberOfMessages=10, WaitTimeSeconds=1
        ).get("Messages", [])
        if not found:
            return moved
        for message in found:
            sqs.send_message(QueueUrl=running.outputs["MailQueueUrl"], MessageBody=message["Body"])
            sqs.delete_message(QueueUrl=running.outputs["MailDeadLettersUrl"], ReceiptHandle=message["ReceiptHandle"])
            moved += 1
