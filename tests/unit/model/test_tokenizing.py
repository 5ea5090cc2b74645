"""Any text becomes a bounded number of tokens."""

from __future__ import annotations

import json
import shutil
import time
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from model.base import find_base
from model.tokenizing import MAX_TOKENS, TextTokenizer
from pipeline.errors import ModelError

CLS, SEP = 101, 102


@pytest.fixture(scope="module")
def tokenizer() -> TextTokenizer:
    return TextTokenizer(find_base())


@settings(max_examples=50)
@given(st.lists(st.text(st.characters(codec=None), max_size=300), max_size=5))
def test_no_text_raises(tokenizer: TextTokenizer, texts: list[str]) -> None:
    encoded = tokenizer.encode(texts)
    assert len(encoded) == len(texts)
    for ids in encoded:
        assert (ids[0], ids[-1]) == (CLS, SEP)
        assert 2 <= len(ids) <= MAX_TOKENS


def test_control_characters_and_lone_surrogates_do_not_hide_the_words(tokenizer: TextTokenizer) -> None:
    plain, dirty = tokenizer.encode(["bank fails", "bank\x00 \x1bfails\ud800"])
    assert dirty[: len(plain) - 1] == plain[:-1]


def test_ten_megabytes_cost_what_a_paragraph_does(tokenizer: TextTokenizer) -> None:
    huge = ["flood " * 1_700_000, "x" * 10_000_000, "\ud800" * 10_000_000, " " * 10_000_000]
    start = time.process_time()
    encoded = tokenizer.encode(huge)
    assert time.process_time() - start < 1
    assert len(encoded[0]) == MAX_TOKENS


def test_a_base_that_pads_with_another_token_is_refused(tmp_path: Path) -> None:
    """Its texts would be taken for padding."""
    folder = shutil.copytree(find_base().folder, tmp_path / "base")
    described = json.loads((folder / "tokenizer.json").read_text())
    vocabulary = described["model"]["vocab"]
    vocabulary["[PAD]"], vocabulary["[unused0]"] = 1, 0
    described["added_tokens"][0]["id"] = 1
    (folder / "tokenizer.json").write_text(json.dumps(described))
    with pytest.raises(ModelError, match=r"\[PAD\] as token 1"):
        TextTokenizer(find_base(folder))
