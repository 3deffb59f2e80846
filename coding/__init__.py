"""Work on code without a model: search a folder, compress what was read, apply an edit.

A model that searches or edits stands in the ready workflows `code_search` and `coding_agent`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..state.lazy_names import lazy_names

if TYPE_CHECKING:
    from .applying.applying import apply as apply, apply_all as apply_all, form_of as form_of
    from .applying.checking import check_merged as check_merged
    from .compressing.compressor import Compressed as Compressed, compress as compress
    from .ranges import LineRange as LineRange, Read as Read
    from .searching.code_index import CodeIndex as CodeIndex
    from .searching.search import SearchResult as SearchResult, search as search
    from .tokens import count_tokens as count_tokens
else:
    __getattr__, __dir__, __all__ = lazy_names(
        __name__,
        {
            ".applying.applying": "apply apply_all form_of",
            ".applying.checking": "check_merged",
            ".compressing.compressor": "Compressed compress",
            ".ranges": "LineRange Read",
            ".searching.code_index": "CodeIndex",
            ".searching.search": "SearchResult search",
            ".tokens": "count_tokens",
        },
    )
