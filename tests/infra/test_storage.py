"""What is kept is kept safely: encrypted, recoverable, out of reach, and no longer than promised."""

from __future__ import annotations

from datetime import timedelta

import pytest

from local import template
from optout.deadlines import LIST_LOG_KEPT, LIST_SEGMENTS_KEPT, LIST_WITHDRAWN_KEPT, WITHDRAWN_SIGNALS_GONE

everything = template.load()["Resources"]
tables = template.resources("AWS::DynamoDB::Table")
queues = template.resources("AWS::SQS::Queue")
functions = template.resources("AWS::Serverless::Function")
buckets = template.resources("AWS::S3::Bucket")
bucket = buckets["Photos"]
(key,) = template.resources("AWS::KMS::Key").values()
KEY = {"Fn::GetAtt": ["Key", "Arn"]}


@pytest.mark.parametrize("name", sorted(tables))
def test_a_table_is_encrypted_recoverable_and_hard_to_delete(name: str) -> None:
    table = tables[name]
    assert table["SSESpecification"] == {"SSEEnabled": True, "SSEType": "KMS", "KMSMasterKeyId": KEY}
    assert table["PointInTimeRecoverySpecification"] == {"PointInTimeRecoveryEnabled": True}
    assert table["DeletionProtectionEnabled"] is True
    assert table["BillingMode"] == "PAY_PER_REQUEST"


@pytest.mark.parametrize("name", ["Requests", "Exclusions", "Photos", "Snapshots", "LinkSecret", "Reviewers", "Key"])
def test_what_cannot_be_made_again_outlives_the_stack(name: str) -> None:
    assert everything[name]["DeletionPolicy"] == "Retain"
    assert everything[name]["UpdateReplacePolicy"] == "Retain"


def test_the_log_of_exclusions_never_expires_and_is_read_through_no_index() -> None:
    assert "TimeToLiveSpecification" not in tables["Exclusions"]
    assert "GlobalSecondaryIndexes" not in tables["Exclusions"]
    assert "LocalSecondaryIndexes" not in tables["Exclusions"]
    assert "StreamSpecification" not in tables["Exclusions"]


def test_requests_are_indexed_as_the_store_asks_for_them() -> None:
    indexes = {
        index["IndexName"]: (
            [key["AttributeName"] for key in index["KeySchema"]],
            index["Projection"]["ProjectionType"],
        )
        for index in tables["Requests"]["GlobalSecondaryIndexes"]
    }
    assert indexes == {
        "Queue": (["queue", "due_at"], "ALL"),
        "Address": (["email_hash", "created_at"], "INCLUDE"),
        "Picture": (["picture", "pk"], "KEYS_ONLY"),
        "Sweep": (["sweep", "sweep_at"], "KEYS_ONLY"),
    }


def test_drafts_expire_by_themselves() -> None:
    assert tables["Requests"]["TimeToLiveSpecification"] == {"AttributeName": "expires_at", "Enabled": True}


@pytest.mark.parametrize("name", sorted(buckets))
def test_a_bucket_is_closed_encrypted_and_versioned(name: str) -> None:
    bucket = buckets[name]
    assert set(bucket["PublicAccessBlockConfiguration"].values()) == {True}
    assert len(bucket["PublicAccessBlockConfiguration"]) == 4
    assert bucket["OwnershipControls"] == {"Rules": [{"ObjectOwnership": "BucketOwnerEnforced"}]}
    assert bucket["VersioningConfiguration"] == {"Status": "Enabled"}
    (rule,) = bucket["BucketEncryption"]["ServerSideEncryptionConfiguration"]
    assert rule["ServerSideEncryptionByDefault"] == {"SSEAlgorithm": "aws:kms", "KMSMasterKeyID": KEY}
    assert rule["BucketKeyEnabled"] is True, "else every photo is a call to KMS"


