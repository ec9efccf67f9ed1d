"""The hyper-parameters of logistic regression on scikit-learn's digits, as a function on the unit cube (A.3)."""

from __future__ import annotations

from collections.abc import Callable

import torch
from sklearn.datasets import load_digits
from sklearn.linear_model import SGDClassifier
from sklearn.model_selection import train_test_split
from torch import Tensor

from common.training.keys import key_seed

DIM = 4
PIXEL_RANGE = 16.0


def digits_error(seed: int, train_share: float) -> Callable[[Tensor], Tensor]:
    """Return the test error of logistic regression as a function of points ``n x 4`` in the unit cube.

    The coordinates are learning rate, L2 and L1 penalty, each on a log scale in [1e-5, 1], and the number of epochs in
    [5, 50], rounded. ``seed`` keys the split into classes' shares and the order of the training.
    """
    images, labels = load_digits(return_X_y=True)
    word = key_seed(seed, "split") % 2**32  # what scikit-learn takes
    train_x, test_x, train_y, test_y = train_test_split(
        images / PIXEL_RANGE, labels, train_size=train_share, stratify=labels, random_state=word
    )

    def error(point: list[float]) -> float:
        rate, l2, l1 = (10 ** (5 * (u - 1)) for u in point[:3])
        model = SGDClassifier(
            loss="log_loss", penalty="elasticnet", alpha=l1 + l2, l1_ratio=l1 / (l1 + l2), learning_rate="constant",
            eta0=rate, max_iter=round(5 + 45 * point[3]), tol=None, random_state=word,
        )  # fmt: skip
        return 1 - float(model.fit(train_x, train_y).score(test_x, test_y))

    return lambda X: torch.tensor([error(point) for point in X.tolist()], dtype=torch.float64)
