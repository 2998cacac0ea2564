"""The AWS command line, as far as docs/operating.md uses it: a small `aws` on the PATH that asks the test's boto3.

The real one is no Python package of ours, and starting it dozens of times would cost the tests a minute. Services,
operations and options are those of botocore's models, as they are in the real one, so a wrong word in the document
fails here too.
"""

from __future__ import annotations

import json
import socketserver
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import jmespath
from botocore import xform_name
from botocore.exceptions import ClientError

from local.running import Running, redrive

_CLIENT = """#!{python} -IS
import json, socket, sys
with socket.socket(socket.AF_UNIX) as asked:
    asked.connect({address!r})
    said = sys.stdin.read() if "file:///dev/stdin" in sys.argv else ""
    asked.sendall(json.dumps([sys.argv[1:], said]).encode() + b"\\n")
    code, out, err = json.loads(asked.makefile().readline())
sys.stdout.write(out)
sys.stderr.write(err)
sys.exit(code)
"""


@contextmanager
def aws_on_path(running: Running, folder: Path, backups: dict[str, list[Any]]) -> Iterator[Path]:
    """A folder with an executable `aws` that acts on this instance.

    The embedded AWS has no continuous backups: `restore-table-to-point-in-time` makes a table of what is in `backups`.
    """

    class Answer(socketserver.StreamRequestHandler):
        def handle(self) -> None:
            words, stdin = json.loads(self.rfile.readline())
            try:
                said = (0, _run(running, words, stdin, backups), "")
            except (ClientError, ValueError) as error:
                said = (1, "", f"{error}\n")
            self.wfile.write(json.dumps(said).encode() + b"\n")

    folder.mkdir()
    address = str(folder / "s")
    command = folder / "aws"
    command.write_text(_CLIENT.format(python=sys.executable, address=address))
    command.chmod(0o755)
    with socketserver.ThreadingUnixStreamServer(address, Answer) as server:
        server.daemon_threads = True
        serving = threading.Thread(target=server.serve_forever)
        serving.start()
        try:
            yield folder
        finally:
            server.shutdown()
            serving.join()


def _run(running: Running, words: list[str], stdin: str, backups: dict[str, list[Any]]) -> str:
    service, operation, *rest = words
    options = _options([stdin if word == "file:///dev/stdin" else word for word in rest])
    query, output = options.pop("query", None), options.pop("output", "json")
    client = running.client(service)
    if operation == "wait":
        name, *rest = rest
        waiter = client.get_waiter(name.replace("-", "_"))
        waiter.wait(**_parameters(client, waiter.config.operation, _options(rest)))
        return ""
    methods = {xform_name(name, "-"): name for name in client.meta.service_model.operation_names}
    if operation not in methods:
        raise ValueError(f"aws {service} has no {operation}")
    parameters = _parameters(client, methods[operation], options)
    if methods[operation] == "RestoreTableToPointInTime":
        _restore(client, parameters["SourceTableName"], parameters["TargetTableName"], backups)
        return ""
    if methods[operation] == "StartMessageMoveTask":
        redrive(running)  # the embedded AWS does not know this action
        return ""
    answer = getattr(client, xform_name(methods[operation]))(**parameters)
    answer.pop("ResponseMetadata", None)
    found = jmespath.search(query, answer) if query else answer
    if output == "text":
        return "\t".join(map(str, found)) + "\n" if isinstance(found, list) else f"{found}\n"
    return json.dumps(found, default=str) + "\n"


def _options(words: list[str]) -> dict[str, Any]:
    options: dict[str, Any] = {}
    name = ""
    for word in words:
        if word.startswith("--"):
            name = word.removeprefix("--")
            options[name] = []
        elif name:
            options[name].append(word)
    return {name: values[0] if len(values) == 1 else values for name, values in options.items()}


def _parameters(client: Any, operation: str, options: dict[str, Any]) -> dict[str, Any]:
    """Options as boto3 wants them: named and typed as the service's model says."""
    shape = client.meta.service_model.operation_model(operation).input_shape
    members = {xform_name(name, "-"): (name, member) for name, member in shape.members.items()}
    parameters: dict[str, Any] = {}
    for option, value in options.items():
        if option not in members:
            raise ValueError(f"aws {client.meta.service_model.service_name} {operation} has no --{option}")
        name, member = members[option]
        parameters[name] = _typed(member.type_name, value)
    return parameters


def _typed(kind: str, value: Any) -> Any:
    if kind in {"integer", "long"}:
        return int(value)
    return [value] if kind == "list" and isinstance(value, str) else value


def _restore(client: Any, source: str, target: str, backups: dict[str, list[Any]]) -> None:
    table = client.describe_table(TableName=source)["Table"]
    keys = {key["AttributeName"] for key in table["KeySchema"]}
    client.create_table(
        TableName=target,
        BillingMode="PAY_PER_REQUEST",
        KeySchema=table["KeySchema"],
        AttributeDefinitions=[one for one in table["AttributeDefinitions"] if one["AttributeName"] in keys],
    )
    for item in backups[source]:
        client.put_item(TableName=target, Item=item)


def items(client: Any, table: str) -> list[Any]:
    """All items of a table: what a backup of this moment holds."""
    pages = client.get_paginator("scan").paginate(TableName=table, ConsistentRead=True)
    return [item for page in pages for item in page["Items"]]
