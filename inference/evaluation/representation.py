"""The space of the encoder (PIRTA section 3.3.1, figure 5): clusters, how well they part, and its plane by UMAP.

umap-learn and matplotlib are the optional extra `evaluate`.
"""

from __future__ import annotations

import importlib.util
import warnings
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from sklearn.metrics import adjusted_rand_score, silhouette_samples, silhouette_score
from sklearn.mixture import GaussianMixture

from pirtad.inference.evaluation.figure_colours import COLOUR_OF
from pirtad.inference.evaluation.retrieval_scores import Figures
from pirtad.inference.findings import Territory

_CLASSES = tuple(Territory)
_NEIGHBOURS = 15


def missing_packages() -> list[str]:
    """What has to be installed before `plane_of` and `draw` work."""
    wanted = {"umap": "umap-learn", "matplotlib": "matplotlib"}
    return [package for module, package in wanted.items() if importlib.util.find_spec(module) is None]


def score_representation(vectors: NDArray[np.float32], truths: Sequence[Territory], seed: int) -> Figures:
    """Of unit vectors (N, D) with their classes: silhouette (Euclidean; of unit vectors that orders as cosine does) of
    the classes, in all and by class, and, for a Gaussian mixture with as many components as there are classes,
    silhouette of its clusters and their adjusted Rand index with the classes.

    Covariances are diagonal: full ones have more unknowns than there are cases. Raises ValueError for fewer than two
    classes, and where there is just one case of each.
    """
    labels = np.array([_CLASSES.index(truth) for truth in truths])
    present = [int(one) for one in np.unique(labels)]
    if len(present) < 2:
        raise ValueError("a silhouette needs cases of two classes or more")
    if len(present) == len(labels):
        raise ValueError("a silhouette needs more than one case of a class")
    samples = silhouette_samples(vectors, labels)
    mixture = GaussianMixture(len(present), covariance_type="diag", n_init=5, reg_covar=1e-5, random_state=seed)
    clusters = mixture.fit_predict(vectors.astype(np.float64))
    parted = len(np.unique(clusters)) > 1
    return {
        "silhouette_of_classes": float(samples.mean()),
        "silhouette_by_class": {str(_CLASSES[one]): float(samples[labels == one].mean()) for one in present},
        "gaussian_mixture": {
            "components": len(present),
            "silhouette_of_clusters": float(silhouette_score(vectors, clusters)) if parted else None,
            "adjusted_rand_index": float(adjusted_rand_score(labels, clusters)),
        },
    }


def plane_of(vectors: NDArray[np.float32], seed: int) -> NDArray[np.float32]:
    """(N, 2) by UMAP with the cosine metric; the same seed gives the same plane. N is at least 4."""
    with warnings.catch_warnings():
        # Numba and UMAP warn of their own deprecations and of small sets; nothing that a reader could mend.
        warnings.simplefilter("ignore")
        from umap import UMAP  # noqa: PLC0415 - optional, and slow to import

        reducer = UMAP(
            n_neighbors=min(_NEIGHBOURS, len(vectors) - 1),
            metric="cosine",
            init="pca",
            random_state=seed,
            n_jobs=1,
        )
        return np.asarray(reducer.fit_transform(vectors), dtype=np.float32)


def draw(
    plane: NDArray[np.float32], truths: Sequence[Territory], is_query: NDArray[np.bool_], title: str, path: Path
) -> None:
    """Figure 5: the points (N, 2) by class, case base small and pale, queries larger with an edge; a PNG at `path`."""
    from matplotlib.figure import Figure  # noqa: PLC0415 - optional

    figure = Figure(figsize=(7, 6), layout="constrained")
    axes = figure.subplots()
    for territory in Territory:
        there = np.array([truth is territory for truth in truths])
        base, asked = plane[there & ~is_query], plane[there & is_query]
        colour = COLOUR_OF[territory]
        axes.scatter(base[:, 0], base[:, 1], s=12, color=colour, alpha=0.35, linewidths=0)
        axes.scatter(
            asked[:, 0], asked[:, 1], s=28, color=colour, edgecolors="black", linewidths=0.5, label=territory.phrase
        )
    axes.set_xticks([])
    axes.set_yticks([])
    axes.set_title(title, fontsize=9)
    axes.legend(fontsize=8, title="queries; pale: case base", title_fontsize=8)
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=150)
