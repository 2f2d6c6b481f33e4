from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from modules.prompt.chunks import CHUNK_TOKENS, Chunk, Chunker, TokenCount
from modules.prompt.embeddings import EmbeddingWord, EmbeddingWords, PlacedEmbedding
from modules.prompt.emphasis import EMPHASES
from modules.prompt.tokens import ClipTokenizer
from tests.prompt.test_grammar import MARKS

BOS, EOS, COMMA = 49406, 49407, 267
CAT = 2368


@pytest.fixture(scope="module")
def chunker(tokenizer: ClipTokenizer) -> Chunker:
    return Chunker(tokenizer)


def text_tokens(chunker: Chunker, text: str) -> list[list[int]]:
    """Return the tokens of each chunk without BOS, EOS and padding."""
    return [
        [t for t in chunk.token_ids if t not in (BOS, EOS)]
        for chunk in chunker.split_into_chunks(text)
    ]


@settings(max_examples=150, deadline=None)
@given(text=st.one_of(st.text(max_size=400), MARKS), name=st.sampled_from(EMPHASES.names()))
def test_any_text_gives_full_chunks(tokenizer: ClipTokenizer, text: str, name: str):
    chunks = Chunker(tokenizer, EMPHASES.get(name)).split_into_chunks(text)
    assert chunks
    assert all(len(chunk.token_ids) == len(chunk.weights) == CHUNK_TOKENS + 2 for chunk in chunks)
    assert all(chunk.token_ids[0] == BOS and chunk.token_ids[-1] == EOS for chunk in chunks)


def test_an_empty_prompt_is_one_chunk_of_special_tokens(chunker: Chunker):
    (chunk,) = chunker.split_into_chunks("")
    assert chunk.token_ids == (BOS, *[EOS] * 76)
    assert set(chunk.weights) == {1.0}


def test_a_short_prompt_is_padded_with_eos(chunker: Chunker):
    (chunk,) = chunker.split_into_chunks("a cat")
    assert chunk.token_ids == (BOS, 320, CAT, *[EOS] * 74)


def test_sd_2_pads_with_zeros_after_eos(tokenizer: ClipTokenizer):
    (chunk,) = Chunker(tokenizer, pad_token_id=0).split_into_chunks("a cat")
    assert chunk.token_ids == (BOS, 320, CAT, EOS, *[0] * 73)


def test_each_token_has_the_weight_of_its_piece(chunker: Chunker):
    (chunk,) = chunker.split_into_chunks("a (cat:1.5) cat")
    assert chunk.token_ids[:4] == (BOS, 320, CAT, CAT)
    assert chunk.weights == (1.0, 1.0, 1.5, *[1.0] * 74)


def test_brackets_are_plain_text_when_emphasis_is_off(tokenizer: ClipTokenizer):
    (chunk,) = Chunker(tokenizer, EMPHASES.get("None")).split_into_chunks("(cat) BREAK")
    assert chunk.token_ids[1:5] == (263, CAT, 264, tokenizer.encode("BREAK")[0])
    assert set(chunk.weights) == {1.0}


def test_break_fills_the_rest_of_the_chunk(chunker: Chunker):
    assert text_tokens(chunker, "cat BREAK a cat") == [[CAT], [320, CAT]]
    assert text_tokens(chunker, "cat BREAK") == [[CAT]]
    assert text_tokens(chunker, "BREAK cat") == [[], [CAT]]
    assert text_tokens(chunker, "cat BREAK BREAK cat") == [[CAT], [], [CAT]]
    assert text_tokens(chunker, "cat " * 75 + "BREAK cat") == [[CAT] * 75, [CAT]]


def test_a_chunk_split_at_a_comma_keeps_weights_with_their_tokens(chunker: Chunker):
    first, second = chunker.split_into_chunks("cat " * 60 + ", (" + "cat " * 20 + ":1.5)")
    assert first.token_ids[61] == COMMA
    assert first.token_ids[62:] == (EOS,) * 15
    assert set(first.weights) == {1.0}
    assert second.weights == (1.0, *[1.5] * 20, *[1.0] * 56)


