from __future__ import annotations

from modules.prompt.chunks import Chunker, TokenCount
from modules.prompt.reading import Strand, count_tokens, read_negative, read_prompt
from modules.prompt.schedule import Span, Timeline
from modules.prompt.tokens import ClipTokenizer

TEN = Timeline(10)


def test_a_prompt_is_read_without_its_networks_part_by_part_in_time():
    strands = read_prompt("a<lora:x:1> AND [b:c:3] :0.5", TEN)
    assert strands == (Strand((Span(10, "a"),)), Strand((Span(3, " b"), Span(10, " c")), 0.5))


def test_in_a_negative_prompt_and_and_networks_are_words():
    strand = read_negative("a AND <lora:x:1> [b:c:3]", TEN)
    assert [span.text for span in strand.spans] == ["a AND <lora:x:1> b", "a AND <lora:x:1> c"]


def test_the_longest_text_counts(tokenizer: ClipTokenizer):
    strands = read_prompt("cat [a:a big cat:5] AND cat", TEN)
    assert count_tokens(strands, Chunker(tokenizer)) == TokenCount(4, 75)
