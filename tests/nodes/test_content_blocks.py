"""Images, sounds and documents: to the wire byte for byte, by each client, and back from it."""

from __future__ import annotations

import base64
import json
import random
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from langchain_anthropic import ChatAnthropic
from langchain_core.language_models import GenericFakeChatModel
from langchain_core.messages import AIMessage, AnyMessage, SystemMessage
from langchain_google_genai import ChatGoogleGenerativeAI

from stepgraph import Ask, Budget, ScriptedModel, Session, agent, attachment, chain, run, step, using
from stepgraph.nodes.content_blocks import wire_part
from stepgraph.nodes.openai_messages import prompt_messages
from stepgraph.providers.backends.langchain_requests import to_langchain
from stepgraph.providers.backends.standard_blocks import standard_block
from stepgraph.providers.model import Request
from stepgraph.providers.stack.prompt_bound import bound_of
from stepgraph.state.errors import InputError, InvalidAnswer
from stepgraph.tracing.record.reads import read_calls

from ..servers import Answer, ChatServer, Fault

BYTES = {
    "image/png": b"\x89PNG\r\n\x1a\n" + random.Random(3).randbytes(900),
    "audio/wav": b"RIFF\x24\x08\x00\x00WAVEfmt " + bytes(12) + random.Random(4).randbytes(900),
    "application/pdf": b"%PDF-1.4\n" + random.Random(5).randbytes(900),
    "video/mp4": b"\x00\x00\x00\x18ftypisom" + random.Random(6).randbytes(900),
}
ENCODED = {kind: base64.b64encode(data).decode() for kind, data in BYTES.items()}
MARK = {"cache_control": {"type": "ephemeral"}}


def block(kind: str, **more: Any) -> dict[str, Any]:
    kinds = {"application/pdf": "file"}
    return {"type": kinds.get(kind, kind.split("/")[0]), "base64": ENCODED[kind], "mime_type": kind, **more}


WIRE = {
    "image/png": {"type": "image_url", "image_url": {"url": f"data:image/png;base64,{ENCODED['image/png']}"}},
    "audio/wav": {"type": "input_audio", "input_audio": {"data": ENCODED["audio/wav"], "format": "wav"}},
    "application/pdf": {
        "type": "file",
        "file": {
            "file_data": f"data:application/pdf;base64,{ENCODED['application/pdf']}",
            "filename": "report.pdf",
        },
    },
    "video/mp4": {"type": "video_url", "video_url": {"url": f"data:video/mp4;base64,{ENCODED['video/mp4']}"}},
}


@dataclass
class Photo:
    block: dict[str, Any]
    seen: str = ""
    reply: AIMessage | None = None
    messages: list[AnyMessage] = field(default_factory=list)


@step("seen")
def look(photo: Photo) -> Ask[str]:
    return Ask(["What is it?", photo.block])


@step("reply")
def draw(photo: Photo) -> Ask[AIMessage]:
    return Ask("Draw a cat.")


@pytest.mark.parametrize("client", ["http", "langchain"])
@pytest.mark.parametrize("kind", BYTES)
def test_a_standard_block_reaches_the_wire_as_it_is(server: ChatServer, kind: str, client: str) -> None:
    given = block(kind, filename="report.pdf", **MARK)
    with using(server.spec(client=client)):
        assert chain(look).compile().invoke(Photo(given))["seen"] == "ok"
    (body,) = server.bodies
    assert body["messages"] == [
        {"role": "user", "content": [{"type": "text", "text": "What is it?"}, {**WIRE[kind], **MARK}]}
    ]


