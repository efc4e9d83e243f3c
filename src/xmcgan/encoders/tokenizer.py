"""The embedded encoder's tokenizer by the ``tokenizers`` package alone, called as transformers' tokenizers are."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from tokenizers import Encoding, Tokenizer

SPECIAL = {"cls": "[CLS]", "sep": "[SEP]", "pad": "[PAD]", "unk": "[UNK]"}


class WordPieceTokenizer:
    """Captions -> numbers of word pieces, from a folder's tokenizer.json."""

    is_fast = True  # as transformers calls a tokenizer that reports character offsets

    def __init__(self, folder: Path):
        self.backend_tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
        numbers = {name: self.backend_tokenizer.token_to_id(piece) for name, piece in SPECIAL.items()}
        self.cls_token_id, self.sep_token_id = numbers["cls"], numbers["sep"]
        self.pad_token_id, self.unk_token_id = numbers["pad"], numbers["unk"]

    def __call__(
        self,
        captions: str | Sequence[str],
        *,
        padding: str | bool = False,
        truncation: bool = False,
        max_length: int | None = None,
        return_tensors: str | None = None,
        return_offsets_mapping: bool = False,
        verbose: bool = True,  # nothing is ever printed
    ) -> dict[str, Any]:
        """``input_ids``, ``token_type_ids``, ``attention_mask`` and, if asked for, ``offset_mapping``."""
        tokenizer = self.backend_tokenizer
        tokenizer.no_truncation() if not truncation else tokenizer.enable_truncation(max_length or 512)
        tokenizer.no_padding() if not padding else tokenizer.enable_padding(length=max_length)
        single = isinstance(captions, str)
        encodings: list[Encoding] = tokenizer.encode_batch([captions] if isinstance(captions, str) else list(captions))
        columns = {
            "input_ids": [each.ids for each in encodings],
            "token_type_ids": [each.type_ids for each in encodings],
            "attention_mask": [each.attention_mask for each in encodings],
        }
        if return_offsets_mapping:
            columns["offset_mapping"] = [each.offsets for each in encodings]
        if return_tensors == "pt":
            return {name: torch.tensor(rows) for name, rows in columns.items()}
        if return_tensors == "np":
            return {name: np.array(rows) for name, rows in columns.items()}
        return {name: rows[0] if single else rows for name, rows in columns.items()}

    def convert_ids_to_tokens(self, ids: Sequence[int]) -> list[str]:
        """The pieces with these numbers."""
        return [self.backend_tokenizer.id_to_token(number) or SPECIAL["unk"] for number in ids]

    def get_vocab(self) -> dict[str, int]:
        """The number of every piece."""
        return self.backend_tokenizer.get_vocab()
