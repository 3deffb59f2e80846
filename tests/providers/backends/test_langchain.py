from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import pytest
from langchain_core.callbacks import CallbackManagerForLLMRun
from langchain_core.language_models import BaseChatModel
from langchain_core.language_models.fake_chat_models import FakeListChatModel
from langchain_core.messages import AIMessage, BaseMessage
from langchain_core.outputs import ChatGeneration, ChatResult
from langchain_openai import ChatOpenAI
from pydantic import BaseModel, Field

from stepgraph import Ask, Session, chain, step, using
from stepgraph.providers.backends.langchain import ChatModel, with_schema_in_prompt
from stepgraph.state.errors import (
    AuthenticationFailed,
    ContextTooLong,
    ModelError,
    ModelUnavailable,
    ModelUnreachable,
)

from ...servers import Answer, ChatServer, Fault


class Grade(BaseModel):
    score: int


@dataclass
class Post:
    topic: str = "tea"
    draft: str = ""
    grade: Grade | None = None


class Recording(BaseChatModel):
    """Keeps what it is asked, and answers 4 with its usage."""

    model_name: str = "recording"
    seen: list[Any] = Field(default_factory=list)

    @property
    def _llm_type(self) -> str:
        return "recording"

    def _generate(
        self,
        messages: list[BaseMessage],
        stop: list[str] | None = None,
        run_manager: CallbackManagerForLLMRun | None = None,
        **kwargs: Any,
    ) -> ChatResult:
        self.seen.append((messages, kwargs))
        usage = {"input_tokens": 7, "output_tokens": 3, "total_tokens": 10}
        message = AIMessage('{"score": 4}', usage_metadata=usage)
        return ChatResult(generations=[ChatGeneration(message=message)])


class CheckFailed(Recording):
    def _generate(self, *args: Any, **kwargs: Any) -> ChatResult:
        raise ValueError("out of order")


async def test_a_chat_model_answers_for_a_role_and_for_a_step() -> None:
    @step("draft", model=FakeListChatModel(responses=["own"]))
    def own(post: Post) -> Ask[str]:
        return Ask("Write.")

    @step("draft", model="large")
    def bound(post: Post) -> Ask[str]:
        return Ask("Write.")

    with using(large=FakeListChatModel(responses=["bound"])):
        assert await own.answer(Post()) == "own"
        assert await bound.answer(Post()) == "bound"
        assert chain(own, bound).compile().invoke(Post())["draft"] == "bound"


async def test_the_schema_goes_into_the_prompt_and_the_usage_on_record(session: Session) -> None:
    chat = Recording()

    @step("grade", model=chat)
    def judge(post: Post) -> Ask[Grade]:
        return Ask("Grade.", max_tokens=9)

    result = await chain(judge).compile().ainvoke(Post(), session.config())
    assert result["grade"] == Grade(score=4)
    ((messages, options),) = chat.seen
    assert '"score"' in messages[0].text
    assert options == {"max_tokens": 9}
    (call,) = session.journal.query("SELECT model_asked, input_tokens, output_tokens, cost_usd FROM calls")
    assert tuple(call.values()) == ("recording", 7, 3, None)


async def test_an_error_of_a_chat_model_names_model_and_step() -> None:
    @step("grade", model=CheckFailed())
    def judge(post: Post) -> Ask[Grade]:
        return Ask("Grade.")

    with pytest.raises(ModelError, match=r"Step 'judge': recording .*ValueError: out of order"):
        await judge.answer(Post())


async def test_a_chat_openai_gets_the_schema_natively(server: ChatServer) -> None:
    server.will(Answer('{"score": 2}'))
    chat = ChatOpenAI(model="gpt", base_url=server.url, api_key="k", max_retries=0)

    @step("grade", model=chat)
    def judge(post: Post) -> Ask[Grade]:
        return Ask("Grade.")

    assert await judge.answer(Post()) == Grade(score=2)
    assert server.bodies[0]["response_format"]["type"] == "json_schema"
    assert ChatModel(chat).name == "gpt"


def test_a_schema_joins_the_system_message_or_makes_one() -> None:
    user = {"role": "user", "content": "Grade."}
    system = {"role": "system", "content": "Be strict."}
    assert with_schema_in_prompt((user,), {"type": "object"})[1] == user
    joined = with_schema_in_prompt((system, user), {"type": "object"})
    assert len(joined) == 2
    assert joined[0]["content"].startswith("Be strict.\n\nAnswer with one JSON object")


@pytest.mark.parametrize(
    ("fault", "kind"),
    [
        (Fault(401), AuthenticationFailed),
        (Fault(429, headers={"Retry-After": "0"}), ModelUnavailable),
        (Fault(400, '{"error": {"code": "context_length_exceeded"}}'), ContextTooLong),
        (Fault(reset=True), ModelUnreachable),
    ],
)
async def test_the_errors_of_openais_own_client_are_told_apart(
    server: ChatServer, fault: Fault, kind: type[ModelError]
) -> None:
    server.always = fault
    chat = ChatOpenAI(model="gpt", base_url=server.url, api_key="k", max_retries=0)

    @step("draft", model=chat)
    def write(post: Post) -> Ask[str]:
        return Ask("Write.")

    with pytest.raises(kind, match=r"^Step 'write': gpt"):
        await write.answer(Post())