@pytest.mark.parametrize("kind", [kind for kind in BYTES if kind != "video/mp4"])
def test_the_classes_of_others_are_given_the_bytes(kind: str) -> None:
    messages = prompt_messages(["What is it?", block(kind, filename="report.pdf")])
    if kind != "audio/wav":  # which Claude does not hear
        claude = ChatAnthropic(model="claude-sonnet-4-5", api_key="k")  # type: ignore[call-arg, arg-type]
        made = claude._get_request_payload(to_langchain(messages, "langchain_anthropic"))
        assert made["messages"][0]["content"][1]["source"] == {
            "type": "base64",
            "media_type": kind,
            "data": ENCODED[kind],
        }
    gemini = ChatGoogleGenerativeAI(model="gemini-2.5-flash", api_key="k")
    request = gemini._prepare_request(to_langchain(messages, "langchain_google_genai"))
    part = request["contents"][0].parts[1].inline_data
    assert (part.data, part.mime_type) == (BYTES[kind], kind)


@pytest.mark.parametrize("kind", BYTES)
def test_the_parts_become_standard_blocks_again(kind: str) -> None:
    given = block(kind, **({"filename": "report.pdf"} if kind == "application/pdf" else {}), **MARK)
    assert standard_block(wire_part(given)) == given


@pytest.mark.parametrize(
    ("given", "sent"),
    [
        ({"type": "image", "base64": ENCODED["image/png"]}, WIRE["image/png"]),
        ({"type": "image", "base64": BYTES["image/png"]}, WIRE["image/png"]),
        (
            {
                "type": "image",
                "source_type": "base64",
                "data": ENCODED["image/png"],
                "mime_type": "image/png",
            },
            WIRE["image/png"],
        ),
        (
            {
                "type": "image",
                "source": {"type": "base64", "media_type": "image/png", "data": ENCODED["image/png"]},
            },
            WIRE["image/png"],
        ),
        ({"type": "media", "mime_type": "image/png", "data": ENCODED["image/png"]}, WIRE["image/png"]),
        (
            {"type": "image", "url": "https://a/b.png", "detail": "low"},
            {"type": "image_url", "image_url": {"url": "https://a/b.png", "detail": "low"}},
        ),
        ({"type": "file", "file_id": "file-1"}, {"type": "file", "file": {"file_id": "file-1"}}),
        ({"type": "text-plain", "text": "hi", "mime_type": "text/plain"}, {"type": "text", "text": "hi"}),
        (
            {"type": "audio", "base64": ENCODED["audio/wav"], "mime_type": "audio/mpeg"},
            {"type": "input_audio", "input_audio": {"data": ENCODED["audio/wav"], "format": "mp3"}},
        ),
    ],
)
def test_every_way_to_write_a_block_is_understood(given: dict[str, Any], sent: dict[str, Any]) -> None:
    assert wire_part(given) == sent
    assert wire_part(sent) == sent


@pytest.mark.parametrize(
    "given",
    [
        {"type": "image"},
        {"type": "image", "base64": "%%%"},
        {"type": "image", "base64": base64.b64encode(b"who knows").decode()},
        {"type": "audio", "mime_type": "audio/wav"},
        {"type": "text-plain"},
        3,
        {"role": "nobody", "content": "x"},
    ],
)
def test_what_cannot_be_sent_is_told_before_anything_is_paid(server: ChatServer, given: Any) -> None:
    with using(server.spec()), pytest.raises(InputError):
        chain(look).compile().invoke(Photo(given))
    assert server.calls == 0


def test_a_prompt_is_a_list_of_texts_blocks_and_messages() -> None:
    messages = prompt_messages(
        [
            SystemMessage("Be brief."),
            "Compare",
            block("image/png"),
            "with",
            AIMessage("yes"),
            {"role": "user", "content": "x"},
        ]
    )
    assert [message["role"] for message in messages] == ["system", "user", "assistant", "user"]
    assert [part["type"] for part in messages[1]["content"]] == ["text", "image_url", "text"]


def test_a_file_becomes_the_block_that_it_is(tmp_path: Path) -> None:
    for kind, data in BYTES.items():
        (tmp_path / "thing").write_bytes(data)
        made = attachment(tmp_path / "thing")
        assert (made["type"], made["base64"], made["mime_type"]) == (block(kind)["type"], ENCODED[kind], kind)
        assert attachment(data)["base64"] == ENCODED[kind]
    assert attachment("https://a/b.jpg") == {
        "type": "image",
        "url": "https://a/b.jpg",
        "mime_type": "image/jpeg",
    }
    (tmp_path / "notes.txt").write_text("notes")
    assert attachment(tmp_path / "notes.txt")["filename"] == "notes.txt"
    for wrong in (tmp_path / "none", b"", b"who knows"):
        with pytest.raises(InputError):
            attachment(wrong)


