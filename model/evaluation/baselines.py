"""What a classifier must beat: words counted, and the untuned base, each fitted to the very source."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from pipeline.errors import ModelError

Doubles = NDArray[np.float64]

#: Inverse strengths of the penalty that are tried; the one with the least loss on the tuning part is kept.
_STRENGTHS = (0.3, 1.0, 3.0, 10.0, 30.0)


def tfidf(
    train: Sequence[str], bad: NDArray[np.bool_], tune: Sequence[str], tune_bad: NDArray[np.bool_], test: Sequence[str]
) -> Doubles:
    """Probabilities (n) of `test` by logistic regression on words and pairs of words, weighted by tf-idf."""
    try:
        from sklearn.feature_extraction.text import TfidfVectorizer
    except ImportError as error:
        raise ModelError("the baselines need scikit-learn: run `pip install 'tocsin[train]'`") from error
    words = TfidfVectorizer(ngram_range=(1, 2), min_df=2, sublinear_tf=True, lowercase=True)
    inputs = words.fit_transform(train)
    return _best(inputs, bad, words.transform(tune), tune_bad, words.transform(test))


def probe(
    train: NDArray[np.float32],
    bad: NDArray[np.bool_],
    tune: NDArray[np.float32],
    tune_bad: NDArray[np.bool_],
    test: NDArray[np.float32],
) -> Doubles:
    """Probabilities (n) of `test` by logistic regression on the untuned base's embeddings (n, hidden)."""
    return _best(train, bad, tune, tune_bad, test)


def _best(train: object, bad: NDArray[np.bool_], tune: object, tune_bad: NDArray[np.bool_], test: object) -> Doubles:
    from sklearn.linear_model import LogisticRegression
    from sklearn.metrics import log_loss

    best, least = None, np.inf
    for strength in _STRENGTHS:
        model = LogisticRegression(C=strength, max_iter=2000, class_weight=None)
        model.fit(train, bad)
        loss = log_loss(tune_bad, model.predict_proba(tune)[:, 1], labels=[False, True])
        if loss < least:
            best, least = model, loss
    assert best is not None
    return np.asarray(best.predict_proba(test)[:, 1], np.float64)
