"""What a file is for, by its path: source, test, documentation, configuration, or made from another file."""

from __future__ import annotations

import re
from collections.abc import Collection
from pathlib import PurePosixPath

__all__ = ["FILE_KINDS", "kind_of"]

FILE_KINDS = ("source", "config", "test", "doc", "generated")
"""In the order in which a search shows them."""

_CODE = frozenset(
    """.asm .bash .bat .c .cc .cjs .clj .cljs .coffee .cpp .cs .css .cts .cu .cxx .d .dart .ejs .el .elm .erb
    .erl .ex .exs .f90 .fs .fsx .go .gradle .graphql .groovy .h .hbs .hpp .hs .htm .html .java .jinja .jinja2
    .jl .js .jsx .kt .kts .less .lisp .lua .m .mjs .ml .mli .mm .mts .nim .nix .php .pl .pm .proto .ps1 .pxd
    .py .pyi .pyx .r .rb .rs .sass .scala .scss .sh .sol .sql .svelte .swift .tcl .tf .ts .tsx .v .vb .vhd
    .vim .vue .zig .zsh""".split()
)
_DOC = frozenset(".adoc .asciidoc .markdown .md .mdx .org .po .rst .tex .txt".split())
_APART = re.compile(
    r"(^|/)(bench|benchmarks?|demos?|examples?|extras?|fixtures?|gallery|profiling|samples?|scripts|tools|\.[^/]+)/"
)
_TEST = re.compile(
    r"(^|/)(tests?|testing|__tests__|specs?|t|e2e)/|(^|/)(test_[^/]*|conftest\.py|[^/]*(_test|_spec|\.test|\.spec)\.[a-z]+)$"
)
_DOCS = re.compile(r"(^|/)(docs?|documentation|docs_src|changelogs?|changes|licen[cs]es|locales?)/")
_MADE = re.compile(
    r"\.min\.(js|css)$|(^|/)(dist|build|vendor|third_party)/|_pb2(_grpc)?\.pyi?$|\.lock$|-lock\.\w+$"
)
_BUILD = re.compile(r"(^|/)(setup|noxfile|fabfile|tasks)\.py$")
_COMPILED = re.compile(r"(\.d)?\.[cm]?[jt]s$")


def kind_of(path: str, others: Collection[str] = ()) -> str:
    """Return one of `FILE_KINDS`; `others` are the paths beside it, by which compiled JavaScript is told."""
    suffix = PurePosixPath(path).suffix.lower()
    if _MADE.search(path) or (_COMPILED.search(path) and _is_compiled(path, others)):
        return "generated"
    if suffix in _CODE and not _BUILD.search(path):
        if _TEST.search(path):
            return "test"
        return "doc" if _DOCS.search(path) or _APART.search(path) else "source"
    return "doc" if suffix in _DOC or not suffix or _DOCS.search(path) else "config"


def _is_compiled(path: str, others: Collection[str]) -> bool:
    """Tell whether the TypeScript that a file was made from lies in the same tree."""
    stem = _COMPILED.sub("", path)
    if path == stem + ".ts":
        return False
    return any(f"{source}{stem}.ts" in others for source in ("", "src/"))
