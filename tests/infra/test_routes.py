"""Every address of the API, who answers it and who may ask, as it was reviewed."""

from __future__ import annotations

import re

from local import template

NONE, COGNITO, IAM = "nobody asks who you are", "a reviewer's token", "a signature"

REVIEWED = {
    ("GET", "/"): ("Submit", NONE),
    ("GET", "/opt-out"): ("Submit", NONE),
    ("POST", "/opt-out"): ("Submit", NONE),
    ("GET", "/opt-out/{draft}"): ("Submit", NONE),
    ("POST", "/opt-out/{draft}"): ("Submit", NONE),
    ("GET", "/opt-out/{draft}/photos"): ("Submit", NONE),
    ("GET", "/opt-out/{draft}/photos/{ticket}"): ("Examine", NONE),
    ("POST", "/opt-out/{draft}/photos/{ticket}/face"): ("Submit", NONE),
    ("POST", "/opt-out/{draft}/photos/{ticket}/remove"): ("Submit", NONE),
    ("GET", "/opt-out/{draft}/check"): ("Submit", NONE),
    ("POST", "/opt-out/{draft}/confirm"): ("Submit", NONE),
    ("GET", "/opt-out/{draft}/done"): ("Submit", NONE),
    ("GET", "/status/{token}"): ("Submit", NONE),
    ("GET", "/status/{token}/withdraw"): ("Submit", NONE),
    ("POST", "/status/{token}/withdraw"): ("Submit", NONE),
    ("GET", "/privacy"): ("Submit", NONE),
    ("GET", "/help"): ("Submit", NONE),
    ("GET", "/static/{file}"): ("Submit", NONE),
    ("GET", "/static/vendor/{file}"): ("Submit", NONE),
    ("GET", "/console"): ("Decide", NONE),
    ("GET", "/requests"): ("Decide", COGNITO),
    ("GET", "/requests/{id}"): ("Decide", COGNITO),
    ("POST", "/requests/{id}/decision"): ("Decide", COGNITO),
    ("POST", "/requests/{id}/revocation"): ("Decide", COGNITO),
    ("POST", "/requests/{id}/revocation/confirmation"): ("Decide", COGNITO),
    ("POST", "/requests/{id}/suspension"): ("Decide", COGNITO),
    ("GET", "/requests/{id}/photos/{ticket}"): ("Decide", COGNITO),
    ("GET", "/exclusions"): ("Decide", COGNITO),
    ("POST", "/exclusions/check"): ("ExcludeCheck", IAM),
}

site = template.resources("AWS::Serverless::Api")["Site"]


def test_the_routes_are_those_that_were_reviewed() -> None:
    found = {}
    for function, properties in template.resources("AWS::Serverless::Function").items():
        for event in properties["Events"].values():
            if event["Type"] != "Api":
                continue
            route = event["Properties"]
            assert route["RestApiId"] == {"Ref": "Site"}
            match route.get("Auth"):
                case None:
                    who = COGNITO  # the API's default, see below
                case {"Authorizer": "NONE"}:
                    who = NONE
                case {"Authorizer": "AWS_IAM", "InvokeRole": "NONE"}:
                    who = IAM
                case other:
                    raise AssertionError(other)
            assert (route["Method"], route["Path"]) not in found
            found[route["Method"], route["Path"]] = (function, who)
    assert found == REVIEWED


def test_a_route_that_says_nothing_asks_for_a_reviewer() -> None:
    assert site["Auth"]["DefaultAuthorizer"] == "Reviewers"
    assert site["Auth"]["Authorizers"] == {"Reviewers": {"UserPoolArn": {"Fn::GetAtt": ["Reviewers", "Arn"]}}}


def test_the_access_log_holds_no_path_no_query_and_no_address() -> None:
    variables = set(re.findall(r"\$context\.([A-Za-z.]+)", site["AccessLogSetting"]["Format"]))
    assert variables == {
        "requestId",
        "httpMethod",
        "resourcePath",
        "status",
        "responseLatency",
        "integrationLatency",
        "error.responseType",
    }


def test_execution_logs_which_would_hold_whole_requests_are_off() -> None:
    (settings,) = site["MethodSettings"]
    assert (settings["ResourcePath"], settings["HttpMethod"]) == ("/*", "*")
    assert settings["LoggingLevel"] == "OFF"
    assert settings["DataTraceEnabled"] is False


def test_the_whole_stage_is_throttled() -> None:
    (settings,) = site["MethodSettings"]
    assert 0 < settings["ThrottlingRateLimit"] <= settings["ThrottlingBurstLimit"]


def test_refusals_of_the_gateway_carry_the_security_headers() -> None:
    assert set(site["GatewayResponses"]) == {"DEFAULT_4XX", "DEFAULT_5XX"}
    for response in site["GatewayResponses"].values():
        assert set(response["ResponseParameters"]["Headers"]) == {
            "Cache-Control",
            "Content-Security-Policy",
            "Referrer-Policy",
            "Strict-Transport-Security",
            "X-Content-Type-Options",
        }
        assert set(response["ResponseTemplates"]) == {"application/json"}


def test_no_upload_passes_through_the_api() -> None:
    assert site["BinaryMediaTypes"] == ["image/*"]
