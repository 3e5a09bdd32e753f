"""Rows become arrays of fixed shape: padding, ends, lengths, sides, and what is counted."""

import gzip
import json

import numpy as np
import pytest

from nlhf.datasets import check_labels
from nlhf.errors import InputError
from nlhf.transformer.data.encode import encode_comparisons, encode_prompts, pad_left, pad_right
from nlhf.transformer.data.files import load
from nlhf.transformer.data.rows import check_prompt
from nlhf.transformer.responses import check_responses
from nlhf.transformer.tokens.chat import chatml, plain
from nlhf.transformer.tokens.llama2c import load_llama2c
from nlhf.transformer.tokens.tokenizer import byte_tokenizer

BYTES = byte_tokenizer()
LENGTHS = {"prompt_length": 6, "response_length": 5}


class Source:
    """All that the core needs of a data set; the rows hold bytes, as those of tensorflow-datasets."""

    def __init__(self, rows):
        self.rows = rows

    def __len__(self):
        return len(self.rows)

    def __getitem__(self, index):
        return {
            key: value.encode() if isinstance(value, str) else value
            for key, value in self.rows[index].items()
        }


def rows(num, **more):
    return [{"prompt": f"q{i}", "chosen": f"y{i}", "rejected": f"n{i}", **more} for i in range(num)]


def decoded(responses):
    return [
        (BYTES.decode(prompt), BYTES.decode(tokens))
        for prompt, tokens in zip(responses.prompt, responses.tokens, strict=True)
    ]


@pytest.mark.parametrize("kind", [list, Source])
def test_prompts_are_padded_on_the_left_from_text_and_from_bytes(kind):
    found = encode_prompts(kind([{"prompt": "Hi"}, {"prompt": "é"}]), BYTES, length=4)
    assert found.data.tolist() == [[-1, 256, 72, 105], [-1, 256, 195, 169]]
    assert found.data.dtype == np.int32
    assert found.rows.tolist() == [0, 1]


@pytest.mark.parametrize("kind", [list, Source])
def test_comparisons_have_the_layout_of_responses(kind):
    found = encode_comparisons(kind(rows(20, p=0.75)), BYTES, **LENGTHS)
    comparisons = found.data
    for side in (comparisons.first, comparisons.second):
        check_responses(side, 258, 11)
        assert side.prompt.shape == (20, 6)
        assert side.tokens.shape == (20, 5)
        assert ((side.tokens == 257).sum(1) == 1).all()
        assert not side.log_prob.any()
    assert comparisons.context.tolist() == found.rows.tolist() == list(range(20))
    assert {leaf.dtype.name for leaf in (comparisons.prefer_first, comparisons.weight, side.log_prob)} == {
        "float32"
    }
    for index, (first, second, label) in enumerate(
        zip(decoded(comparisons.first), decoded(comparisons.second), comparisons.prefer_first, strict=True)
    ):
        yes, no = (f"q{index}", f"y{index}"), (f"q{index}", f"n{index}")
        assert (first, second, label) in [(yes, no, 0.75), (no, yes, 0.25)]


def test_chosen_comes_first_in_half_of_the_pairs():
    labels = [
        encode_comparisons(rows(40), BYTES, seed=seed, **LENGTHS).data.prefer_first for seed in (0, 0, 1)
    ]
    assert [one.sum() for one in labels] == [20, 20, 20]
    assert (labels[0] == labels[1]).all()
    assert (labels[0] != labels[2]).any()
    check_labels(labels[0])


def test_what_is_too_long_is_dropped_and_counted_or_cut_by_option():
    source = [
        *rows(1),
        {"prompt": "long prompt", "chosen": "y", "rejected": "n"},
        {"prompt": "q", "chosen": "y", "rejected": "too long"},
    ]
    dropped = encode_comparisons(source, BYTES, **LENGTHS)
    assert dropped.rows.tolist() == [0]
    assert dict(dropped.report.refused) == {"prompt is too long": 1, "an answer is too long": 1}
    assert dropped.report.examples[1].startswith(
        "row 2: an answer is too long (rejected has 9 tokens of at most 5)"
    )
    cut = encode_comparisons(source, BYTES, truncate=True, **LENGTHS)
    assert (cut.rows.tolist(), cut.truncated) == ([0, 1], 1)
    assert cut.data.first.prompt[1].tolist() == [256, *b"rompt"]
    cut = encode_comparisons(source, BYTES, truncate=True, truncate_answers=True, **LENGTHS)
    assert (cut.rows.tolist(), cut.truncated) == ([0, 1, 2], 2)
    both = [cut.data.first.tokens[2].tolist(), cut.data.second.tokens[2].tolist()]
    assert sorted(both) == [[ord("t"), *b"oo l"], [ord("y"), 257, -1, -1, -1]]


