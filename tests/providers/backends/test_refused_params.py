from __future__ import annotations

import json
from typing import Any

import pytest

from stepgraph.providers.backends.endpoint import Endpoint
from stepgraph.providers.backends.refused_params import ParameterLeftOut
from stepgraph.providers.model import CallContext, Request
from stepgraph.providers.settings import parse_spec
from stepgraph.providers.stack.stack import forget_endpoints
from stepgraph.state.errors import ModelRefused

from ...servers import Answer, ChatServer, Fault

HELLO = Request(({"role": "user", "content": "Hello"},), temperature=0.3, max_tokens=9)
AZURE = "Setting 'max_tokens' and 'max_completion_tokens' at the same time is not supported."
NEWER = "Unsupported parameter: 'max_tokens' is not supported. Use 'max_completion_tokens' instead."
OLDER = "Unrecognized request argument supplied: max_completion_tokens"
REASONING = "Unsupported value: 'temperature' does not support 0.3. Only the default (1) is supported."


def refusal(message: str, param: str | None = None) -> Fault:
    return Fault(400, json.dumps({"error": {"message": message, "param": param, "code": "unsupported"}}))


async def ask(server: ChatServer, **settings: Any) -> None:
    endpoint = Endpoint(parse_spec(server.spec(**settings), "here"))
    assert (await endpoint.complete(HELLO, CallContext("s"))).text == "yes"


@pytest.mark.parametrize(
    ("told", "param", "spelled"),
    [(AZURE, "max_tokens", "max_completion_tokens"), (NEWER, "max_tokens", "max_completion_tokens"),
     (NEWER, None, "max_completion_tokens"), (OLDER, None, "max_tokens")],
)  # fmt: skip
async def test_a_limit_gets_the_spelling_that_is_taken(
    server: ChatServer, told: str, param: str | None, spelled: str
) -> None:
    server.will(refusal(told, param), "yes", "yes")
    await ask(server)
    await ask(server)  # learnt: not asked the wrong way again
    assert [body.get(spelled) for body in server.bodies[1:]] == [9, 9]
    limits = {"max_tokens", "max_completion_tokens"}
    assert all(limits & body.keys() == {spelled} for body in server.bodies[1:])


@pytest.mark.parametrize("own", ["max_tokens", "max_completion_tokens"])
async def test_a_spelling_of_the_settings_is_learnt_too(server: ChatServer, own: str) -> None:
    other = ({"max_tokens", "max_completion_tokens"} - {own}).pop()
    server.will(refusal(f"Unsupported parameter: '{own}'", own), "yes")
    await ask(server, capabilities={"max_tokens": own})
    assert server.bodies[1][other] == 9
    assert own not in server.bodies[1]


async def test_a_temperature_that_is_refused_is_left_out_and_said(server: ChatServer) -> None:
    server.will(refusal(REASONING, "temperature"), "yes", "yes")
    with pytest.warns(ParameterLeftOut, match=r"served at .* does not take temperature = 0\.3"):
        await ask(server)
    await ask(server)  # said once: another warning would be an error here
    assert ["temperature" in body for body in server.bodies] == [True, False, False]


async def test_another_server_at_a_forgotten_address_is_asked_for_all(server: ChatServer) -> None:
    server.will(refusal(NEWER, "max_tokens"), "yes", "yes")
    await ask(server)
    forget_endpoints()
    await ask(server)  # as at a port that another server had before
    assert "max_tokens" in server.bodies[2]


async def test_what_changes_the_question_is_not_left_out(server: ChatServer) -> None:
    server.always = refusal("Unsupported parameter: 'response_format'", "response_format")
    with pytest.raises(ModelRefused, match="response_format"):
        await ask(server)
    server.always = refusal(AZURE, "max_tokens")  # whatever is sent
    with pytest.raises(ModelRefused):
        await ask(server, model="another")
    assert len(server.bodies) < 5


async def test_another_refusal_that_names_a_parameter_is_told(server: ChatServer) -> None:
    server.always = refusal("Invalid 'temperature': 9 is more than the maximum of 2.", "temperature")
    with pytest.raises(ModelRefused, match="maximum of 2"):
        await ask(server)
    assert len(server.bodies) == 1
    server.will(Answer("yes"))
    await ask(server)
    assert "temperature" in server.bodies[1]


DIALS = {"seed": 3, "top_p": 0.5, "reasoning_effort": "low", "verbosity": "low", "stop": ["E"],
         "frequency_penalty": 0.1, "presence_penalty": 0.1, "service_tier": "flex"}  # fmt: skip


@pytest.mark.filterwarnings("ignore::stepgraph.providers.backends.refused_params.ParameterLeftOut")
@pytest.mark.parametrize(
    ("body", "left_out"),
    [
        ({"error": {"message": f"{words[0]}{name}{words[1]}"}}, name)
        for words in (("Unsupported parameter: '", "'."), ("`", "` is deprecated for this model."),
                      ("Unknown argument ", ""), ("This model does not accept ", " here"))
        for name in sorted({"temperature", *DIALS} - {"stop"})
    ]
    + [
        ({"detail": [{"loc": ["body", "seed"], "msg": "Extra inputs are not permitted"}]}, "seed"),
        ({"error": {"message": "temperature and top_p cannot both be specified"}}, "temperature"),
        ([{"error": {"message": "Unsupported parameter: seed"}}], "seed"),
        ({"error": {"message": "service_tier is invalid for this model"}}, "service_tier"),
        ({"error": {"message": "top_p must be below 1"}}, None),
        ({"error": {"message": "Unsupported parameter: 'stop'"}}, None),
    ],
)  # fmt: skip
async def test_a_refusal_is_learnt_in_whatever_words(
    server: ChatServer, body: Any, left_out: str | None
) -> None:
    server.will(Fault(400, json.dumps(body)), "yes", "yes")
    request = Request(HELLO.messages, temperature=0.3, dials=DIALS)
    endpoint = Endpoint(parse_spec(server.spec(), "here"))
    if left_out is None:
        with pytest.raises(ModelRefused):
            await endpoint.complete(request, CallContext("s"))
        return
    for _ in range(2):
        assert (await endpoint.complete(request, CallContext("s"))).text == "yes"
    sent = [{"temperature", *DIALS} & body.keys() for body in server.bodies]
    assert sent == [{"temperature", *DIALS}, *[{"temperature", *DIALS} - {left_out}] * 2]