@pytest.mark.parametrize("name", sorted(buckets))
def test_a_bucket_answers_over_tls_only(name: str) -> None:
    policy = template.resources("AWS::S3::BucketPolicy")[f"{name}Policy"]
    (statement,) = policy["PolicyDocument"]["Statement"]
    assert policy["Bucket"] == {"Ref": name}
    assert (statement["Effect"], statement["Principal"], statement["Action"]) == ("Deny", "*", "s3:*")
    assert statement["Condition"] == {"Bool": {"aws:SecureTransport": "false"}}
    assert statement["Resource"] == [{"Fn::GetAtt": [name, "Arn"]}, {"Fn::Sub": f"${{{name}.Arn}}/*"}]


def test_what_was_replaced_in_a_snapshot_is_gone_long_before_it_was_promised() -> None:
    (rule,) = buckets["Snapshots"]["LifecycleConfiguration"]["Rules"]
    assert rule["Status"] == "Enabled"
    assert "ExpirationInDays" not in rule, "a segment in force never expires"
    days = timedelta(days=rule["NoncurrentVersionExpiration"]["NoncurrentDays"])
    kept = max(LIST_LOG_KEPT, LIST_WITHDRAWN_KEPT) + LIST_SEGMENTS_KEPT
    assert kept + days + timedelta(days=7) <= WITHDRAWN_SIGNALS_GONE


def test_the_log_is_compacted_without_anybody_asking() -> None:
    (event,) = functions["Compact"]["Events"].values()
    assert (event["Type"], event["Properties"]["Schedule"]) == ("Schedule", "rate(1 hour)")


def test_raw_uploads_are_gone_after_a_day_whatever_happens() -> None:
    rules = {rule["Prefix"]: rule for rule in bucket["LifecycleConfiguration"]["Rules"]}
    assert set(rules) == {"raw/", "photos/"}
    assert all(rule["Status"] == "Enabled" for rule in rules.values())
    assert rules["raw/"]["ExpirationInDays"] == 1
    assert rules["raw/"]["NoncurrentVersionExpiration"] == {"NoncurrentDays": 1}
    assert rules["raw/"]["AbortIncompleteMultipartUpload"] == {"DaysAfterInitiation": 1}
    assert rules["photos/"]["NoncurrentVersionExpiration"] == {"NoncurrentDays": 7}


def test_only_the_sites_own_pages_may_post_and_show_photos() -> None:
    (rule,) = bucket["CorsConfiguration"]["CorsRules"]
    assert rule["AllowedOrigins"] == [{"Ref": "SiteUrl"}]
    assert set(rule["AllowedMethods"]) == {"POST", "GET"}


@pytest.mark.parametrize("name", sorted(queues))
def test_a_queue_is_encrypted(name: str) -> None:
    assert queues[name]["KmsMasterKeyId"] == {"Ref": "Key"}
    assert queues[name]["KmsDataKeyReusePeriodSeconds"] == 3600


@pytest.mark.parametrize("name", sorted(template.resources("AWS::Logs::LogGroup")))
def test_a_log_group_is_encrypted_and_forgets(name: str) -> None:
    assert everything[name]["Properties"] == {"RetentionInDays": {"Ref": "LogRetentionDays"}, "KmsKeyId": KEY}


def test_the_secret_that_signs_links_is_encrypted_with_the_key() -> None:
    assert everything["LinkSecret"]["Properties"]["KmsKeyId"] == {"Ref": "Key"}


def test_the_key_is_renewed_every_year_and_is_not_lost_in_a_hurry() -> None:
    assert key["EnableKeyRotation"] is True
    assert key["PendingWindowInDays"] == 30


