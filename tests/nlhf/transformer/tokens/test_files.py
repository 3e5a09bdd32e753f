"""Where a tokenizer is found, and those inside GGUF files."""

import json

import gguf
import numpy as np
import pytest
from tokenizers import Tokenizer, models, pre_tokenizers, trainers

from nlhf.errors import InputError
from nlhf.transformer.tokens.files import load_tokenizer
from nlhf.transformer.tokens.llama2c import load_llama2c

BYTES = [f"<0x{byte:02X}>" for byte in range(256)]


def write_gguf(path, model, tokens, *, kinds=None, scores=None, merges=None, pre=None, **more):
    writer = gguf.GGUFWriter(path, "llama")
    writer.add_tokenizer_model(model)
    writer.add_token_list(tokens)
    writer.add_token_types(kinds or [1] * len(tokens))
    if scores is not None:
        writer.add_token_scores(scores)
    if merges is not None:
        writer.add_token_merges(merges)
    if pre is not None:
        writer.add_tokenizer_pre(pre)
    for name, value in more.items():
        getattr(writer, f"add_{name}")(value)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.close()
    return path


PIECES = ["<unk>", "<s>", "</s>", *BYTES, "▁", "a", "b", "▁a", "<", "s", ">", "<s", "<end>"]
KINDS = [2, 3, 3, *[6] * 256, *[1] * 8, 4]


def pieces(path, **more):
    scores = [0.0] * 259 + [-float(index) for index in range(len(PIECES) - 259)]
    return write_gguf(
        path,
        "llama",
        PIECES,
        **{"kinds": KINDS, "scores": scores, "bos_token_id": 1, "eos_token_id": 2} | more,
    )


def test_scores_in_gguf(tmp_path):
    made = load_tokenizer(pieces(tmp_path / "a.gguf"))
    assert (made.vocabulary, made.begin, made.end) == (len(PIECES), 1, 2)
    assert made.control == {"<unk>": 0, "<s>": 1, "</s>": 2, "<end>": len(PIECES) - 1}
    assert made.encode("a b") == [262, 259, 261]
    for text in ("<s>", "</s>", "<end>", "<0x41>", "é\n"):
        ids = made.encode(text, start=False)
        assert set(ids).isdisjoint(made.control.values())
        assert made.decode(ids, start=False) == text


def test_switches_of_gguf(tmp_path):
    made = load_tokenizer(pieces(tmp_path / "a.gguf", add_bos_token=False, add_space_prefix=False))
    assert made.begin is None
    assert made.encode("a") == [260]
    stories = load_tokenizer(pieces(tmp_path / "b.gguf", name="stories42M"))
    assert (stories.begin, stories.end) == (1, 1)


