"""The images that a network is trained on: scikit-learn's digits, or the user's own copy of CIFAR-10.

Nothing is downloaded. The files of CIFAR-10 are pickles, which may run any code when they are loaded; here they must be
the official ones, by their checksums, and are read by an unpickler that knows arrays and nothing else.
"""

from __future__ import annotations

import hashlib
import io
import pickle
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from sklearn.datasets import load_digits
from torch import Tensor

from common.training.keys import numpy_generator

CIFAR10 = {  # MD5 of the official files
    "data_batch_1": "c99cafc152244af753f735de768cd75f",
    "data_batch_2": "d4bba439e000b95fd0a9bffe97cbabec",
    "data_batch_3": "54ebc095f3ab1f0389bbae665268c751",
    "data_batch_4": "634d18415352ddfa80567beed471001a",
    "data_batch_5": "482c414d41f54cd18b22e5b47cb7c3cb",
    "test_batch": "40351d587109b95175f43aff81a1287e",
}
WHERE = 'the "CIFAR-10 python version" of https://www.cs.toronto.edu/~kriz/cifar.html, unpacked'


class DataError(OSError):
    """Files of a data set are missing, or are not what they should be."""


class Images(NamedTuple):
    """Images ``n x channels x height x width``, float64, every channel with mean 0 and deviation 1 in training; labels.

    ``labels``, ``test_labels``: ``n``, from 0 to 9.
    """

    train: Tensor
    labels: Tensor
    test: Tensor
    test_labels: Tensor


def load_images(name: str, path: str | Path | None = None, limit: int | None = None) -> Images:
    """Return a data set by its name, "digits" or "cifar10".

    Args:
        path: the folder with the files of CIFAR-10, ``cifar-10-batches-py``.
        limit: at most so many images to train on, the first ones.

    Raises:
        DataError: CIFAR-10 is not there, or its files are not the official ones.
        ValueError: another name, or no path where one is needed.
    """
    if name == "digits":
        images = digits()
    elif name == "cifar10":
        if path is None:
            raise ValueError(f"cifar10 needs the path of its folder: {WHERE}")
        images = cifar10(Path(path))
    else:
        raise ValueError(f"data sets are digits and cifar10, not {name!r}")
    return _standardized(images._replace(train=images.train[:limit], labels=images.labels[:limit]))


def digits() -> Images:
    """Return scikit-learn's 1797 handwritten digits, ``n x 1 x 8 x 8``: half to train on, the same half always."""
    data = load_digits()
    order = numpy_generator(0, "digits").permutation(len(data.target))
    images, labels = torch.from_numpy(data.images[order])[:, None], torch.from_numpy(data.target[order])
    half = len(labels) // 2
    return Images(images[:half], labels[:half], images[half:], labels[half:])


def cifar10(folder: Path) -> Images:
    """Return CIFAR-10, ``n x 3 x 32 x 32`` (Krizhevsky, "Learning multiple layers of features from tiny images", 2009).

    Raises:
        DataError: see `load_images`.
    """
    if missing := [name for name in CIFAR10 if not (folder / name).is_file()]:
        raise DataError(f"CIFAR-10 is not in {folder}, which lacks {', '.join(missing)}; get {WHERE}")
    parts = {name: _read_batch(folder / name, checksum) for name, checksum in CIFAR10.items()}
    test, test_labels = parts.pop("test_batch")
    images, labels = zip(*parts.values(), strict=True)
    return Images(torch.cat(images), torch.cat(labels), test, test_labels)


def _read_batch(path: Path, checksum: str) -> tuple[Tensor, Tensor]:
    content = path.read_bytes()
    if (found := hashlib.md5(content, usedforsecurity=False).hexdigest()) != checksum:
        raise DataError(f"{path} is not the official file: its MD5 is {found}, not {checksum}; get {WHERE}")
    batch = _ArrayUnpickler(io.BytesIO(content), encoding="bytes").load()
    images = torch.from_numpy(np.array(batch[b"data"])).reshape(-1, 3, 32, 32).double()
    return images, torch.tensor(batch[b"labels"])


class _ArrayUnpickler(pickle.Unpickler):
    """Loads what NumPy arrays are made of, and Python's own numbers, bytes, lists and dicts."""

    def find_class(self, module: str, name: str) -> Any:
        if (module, name) in {("numpy", "ndarray"), ("numpy", "dtype")}:
            return getattr(np, name)
        if module in {"numpy.core.multiarray", "numpy._core.multiarray"} and name == "_reconstruct":
            return np._core.multiarray._reconstruct  # type: ignore[attr-defined]
        raise DataError(f"a file of images holds a {module}.{name}, which is no array; it is not loaded")


def _standardized(images: Images) -> Images:
    mean = images.train.mean((0, 2, 3), keepdim=True)
    deviation = images.train.std((0, 2, 3), keepdim=True)
    train, test = ((part - mean) / deviation for part in (images.train, images.test))
    return images._replace(train=train, test=test)
