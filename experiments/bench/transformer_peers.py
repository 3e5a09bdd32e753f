"""The peers of ``nlhf bench transformer``: transformers' ``generate`` and TRL's trainers, in another Python.

Run by path (``PYTHON transformer_peers.py '{...}'``) where torch, transformers, trl and datasets are
installed: it imports nothing of this package. The other side speaks the same protocol: one JSON object of
what to do as the only argument; a line ``{"ready": ...}`` once the first repetition has been made; then a
repetition and its ``{"seconds": ...}`` for each line ``go``; ``stop`` is answered with the peak of memory.
"""

from __future__ import annotations

import importlib
import json
import os
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

SETTINGS = {
    "per_device_train_batch_size": 8,
    "max_steps": 10**6,
    "learning_rate": 1e-5,
    "lr_scheduler_type": "constant",
    "max_grad_norm": 1.0,
    "gradient_checkpointing": False,  # their default, with which they generate without a cache
    "fp16": False,
    "use_cpu": True,
    "report_to": [],
    "logging_strategy": "no",
    "save_strategy": "no",
    "disable_tqdm": True,
    "beta": 0.1,
}
SPECIAL = {0: "<pad>", 1: "<begin>", 2: "<end>"}


class Pipe:
    """The protocol, on the standard streams; whatever else prints is sent to the error stream."""

    def __init__(self) -> None:
        self.out = os.fdopen(os.dup(1), "w", buffering=1)
        os.dup2(2, 1)

    def say(self, message: dict[str, Any]) -> None:
        """Send one line."""
        self.out.write(json.dumps(message) + "\n")
        self.out.flush()

    def asked(self) -> bool:
        """Wait for the next line, and return whether it asks for one more repetition."""
        return sys.stdin.readline().strip() == "go"


def pin(threads: int) -> None:
    """Keep this process to some of its cores; call it before anything starts threads."""
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[:threads])
    os.environ["OMP_NUM_THREADS"] = os.environ["OPENBLAS_NUM_THREADS"] = str(threads)


def peak_memory() -> int | None:
    """Bytes of memory that this process held at most, where Linux tells."""
    # ru_maxrss would begin with that of the process which started this one
    try:
        with open("/proc/self/status", encoding="ascii") as file:
            lines = [line.split() for line in file if line.startswith("VmHWM")]
    except OSError:
        return None
    return 1024 * int(lines[0][1]) if lines else None


def prompts(spec: dict[str, Any], salt: int = 0, size: int | None = None) -> list[list[int]]:
    """Ids that both sides can make without numpy: rows of random ids behind that of the beginning.

    Args:
      size: of a row, ``spec["prompt"]`` by default.
    """
    size = spec["prompt"] if size is None else size
    state = 12345 + salt
    rows = []
    for _ in range(spec["batch"]):
        row = [1]
        for _ in range(size - 1):
            state = (1103515245 * state + 12345) % 2**31
            row.append(3 + (state >> 8) % (spec["vocabulary"] - 3))
        rows.append(row)
    return rows


def reward(ids: list[int]) -> float:
    """A judge that costs nothing: a number made of the last ids."""
    return sum(ids[-4:]) % 101 / 101


def main() -> None:
    """Do what the argument says."""
    pipe, spec = Pipe(), json.loads(sys.argv[1])
    pin(spec["threads"])
    torch = importlib.import_module("torch")
    torch.set_num_threads(spec["threads"])
    torch.manual_seed(0)
    transformers = importlib.import_module("transformers")
    transformers.logging.set_verbosity_error()
    if spec["case"] == "versions":
        names = ("torch", "transformers", "trl")
        pipe.say({"ready": {name: importlib.import_module(name).__version__ for name in names}})
        return
    model = load(torch, transformers, spec)
    if spec["case"] == "sampler":
        sampler(torch, transformers, model, spec, pipe)
    else:
        train(torch, transformers, model, spec, pipe)


def load(torch: Any, transformers: Any, spec: dict[str, Any]) -> Any:
    """Return the model of a folder in the dtype of the run."""
    dtype = torch.bfloat16 if spec["dtype"] == "bfloat16" else torch.float32
    return transformers.AutoModelForCausalLM.from_pretrained(spec["folder"], dtype=dtype)


def sampler(torch: Any, transformers: Any, model: Any, spec: dict[str, Any], pipe: Pipe) -> None:
    """Time ``generate``: plain sampling, with the cache, exactly R tokens."""
    model.eval()
    ids = torch.tensor(prompts(spec))
    size = spec["response"]

    def generate(**options: Any) -> Any:
        settings = transformers.GenerationConfig(
            max_new_tokens=size,
            min_new_tokens=size,
            pad_token_id=0,
            eos_token_id=2,
            bos_token_id=1,
            **options,
        )
        with torch.inference_mode():
            return model.generate(ids, attention_mask=torch.ones_like(ids), generation_config=settings)

    greedy = generate(do_sample=False)[:, ids.shape[1] :]
    drawn = generate(do_sample=True, top_k=0)
    assert drawn.shape == (ids.shape[0], ids.shape[1] + size)
    pipe.say({"ready": {"greedy": greedy.tolist()}})
    while pipe.asked():
        start = time.perf_counter()
        generate(do_sample=True, top_k=0)
        pipe.say({"seconds": time.perf_counter() - start})
    pipe.say({"peak": peak_memory()})


