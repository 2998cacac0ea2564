"""Whether an email address is of a service that gives them away for minutes.

Such an address is as good as any other: people have reasons not to give theirs. But nobody can be written to there
after today, and one person can have a thousand of them. So it is a remark for the reviewer and stops nothing.
"""

from __future__ import annotations


def is_disposable(email: str) -> bool:
    """Whether the domain, or one that it lies in, is on the list of the project `disposable-email-domains`, which is
    updated with its package."""
    from disposable_email_domains import blocklist  # 10,000 names, which only a case's page needs

    labels = email.rpartition("@")[2].lower().rstrip(".").split(".")
    return any(".".join(labels[first:]) in blocklist for first in range(len(labels) - 1))