def test_the_key_opens_for_the_account_and_for_the_services_that_write_by_themselves() -> None:
    statements = {statement["Sid"]: statement for statement in key["KeyPolicy"]["Statement"]}
    assert {sid: statement["Principal"] for sid, statement in statements.items()} == {
        "PoliciesOfTheAccountDecide": {"AWS": {"Fn::Sub": "arn:${AWS::Partition}:iam::${AWS::AccountId}:root"}},
        "LogGroups": {"Service": {"Fn::Sub": "logs.${AWS::Region}.amazonaws.com"}},
        "EventsOfLettersIntoTheirQueue": {"Service": "events.amazonaws.com"},
    }
    for sid in ("LogGroups", "EventsOfLettersIntoTheirQueue"):
        assert "${AWS::AccountId}" in str(statements[sid]["Condition"]) or "AWS::AccountId" in str(
            statements[sid]["Condition"]
        ), "another account's service would be let in"


def test_every_service_that_writes_into_a_queue_may_use_the_key() -> None:
    writers = {
        statement["Principal"]["Service"]
        for policy in template.resources("AWS::SQS::QueuePolicy").values()
        for statement in policy["PolicyDocument"]["Statement"]
        if statement["Effect"] == "Allow"
    }
    (statement,) = (s for s in key["KeyPolicy"]["Statement"] if s["Sid"] == "EventsOfLettersIntoTheirQueue")
    assert writers <= {statement["Principal"]["Service"]}


def test_a_letter_that_fails_five_times_is_kept_for_two_weeks() -> None:
    assert queues["Mail"]["RedrivePolicy"] == {
        "deadLetterTargetArn": {"Fn::GetAtt": ["MailDeadLetters", "Arn"]},
        "maxReceiveCount": 5,
    }
    assert queues["MailDeadLetters"]["MessageRetentionPeriod"] == 14 * 24 * 3600


def test_no_letter_is_handed_out_again_while_it_is_being_sent() -> None:
    assert queues["Mail"]["VisibilityTimeout"] >= 6 * functions["Notify"]["Timeout"]


def test_only_new_letters_of_the_table_wake_notify() -> None:
    stream = functions["Notify"]["Events"]["LettersDue"]["Properties"]
    assert stream["FilterCriteria"]["Filters"] == [
        {"Pattern": '{"eventName":["INSERT"],"dynamodb":{"Keys":{"sk":{"S":[{"prefix":"letter#"}]}}}}'}
    ]
    assert stream["DestinationConfig"]["OnFailure"]["Destination"] == {"Fn::GetAtt": ["StreamFailures", "Arn"]}


def test_one_bad_letter_holds_up_no_other() -> None:
    queue = functions["Notify"]["Events"]["LettersQueued"]["Properties"]
    assert queue["FunctionResponseTypes"] == ["ReportBatchItemFailures"]
    assert queue["BatchSize"] == 10


def test_sweeps_run_without_anybody_asking() -> None:
    schedules = {
        event["Properties"]["Input"]: event["Properties"]["Schedule"]
        for event in functions["Notify"]["Events"].values()
        if event["Type"] == "Schedule"
    }
    assert schedules == {'{"sweep":"letters"}': "rate(1 minute)", '{"sweep":"retention"}': "rate(1 hour)"}


def test_only_an_administrator_makes_reviewers_and_their_passwords_are_long() -> None:
    (pool,) = template.resources("AWS::Cognito::UserPool").values()
    assert pool["AdminCreateUserConfig"] == {"AllowAdminCreateUserOnly": True}
    assert pool["Policies"]["PasswordPolicy"]["MinimumLength"] >= 14
    assert pool["MfaConfiguration"] == "OPTIONAL"
    assert pool["EnabledMfas"] == ["SOFTWARE_TOKEN_MFA"]


def test_the_console_signs_in_by_code_and_holds_no_secret() -> None:
    (client,) = template.resources("AWS::Cognito::UserPoolClient").values()
    assert client["AllowedOAuthFlows"] == ["code"]
    assert client["GenerateSecret"] is False
    assert client["CallbackURLs"] == [{"Fn::Sub": "${SiteUrl}/console"}]
    assert not any("PASSWORD" in flow for flow in client["ExplicitAuthFlows"])
