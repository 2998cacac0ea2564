"""Every address of the API, who answers it and who may ask, as it was reviewed."""

from __future__ import annotations

import json
import re

from local import template
from optout import http

NONE, COGNITO, IAM = "nobody asks who you are", "a reviewer's token", "a signature"

REVIEWED = {
    ("GET", "/"): ("Submit", NONE),
    ("GET", "/opt-out"): ("Submit", NONE),
    ("POST", "/opt-out"): ("Submit", NONE),
    ("GET", "/opt-out/{draft}"): ("Submit", NONE),
    ("POST", "/opt-out/{draft}"): ("Submit", NONE),
    ("GET", "/opt-out/{draft}/photos"): ("Submit", NONE),
    ("GET", "/opt-out/{draft}/photos/{ticket}"): ("Examine", NONE),
    ("POST", "/opt-out/{draft}/codes"): ("Submit", NONE),
    ("POST", "/opt-out/{draft}/photos/{ticket}/face"): ("Submit", NONE),
    ("POST", "/opt-out/{draft}/photos/{ticket}/crop"): ("Submit", NONE),
    ("POST", "/opt-out/{draft}/photos/{ticket}/remove"): ("Submit", NONE),
    ("GET", "/opt-out/{draft}/check"): ("Submit", NONE),
    ("POST", "/opt-out/{draft}/confirm"): ("Submit", NONE),
    ("GET", "/opt-out/{draft}/done"): ("Submit", NONE),
    ("GET", "/status/{token}"): ("Submit", NONE),
    ("POST", "/status/{token}/photos"): ("Submit", NONE),
    ("POST", "/status/{token}/test"): ("Submit", NONE),
    ("GET", "/test/{test}"): ("Submit", NONE),
    ("GET", "/test/{test}/{ticket}"): ("Examine", NONE),
    ("POST", "/status/{token}/letter"): ("Submit", NONE),
    ("GET", "/verify/{token}"): ("Submit", NONE),
    ("POST", "/verify/{token}"): ("Submit", NONE),
    ("GET", "/status/{token}/information"): ("Submit", NONE),
    ("POST", "/status/{token}/information"): ("Submit", NONE),
    ("GET", "/status/{token}/appeal"): ("Submit", NONE),
    ("POST", "/status/{token}/appeal"): ("Submit", NONE),
    ("GET", "/status/{token}/withdraw"): ("Submit", NONE),
    ("POST", "/status/{token}/withdraw"): ("Submit", NONE),
    ("GET", "/privacy"): ("Submit", NONE),
    ("GET", "/help"): ("Submit", NONE),
    ("GET", "/urgent"): ("Submit", NONE),
    ("GET", "/support"): ("Submit", NONE),
    ("GET", "/accessibility"): ("Submit", NONE),
    ("GET", "/static/{file}"): ("Submit", NONE),
    ("GET", "/static/vendor/{file}"): ("Submit", NONE),
    ("GET", "/{proxy+}"): ("Submit", NONE),
    ("GET", "/console"): ("Decide", NONE),
    ("GET", "/requests"): ("Decide", COGNITO),
    ("GET", "/requests/{id}"): ("Decide", COGNITO),
    ("POST", "/requests/{id}/decision"): ("Decide", COGNITO),
    ("POST", "/requests/{id}/question"): ("Decide", COGNITO),
    ("POST", "/requests/{id}/extension"): ("Decide", COGNITO),
    ("POST", "/requests/{id}/revocation"): ("Decide", COGNITO),
    ("POST", "/requests/{id}/revocation/confirmation"): ("Decide", COGNITO),
    ("POST", "/requests/{id}/added"): ("Decide", COGNITO),
    ("POST", "/requests/{id}/suspension"): ("Decide", COGNITO),
    ("GET", "/requests/{id}/listed"): ("Decide", COGNITO),
    ("GET", "/requests/{id}/photos/{ticket}"): ("Decide", COGNITO),
    ("GET", "/reviews"): ("Decide", COGNITO),
    ("POST", "/reviews/{sha256}/{exclusion}"): ("Decide", COGNITO),
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
    assert (site["MethodSettings"][0]["ResourcePath"], site["MethodSettings"][0]["HttpMethod"]) == ("/*", "*")
    for settings in site["MethodSettings"]:
        assert settings["LoggingLevel"] == "OFF"
        assert settings["DataTraceEnabled"] is False
        assert settings["MetricsEnabled"] is True


def test_the_whole_stage_is_throttled_and_new_cases_more() -> None:
    limits = {
        (settings["HttpMethod"], settings["ResourcePath"]): (
            settings["ThrottlingRateLimit"],
            settings["ThrottlingBurstLimit"],
        )
        for settings in site["MethodSettings"]
    }
    assert limits == {("*", "/*"): (200, 400), ("POST", "/~1opt-out"): (10, 40)}
    assert ("POST", "/opt-out") in REVIEWED, "else the limit is on no route"


def test_refusals_of_the_gateway_carry_the_security_headers() -> None:
    assert set(site["GatewayResponses"]) == {"DEFAULT_4XX", "DEFAULT_5XX", "THROTTLED", "WAF_FILTERED"}
    ours = {
        "Cross-Origin-Opener-Policy",
        "Permissions-Policy",
        "Referrer-Policy",
        "Strict-Transport-Security",
    }
    for response in site["GatewayResponses"].values():
        headers = response["ResponseParameters"]["Headers"]
        assert set(headers) - {"Retry-After"} == ours | {
            "Cache-Control",
            "Content-Security-Policy",
            "Vary",
            "X-Content-Type-Options",
            "X-Frame-Options",
        }
        for name, value in headers.items():
            assert (value[0], value[-1]) == ("'", "'"), f"{name}: API Gateway takes what is not quoted for a variable"
            assert "'" not in value[1:-1]
        assert {name: headers[name].strip("'") for name in ours} == {name: http._HEADERS[name] for name in ours}


def test_refusals_of_the_gateway_are_pages_for_browsers_and_json_for_programs() -> None:
    for response in site["GatewayResponses"].values():
        templates = response["ResponseTemplates"]
        assert set(templates) == {"text/html", "application/json"}
        assert "$context" not in templates["text/html"], "a page must repeat nothing of the request"
        assert "<style" not in templates["text/html"], "the policy of the page allows none"
        said = templates["application/json"].replace("$context.error.messageString", '"why"')
        assert set(json.loads(said)) == {"error", "message"}


def test_refusals_of_the_gateway_have_the_headings_of_our_own_pages() -> None:
    for kind, status in (("THROTTLED", 429), ("WAF_FILTERED", 403)):
        response = site["GatewayResponses"][kind]
        assert response["StatusCode"] == str(status)
        assert f"<h1>{http._HEADINGS[status]}</h1>" in response["ResponseTemplates"]["text/html"]
    assert "Retry-After" in site["GatewayResponses"]["THROTTLED"]["ResponseParameters"]["Headers"]


def test_no_upload_passes_through_the_api() -> None:
    assert site["BinaryMediaTypes"] == ["image/*"]
