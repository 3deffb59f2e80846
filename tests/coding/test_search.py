"""Search without a model: what it finds, what it never does, and what stays the same without its helpers."""

from __future__ import annotations

from pathlib import Path

import pytest

from stepgraph.coding import CodeIndex, count_tokens, search
from stepgraph.coding.outlines.outline import outline
from stepgraph.coding.searching import grep as grepping, search as searching, vectors
from stepgraph.coding.searching.code_index import SMALL
from stepgraph.coding.searching.grep import grep
from stepgraph.coding.searching.pieces import pieces_of
from stepgraph.coding.searching.search import _LEAST, RANGE_TOKENS
from stepgraph.coding.searching.term_index import TermIndex
from stepgraph.coding.searching.words import words_of
from stepgraph.errors import InputError

ROOT = Path(__file__).parents[2]
QUESTION = (
    "Where is decided whether a failed request is tried again, and how long the wait before the retry is?"
)

SHOP = {
    "shop/cart.py": 'class Cart:\n    """What is bought."""\n\n    def add_item(self, item):\n        '
    "self.items.append(item)\n\n"
    "    def totalPrice(self):\n        return sum(item.price for item in self.items)\n",
    "shop/mail.py": "def send_receipt(address):\n    raise NotImplementedError\n",
    "shop/discounts.ts": "export function applyDiscount(price: number) {\n  return price * 0.9\n}\n",
    "tests/test_cart.py": "def test_total_price_of_all_items_in_the_cart():\n    assert total_price == 1\n",
    "docs/cart.md": "# The cart\n\nThe total price of all items in the cart.\n",
}


@pytest.fixture
def shop(tmp_path: Path) -> Path:
    root = tmp_path / "shop"
    for name, text in SHOP.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text)
    return root


@pytest.fixture(scope="module")
def index() -> CodeIndex:
    return CodeIndex(ROOT / "providers")


def test_a_question_finds_the_lines_by_words_of_its_own(shop: Path) -> None:
    found = search("the total price of the items in a cart is wrong", shop)
    assert found.files[0] == "shop/cart.py"
    best = found.ranges[0]
    assert (best.file, best.start <= 8 <= best.end) == ("shop/cart.py", True)
    assert "total" in best.reason
    assert str(best) in found.text
    assert {one.file for one in found.ranges}.isdisjoint({"tests/test_cart.py", "docs/cart.md"})


def test_other_kinds_of_files_are_searched_on_demand_or_where_there_is_no_source(shop: Path) -> None:
    assert search("total price of the cart", shop, kinds=("doc",)).files == ["docs/cart.md"]
    assert search("total price of the cart", shop / "docs").files == ["cart.md"]
    with pytest.raises(InputError, match="no kind of files 'docs'"):
        search("total price", shop, kinds=("docs",))


@pytest.mark.parametrize("tokens", [60, 300, 1000, 4000])
def test_it_keeps_to_its_tokens(index: CodeIndex, tokens: int) -> None:
    found = search(QUESTION, index.root, tokens=tokens, index=index)
    cost = 0
    seen: set[tuple[str, int]] = set()
    for one in found.ranges:
        lines = (index.root / one.file).read_text("utf-8").split("\n")
        assert 1 <= one.start <= one.end <= len(lines)
        numbers = {(one.file, number) for number in range(one.start, one.end + 1)}
        assert not numbers & seen
        seen |= numbers
        cost += (
            count_tokens("\n".join(lines[one.start - 1 : one.end])) + count_tokens(one.file) + RANGE_TOKENS
        )
    assert cost <= found.tokens <= tokens
    assert found.tokens > min(tokens, 1000) * 0.5
    assert [one.score for one in found.ranges] == sorted((one.score for one in found.ranges), reverse=True)


def test_what_scores_far_below_the_best_is_not_shown_whatever_the_tokens(index: CodeIndex) -> None:
    found = search(QUESTION, index.root, tokens=200_000, index=index)
    assert 0 < found.tokens < 20_000  # the folder has ten times as many
    assert found.ranges[-1].score >= _LEAST * found.ranges[0].score
    assert len(found.files) > len({one.file for one in found.ranges})


def test_more_is_asked_of_a_piece_in_a_small_file_which_is_soon_read_whole(
    index: CodeIndex, monkeypatch: pytest.MonkeyPatch
) -> None:
    shown: list[set[tuple[str, int]]] = []
    for small in (0, 12_000, 10**9):
        monkeypatch.setattr(searching, "_SMALL", small)
        lines = set()
        for question in (QUESTION, "which word of a question ranks a file", "a snippet is refused"):
            found = search(question, index.root, tokens=200_000, index=index).ranges
            lines |= {(one.file, number) for one in found for number in range(one.start, one.end + 1)}
        shown.append(lines)
    assert shown[0] > shown[1] >= shown[2] > set()
    assert all((index.root / file).stat().st_size < 20_000 for file, _ in shown[0] - shown[1])