def completion(message: dict[str, Any]) -> Fault:
    choice = {"index": 0, "message": {"role": "assistant", **message}, "finish_reason": "stop"}
    usage = {"prompt_tokens": 9, "completion_tokens": 5, "total_tokens": 14}
    return Fault(
        body=json.dumps(
            {
                "id": "1",
                "object": "chat.completion",
                "created": 1,
                "model": "m",
                "choices": [choice],
                "usage": usage,
            }
        )
    )


IMAGE = {"content": "A cat.", "images": [WIRE["image/png"]]}
SPOKEN = {
    "content": None,
    "audio": {"id": "a", "data": ENCODED["audio/wav"], "expires_at": 9, "transcript": "Miau."},
}


@pytest.mark.parametrize(
    ("client", "message", "text", "kind"),
    [
        ("http", IMAGE, "A cat.", "image/png"),
        ("http", {"content": [{"type": "text", "text": "A cat."}, WIRE["image/png"]]}, "A cat.", "image/png"),
        ("http", {"content": "", "images": [WIRE["image/png"]]}, "", "image/png"),
        ("http", SPOKEN, "Miau.", "audio/wav"),
        ("langchain", SPOKEN, "Miau.", "audio/wav"),
    ],
)
def test_what_a_model_gives_back_is_kept(
    server: ChatServer, tmp_path: Path, client: str, message: dict[str, Any], text: str, kind: str
) -> None:
    server.will(completion(message))
    app = chain(draw, look).compile()
    file = tmp_path / "runs.sqlite"
    with Session(file) as session, using(server.spec(client=client)):
        reply = app.invoke(Photo(block("image/png")), session.config("t"))["reply"]
        assert str(reply.text) == text
        assert reply.content[-1] == block(kind)
        assert app.get_state(session.config("t")).values["reply"].content == reply.content
        call = read_calls(session.journal, "t")[0]
        assert json.loads(session.journal.whole(call["media"])) == [block(kind)]
        assert ENCODED[kind] not in call["media"]


async def test_streamed_sounds_and_images_are_put_together(server: ChatServer) -> None:
    data = ENCODED["audio/wav"]
    pieces = [base64.b64encode(BYTES["audio/wav"][at : at + 200]).decode() for at in range(0, 1000, 200)]
    deltas: list[dict[str, Any]] = [
        {"audio": {"id": "a", "transcript": "Mi"}},
        {"audio": {"transcript": "au."}},
    ]
    deltas += [{"audio": {"data": piece}} for piece in pieces] + [{"images": [WIRE["image/png"]]}]
    choices = [{"index": 0, "delta": delta, "finish_reason": None} for delta in deltas]
    choices.append({"index": 0, "delta": {}, "finish_reason": "stop"})
    lines = [f"data: {json.dumps({'model': 'm', 'choices': [choice]})}\n\n" for choice in choices]
    server.will(Fault(body="".join([*lines, "data: [DONE]\n\n"]), content_type="text/event-stream"))
    app = chain(draw).compile()
    with using(server.spec()):
        async for mode, value in app.astream(Photo({}), stream_mode=["messages", "values"]):
            if mode == "values":
                state = value
    reply = state["reply"]
    assert str(reply.text) == "Miau."
    assert [part["base64"] for part in reply.content[1:]] == [ENCODED["image/png"], data]


def test_a_resume_gives_the_image_again(tmp_path: Path) -> None:
    seen = []

    def stop(photo: Photo) -> dict[str, Any]:
        seen.append(photo.reply)
        if len(seen) == 1:
            raise RuntimeError("out")
        return {}

    app = chain(draw, stop).compile()
    picture = AIMessage([{"type": "text", "text": "A cat."}, block("image/png")])
    with Session(tmp_path / "runs.sqlite") as session, using(ScriptedModel([picture])):
        with pytest.raises(RuntimeError):
            app.invoke(Photo({}), session.config("t"))
        app.invoke(None, session.config("t"))
    assert [reply.content for reply in seen if reply] == [picture.content] * 2