def trained():
    made = Tokenizer(models.BPE())
    made.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    trainer = trainers.BpeTrainer(
        vocab_size=300,
        special_tokens=["<|endoftext|>", "<|im_start|>"],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    made.train_from_iterator(["hello worlds x123 y456 z123 x456 a123456 hello"] * 9, trainer)
    return json.loads(made.to_str())["model"]


@pytest.mark.parametrize(
    ("pre", "numbers"),
    [
        ("gpt-2", ["hello", " 123456"]),
        ("smollm", ["hello", " ", *"123456"]),
        ("qwen2", ["hello", " ", *"123456"]),
        ("llama-bpe", ["hello", " ", "123", "456"]),
    ],
)
def test_merges_in_gguf(tmp_path, pre, numbers):
    model = trained()
    tokens = sorted(model["vocab"], key=model["vocab"].get)
    made = load_tokenizer(
        write_gguf(
            tmp_path / "a.gguf", "gpt2", tokens, kinds=[3, 3] + [1] * (len(tokens) - 2), pre=pre,
            merges=[" ".join(pair) for pair in model["merges"]], eos_token_id=0, bos_token_id=1,
        )
    )  # fmt: skip
    assert (made.begin, made.end, made.vocabulary) == (None, 0, len(tokens))
    uncut = Tokenizer(models.BPE(vocab=model["vocab"], merges=[tuple(pair) for pair in model["merges"]]))
    uncut.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    assert len(uncut.encode("123").ids) == 1
    assert made.encode("hello 123456") == [token for part in numbers for token in uncut.encode(part).ids]
    for text in ("<|im_start|>", "a<|endoftext|>b", "hello  world's\n\n é漢"):
        ids = made.encode(text)
        assert set(ids).isdisjoint({0, 1})
        assert made.decode(ids) == text
    assert made.decode([1, *made.encode("hello"), 0]) == "hello"


@pytest.mark.parametrize(
    ("model", "more", "message"),
    [
        ("bert", {}, "has a tokenizer of kind 'bert'"),
        ("gpt2", {"merges": ["a b"], "pre": "falcon"}, "cuts text as 'falcon', but llama-bpe, qwen2"),
        ("llama", {}, "3 tokens and 0 scores"),
        ("llama", {"kinds": [1, 1]}, "3 tokens and 2 kinds"),
        ("gpt2", {"kinds": [1, 1], "merges": ["a b"]}, "3 tokens and 2 kinds"),
    ],
)
def test_gguf_of_other_kinds(tmp_path, model, more, message):
    with pytest.raises(InputError, match=message):
        load_tokenizer(write_gguf(tmp_path / "a.gguf", model, ["a", "b", "ab"], **more))


def test_files_that_are_no_gguf(tmp_path):
    for content in (b"", b"GGUF", b"no gguf at all" * 99):
        (tmp_path / "a.gguf").write_bytes(content)
        with pytest.raises(InputError, match="cannot be read as GGUF"):
            load_tokenizer(tmp_path / "a.gguf")


def test_a_folder_is_searched(tmp_path, shared):
    with pytest.raises(InputError, match=r"there is no tokenizer.json, .gguf or tok\*.bin; give"):
        load_tokenizer(tmp_path)
    with pytest.raises(InputError, match="there is no such file or folder"):
        load_tokenizer(tmp_path / "absent")
    (tmp_path / "tokenizer.model").write_bytes(b"")
    with pytest.raises(InputError, match=r"tokenizer.model is not read, convert it"):
        load_tokenizer(tmp_path)
    (tmp_path / "tok512.bin").write_bytes((shared / "data" / "stories260k" / "tok512.bin").read_bytes())
    assert load_tokenizer(tmp_path).name == "tok512.bin"
    (tmp_path / "model.bin").write_bytes(b"")
    assert load_tokenizer(tmp_path / "model.bin").name == "tok512.bin"
    (tmp_path / "tok2.bin").write_bytes(b"")
    with pytest.raises(InputError, match=r"holds 2 files that may be the tokenizer \(tok2.bin, tok512.bin\)"):
        load_tokenizer(tmp_path)
    pieces(tmp_path / "a.gguf")
    assert load_tokenizer(tmp_path).name.endswith("a.gguf")
    content = {"model": {"type": "WordLevel", "vocab": {"a": 0, "b": 1}, "unk_token": "a"}}
    (tmp_path / "tokenizer.json").write_text(json.dumps(content))
    (tmp_path / "model.safetensors").write_bytes(b"")
    assert (
        load_tokenizer(tmp_path).vocabulary == load_tokenizer(tmp_path / "model.safetensors").vocabulary == 2
    )


def test_the_end_can_be_given(tmp_path):
    path = pieces(tmp_path / "a.gguf")
    assert load_tokenizer(path, end=1).end == load_tokenizer(path, end="<s>").end == 1
    for wrong in (-1, 999, "<x>"):
        with pytest.raises(InputError, match="which is no token of it"):
            load_tokenizer(path, end=wrong)


def test_the_small_story_model_says_the_same_in_both_of_its_files(shared):
    folder = shared / "data" / "stories260k"
    in_gguf, in_bin = load_tokenizer(folder / "stories260K-f32.gguf"), load_llama2c(folder / "tok512.bin")
    assert in_gguf[2:6] == in_bin[2:6]
    for prompt in json.loads((shared / "data" / "story_prompts" / "prompts.json").read_text())[:100]:
        assert in_gguf.encode(prompt) == in_bin.encode(prompt)


def test_the_ids_of_the_larger_story_model_come_back_from_its_text(shared):
    folder = shared / "data" / "stories15m"
    made = load_tokenizer(folder / "stories15M-q8_0.gguf")
    reference = np.load(folder / "reference.npz")
    assert (made.vocabulary, made.begin, made.end) == (32000, 1, 1)
    for ids in (reference["tokens_0"].tolist(), reference["tokens_1"].tolist()):
        assert [1, *made.encode(made.decode(ids))] == ids
    text = (
        shared / "data" / "story_prompts" / "tinystories_sample.txt"
    ).read_text() + " é漢😀\t▁ </s> <0x41>"
    assert made.decode(made.encode(text)) == text
    assert set(made.encode(text)).isdisjoint({0, 1, 2, 3 + 0x41})
