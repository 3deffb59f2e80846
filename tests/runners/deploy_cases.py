"""A graph, and the kinds of change to it that a deploy can bring to threads that are under way."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

OLD = """
import operator
from dataclasses import dataclass, field
from enum import Enum
from typing import Annotated, Any

from pydantic import BaseModel

from stepgraph import Ask, Budget, chain, migration, refine, review, section, step, versioned, within

class Kind(Enum):
    HOWTO = "howto"
    OPINION = "opinion"

class Grade(BaseModel):
    score: int

@dataclass
class Post:
    topic: str = ""
    kind: Kind = Kind.HOWTO
    grade: Grade | None = None
    count: int = 0
    outline: str = ""
    text: str = ""
    log: Annotated[list[str], operator.add] = field(default_factory=list)

def note(post: Post) -> dict[str, Any]:
    return {"log": ["note"], "count": 7, "grade": Grade(score=2)}

def more(post: Post) -> dict[str, Any]:
    return {"log": ["more"]}

@step("outline")
def plan(post: Post) -> Ask[str]:
    return Ask(f"Outline {post.topic}.")

@step("text")
def draft(post: Post) -> Ask[str]:
    return Ask(f"Write {post.outline}.")

@step("text")
def polish(post: Post) -> Ask[str]:
    return Ask(f"Polish {post.text}.")

def good(post: Post) -> int:
    return 1

@review("text")
def approve(post: Post) -> str:
    return "Publish?"

def finish(post: Post) -> dict[str, Any]:
    return {"log": ["finish"]}

inner = chain(draft, approve, name="inner")
loop = within(refine(polish, good, until=lambda score: score > 0, rounds=2), Budget(calls=20), name="loop")
migrations = []
blog = chain(note, plan, inner, loop, finish, name="blog")
"""
MIGRATE = """migrations = []
@migration("1")
def up(old: dict[str, Any]) -> dict[str, Any]:
    return {BODY}