def test_comma_padding_backtrack_limits_how_far_back_a_chunk_may_end(tokenizer: ClipTokenizer):
    text = "cat " * 60 + ", " + "cat " * 20
    lengths = [
        [len(tokens) for tokens in text_tokens(Chunker(tokenizer, comma_backtrack=n), text)]
        for n in (0, 14, 15, 74)
    ]
    assert lengths == [[75, 6], [75, 6], [61, 20], [61, 20]]


@pytest.mark.parametrize(
    ("text", "count"),
    [
        ("", TokenCount(0, 75)),
        ("a cat", TokenCount(2, 75)),
        ("(a:1.3) [cat]", TokenCount(2, 75)),
        ("cat " * 75, TokenCount(75, 75)),
        ("cat " * 76, TokenCount(76, 150)),
        ("cat " * 60 + ", " + "cat " * 20, TokenCount(95, 150)),
        ("a cat BREAK a cat", TokenCount(77, 150)),
    ],
)
def test_the_count_has_tokens_and_limit(chunker: Chunker, text: str, count: TokenCount):
    assert chunker.count_tokens(text) == count


def cats(count: int, *commas: int) -> str:
    """Return a text of so many tokens, with commas at some indexes."""
    return " ".join("," if index in commas else "cat" for index in range(count))


def test_seventy_five_tokens_fit_in_one_row(chunker: Chunker):
    assert text_tokens(chunker, cats(75)) == [[CAT] * 75]
    assert text_tokens(chunker, cats(76)) == [[CAT] * 75, [CAT]]


@pytest.mark.parametrize("position", [55, 60, 74])
def test_a_full_row_ends_after_a_comma_at_most_twenty_tokens_back(chunker: Chunker, position: int):
    rows = text_tokens(chunker, cats(100, position))
    assert [len(row) for row in rows] == [position + 1, 99 - position]
    assert rows[0][-1] == COMMA


def test_a_comma_further_back_does_not_split_the_row(chunker: Chunker):
    assert [len(row) for row in text_tokens(chunker, cats(100, 54))] == [75, 25]


def test_the_last_of_several_commas_splits_the_row(chunker: Chunker):
    assert [len(row) for row in text_tokens(chunker, cats(100, 58, 70))] == [71, 29]


def test_a_comma_right_after_a_full_row_begins_the_next(chunker: Chunker):
    rows = text_tokens(chunker, cats(100, 60, 75))
    assert [len(row) for row in rows] == [75, 25]
    assert rows[1][0] == COMMA


def test_no_token_is_lost_in_a_long_prompt(chunker: Chunker):
    text = cats(1000, *range(0, 1000, 17))
    rows = text_tokens(chunker, text)
    assert [token for row in rows for token in row] == chunker.tokenizer.encode(text)


def make_word(tokenizer: ClipTokenizer, name: str, vector_count: int = 1) -> EmbeddingWord:
    return EmbeddingWord(name, tuple(tokenizer.encode(name)), vector_count)


def with_words(chunker: Chunker, *words: EmbeddingWord) -> Chunker:
    return Chunker(chunker.tokenizer, words=EmbeddingWords(words))


def places(chunks: list[Chunk]) -> list[list[tuple[int, str]]]:
    """Return the offsets and names of the embeddings of each chunk."""
    return [[(placed.offset, placed.word.name) for placed in chunk.embeddings] for chunk in chunks]


def test_an_embedding_takes_a_place_for_each_vector_with_the_weight_around_it(chunker: Chunker):
    word = make_word(chunker.tokenizer, "style-x", 3)
    (chunk,) = with_words(chunker, word).split_into_chunks("cat (style-x:1.5) cat")
    assert chunk.token_ids[:7] == (BOS, CAT, 0, 0, 0, CAT, EOS)
    assert chunk.weights[:6] == (1, 1, 1.5, 1.5, 1.5, 1)
    assert chunk.embeddings == (PlacedEmbedding(2, word),)
    assert with_words(chunker, word).count_tokens("cat style-x").tokens == 4


