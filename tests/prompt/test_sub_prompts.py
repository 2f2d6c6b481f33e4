from __future__ import annotations

from modules.prompt.chunks import Chunker, TokenCount
from modules.prompt.schedule import ScheduledText, StepTimeline
from modules.prompt.sub_prompts import SubPrompt, count_tokens, parse_negative_prompt, parse_prompt
from modules.prompt.tokens import ClipTokenizer

TEN = StepTimeline(10)


def test_a_prompt_is_read_without_its_networks_part_by_part_in_time():
    strands = parse_prompt("a<lora:x:1> AND [b:c:3] :0.5", TEN)
    assert strands == (
        SubPrompt((ScheduledText(10, "a"),)),
        SubPrompt((ScheduledText(3, " b"), ScheduledText(10, " c")), 0.5),
    )


def test_in_a_negative_prompt_and_and_networks_are_words():
    strand = parse_negative_prompt("a AND <lora:x:1> [b:c:3]", TEN)
    assert [span.text for span in strand.texts] == ["a AND <lora:x:1> b", "a AND <lora:x:1> c"]


def test_the_longest_text_counts(tokenizer: ClipTokenizer):
    strands = parse_prompt("cat [a:a big cat:5] AND cat", TEN)
    assert count_tokens(strands, Chunker(tokenizer)) == TokenCount(4, 75)
