"""The firewall before the site: it stops floods and known attacks, and neither forms nor lookups."""

from __future__ import annotations

import re
from typing import Any

import pytest

from local import template
from optout import http, lookups

everything = template.load()["Resources"]
firewall = everything["SiteFirewall"]["Properties"]
rules = {rule["Name"]: rule for rule in firewall["Rules"]}
# Everything but lookups, which are signed, large and full of addresses.
NOT_A_LOOKUP = {
    "NotStatement": {
        "Statement": {
            "ByteMatchStatement": {
                "FieldToMatch": {"UriPath": {}},
                "PositionalConstraint": "ENDS_WITH",
                "SearchString": "/exclusions/check",
                "TextTransformations": [{"Priority": 0, "Type": "NONE"}],
            }
        }
    }
}


def statement(name: str, kind: str) -> dict[str, Any]:
    found: dict[str, Any] = rules[name]["Statement"][kind]
    return found


def test_it_stands_before_the_stage_when_the_operator_wants_it() -> None:
    association = everything["SiteFirewallOfStage"]
    assert everything["SiteFirewall"]["Condition"] == association["Condition"] == "HasFirewall"
    assert association["Properties"]["WebACLArn"] == {"Fn::GetAtt": ["SiteFirewall", "Arn"]}
    assert association["Properties"]["ResourceArn"]["Fn::Sub"].endswith("/restapis/${Site}/stages/${Site.Stage}")


def test_an_address_that_floods_is_stopped() -> None:
    rate = statement("requests-per-address", "RateBasedStatement")
    assert rate["AggregateKeyType"] == "IP"
    assert rate["Limit"] == {"Ref": "RequestsPerAddress"}
    assert rate["ScopeDownStatement"] == NOT_A_LOOKUP
    assert rules["requests-per-address"]["Action"] == {"Block": {}}


@pytest.mark.parametrize(
    ("length", "stopped"), [(0, False), (http.MAX_FORM_BYTES, False), (599_999, False), (600_000, True), (10**7, True)]
)
def test_a_body_larger_than_any_form_is_stopped(length: int, stopped: bool) -> None:
    size, elsewhere = statement("body-size", "AndStatement")["Statements"]
    assert elsewhere == NOT_A_LOOKUP
    assert size["RegexMatchStatement"]["FieldToMatch"] == {"SingleHeader": {"Name": "content-length"}}
    assert bool(re.search(size["RegexMatchStatement"]["RegexString"], str(length))) is stopped
    assert lookups.MAX_BODY_BYTES > 600_000, "lookups need the exception"


def test_the_rules_of_aws_are_in_force() -> None:
    groups = {
        rule["Statement"]["ManagedRuleGroupStatement"]["Name"]: rule
        for rule in rules.values()
        if "ManagedRuleGroupStatement" in rule["Statement"]
    }
    assert set(groups) == {"AWSManagedRulesKnownBadInputsRuleSet", "AWSManagedRulesCommonRuleSet"}
    for rule in groups.values():
        assert rule["OverrideAction"] == {"None": {}}, "else it only counts"


def test_what_people_write_and_link_to_is_not_taken_for_an_attack() -> None:
    common = statement("common", "ManagedRuleGroupStatement")
    assert common["ScopeDownStatement"] == NOT_A_LOOKUP
    assert {rule["Name"] for rule in common["RuleActionOverrides"]} == {
        "SizeRestrictions_BODY",
        "GenericRFI_BODY",
        "CrossSiteScripting_BODY",
    }
    assert all(rule["ActionToUse"] == {"Count": {}} for rule in common["RuleActionOverrides"])


def test_no_sample_of_a_request_is_kept() -> None:
    """Samples hold paths, and paths hold the tokens of links."""
    for part in [firewall, *firewall["Rules"]]:
        assert part["VisibilityConfig"]["SampledRequestsEnabled"] is False
    assert [rule["Priority"] for rule in firewall["Rules"]] == [0, 1, 2, 3]
