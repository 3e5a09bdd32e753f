"""The builder ``preference_pairs``: checked rows in ``array_record`` files, read back as a data source.

Only this format gives random access and slices without tensorflow. The rows keep the order of their file, and
what is read back is again a row for ``check_preference`` (with bytes for text).
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import os
import pathlib
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np

from nlhf.errors import InputError
from nlhf.transformer.data.files import Report, read
from nlhf.transformer.data.rows import Row

try:
    import tensorflow_datasets as tfds
except ImportError as missing:
    raise InputError(
        f"a built data set needs tensorflow-datasets ({missing}); run: pip install 'nlhf[lm]'"
    ) from None

FORMAT = "array_record"


@dataclasses.dataclass
class PairsConfig(tfds.core.BuilderConfig):
    """Where the rows come from.

    Attributes:
      files: path of the rows of every split.
      messages: whether the rows hold conversations, which are kept as their JSON, instead of texts.
      skip_bad: as in ``data.files.read``.
      report: of what was read, filled in by the build.
    """

    files: Mapping[str, str] = dataclasses.field(default_factory=dict)
    messages: bool = False
    skip_bad: float = 0.0
    report: Report = dataclasses.field(default_factory=Report)


class PreferencePairs(tfds.core.GeneratorBasedBuilder):
    """Prompt, chosen, rejected, p and id of preference pairs."""

    VERSION = tfds.core.Version("1.0.0")
    RELEASE_NOTES = {"1.0.0": "prompt, chosen, rejected, p, id"}  # noqa: RUF012
    BUILDER_CONFIGS = [PairsConfig(name="text", description="texts")]  # noqa: RUF012
    pkg_dir_path = None

    def _info(self) -> Any:
        text = tfds.features.Text()
        features = {"prompt": text, "chosen": text, "rejected": text, "p": np.float32, "id": text}
        if self.builder_config.messages:
            features["format"] = text
        return tfds.core.DatasetInfo(
            builder=self,
            description="Pairs of answers to prompts; p is the probability that chosen wins.",
            features=tfds.features.FeaturesDict(features),
            disable_shuffling=True,
        )

    def _split_generators(self, manager: Any) -> dict[str, Any]:
        del manager
        config = self.builder_config
        if not config.files:
            raise InputError("the data set has no files to be built from; use build(path, folder)")
        return {split: self._generate_examples(path) for split, path in config.files.items()}

    def _generate_examples(self, path: str) -> Iterator[tuple[int, dict[str, Any]]]:
        config = self.builder_config
        for number, row in enumerate(read(path, skip_bad=config.skip_bad, report=config.report)):
            yield number, _example(row, config.messages, f"{path}: kept row {number + 1}")


def _example(row: Row, messages: bool, where: str) -> dict[str, Any]:
    """Return a row as the features hold it."""
    if messages == isinstance(row["prompt"], str):
        found, first = ("texts", "messages") if messages else ("messages", "texts")
        raise InputError(f"{where}: holds {found}, but the first one {first}; build them as two data sets")
    if not messages:
        return row
    spelled = {side: json.dumps(row[side]) for side in ("prompt", "chosen", "rejected")}
    return {**row, **spelled, "format": "messages"}


def build(
    files: str | os.PathLike[str] | Mapping[str, str | os.PathLike[str]],
    folder: str | os.PathLike[str],
    *,
    skip_bad: float = 0.0,
    report: Report | None = None,
) -> Any:
    """Build the data set from files of rows, or find it built already, and return its builder.

    The name of its configuration holds a digest of the files' content, so other rows are another data set.

    Args:
      files: a file of rows as ``data.files.read`` takes it (the split ``train``), or one by name of split.
      folder: where data sets are kept.
      skip_bad: as in ``data.files.read``.
      report: filled in if the data set is built now.

    Returns:
      A builder; ``builder.as_data_source("train[:90%]")`` has ``__len__`` and ``__getitem__``.

    Raises:
      InputError: as ``data.files.read``; if a file holds no rows, or the folder cannot be written.
    """
    splits = {"train": files} if isinstance(files, str | os.PathLike) else dict(files)
    digest = hashlib.sha256(f"{float(skip_bad)}".encode())
    first: Row | None = None
    for split, path in sorted(splits.items()):
        row = next(read(path, skip_bad=1.0), None)
        if row is None:
            raise InputError(f"{path}: holds no row that can be used; give another file")
        first = first or row
        digest.update(split.encode() + b"\0")
        with open(path, "rb") as file:
            while block := file.read(2**20):
                digest.update(block)
    messages = first is not None and not isinstance(first["prompt"], str)
    config = PairsConfig(
        name=f"{'messages' if messages else 'text'}_{digest.hexdigest()[:16]}",
        description=", ".join(pathlib.Path(path).name for path in splits.values()),
        files={split: str(path) for split, path in splits.items()},
        messages=messages,
        skip_bad=skip_bad,
        report=Report() if report is None else report,
    )
    try:
        builder = PreferencePairs(data_dir=str(folder), config=config, file_format=FORMAT)
        builder.download_and_prepare()
    except OSError as error:
        raise InputError(
            f"{folder}: the data set cannot be written ({error.strerror}); choose another"
        ) from None
    return builder


def open_built(folder: str | os.PathLike[str], split: str = "train") -> Any:
    """Open a data set that was built, without the files it was built from.

    Args:
      folder: of one built version (``builder.data_path``).
      split: a split or a slice of one, such as ``train[:50%]``.

    Returns:
      A data source with ``__len__`` and ``__getitem__``.

    Raises:
      InputError: if the folder holds none, in a format whose slices cannot be trusted, or without the split.
    """
    try:
        builder = tfds.builder_from_directory(str(folder))
    except Exception as error:  # of many kinds
        reason = (str(error).splitlines() or [type(error).__name__])[0][:80]
        raise InputError(f"{folder}: holds no built data set ({reason}); build one from rows") from None
    if builder.info.file_format is None or builder.info.file_format.value != FORMAT:
        raise InputError(f"{folder}: is not in the format {FORMAT}; build it again from rows")
    try:
        return builder.as_data_source(split)
    except (ValueError, KeyError, AssertionError):
        known = ", ".join(builder.info.splits)
        raise InputError(f"{folder}: has no split {split!r}; give one of {known}, or a slice of it") from None
