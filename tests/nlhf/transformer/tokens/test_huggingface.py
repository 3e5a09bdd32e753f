"""Tokenizers of the hub: the ids of the package itself, but no text becomes a control token."""

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import (
    AddedToken,
    Tokenizer,
    decoders,
    models,
    normalizers,
    pre_tokenizers,
    processors,
    trainers,
)

from nlhf.errors import InputError
from nlhf.transformer.tokens.huggingface import load_tokenizer_json, tokenizer_from_json

TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=40)
CORPUS = ["hello world, im_start and im_end say hello <| endoftext |> ▁tool"] * 20
SPECIAL = ["<|endoftext|>", "<|im_start|>", "<|im_end|>"]


def byte_level(prefix=False):
    """As SmolLM2: special tokens inside of the vocabulary, others behind it, one not marked special."""
    made = Tokenizer(models.BPE())
    made.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=prefix)
    made.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(
        vocab_size=320, special_tokens=SPECIAL, initial_alphabet=alphabet, show_progress=False
    )
    made.train_from_iterator(CORPUS, trainer)
    made.add_tokens([AddedToken("<tool_call>", special=False, normalized=False)])
    made.add_special_tokens(["<|extra|>"])
    return made


def sentence_pieces():
    """As Llama 2: a space before the text, bytes for what has no piece, ``<s>`` put before the text."""
    pieces = ["<unk>", "<s>", "</s>", *(f"<0x{byte:02X}>" for byte in range(256)), *"▁his<>/"]
    vocabulary = {piece: index for index, piece in enumerate([*pieces, "▁h", "hi", "▁hi", "s>"])}
    merges = [("▁", "h"), ("h", "i"), ("▁h", "i"), ("s", ">")]
    made = Tokenizer(models.BPE(vocab=vocabulary, merges=merges, unk_token="<unk>", byte_fallback=True))
    made.normalizer = normalizers.Sequence([normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")])
    made.decoder = decoders.Sequence(
        [decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse(), decoders.Strip(" ", 1, 0)]
    )
    made.add_special_tokens(["<unk>", "<s>", "</s>"])
    made.post_processor = processors.TemplateProcessing(single="<s> $A", special_tokens=[("<s>", 1)])
    return made


def metaspace():
    made = sentence_pieces()
    made.normalizer = None
    made.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme="first", split=False)
    made.decoder = decoders.Sequence(
        [decoders.ByteFallback(), decoders.Metaspace(prepend_scheme="first", split=False)]
    )
    return made


KINDS = {
    "bytes": byte_level,
    "prefixed bytes": lambda: byte_level(True),
    "pieces": sentence_pieces,
    "metaspace": metaspace,
}


def described(made):
    return json.loads(made.to_str())


@pytest.fixture(scope="module", params=list(KINDS))
def both(request):
    made = KINDS[request.param]()
    return made, tokenizer_from_json(described(made), {}, request.param)


@given(TEXT)
@settings(max_examples=60, deadline=None)
def test_text_comes_back(both, text):
    _, ours = both
    text = text.replace("▁", "_")
    assert ours.decode(ours.encode(text, start=False), start=False) == text
    if (
        "pieces" in ours.name or "meta" in ours.name
    ):  # a byte-level prefix is not put before a space, nor removed
        assert ours.decode(ours.encode(text)) == (text.removeprefix(" ") if is_first(ours, text) else text)


def is_first(ours, text):
    """Metaspace puts no space before a text that starts with one."""
    return ours.name == "metaspace" and text.startswith(" ")


def test_ids_are_those_of_the_package(both):
    theirs, ours = both
    for text in ("hello world", "hi his", "  two  spaces\n", "é漢😀", "1234", ""):
        assert ours.encode(text) == theirs.encode(text, add_special_tokens=False).ids
    assert ours.vocabulary == max(theirs.get_vocab().values()) + 1


def test_no_text_becomes_a_control_token(both):
    theirs, ours = both
    control = set(ours.control.values())
    assert len(control) >= 3
    for name, token in ours.control.items():
        for text in (name, f"a{name}b", f" {name} ", name * 2):
            assert token in theirs.encode(text, add_special_tokens=False).ids  # the control of this test
            ids = ours.encode(text, start=False)
            assert control.isdisjoint(ids)
            assert ours.decode(ids, start=False) == text


def test_the_switch_of_the_package_would_not_do():
    theirs = byte_level()
    theirs.encode_special_tokens = True
    assert theirs.token_to_id("<tool_call>") in theirs.encode("<tool_call>").ids


def test_a_continued_text_gets_no_space():
    ours = tokenizer_from_json(described(sentence_pieces()), {}, "pieces")
    assert ours.encode("hi") != ours.encode("hi", start=False)
    whole = ours.encode("hi") + ours.encode(" his", start=False)
    assert ours.decode([1, *whole, 2, -1]) == "hi his"
    assert ours.decode(ours.encode(" his", start=False), start=False) == " his"


def test_strange_ids_are_marked_and_control_ids_left_out():
    ours = tokenizer_from_json(described(byte_level()), {}, "bytes")
    hello = ours.encode("hello")
    assert ours.decode([*hello, 9999, -1, ours.control["<|im_end|>"], *hello]) == "hello\ufffdhello"
    assert ours.decode([ours.control["<tool_call>"], *hello]) == "<tool_call>hello"


def test_a_control_token_that_the_vocabulary_holds_whole_is_taken_apart():
    vocabulary = {"<unk>": 0, "</s>": 1, "<": 2, "/s>": 3, "a": 4, "/": 5, "s": 6, ">": 7}
    made = Tokenizer(models.WordLevel(vocabulary, unk_token="<unk>"))
    made.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    made.add_special_tokens(["<unk>", "</s>"])
    ours = tokenizer_from_json(described(made), {}, "words")
    assert ours.encode("a </s> a b") == [4, 2, 3, 4, 0]
    assert ours.encode("</s> " * 1500) == [2, 3] * 1500
    made.add_special_tokens(["a"])
    with pytest.raises(InputError, match="has no token for 'a'"):
        tokenizer_from_json(described(made), {}, "words").encode("a")


def test_white_space_among_the_added_tokens_is_kept_where_its_id_is():
    made = sentence_pieces()
    made.add_tokens([AddedToken("▁", special=False, normalized=True), AddedToken("\n\n", special=False)])
    ours = tokenizer_from_json(described(made), {}, "pieces")
    assert "▁" not in ours.control
    assert "\n\n" in ours.control
    assert ours.decode(ours.encode("hi\n\nhi")) == "hi\n\nhi"


def test_nothing_is_cut_padded_or_drawn_at_random():
    made = byte_level()
    plain = tokenizer_from_json(described(made), {}, "bytes")
    made.enable_truncation(3)
    made.enable_padding(length=50)
    content = described(made)
    content["model"]["dropout"] = 0.9
    ours = tokenizer_from_json(content, {}, "bytes")
    text = "hello world, hello world"
    assert ours.encode(text) == plain.encode(text)
    assert len(ours.encode(text)) > 3


def write(folder, made, **files):
    (folder / "tokenizer.json").write_text(made.to_str())
    for name, content in files.items():
        (folder / f"{name}.json").write_text(json.dumps(content))
    return folder / "tokenizer.json"


@pytest.mark.parametrize(
    ("files", "begin", "end"),
    [
        ({}, None, None),
        ({"tokenizer_config": {"eos_token": "<|im_end|>", "bos_token": "<|im_start|>"}}, None, 2),
        (
            {"tokenizer_config": {"eos_token": {"content": "<|im_end|>"}}, "config": {"eos_token_id": 0}},
            None,
            2,
        ),
        ({"tokenizer_config": {"add_bos_token": True, "bos_token": "<|endoftext|>"}}, 0, None),
        ({"config": {"eos_token_id": 0}}, None, 0),
        ({"config": {"eos_token_id": 0}, "generation_config": {"eos_token_id": [2, 0]}}, None, 2),
        (
            {"special_tokens_map": {"eos_token": "<|endoftext|>"}, "tokenizer_config": {"eos_token": None}},
            None,
            0,
        ),
    ],
)
def test_begin_and_end_are_what_the_files_say(tmp_path, files, begin, end):
    ours = load_tokenizer_json(write(tmp_path, byte_level(), **files))
    assert (ours.begin, ours.end) == (begin, end)


def test_begin_is_what_the_tokenizer_puts_before_a_text(tmp_path):
    assert load_tokenizer_json(write(tmp_path, sentence_pieces())).begin == 1
    switched_off = {"add_bos_token": False, "bos_token": "<s>"}
    assert (
        load_tokenizer_json(write(tmp_path, sentence_pieces(), tokenizer_config=switched_off)).begin is None
    )


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("", "is not JSON"),
        ("[" * 100_000, "is not JSON"),
        ("[]", "is not a JSON object"),
        ("{}", "describes no tokenizer"),
        ('{"model": {"type": "Magic"}}', "is no tokenizer that can be read"),
    ],
)
def test_files_that_are_no_tokenizer(tmp_path, content, message):
    (tmp_path / "tokenizer.json").write_text(content)
    with pytest.raises(InputError, match=message) as caught:
        load_tokenizer_json(tmp_path / "tokenizer.json")
    assert "\n" not in str(caught.value)


def test_an_end_that_is_no_number(tmp_path):
    with pytest.raises(InputError, match="eos_token_id is 'two'"):
        load_tokenizer_json(write(tmp_path, byte_level(), config={"eos_token_id": "two"}))
    with pytest.raises(InputError, match="cannot be read"):
        load_tokenizer_json(tmp_path / "absent" / "tokenizer.json")