def test_the_file_that_the_best_ones_share_is_among_the_first_eight(tmp_path: Path) -> None:
    for number in range(30):
        uses = "from .ground import Ground\n" if number < 3 else ""
        base, again = (
            ("Ground" if uses else "object"),
            "    # cancel the awaited engine\n" * max(0, 10 - number),
        )
        head = f"{uses}from . import everywhere\n\n\nclass Engine{number}({base}):\n"
        (tmp_path / f"m{number}.py").write_text(f"{head}    def cancel(self):\n{again}        pass\n")
    (tmp_path / "ground.py").write_text("class Ground:\n    def __leave__(self):\n        return None\n")
    (tmp_path / "everywhere.py").write_text("HERE = 1\n")
    files = search("an engine that is awaited cannot be cancelled", tmp_path).files
    assert "ground.py" in files[:8]
    assert files.index("everywhere.py") > files.index("ground.py")
    assert sorted(files) == sorted(path.name for path in tmp_path.iterdir())


def test_the_files_come_in_order_and_the_right_one_early(index: CodeIndex) -> None:
    found = search(QUESTION, index.root, index=index)
    assert found == search(QUESTION, index.root, index=index)
    assert "stack/retry.py" in found.files[:2]


def test_it_works_without_vectors_ripgrep_and_grammars(shop: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(vectors, "_vectors", lambda: None)
    assert not vectors.vectors_are_installed()
    monkeypatch.setattr("stepgraph.coding.outlines.outline.tree_outline", lambda *_: None)
    assert search("total price of the cart", shop).files[0] == "shop/cart.py"
    assert search("apply a discount", CodeIndex(shop).root).ranges[0].file == "shop/discounts.ts"


@pytest.mark.parametrize("query", ["", "  \n"])
def test_an_empty_question_is_told(shop: Path, query: str) -> None:
    with pytest.raises(InputError, match="empty"):
        search(query, shop)


@pytest.mark.parametrize("query", ["???", "the of and", "日本語", "a" * 10_000, "\ud800", "ქართული_x"])
def test_every_question_has_an_answer(shop: Path, query: str) -> None:
    assert set(search(query, shop).files) <= set(SHOP)


def test_a_folder_that_changes_under_it(shop: Path) -> None:
    index = CodeIndex(shop)
    assert search("parse invoices", shop, index=index).files
    (shop / "shop/invoices.py").write_text("def parse_invoices():\n    return 1\n")
    (shop / "shop/mail.py").unlink()
    found = search("parse invoices", shop, index=index)
    assert found.files[0] == "shop/invoices.py"
    assert "shop/mail.py" not in found.files
    (shop / "shop/invoices.py").write_text("def nothing_of_it():\n    return 100\n")
    assert search("parse invoices", shop, index=index).ranges[0].reason.find("pars") < 0


def test_files_that_cannot_be_read_or_parsed_are_no_error(shop: Path) -> None:
    (shop / "shop/broken.py").write_text("def total_price(:\n  cart\n")
    (shop / "shop/deep.py").write_text("x = " + "(" * 5000 + ")" * 5000)
    (shop / "shop/latin.py").write_bytes(b"# total price of a caf\xe9\r\ncart = 1\r\n")
    (shop / "shop/nul.py").write_bytes(b"total\0price")
    found = search("total price of the cart", shop)
    assert "shop/broken.py" in found.files
    assert "shop/nul.py" not in found.files


@pytest.fixture
def large(tmp_path: Path) -> Path:
    root = tmp_path / "large"
    for number in range(SMALL + 20):
        folder = root / f"part{number % 7}"
        folder.mkdir(parents=True, exist_ok=True)
        (folder / f"m{number}.py").write_text(f"def function_{number}():\n    return {number}\n")
    (root / "part3/oven.py").write_text("def preheat_oven(degrees):\n    return degrees\n")
    return root


def test_the_index_of_a_large_folder_is_kept_outside_of_it_and_renewed(large: Path, tmp_path: Path) -> None:
    store = tmp_path / "store"
    first = search("preheat the oven", large, index=CodeIndex(large, store))
    assert first.files[0] == "part3/oven.py"
    before = {file: file.read_bytes() for file in store.iterdir()}
    assert len(before) == 1
    assert search("preheat the oven", large, index=CodeIndex(large, store)) == first
    assert {file: file.read_bytes() for file in store.iterdir()} == before
    (large / "part3/oven.py").unlink()
    (large / "part4/stove.py").write_text("def preheat_oven(hours):\n    return hours\n")
    again = search("preheat the oven", large, index=CodeIndex(large, store))
    assert again.files[0] == "part4/stove.py"
    assert "part3/oven.py" not in again.files
    assert not {path.name for path in large.rglob("*")} & {file.name for file in store.iterdir()}
    with pytest.raises(InputError, match="outside"):
        CodeIndex(large, large / "part3")


@pytest.mark.parametrize("damage", ["cut", "bytes", "version", "empty", "rows", "folder"])
def test_a_damaged_index_is_made_again(large: Path, tmp_path: Path, damage: str) -> None:
    store = tmp_path / "store"
    first = search("preheat the oven", large, index=CodeIndex(large, store))
    (file,) = store.iterdir()
    content = file.read_bytes()
    if damage == "folder":
        file.unlink()
        file.mkdir()
    else:
        file.write_bytes(
            {
                "cut": content[: len(content) // 2],
                "bytes": content.replace(b"oven", b"even"),
                "version": content.replace(b"index 1", b"index 0", 1),
                "empty": b"",
                "rows": b"stepgraph code index 1 little 0 \n[]\n",
            }[damage]
        )
    assert TermIndex.load(file).files == {}
    assert search("preheat the oven", large, index=CodeIndex(large, store)) == first


@pytest.mark.parametrize(
    ("pattern", "literal"),
    [
        ("def ", True),
        ("return", False),
        (r"def \w+\(self", False),
        ("NotImplemented", False),
        ("items?", False),
        ("(", True),
        ("price.*0", False),
    ],
)
def test_ripgrep_and_python_find_the_same(
    shop: Path, monkeypatch: pytest.MonkeyPatch, pattern: str, literal: bool
) -> None:
    for number in range(60):
        (shop / f"more{number}.py").write_text(f"return_{number} = 'Return' # {number}\r\ndefault = (1)\n")
    files = [one.path for one in (lambda i: (i.refresh(), i.files)[1])(CodeIndex(shop))]
    with_it = list(grep(shop, files, pattern, literal=literal))
    monkeypatch.setattr(grepping, "ripgrep", lambda: None)
    assert list(grep(shop, files, pattern, literal=literal)) == with_it
    assert with_it


def test_a_pattern_that_is_none_is_told(shop: Path) -> None:
    with pytest.raises(InputError, match="regular expression"):
        list(grep(shop, ["shop/cart.py"], "def ("))


@pytest.mark.parametrize(
    "pattern",
    ["(a+)+$", "((a+))+b", "(a|a)*$", "(?:x*)*y", ".*.*.*.*=", r"(\w+\s?)+:", "(a{2,}){3,}", "a" * 501],
)
def test_a_pattern_that_could_take_for_ever_is_refused(shop: Path, pattern: str) -> None:
    (shop / "long.py").write_text("a" * 400 + "\n")
    with pytest.raises(InputError, match="for ever"):
        list(grep(shop, ["long.py"], pattern))


@pytest.mark.parametrize("pattern", [r"def \w+\(", "(total|price)_?", "[*+]+", "class .*Error.*:", "(?i)x"])
def test_a_usual_pattern_is_not(shop: Path, pattern: str) -> None:
    list(grep(shop, ["shop/cart.py"], pattern))


def test_an_index_is_of_one_folder(shop: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="The index is of"):
        search("total", tmp_path, index=CodeIndex(shop))


@pytest.mark.parametrize(
    ("path", "text", "names"),
    [
        ("a.py", "if x:\n    pass\n" + "elif y:\n    pass\n" * 3000, []),
        ("a.py", "class A:\n    def b(self):\n        pass\n\nif x:\n    def c(): pass\n", ["A", "A.b", "c"]),
        ("a.py", "def broken(:\n    pass\nclass B:\n    x = 1\n", ["broken", "B"]),
        ("a.ts", "export class A {\n  b() {\n  }\n}\nexport const c = () => {\n}\n", ["A", "A.b", "c"]),
        ("a.go", "package a\nfunc B(x int) {\n}\n", ["B"]),
        ("a.rs", "impl A {\n  fn b() {\n  }\n}\n", ["A", "A.b"]),
        ("a.md", "# One\ntext\n## Two\n```\n# no\n```\n# Three\n", ["One", "Two", "Three"]),
        ("a.kt", "class A {\n    fun b() {\n    }\n}\n", ["A", "A.b"]),
        ("a.txt", "nothing to see\n", []),
    ],
)
def test_outlines(path: str, text: str, names: list[str]) -> None:
    found = outline(path, text)
    assert [one.name for one in found] == names
    for one in found:
        assert 1 <= one.start <= one.end <= text.count("\n") + 1


@pytest.mark.parametrize("file", ["nodes/steps.py", "providers/stack/retry.py", "docs/safety.md", "Makefile"])
def test_every_line_is_in_one_piece(file: str) -> None:
    text = (ROOT / file).read_text("utf-8")
    lines = text.split("\n")
    numbers = [n for one in pieces_of(file, text, outline(file, text)) for n in range(one.start, one.end + 1)]
    assert len(numbers) == len(set(numbers))
    assert {n for n, line in enumerate(lines, 1) if line.strip()} <= set(numbers)


def test_words_of_identifiers_and_of_prose_meet() -> None:
    assert set(words_of("HTTPServerErrors retry_policies")) >= set(words_of("the server error, policy"))
    assert words_of("the of and") == []
