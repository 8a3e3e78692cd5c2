"""What a token stands for, on vocabularies written by hand: byte-level, and SentencePiece's with its byte pieces."""

import pytest
from tokenizers import Tokenizer, decoders, models
from transformers import PreTrainedTokenizerFast

from harness.models.token_text import token_text

# GPT-2's letters: Ġ a blank, Ċ a newline; â Ģ ľ the bytes E2 80 9C of a curly quote, ðŁĺ F0 9F 98 of an emoji
BYTE_LEVEL = {
    "I": "I",
    "ĠI": " I",
    "Ċ": "\n",
    "ĉ": "\t",
    "ĠĠĠ": "   ",
    "âĢľ": "\N{LEFT DOUBLE QUOTATION MARK}",
    "âĢ": "<0xE2><0x80>",
    "ľ": "<0x9C>",
    "ĠðŁĺ": " <0xF0><0x9F><0x98>",
    "Ġ.": " .",
    "ï¿½": "\N{REPLACEMENT CHARACTER}",
    "<|im_end|>": "<|im_end|>",
}
SENTENCE_PIECES = {
    "I": "I",
    "▁I": " I",
    "▁": " ",
    "▁▁": "  ",
    "<0xE2>": "<0xE2>",
    "<0x49>": "I",
    "\N{REPLACEMENT CHARACTER}": "\N{REPLACEMENT CHARACTER}",
    "\n": "\n",
}


def tokenizer(pieces, decoder):
    made = Tokenizer(models.BPE({piece: place for place, piece in enumerate(pieces)}, [], byte_fallback=True))
    made.decoder = decoder
    return PreTrainedTokenizerFast(tokenizer_object=made, clean_up_tokenization_spaces=True)


def sentence_piece_decoder(*, strip):
    steps = [decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse()]
    return decoders.Sequence([*steps, *([decoders.Strip(" ", 1, 0)] if strip else [])])


@pytest.mark.parametrize(
    ("pieces", "decoder"),
    [
        (BYTE_LEVEL, decoders.ByteLevel()),
        (SENTENCE_PIECES, sentence_piece_decoder(strip=False)),  # Gemma's
        (SENTENCE_PIECES, sentence_piece_decoder(strip=True)),  # Llama 2's
    ],
)
def test_a_piece_is_told_with_its_blank_and_its_bytes(pieces, decoder):
    made = tokenizer(pieces, decoder)
    assert {piece: token_text(made, place) for place, piece in enumerate(pieces)} == pieces