@pytest.mark.parametrize(
    ("text", "names"),
    [
        ("qq red", ["qq red"]),
        ("qq blue", ["qq"]),
        ("QQ Red, Qq", ["qq red", "qq"]),
        ("qq, red", ["qq"]),
        ("(qq) red", ["qq"]),
        ("a cat", []),
    ],
)
def test_the_longest_name_at_a_place_is_taken_in_any_case(
    chunker: Chunker, text: str, names: list[str]
):
    words = [make_word(chunker.tokenizer, name) for name in ("qq", "qq red")]
    (placed,) = places(with_words(chunker, *words).split_into_chunks(text))
    assert [name for _, name in placed] == names


def test_an_embedding_that_does_not_fit_begins_the_next_chunk_wherever_the_comma_is(
    chunker: Chunker,
):
    word = make_word(chunker.tokenizer, "qq", 5)
    chunks = with_words(chunker, word).split_into_chunks(f"{cats(72, 65)} qq cat")
    assert places(chunks) == [[], [(1, "qq")]]
    assert chunks[0].token_ids == (BOS, *[CAT] * 65, COMMA, *[CAT] * 6, *[EOS] * 4)
    assert chunks[1].token_ids[:8] == (BOS, 0, 0, 0, 0, 0, CAT, EOS)


def test_an_embedding_behind_the_comma_of_a_full_chunk_stays_there_as_in_a1111(chunker: Chunker):
    word = make_word(chunker.tokenizer, "qq", 2)
    chunks = with_words(chunker, word).split_into_chunks(f"{cats(70, 69)} qq cat cat cat cat")
    assert places(chunks) == [[(71, "qq")], []]
    assert chunks[0].token_ids[69:73] == (CAT, COMMA, EOS, EOS)
    assert chunks[1].token_ids[:8] == (BOS, 0, 0, CAT, CAT, CAT, CAT, EOS)


def test_old_emphasis_knows_embeddings(chunker: Chunker):
    words = EmbeddingWords((make_word(chunker.tokenizer, "qq", 2),))
    (chunk,) = Chunker(chunker.tokenizer, old_emphasis=True, words=words).split_into_chunks(
        "a ( qq ) cat"
    )
    assert chunk.token_ids[:5] == (BOS, 320, 0, 0, CAT)
    assert chunk.weights[:5] == pytest.approx((1, 1, 1.1, 1.1, 1))


def test_a_text_is_read_the_same_with_only_the_words_that_it_uses(chunker: Chunker):
    words = EmbeddingWords(
        tuple(make_word(chunker.tokenizer, name) for name in ("qq", "qq red", "cat"))
    )
    text = "qq red cat"
    used = words.only(["qq red", "cat"])
    assert len(used.words) == 2
    chunkers = [Chunker(chunker.tokenizer, words=one) for one in (words, used)]
    assert chunkers[0].split_into_chunks(text) == chunkers[1].split_into_chunks(text)


@pytest.mark.parametrize(
    ("text", "tokens", "weights"),
    [
        ("a (cat) cat", [320, CAT, CAT], [1, 1.1, 1]),
        ("[cat] ((cat))", [CAT, CAT], [1 / 1.1, 1.21]),
        ("a cat", [320, CAT], [1, 1]),
        ("cat " * 80, [CAT] * 75, [1] * 75),
    ],
)
def test_old_emphasis_weights_by_brackets_alone_in_a_single_chunk(
    tokenizer: ClipTokenizer, text: str, tokens: list[int], weights: list[float]
):
    (chunk,) = Chunker(tokenizer, old_emphasis=True).split_into_chunks(text)
    assert list(chunk.token_ids[1 : len(tokens) + 1]) == tokens
    assert list(chunk.weights[1 : len(tokens) + 1]) == pytest.approx(weights)


def test_old_emphasis_treats_brackets_as_plain_text_when_emphasis_is_off(
    tokenizer: ClipTokenizer,
):
    off = EMPHASES.get("None")
    assert Chunker(tokenizer, off, old_emphasis=True).split_into_chunks("(cat)") == Chunker(
        tokenizer, off
    ).split_into_chunks("(cat)")
