"""One fault has many wordings; each is told by what it is, for fallbacks, retries and users."""

from __future__ import annotations

from typing import Any

import pytest

from stepgraph.errors import (
    AuthenticationFailed,
    ContextTooLong,
    MalformedResponse,
    ModelError,
    ModelFiltered,
    ModelNotFound,
    ModelRefused,
    ModelUnavailable,
)
from stepgraph.providers.backends.error_words import said_in
from stepgraph.providers.backends.http import HTTPStatusError
from stepgraph.providers.backends.http_errors import explained


def told(status: int, message: str, **more: Any) -> ModelError:
    return explained(HTTPStatusError(status, {"error": {"message": message, **more}}, {}), "m")


@pytest.mark.parametrize(
    ("status", "message"),
    [
        (400, "The decoder prompt (length 5000) is longer than the maximum model length of 4096."),
        (400, "max_tokens must be at least 1, got -300."),
        (400, "The input (5000 tokens) is longer than the model's context length (4096 tokens)."),
        (422, "Input validation error: `inputs` tokens + `max_new_tokens` must be <= 4096. Given: 4000"),
        (422, "Input validation error: `inputs` must have less than 4095 tokens. Given: 9000"),
        (400, "Prompt contains 40000 tokens, too large for model with 32768 maximum context length"),
        (400, "too many tokens: total number of tokens in the prompt cannot exceed 4081 - received 5000."),
        (400, "Input is too long for requested model."),
        (400, "input length and `max_tokens` exceed context limit: 190000 + 20000 > 200000"),
        (400, "This model's maximum prompt length is 131072 but the request contains 537812 tokens."),
        (400, "the request exceeds the available context size, try increasing it"),
        (400, "Invalid request: Your request exceeded model token limit: 8192 (requested: 9000)"),
        (400, "Prompt exceeds max length"),
        (400, "InternalError.Algo.InvalidParameter: Range of input length should be [1, 30720]"),
        (400, "The input token count (1200000) exceeds the maximum number of tokens allowed (1048576)."),
        (429, "Request too large for gpt-4o on tokens per min (TPM): Limit 30000, Requested 60000. The "
              "input or output tokens must be reduced in order to run successfully."),
    ],
)  # fmt: skip
def test_too_much_text(status: int, message: str) -> None:
    assert type(told(status, message)) is ContextTooLong


@pytest.mark.parametrize(
    ("status", "message", "code"),
    [
        (429, "You exceeded your current quota, please check your plan.", "insufficient_quota"),
        (402, "Insufficient Balance", None),
        (429, "Your account is suspended, check your plan", "exceeded_current_quota_error"),
        (429, "余额不足或无可用资源包,请充值。", "1113"),
        (400, "Access denied, please make sure your account is in good standing.", "Arrearage"),
        (403, "Your newly created team doesn't have any credits yet.", None),
        (403, "Key limit exceeded (total limit).", 403),
        (429, "Your prepayment credits are depleted.", None),
        (400, "Your credit balance is too low to access the Anthropic API.", None),
        (400, "You have reached your specified API usage limits.", None),
        (429, "You have exceeded your monthly included credits for Inference Providers.", None),
        (429, "Billing hard limit has been reached", "billing_hard_limit_reached"),
        (429, "Your account is not active.", "billing_not_active"),
    ],
)
def test_an_empty_account(status: int, message: str, code: Any) -> None:
    error = told(status, message, code=code)
    assert isinstance(error, ModelUnavailable)
    assert error.lasting


def test_a_minutes_limit_that_is_worded_as_a_quota_passes() -> None:
    details = [{"@type": "type.googleapis.com/google.rpc.RetryInfo", "retryDelay": "32s"}]
    error = told(429, "You exceeded your current quota, please check your plan.", details=details)
    assert isinstance(error, ModelUnavailable)
    assert (error.lasting, error.retry_after) == (False, 32)


@pytest.mark.parametrize(
    ("status", "message", "code"),
    [
        (400, "Content Exists Risk", "invalid_request_error"),
        (400, "Input data may contain inappropriate content.", "data_inspection_failed"),
        (400, "系统检测到输入或生成内容可能包含不安全或敏感内容", "1301"),
        (400, "Invalid prompt: your prompt was flagged as potentially violating our usage policy.",
         "invalid_prompt"),
        (403, "Content violates usage guidelines. Failed check: SAFETY_CHECK_TYPE_BIO", None),
        (403, "anthropic/claude requires moderation on OpenRouter. Your input was flagged.", 403),
        (400, "Your request was rejected as a result of our safety system.", "moderation_blocked"),
        (400, "Output blocked by content filtering policy", None),
    ],
)  # fmt: skip
def test_a_filter(status: int, message: str, code: Any) -> None:
    assert type(told(status, message, code=code)) is ModelFiltered


@pytest.mark.parametrize("code", ["tool_use_failed", "json_validate_failed"])
def test_what_the_model_gave_is_no_fault_of_the_request(code: str) -> None:
    error = told(400, "Failed to call a function.", code=code, failed_generation="<function=f>")
    assert type(error) is MalformedResponse
    assert not error.lasting


@pytest.mark.parametrize(
    ("message", "code"),
    [
        ("Model Not Exist", None),
        ("x is not a valid model ID", 400),
        ("The model `x` has been decommissioned", "model_decommissioned"),
        ("Unable to access model x.", "model_not_available"),
        ("Invalid model: x", "invalid_model"),
    ],
)
def test_a_model_that_is_not_there(message: str, code: Any) -> None:
    assert type(told(400, message, code=code)) is ModelNotFound


def test_a_wrong_key_told_with_400() -> None:
    assert (
        type(told(400, "Incorrect API key provided: k. Obtain one from the console.")) is AuthenticationFailed
    )


def test_what_an_error_repeats_of_the_question_tells_nothing() -> None:
    detail = [
        {"loc": ["body", "x"], "msg": "Extra inputs", "input": "our content policy, the context length"}
    ]
    error = explained(HTTPStatusError(422, {"detail": detail}, {}), "m")
    assert type(error) is ModelRefused


def test_a_body_that_is_nested_deep_is_read_so_far() -> None:
    body: Any = "x"
    for _ in range(5000):
        body = [body]
    assert said_in({"error": "context length", "more": body})
