"""Letters when SES does not take them: retried, parked among the dead letters, and sent by a redrive."""

from __future__ import annotations

from pathlib import Path

from local.actors import Requester, eventually
from local.embedded_aws import EmbeddedAws
from local.running import Running, redrive
from optout.mail.outbox import MAX_RECEIVES


def test_a_failing_ses_is_retried_ends_in_the_dead_letters_and_a_redrive_sends_again(tmp_path: Path) -> None:
    with EmbeddedAws(tmp_path) as aws:
        running = aws.running
        queue, dead = running.outputs["MailQueueUrl"], running.outputs["MailDeadLettersUrl"]
        # In AWS the tries are 180 s apart; what counts is that it is longer than a try takes.
        running.client("sqs").set_queue_attributes(QueueUrl=queue, Attributes={"VisibilityTimeout": "5"})
        (sender,) = running.client("sesv2").list_email_identities()["EmailIdentities"]
        # The embedded SES keeps the sender in both of its versions, and either lets a letter out.
        running.client("sesv2").delete_email_identity(EmailIdentity=sender["IdentityName"])
        running.client("ses").delete_identity(Identity=sender["IdentityName"])
        person = Requester(running, "unlucky@people.example")
        number = person.file("links", links="https://unlucky.example/a")

        eventually(lambda: True if waiting(running, dead) == 1 else None, "the letter is among the dead letters")
        assert waiting(running, queue) == 0
        assert running.letters(person.email) == []
        assert failures(running) == MAX_RECEIVES
        assert running.sweep("letters") == {"late": 0}, "it is parked: no sweep tries it again"

        running.client("sesv2").create_email_identity(EmailIdentity=sender["IdentityName"])
        assert redrive(running) == 1
        assert number in str(person.letter(1)["Subject"])
        assert waiting(running, dead) == 0


def waiting(running: Running, queue: str) -> int:
    """How many messages a queue holds, those in the hands of a function included."""
    names = ["ApproximateNumberOfMessages", "ApproximateNumberOfMessagesNotVisible"]
    answer = running.client("sqs").get_queue_attributes(QueueUrl=queue, AttributeNames=names)
    return sum(int(count) for count in answer["Attributes"].values())


def failures(running: Running) -> int:
    """How often a letter was tried in vain."""
    return sum('"message":"letter not sent"' in line for line in running.log_lines())