def train(torch: Any, transformers: Any, model: Any, spec: dict[str, Any], pipe: Pipe) -> None:
    """Time the steps of a trainer from inside its own loop; what happens between two steps is not counted."""
    shapes: list[list[int]] = []

    class Turns(transformers.TrainerCallback):
        start = 0.0

        def on_step_begin(self, args: Any, state: Any, control: Any, **_: Any) -> None:
            if state.global_step > 0 and not pipe.asked():
                pipe.say({"peak": peak_memory()})
                os._exit(0)
            self.start = time.perf_counter()

        def on_step_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
            elapsed = time.perf_counter() - self.start
            pipe.say({"seconds": elapsed} if state.global_step > 1 else {"ready": {"shapes": shapes}})

    with tempfile.TemporaryDirectory() as folder, watched(model, shapes):
        trainer = make_trainer(torch, transformers, model, spec, folder)
        trainer.add_callback(Turns())
        trainer.train()


@contextmanager
def watched(model: Any, shapes: list[list[int]]) -> Iterator[None]:
    """Write down the shapes that a model is called with while it learns: they are to be what was meant."""

    def hook(module: Any, inputs: Any, options: dict[str, Any]) -> None:
        ids = inputs[0] if inputs else options["input_ids"]
        if module.training and ids.shape[1] > 1 and len(shapes) < 16 and list(ids.shape) not in shapes:
            shapes.append(list(ids.shape))

    handle = model.register_forward_pre_hook(hook, with_kwargs=True)
    try:
        yield
    finally:
        handle.remove()


def make_trainer(torch: Any, transformers: Any, model: Any, spec: dict[str, Any], folder: str) -> Any:
    """Return TRL's trainer of a case, on data that needs no file."""
    import warnings

    warnings.filterwarnings("ignore")
    datasets = importlib.import_module("datasets")
    datasets.disable_progress_bars()
    tokenizer = make_tokenizer(transformers, spec["vocabulary"])
    case, size = spec["case"], spec["response"]
    settings: dict[str, Any] = {
        **SETTINGS,
        "per_device_train_batch_size": spec["batch"],
        "bf16": spec["dtype"] == "autocast",
        "output_dir": folder,
    }
    columns: dict[str, list[str]] = {"prompt": [words(row) for row in prompts(spec)] * 8}
    reference = load(torch, transformers, spec)
    if case == "dpo":
        trl = importlib.import_module("trl")
        # completions of R - 1 ids: the end is put behind them
        for salt, name in enumerate(("chosen", "rejected"), start=1):
            rows = [row[1:] for row in prompts(spec, salt, size)]
            columns[name] = [" " + words(row) for row in rows] * 8
        settings["max_length"] = spec["prompt"] + size
        return trl.DPOTrainer(
            model=model,
            ref_model=reference,
            args=trl.DPOConfig(**settings),
            train_dataset=datasets.Dataset.from_dict(columns),
            processing_class=tokenizer,
        )
    settings |= {
        "max_new_tokens": size,
        "max_length": spec["prompt"] + size,
        "temperature": 1.0,
        "top_k": 0,
    }
    names = {"nash_md": "NashMD", "xpo": "XPO", "online_dpo": "OnlineDPO"}
    place = importlib.import_module(f"trl.experimental.{case}")
    if case == "nash_md":
        settings["mixture_coef"] = spec["mixture"]
    judge: Callable[..., Any] | Any = (
        by_ids if case == "online_dpo" else make_reward_model(torch, transformers)
    )
    return getattr(place, names[case] + "Trainer")(
        model=model,
        ref_model=reference,
        reward_funcs=judge,
        args=getattr(place, names[case] + "Config")(**settings),
        train_dataset=datasets.Dataset.from_dict(columns),
        processing_class=tokenizer,
    )


def words(ids: list[int]) -> str:
    """Text of which the tokenizer makes these ids again."""
    return " ".join(SPECIAL.get(index, f"t{index}") for index in ids)


def by_ids(completion_ids: list[list[int]], **_: Any) -> list[float]:
    """Judge responses as TRL asks a function."""
    return [reward(ids) for ids in completion_ids]


def make_tokenizer(transformers: Any, vocabulary: int) -> Any:
    """Return a tokenizer of words ``t0``, ``t1``, ... that needs no file."""
    tokenizers = importlib.import_module("tokenizers")
    # a special token is found inside of a word too: none may be a part of another
    table = {SPECIAL.get(index, f"t{index}"): index for index in range(vocabulary)}
    inner = tokenizers.Tokenizer(tokenizers.models.WordLevel(table, unk_token=SPECIAL[0]))
    inner.pre_tokenizer = tokenizers.pre_tokenizers.WhitespaceSplit()
    return transformers.PreTrainedTokenizerFast(
        tokenizer_object=inner,
        unk_token=SPECIAL[0],
        pad_token=SPECIAL[0],
        bos_token=SPECIAL[1],
        eos_token=SPECIAL[2],
        padding_side="left",
    )


def make_reward_model(torch: Any, transformers: Any) -> Any:
    """Return the least that TRL takes for a reward model: no layers, a number made of the ids."""

    class Output:
        def __init__(self, states: Any) -> None:
            self.last_hidden_state = states

    class Backbone(torch.nn.Module):
        def forward(self, input_ids: Any, **_: Any) -> Any:
            return Output((input_ids % 101)[..., None].float() / 101)

    class RewardModel(torch.nn.Module):
        base_model_prefix = "backbone"

        def __init__(self) -> None:
            super().__init__()
            self.backbone = Backbone()
            self.config = transformers.PretrainedConfig()

        def score(self, states: Any) -> Any:
            return states

    return RewardModel()


if __name__ == "__main__":
    del sys.path[0]  # the folder of this file, whose modules would hide others
    main()
