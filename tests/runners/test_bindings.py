"""What --model binds, and the slips of the pen that it names."""

from __future__ import annotations

from dataclasses import dataclass

import pytest

from stepgraph import Ask, chain, step
from stepgraph.providers.stack.roles import EVERY_ROLE
from stepgraph.runners.bindings import check_roles, parse_models
from stepgraph.state.errors import InputError, SettingsError


@dataclass
class Post:
    draft: str = ""
    verdict: str = ""


@step("draft")
def write(post: Post) -> Ask[str]:
    return Ask("Write.")


@step("verdict", model="Reviewer")
def judge(post: Post) -> Ask[str]:
    return Ask("Judge.")


graph = chain(write, judge, name="posts").compile()


def test_a_model_is_for_its_role_or_for_all() -> None:
    assert parse_models(["local", "Reviewer=openai:gpt-5", "other=local:/a=b.gguf"]) == {
        EVERY_ROLE: "local",
        "Reviewer": "openai:gpt-5",
        "other": "local:/a=b.gguf",
    }
    assert parse_models(["local", "openai:gpt-5"]) == {EVERY_ROLE: "openai:gpt-5"}


@pytest.mark.parametrize("text", ["opnai:gpt-5", "reviewer=opnai:gpt-5", "reviewer=", ""])
def test_a_model_that_is_none_is_named_with_its_option(text: str) -> None:
    with pytest.raises(SettingsError, match=rf"^--model {text}: "):
        parse_models([text])


@pytest.mark.parametrize("role", ["reviewer", "REVIEWER", "default", EVERY_ROLE, "painter"])
def test_roles_that_a_step_or_only_a_function_may_ask_for(role: str) -> None:
    check_roles([role], graph)


@pytest.mark.parametrize("role", ["reviwer", "Reviewr", "reviewers", "defautl"])
def test_a_role_that_looks_like_a_slip_of_the_pen(role: str) -> None:
    told = rf"--model {role}=…: no step of 'posts' has the role '{role}'\. Did you mean '(reviewer|default)'"
    with pytest.raises(InputError, match=told):
        check_roles(["reviewer", role], graph)
