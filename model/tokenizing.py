"""Texts to token ids: any text, at a bounded cost.

No text raises. It is cut before it is tokenized, so ten megabytes cost what a long paragraph does; lone
surrogates become question marks, control characters are dropped by the tokenizer itself.
"""

from __future__ import annotations

from collections.abc import Sequence

from tokenizers import Tokenizer

from model.base import Base
from pipeline.errors import ModelError
from pipeline.scoring.whole import whole

#: Tokens of one text at most, [CLS] and [SEP] included.
MAX_TOKENS = 256

#: 254 word pieces of English take about 1,200 characters; what lies beyond this many is never looked at.
MAX_CHARACTERS = 4096

#: The id of [PAD]: encoders ignore its places.
PAD = 0


class TextTokenizer:
    """The base's own word pieces. Safe to share between threads."""

    def __init__(self, base: Base) -> None:
        """Raises ModelError where the base pads with another token than `PAD`."""
        self._tokenizer = Tokenizer.from_file(str(base.tokenizer))
        if (found := self._tokenizer.token_to_id("[PAD]")) != PAD:
            raise ModelError(
                f"{base.tokenizer} has [PAD] as token {found}: the engines run bases where it is {PAD} only"
            )
        #: What stands for no word: [CLS], [SEP], [UNK] and their like.
        self._marks = frozenset(self._tokenizer.get_added_tokens_decoder())
        self._tokenizer.no_padding()
        self._tokenizer.enable_truncation(MAX_TOKENS)

    def says_something(self, tokens: Sequence[int]) -> bool:
        """Whether a word, or a piece of one, is among the ids."""
        return not self._marks.issuperset(tokens)

    def encode(self, texts: Sequence[str]) -> list[Sequence[int]]:
        """Ids of each text, [CLS] first and [SEP] last, at most `MAX_TOKENS`."""
        cut = [whole(text[:MAX_CHARACTERS]) for text in texts]
        return [encoding.ids for encoding in self._tokenizer.encode_batch_fast(cut)]
