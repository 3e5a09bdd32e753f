"""Write a model as a Hugging Face folder, which transformers and ``load_model`` read: whole or not at all."""

from __future__ import annotations

import json
import os
import pathlib
import shutil
import tempfile
from collections.abc import Sequence
from typing import Any

from nlhf.errors import InputError
from nlhf.transformer.model.config import ModelConfig
from nlhf.transformer.weights.huggingface import SINGLE
from nlhf.transformer.weights.layout import take_apart

DTYPES = {"float32": "F32", "bfloat16": "BF16", "float16": "F16", "float64": "F64"}
CLASSES = {"llama": "LlamaForCausalLM", "qwen2": "Qwen2ForCausalLM", "qwen3": "Qwen3ForCausalLM"}


def save_model(
    folder: str | os.PathLike[str],
    params: Any,
    config: ModelConfig,
    *,
    begin: int | None = None,
    end: int | None = None,
    copies: Sequence[str | os.PathLike[str]] = (),
) -> pathlib.Path:
    """Write ``config.json`` and ``model.safetensors``; the folder appears when all of it is on the disk.

    Weights keep their dtype, so that reading the folder gives the same bits.

    Args:
      folder: a new one, or an empty one.
      config: of the model; its switches say which family the folder is of.
      begin: id of the token that starts a text, if any.
      end: id of the token that ends one, if any.
      copies: files to copy into the folder, e.g. those of the tokenizer.

    Returns:
      The folder.

    Raises:
      InputError: if the folder holds something, a file cannot be copied or written, or no family has the
        switches of the model.
    """
    folder = pathlib.Path(folder).absolute()
    settings = json.dumps(to_settings(config, params, begin, end), indent=2) + "\n"
    names = [pathlib.Path(file).name for file in copies]
    for name in (*names, "config.json", SINGLE):
        if [*names, "config.json", SINGLE].count(name) > 1:
            raise InputError(f"{folder}: would hold two files of the name {name}; leave one out")
    tensors = take_apart(params, config)
    if folder.is_symlink() or (folder.exists() and (not folder.is_dir() or any(folder.iterdir()))):
        raise InputError(f"{folder}: already exists and is not empty; choose another folder")
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        temporary = pathlib.Path(tempfile.mkdtemp(prefix=f".{folder.name}.", dir=folder.parent))
    except OSError as error:
        raise InputError(f"{folder}: cannot be made ({error.strerror}); choose another place") from None
    try:
        _fill(temporary, settings, tensors, [pathlib.Path(file) for file in copies])
        temporary.chmod(0o755)
        os.rename(temporary, folder)
    except OSError as error:
        free = shutil.disk_usage(folder.parent).free
        raise InputError(
            f"{folder}: cannot be written ({error.strerror or error}; {free:,} bytes free, "
            f"{sum(x.nbytes for x in tensors.values()):,} needed); make room or choose another place"
        ) from None
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
    return folder


def _fill(folder: pathlib.Path, settings: str, tensors: dict[str, Any], copies: list[pathlib.Path]) -> None:
    from safetensors import SafetensorError
    from safetensors.numpy import save_file

    try:
        save_file(
            tensors, folder / SINGLE, metadata={"format": "pt"}
        )  # the name transformers has for [out, in]
    except SafetensorError as error:
        raise OSError(str(error)) from None
    (folder / "config.json").write_text(settings, encoding="utf-8")
    for file in copies:
        shutil.copyfile(file, folder / file.name)
    for path in folder.iterdir():
        path.chmod(0o644)
        with path.open("rb") as stream:
            os.fsync(stream.fileno())


def to_settings(
    config: ModelConfig, params: Any, begin: int | None = None, end: int | None = None
) -> dict[str, Any]:
    """Return the settings of ``config.json`` for transformers 4 and 5.

    Args:
      params: of the model, for their dtype.
      begin: id of the token that starts a text, if any.
      end: id of the token that ends one, if any.

    Raises:
      InputError: if no family has these switches, or the dtype has no name.
    """
    if config.qkv_bias and config.qk_norm:
        raise InputError(
            "qkv_bias and qk_norm are both on, but no Hugging Face family has both; switch one off to export"
        )
    dtype = str(params["embedding"].dtype)
    if dtype not in DTYPES:
        raise InputError(f"parameters are {dtype}, but a folder holds {', '.join(DTYPES)}; cast them first")
    family = "qwen2" if config.qkv_bias else "qwen3" if config.qk_norm else "llama"
    settings: dict[str, Any] = {
        "architectures": [CLASSES[family]],
        "model_type": family,
        "vocab_size": config.vocabulary,
        "hidden_size": config.width,
        "num_hidden_layers": config.layers,
        "num_attention_heads": config.heads,
        "num_key_value_heads": config.kv_heads,
        "head_dim": config.head_width,
        "intermediate_size": config.hidden,
        "max_position_embeddings": config.context,
        "rope_theta": config.rope_theta,
        "rope_parameters": {"rope_type": "default", "rope_theta": config.rope_theta},
        "rms_norm_eps": config.norm_epsilon,
        "tie_word_embeddings": config.tied,
        "hidden_act": "silu",
        "attention_dropout": 0.0,
        "bos_token_id": begin,
        "eos_token_id": end,
        "torch_dtype": dtype,
        "dtype": dtype,
    }
    if family != "qwen2":
        settings["attention_bias"] = False
    if family == "llama":
        settings["mlp_bias"] = False
    else:
        settings["use_sliding_window"] = False
    return settings
