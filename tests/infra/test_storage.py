"""What is kept is kept safely: encrypted, recoverable, out of reach, and no longer than promised."""

from __future__ import annotations

import pytest

from local import template

everything = template.load()["Resources"]
tables = template.resources("AWS::DynamoDB::Table")
queues = template.resources("AWS::SQS::Queue")
functions = template.resources("AWS::Serverless::Function")
(bucket,) = template.resources("AWS::S3::Bucket").values()


@pytest.mark.parametrize("name", sorted(tables))
def test_a_table_is_encrypted_recoverable_and_hard_to_delete(name: str) -> None:
    table = tables[name]
    assert table["SSESpecification"] == {"SSEEnabled": True}
    assert table["PointInTimeRecoverySpecification"] == {"PointInTimeRecoveryEnabled": True}
    assert table["DeletionProtectionEnabled"] is True
    assert table["BillingMode"] == "PAY_PER_REQUEST"


@pytest.mark.parametrize("name", ["Requests", "Exclusions", "Photos", "LinkSecret", "Reviewers"])
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


def test_the_bucket_is_closed_encrypted_and_versioned() -> None:
    assert set(bucket["PublicAccessBlockConfiguration"].values()) == {True}
    assert len(bucket["PublicAccessBlockConfiguration"]) == 4
    assert bucket["OwnershipControls"] == {"Rules": [{"ObjectOwnership": "BucketOwnerEnforced"}]}
    assert bucket["VersioningConfiguration"] == {"Status": "Enabled"}
    (rule,) = bucket["BucketEncryption"]["ServerSideEncryptionConfiguration"]
    assert rule["ServerSideEncryptionByDefault"] == {"SSEAlgorithm": "AES256"}


def test_the_bucket_answers_over_tls_only() -> None:
    (policy,) = template.resources("AWS::S3::BucketPolicy").values()
    (statement,) = policy["PolicyDocument"]["Statement"]
    assert (statement["Effect"], statement["Principal"], statement["Action"]) == ("Deny", "*", "s3:*")
    assert statement["Condition"] == {"Bool": {"aws:SecureTransport": "false"}}
    assert statement["Resource"] == [{"Fn::GetAtt": ["Photos", "Arn"]}, {"Fn::Sub": "${Photos.Arn}/*"}]


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
    assert queues[name]["SqsManagedSseEnabled"] is True


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