def test_a_text_that_is_an_image_is_said_to_be(server: ChatServer) -> None:
    server.will(*[completion({"content": "", "images": [WIRE["image/png"]]})] * 3)
    with using(server.spec()), pytest.raises(InvalidAnswer, match=r"Ask\[AIMessage\] takes it"):
        chain(look).compile().invoke(Photo(block("image/png")))


@pytest.mark.parametrize("kind", BYTES)
def test_budgets_are_charged_what_a_medium_is_billed(kind: str) -> None:
    plain = bound_of(Request(prompt_messages(["What is it?"])))
    with_it = bound_of(Request(prompt_messages(["What is it?", block(kind)])))
    assert with_it > plain
    if kind != "video/mp4" and kind != "application/pdf":  # broken ones: nobody knows how long they are
        assert with_it < 20_000


def test_a_run_with_an_image_fits_its_budget(server: ChatServer, tmp_path: Path) -> None:
    with Session(tmp_path / "runs.sqlite") as session, using(server.spec()):
        result = run(
            chain(look).compile(), Photo(block("image/png")), session, "t", budget=Budget(tokens=30_000)
        )
    assert result.status == "done"


@pytest.mark.parametrize("client", ["http", "langchain"])
def test_an_image_of_a_tool_reaches_the_model_whole(server: ChatServer, client: str) -> None:
    def camera() -> list[dict[str, Any]]:
        """Take a photo."""
        return [{"type": "text", "text": "here " * 10_000}, block("image/png")]

    @step("seen")
    def ask(photo: Photo) -> Ask[str]:
        return Ask("What do you see?")

    server.will(Answer(tool_calls=(("camera", "{}"),)), "a cat")
    with using(server.spec(client=client)):
        result = agent(ask, tools=[camera]).compile().invoke(Photo({}))
    assert result["seen"] == "a cat"
    *_, told, shown = server.bodies[1]["messages"]
    assert told["role"] == "tool"
    assert len(json.dumps(told)) < 40_000
    assert ENCODED["image/png"] not in json.dumps(told)
    assert (shown["role"], shown["content"][-1]) == ("user", WIRE["image/png"])


@pytest.mark.parametrize("client", ["http", "langchain"])
def test_what_a_model_gave_before_is_shown_to_it_as_the_users(server: ChatServer, client: str) -> None:
    @step("seen")
    def ask(photo: Photo) -> Ask[str]:
        drawn = AIMessage([{"type": "text", "text": "A cat."}, block("image/png"), block("audio/wav")])
        return Ask(["Draw a cat.", drawn, "Make it black."])

    with using(server.spec(client=client)):
        chain(ask).compile().invoke(Photo({}))
    _, answered, last = server.bodies[0]["messages"]
    assert ENCODED["image/png"] not in json.dumps(answered)
    assert last["role"] == "user"
    assert [part["type"] for part in last["content"]] == ["text", "image_url", "text"]
    assert last["content"][1] == WIRE["image/png"]
    assert ENCODED["audio/wav"] not in json.dumps(server.bodies)


def test_the_image_of_a_chat_model_in_a_node_is_on_record(tmp_path: Path) -> None:
    chat = GenericFakeChatModel(
        messages=iter([AIMessage([{"type": "text", "text": "Here."}, block("image/png")])])
    )

    def draw(photo: Photo) -> dict[str, Any]:
        return {"reply": chat.invoke("Draw a cat.")}

    with Session(tmp_path / "runs.sqlite") as session:
        chain(draw).compile().invoke(Photo({}), session.config("t"))
        (call,) = read_calls(session.journal, "t")
        assert json.loads(session.journal.whole(call["media"]))[0]["base64"] == ENCODED["image/png"]
        assert len(call["media"]) < 400