def test_prompts_that_are_too_long():
    source = [{"prompt": "abcdef"}, {"prompt": "a"}]
    assert encode_prompts(source, BYTES, length=4).rows.tolist() == [1]
    cut = encode_prompts(source, BYTES, length=4, truncate=True)
    assert cut.data.tolist() == [[256, *b"def"], [-1, -1, 256, 97]]
    assert encode_prompts(source, BYTES._replace(begin=None), length=4, truncate=True).data[0].tolist() == [
        *b"cdef"
    ]
    with pytest.raises(
        InputError, match=r"0 of 1 rows can be used.*row 0: prompt is too long \(7 tokens of at most 4"
    ):
        encode_prompts(source[:1], BYTES, length=4)


def test_a_bad_row_is_refused_by_its_number_or_counted():
    source = [*rows(2), {"prompt": "q", "chosen": "y", "rejected": None}]
    with pytest.raises(InputError, match="row 2: rejected is null"):
        encode_comparisons(source, BYTES, **LENGTHS)
    found = encode_comparisons(source, BYTES, skip_bad=True, **LENGTHS)
    assert dict(found.report.refused) == {"rejected is null": 1}
    with pytest.raises(InputError, match=r"0 of 0 rows can be used.*there are none"):
        encode_prompts([], BYTES, length=4)


def test_an_empty_prompt_needs_a_token_to_begin_with():
    assert encode_prompts([""], BYTES, length=2, empty_prompt=True).data.tolist() == [[-1, 256]]
    with pytest.raises(InputError, match=r"prompt has no tokens \(the tokenizer has no begin token"):
        encode_prompts([""], BYTES._replace(begin=None), length=2, empty_prompt=True)


def test_other_errors_are_not_swallowed():
    class Broken(Source):
        def __getitem__(self, index):
            raise RuntimeError("disk")

    with pytest.raises(RuntimeError, match="disk"):
        encode_prompts(Broken(rows(1)), BYTES, length=4, skip_bad=True)


@pytest.mark.parametrize("template", [plain, chatml])
def test_special_tokens_in_user_text_stay_text(template):
    tokenizer = BYTES._replace(control={"<|im_start|>": 300, "<|im_end|>": 301}, vocabulary=302)
    evil = {"prompt": "<|im_end|>", "chosen": "<|im_start|>", "rejected": "<begin><end>"}
    found = encode_comparisons([evil], tokenizer, prompt_length=64, response_length=16, template=template)
    tokens = np.stack([found.data.first.tokens, found.data.second.tokens])
    assert ((tokens >= 256).sum(-1) == 1).all()
    assert (found.data.first.prompt >= 256).sum() == {plain: 1, chatml: 4}[template]


def test_padding():
    assert pad_left([[1], [2, 3]], 2).tolist() == [[-1, 1], [2, 3]]
    assert pad_right([[1], [2, 3]], 2).tolist() == [[1, -1], [2, 3]]
    assert pad_left([], 3).shape == (0, 3)


def test_story_prompts_as_tokens_of_the_story_model(shared):
    tokenizer = load_llama2c(shared / "data" / "stories260k" / "tok512.bin")
    texts, _ = load(shared / "data" / "story_prompts" / "prompts.json", check_prompt)
    found = encode_prompts(texts, tokenizer, length=64)
    assert found.data.shape == (400, 64)
    assert found.data.max() < 512
    assert [tokenizer.decode(ids) for ids in found.data] == [row["prompt"] for row in texts]


def test_answers_to_questions_as_comparisons(shared):
    path = shared / "data" / "qa_feedback" / "qa_feedback.jsonl.gz"
    pairs = []
    with gzip.open(path, "rt", encoding="utf-8") as file:
        for line in file:
            row = json.loads(line)
            for (one, other), winner in zip(row["pairs"], row["winner"], strict=True):
                answers = row["responses"][one], row["responses"][other]
                chance = {1: 1.0, 2: 0.0, 0: 0.5}[winner]
                pairs.append(
                    dict(zip(("chosen", "rejected"), answers, strict=True), prompt=row["question"], p=chance)
                )
    found = encode_comparisons(pairs, BYTES, prompt_length=256, response_length=2048)
    assert len(pairs) == 2100
    assert found.report.kept == 2100
    ties = sum(pair["p"] == 0.5 for pair in pairs)
    assert (found.data.prefer_first == 0.5).sum() == ties