migrations = [up]"""
VERSIONED = 'blog = versioned(blog, "{}", migrations=migrations)\n'

Edit = tuple[str, str]


@dataclass(frozen=True)
class Change:
    """A kind of change to the old graph, where the thread is, and what becomes of it."""

    name: str
    edits: tuple[Edit, ...]
    verdict: str
    because: str = ""
    at: str = "review"  # or draft: its answer is paid for, and its node has not ended
    migrates: str | None = None  # what the migration returns
    nodes: str = "{}"
    same: bool = True  # the result is that of the old version


def change(name: str, *edits: Edit, verdict: str, because: str = "", **more: Any) -> Change:
    return Change(name, edits, verdict, because, **more)


CHANGES = [
    change("nothing", verdict="goes on"),
    change("node added behind", ("finish, name=", "finish, more, name="), verdict="goes on", same=False),
    change("node added before", ("chain(note,", "chain(more, note,"), verdict="must finish", because="edge"),
    change(
        "node added between what ran",
        ("plan, inner", "plan, more, inner"),
        verdict="must finish",
        because="edge",
    ),
    change(
        "node added between what comes", ("loop, finish", "loop, more, finish"), verdict="goes on", same=False
    ),
    change(
        "node to come removed",
        ("loop, finish", "loop"),
        verdict="must finish",
        because="node 'finish' is gone",
    ),
    change(
        "node that ran removed",
        ("chain(note, ", "chain("),
        verdict="must finish",
        because="node 'note' is gone",
    ),
    change(
        "node that waits removed",
        ("chain(draft, approve,", "chain(draft,"),
        verdict="must finish",
        because="node 'inner/approve' is gone",
    ),
    change(
        "node that waits renamed",
        ("approve", "confirm"),
        verdict="must finish",
        because="'inner/approve' is gone",
    ),
    change(
        "node that waits renamed, with a migration",
        ("approve", "confirm"),
        verdict="migrates",
        migrates="old",
        nodes='{"inner/approve": "inner/confirm"}',
    ),
    change(
        "graph around it renamed, with a migration",
        ('name="inner"', 'name="part"'),
        verdict="migrates",
        migrates="old",
        nodes='{"inner": "part"}',
    ),
    change(
        "graph around it renamed, with a migration, a paid answer",
        ('name="inner"', 'name="part"'),
        verdict="migrates",
        migrates="old",
        nodes='{"inner": "part"}',
        at="draft",
    ),
    change("edge changed", ("note, plan, inner", "plan, note, inner"), verdict="must finish", because="edge"),
    change(
        "edge changed, with a migration",
        ("note, plan, inner", "plan, note, inner"),
        verdict="migrates",
        migrates="old",
    ),
    change(
        "field added with a default",
        ('topic: str = ""', 'topic: str = ""\n    tone: str = "kind"'),
        verdict="goes on",
    ),
    change(
        "field added without a default",
        ("    topic: str", "    tone: str\n    topic: str"),
        verdict="must finish",
        because="field 'tone' is new and has no default",
    ),
    change(
        "field added, with a migration",
        ("    topic: str", "    tone: str\n    topic: str"),
        verdict="migrates",
        migrates='{**old, "tone": "kind"}',
    ),
    change(
        "field added, with a wrong migration",
        ("    topic: str", "    tone: int\n    topic: str"),
        verdict="must finish",
        because="field 'tone' = 'kind' does not fit",
        migrates='{**old, "tone": "kind"}',
    ),
    change(
        "field removed",
        ("    count: int = 0\n", ""),
        ('"count": 7, ', ""),
        verdict="must finish",
        because="field 'count' is gone",
    ),
    change(
        "field removed, with a migration",
        ("    count: int = 0\n", ""),
        ('"count": 7, ', ""),
        verdict="migrates",
        migrates='{name: value for name, value in old.items() if name != "count"}',
    ),
    change(
        "field removed, with a migration that keeps it",
        ("    count: int = 0\n", ""),
        ('"count": 7, ', ""),
        verdict="must finish",
        because="'count', which Post does not have",
        migrates="old",
    ),
    change("field renamed", ("outline", "sketch"), verdict="must finish", because="field 'outline' is gone"),
    change(
        "field renamed, with a migration",
        ("outline", "sketch"),
        verdict="migrates",
        migrates='{("sketch" if name == "outline" else name): value for name, value in old.items()}',
    ),
    change(
        "field renamed, with a migration, a paid answer",
        ("outline", "sketch"),
        verdict="migrates",
        at="draft",
        migrates='{("sketch" if name == "outline" else name): value for name, value in old.items()}',
    ),
    change(
        "type changed",
        ("count: int = 0", 'count: str = ""'),
        ('"count": 7', '"count": "7"'),
        verdict="must finish",
        because="field 'count' changed from int to str",
    ),
    change(
        "type changed, with a migration",
        ("count: int = 0", 'count: str = ""'),
        ('"count": 7', '"count": "7"'),
        verdict="migrates",
        migrates='{**old, "count": str(old["count"])}',
        same=False,
    ),
    change(
        "type changed, with a migration that forgets it",
        ("count: int = 0", 'count: str = ""'),
        ('"count": 7', '"count": "7"'),
        verdict="must finish",
        because="'count' = 7 does not fit",
        migrates="old",
    ),
    change(
        "reducer changed",
        ("list[str], operator.add", "list[str], lambda a, b: b"),
        verdict="must finish",
        because="changed its reducer",
    ),
    change(
        "model field added",
        ("    score: int", '    score: int\n    why: str = ""'),
        verdict="goes on",
        same=False,
    ),
    change(
        "model field required",
        ("    score: int", "    score: int\n    why: str"),
        ("Grade(score=2)", 'Grade(score=2, why="")'),
        verdict="must finish",
        because="field 'Grade.why' is new and has no default",
    ),
    change(
        "model field required, with a migration",
        ("    score: int", "    score: int\n    why: str"),
        ("Grade(score=2)", 'Grade(score=2, why="")'),
        verdict="migrates",
        same=False,
        migrates='{**old, "grade": {**old["grade"], "why": "?"}}',
    ),
    change(
        "enum value removed",
        ('    HOWTO = "howto"\n', ""),
        ("Kind.HOWTO", "Kind.OPINION"),
        verdict="must finish",
        because="field 'Kind.HOWTO' is gone",
    ),
    change(
        "enum value removed, with a migration",
        ('    HOWTO = "howto"\n', ""),
        ("Kind.HOWTO", "Kind.OPINION"),
        verdict="migrates",
        migrates='{**old, "kind": "opinion"}',
        same=False,
    ),
    change(
        "class renamed",
        ("Grade", "Mark"),
        verdict="must finish",
        because="changed from Grade | None to Mark | None",
    ),
    change(
        "class renamed, with a migration", ("Grade", "Mark"), verdict="migrates", migrates="old", same=False
    ),
    change("prompt changed before", ("Outline ", "Please outline "), verdict="goes on"),
    change(
        "prompt changed at",
        ("Write ", "Please write "),
        verdict="pays again",
        because="prompt of node 'inner/draft'",
        at="draft",
    ),
    change("prompt changed behind", ("Polish ", "Please polish "), verdict="goes on", at="draft", same=False),
    change(
        "model changed",
        ('@step("text")\ndef draft', '@step("text", model="large")\ndef draft'),
        verdict="pays again",
        because="asks other, and had its answer of scripted",
        at="draft",
    ),
    change("budget changed", ("calls=20", "calls=30"), verdict="goes on"),
    change(
        "pattern swapped",
        ("refine(polish, good, until=lambda score: score > 0, rounds=2)", "chain(polish, more)"),
        verdict="must finish",
        because="is gone",
    ),
    change(
        "subgraph replaced by a node",
        ("loop, finish, name=", "loop, finish, name="),
        (
            'inner = chain(draft, approve, name="inner")',
            "def inner(post: Post) -> dict[str, Any]:\n    return {}",
        ),
        verdict="must finish",
        because="is no longer a graph of its own",
    ),
    change(
        "branches added behind",
        ("loop, finish", 'section({"more": more, "polish": polish}, name="beside"), loop, finish'),
        verdict="goes on",
        same=False,
    ),
    change("loop's bound changed", ("rounds=2", "rounds=5"), verdict="goes on"),
    change(
        "review's question changed", ("Publish?", "Send?"), verdict="goes on", because="has another question"
    ),
    change(
        "review's answer type changed",
        ('@review("text")', '@review("topic")'),
        verdict="goes on",
        because="takes another answer",
        same=False,
    ),
    change(
        "tries changed",
        ('@step("text")\ndef polish', '@step("text", tries=5)\ndef polish'),
        verdict="goes on",
    ),
    change(
        "class moved",
        ("class Grade(BaseModel):", 'class Grade(BaseModel):\n    __module__ = "marks"'),
        verdict="must finish",
        because="app.Grade",
    ),
    change(
        "class moved, with a migration",
        ("class Grade(BaseModel):", 'class Grade(BaseModel):\n    __module__ = "marks"'),
        verdict="migrates",
        migrates="old",
        same=False,
    ),
]
