"""The boosting members: LightGBM's trees, and the same trees as one ONNX node.

Features are float32 before they are fitted, so a threshold lies between two float32 values; rounded down to float32 it
parts the same values, and the exported trees send every row to the same leaf. Only the sum of the leaves is rounded.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from clickflow.models.estimators.graph import Graph
from clickflow.models.estimators.problem import Folds, Problem
from clickflow.sequences.features import Array

POWER = 1.5
"""Of the Tweedie deviance of amounts: between Poisson's 1 and gamma's 2, for sums of which many are 0."""


@dataclass(frozen=True)
class Trees:
    """Scores [N, S]: the mean over boosters of the sum of their leaves."""

    texts: tuple[str, ...]
    """LightGBM's own text form, a booster each."""
    width: int

    def scores(self, x: Array) -> Array:
        """float64 [N, S]."""
        total = np.zeros((len(x), self.width))
        for booster in map(booster_of, self.texts):
            total += booster.predict(x, raw_score=True, num_threads=1).reshape(len(x), self.width)
        return total / len(self.texts)

    def emit(self, graph: Graph, x: str) -> str:
        """The same, as nodes."""
        nodes: dict[str, list[Any]] = {
            name: [] for name in ("treeids", "nodeids", "featureids", "values", "modes", "truenodeids", "falsenodeids")
        }
        nodes["missing_value_tracks_true"] = []
        leaves: dict[str, list[Any]] = {name: [] for name in ("treeids", "nodeids", "ids", "weights")}
        number = 0
        for text in self.texts:
            for place, tree in enumerate(booster_of(text).dump_model()["tree_info"]):
                for node in _numbered(tree["tree_structure"]):
                    _write(node, number, nodes, leaves, place % self.width, 1 / len(self.texts))
                number += 1
        if not number:
            return graph.add("Mul", graph.columns(x, [0] * self.width), graph.constant(0.0))
        return graph.add(
            "TreeEnsembleRegressor",
            x,
            domain="ai.onnx.ml",
            n_targets=self.width,
            aggregate_function="SUM",
            post_transform="NONE",
            **{f"nodes_{name}": values for name, values in nodes.items()},
            **{f"target_{name}": values for name, values in leaves.items()},
        )

    def state(self) -> dict[str, Any]:
        """What `restored` needs, as JSON has it."""
        return {"texts": self.texts, "width": self.width}

    @staticmethod
    def restored(state: dict[str, Any]) -> "Trees":
        """The reverse of `state`."""
        return Trees(tuple(state["texts"]), state["width"])


def booster_of(text: str) -> Any:
    """A booster from its text."""
    import lightgbm

    return lightgbm.Booster(model_str=text)


def _numbered(root: dict[str, Any]) -> Iterator[tuple[int, dict[str, Any], int, int]]:
    """The nodes of a tree: number, what LightGBM says of it, and the numbers of its children (-1 of a leaf)."""
    waiting, given = [(0, root)], 1
    while waiting:
        number, node = waiting.pop()
        if "split_feature" not in node:
            yield number, node, -1, -1
            continue
        left, right = given, given + 1
        given += 2
        yield number, node, left, right
        waiting += [(left, node["left_child"]), (right, node["right_child"])]


def _write(
    split: tuple[int, dict[str, Any], int, int],
    tree: int,
    nodes: dict[str, list[Any]],
    leaves: dict[str, list[Any]],
    target: int,
    share: float,
) -> None:
    number, node, left, right = split
    leaf = left < 0
    threshold = 0.0 if leaf else _below(node["threshold"])
    # without missing values in training LightGBM reads a missing one as 0
    missing = not leaf and (node["default_left"] if node["missing_type"] == "NaN" else node["threshold"] >= 0.0)
    line = (tree, number, 0 if leaf else node["split_feature"], threshold, "LEAF" if leaf else "BRANCH_LEQ")
    for name, value in zip(nodes, (*line, max(left, 0), max(right, 0), int(missing)), strict=True):
        nodes[name].append(value)
    if leaf:
        for name, value in zip(leaves, (tree, number, target, node["leaf_value"] * share), strict=True):
            leaves[name].append(value)


def _below(threshold: float) -> float:
    """The largest float32 that is not above."""
    near = np.float32(min(threshold, float(np.finfo(np.float32).max)))
    return float(near if float(near) <= threshold else np.nextafter(near, np.float32(-np.inf)))


def fit_trees(
    problem: Problem, params: Mapping[str, Any], folds: Folds, seed: int, learned: Array | None = None
) -> tuple[Trees, Array]:
    """`boosters` of them, of seeds that follow one another, and scores [N, S] of rows by trees that did not see them.

    How many rounds: the mean over folds of where the loss of the rows asked was least. `learned` [N] says which rows
    are learned from and count in that loss; all have scores.
    """
    learned = np.ones(len(problem), bool) if learned is None else learned
    scores = np.full((len(problem), problem.width), np.nan)
    rounds = []
    for fitted, held in folds:
        beside = problem.part(held[learned[held]])
        own = problem.part(fitted[learned[fitted]])
        booster = _booster(own, params, seed, int(params["most_rounds"]), beside)
        rounds.append(booster.best_iteration)
        raw = booster.predict(problem.x[held], raw_score=True, num_threads=1)
        scores[held] = raw.reshape(len(held), problem.width)
    best = max(round(float(np.mean(rounds))), 1)
    whole = problem.part(np.flatnonzero(learned))
    texts = [
        _booster(whole, params, seed + each, best).model_to_string(num_iteration=-1)
        for each in range(int(params["boosters"]))
    ]
    return Trees(tuple(texts), problem.width), scores


def _booster(problem: Problem, params: Mapping[str, Any], seed: int, rounds: int, held: Problem | None = None) -> Any:
    import lightgbm

    several = {"objective": "multiclass", "num_class": problem.classes}
    classes = several if problem.classes > 2 else {"objective": "binary"}
    amounts: dict[str, dict[str, Any]] = {
        "amount": {"objective": "tweedie", "tweedie_variance_power": POWER},
        "log": {"objective": "regression"},
    }
    objective = amounts.get(problem.answer, classes)
    settings = {
        "learning_rate": params["learning_rate"],
        "num_leaves": params["leaves"],
        "extra_trees": params["random_thresholds"],
        "min_data_in_leaf": params["min_rows"],
        "feature_fraction": params["feature_share"],
        "bagging_fraction": params["row_share"],
        "bagging_freq": 1,
        "lambda_l2": params["leaf_l2"],
        "max_bin": params["bins"],
        "seed": seed,
        "deterministic": True,
        "force_row_wise": True,
        "num_threads": params["threads"],
        "verbosity": -1,
        **objective,
    }
    data = lightgbm.Dataset(problem.x, problem.target, weight=problem.weights)
    if held is None:
        return lightgbm.train(settings, data, rounds)
    beside = lightgbm.Dataset(held.x, held.target, weight=held.weights, reference=data)
    stop = lightgbm.early_stopping(int(params["patience"]), verbose=False)
    return lightgbm.train(settings, data, rounds, valid_sets=[beside], callbacks=[stop])
