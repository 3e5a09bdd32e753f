"""Public preference data by short names: where it is on the Hugging Face hub, and its rows as ours.

Nothing here opens a socket but ``download``, and that only when called.
"""

from __future__ import annotations

import fnmatch
import hashlib
import math
import os
import pathlib
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

from nlhf.errors import InputError
from nlhf.transformer.data.rows import Check, Row, RowError, check_preference


class Known(NamedTuple):
    """A data set of the hub.

    Attributes:
      hub: its id.
      pattern: which of its files hold the rows, as ``fnmatch`` reads it.
      check: ``check() -> check``, what ``row_files.read`` takes to read such a file.
      confirmed: what of this was seen in the data or on its card; the rest is from memory.
    """

    hub: str
    pattern: str
    check: Callable[[], Check]
    confirmed: str


def as_it_is() -> Check:
    """Return the check of rows that follow our conventions already."""
    return check_preference


def choices(label: str = "better_response_id") -> Check:
    """Return the check of rows with ``prompt``, ``response_0``, ``response_1`` and which of them is better.

    Args:
      label: in PKU-SafeRLHF, ``better_response_id`` (more helpful) or ``safer_response_id``.

    >>> choices()({"prompt": "a", "response_0": "b", "response_1": "c", "better_response_id": 1})["chosen"]
    'c'
    """

    def check(row: Any, **options: Any) -> Row:
        better = row.get(label) if isinstance(row, Mapping) else None
        if isinstance(better, bool) or better not in (0, 1):
            raise RowError(f"{label} is neither 0 nor 1", f"it is {ascii(better)[:40]}", "leave the row out")
        sides = {"chosen": row.get(f"response_{better}"), "rejected": row.get(f"response_{1 - better}")}
        return check_preference({"prompt": row.get("prompt"), **sides}, **options)

    return check


def ratings(attribute: str = "helpfulness", scale: float | None = None) -> Check:
    """Return the check that pairs a row with the one before it, if both answer the same prompt.

    The answer rated higher is chosen, with ``p = 1``, or ``p = 1 / (1 + exp(-difference / scale))`` with a
    scale; equal ratings give ``p = 1/2``. A row that makes no pair, and one of equal answers, gives None.

    Args:
      attribute: the rating of HelpSteer to compare by.
      scale: of the difference, in units of the rating, > 0; None for certain labels.

    Raises:
      InputError: if the scale is not positive.
    """
    if scale is not None and not scale > 0:
        raise InputError(f"scale is {scale}, but it must be positive; give one, or None for certain labels")
    held: list[tuple[Mapping[str, Any], float]] = []

    def check(row: Any, **options: Any) -> Row | None:
        before, held[:] = list(held), []
        rating = row.get(attribute) if isinstance(row, Mapping) else None
        if isinstance(rating, bool) or not isinstance(rating, int | float) or not math.isfinite(rating):
            raise RowError(f"{attribute} is not a number", f"it is {ascii(rating)[:40]}", "leave the row out")
        held.append((row, rating))
        if not before or before[0][0].get("prompt") != row.get("prompt"):
            return None
        (low, worse), (high, better) = sorted([*before, (row, rating)], key=lambda rated: rated[1])
        if low.get("response") == high.get("response"):
            return None
        gap = better - worse
        chance = 0.5 if gap == 0 else 1.0 if scale is None else 1 / (1 + math.exp(-gap / scale))
        sides = {"chosen": high.get("response"), "rejected": low.get("response"), "p": chance}
        return check_preference({"prompt": row.get("prompt"), **sides}, **options)

    return check


KNOWN = {
    "hh-harmless": Known(
        "Anthropic/hh-rlhf",
        "harmless-base/train.jsonl.gz",
        as_it_is,
        "columns and files: seen in the data",
    ),
    "hh-helpful": Known(
        "Anthropic/hh-rlhf", "helpful-base/train.jsonl.gz", as_it_is, "columns: those of hh-harmless"
    ),
    "tldr": Known(
        "trl-lib/tldr-preference", "data/train-*.parquet", as_it_is, "columns: seen in code that reads it"
    ),
    "ultrafeedback": Known(
        "HuggingFaceH4/ultrafeedback_binarized",
        "data/train_prefs-*.parquet",
        as_it_is,
        "columns and files: on the cards of data derived from it",
    ),
    "safe-rlhf": Known(
        "PKU-Alignment/PKU-SafeRLHF",
        "data/*/train.jsonl",
        choices,
        "files: on its card; columns: seen in code that reads it",
    ),
    "helpsteer2": Known("nvidia/HelpSteer2", "train.jsonl.gz", ratings, "columns: on its card"),
}


def known(name: str) -> Known:
    """Return an entry of ``KNOWN``.

    Args:
      name: its key.

    Raises:
      InputError: if there is none.
    """
    if name not in KNOWN:
        raise InputError(f"{name!r} is no known data set; give a file of rows, or one of {', '.join(KNOWN)}")
    return KNOWN[name]


def download(
    name: str, folder: str | os.PathLike[str], *, say: Callable[[str], None] = print
) -> list[pathlib.Path]:
    """Fetch the files of a known data set from the hub and say the size and digest of each.

    Args:
      name: a key of ``KNOWN``.
      folder: where the files go.
      say: called with one line a file.

    Returns:
      The files.

    Raises:
      InputError: if the name is unknown, huggingface_hub is not installed, or the hub cannot be reached.
    """
    entry = known(name)
    try:
        import huggingface_hub
    except ImportError:
        raise InputError(
            f"{name}: downloading needs huggingface_hub; install it, or fetch {entry.pattern} of {entry.hub} "
            "by hand"
        ) from None
    try:
        listed = huggingface_hub.HfApi().list_repo_files(entry.hub, repo_type="dataset")
        chosen = sorted(file for file in listed if fnmatch.fnmatchcase(file, entry.pattern))
        paths = [
            pathlib.Path(
                huggingface_hub.hf_hub_download(entry.hub, file, repo_type="dataset", local_dir=str(folder))
            )
            for file in chosen
        ]
    except Exception as error:  # of many kinds: no network, no such data, no permission
        reason = (str(error).splitlines() or [type(error).__name__])[0][:100]
        raise InputError(f"{name}: {entry.hub} cannot be fetched ({reason}); fetch it by hand") from None
    if not paths:
        raise InputError(f"{name}: {entry.hub} has no file {entry.pattern}; fetch its rows by hand")
    for path in paths:
        with open(path, "rb") as file:
            digest = hashlib.file_digest(file, "sha256").hexdigest()
        say(f"{path}: {path.stat().st_size} bytes, sha256 {digest}")
    return paths
