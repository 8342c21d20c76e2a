"""A choice that another one does not read is refused, with what would be valid."""

from typing import Any

import pytest

from clickflow.params.file import check
from clickflow.system.errors import UsageError

ENCODER, HEAD = ("encoder",), ("heads", "next_item")


def with_choices(raw: Any, place: tuple[str, ...], choices: dict[str, Any]) -> Any:
    at = raw["models"]["next_step"]
    for key in place:
        at = at[key]
    at.update(choices)
    return raw


@pytest.mark.parametrize(
    ("place", "choices", "says"),
    [
        (ENCODER, {"attention": True}, "attention: input should be 'none', 'bilinear', 'additive' or 'self'"),
        (
            ENCODER,
            {"item_features": ["brnad"]},
            "item_features.0: input should be 'category', 'brand', 'price' or 'popularity'",
        ),
        (ENCODER, {"positions": "learned"}, "encoder.positions: only kind transformer reads it, and this is gru"),
        (ENCODER, {"attention_heads": 4}, "attention_heads: only kind transformer and attention self have heads"),
        (ENCODER, {"kind": "transformer", "attention_heads": 3}, "128 units cannot be divided by 3; there is: 1, 2, 4"),
        (ENCODER, {"attention": "self", "attention_heads": 0}, "attention_heads: 0 is not between 1 and"),
        (ENCODER, {"kind": "attention", "layers": 2}, "encoder.layers: kind attention has one layer"),
        (HEAD, {"regularisation": 0.5}, "regularisation: only loss bpr_max reads it, and this is sampled"),
        (HEAD, {"loss": "bpr_max", "regularisation": -1.0}, "regularisation: -1.0 is not between 0 and"),
        (HEAD, {"loss": "bpr_max", "regularisation": float("nan")}, "regularisation: nan is not a number"),
        (HEAD, {"loss": "bpr_max", "calibration": 0.5}, "calibration: only loss bce reads it, and this is bpr_max"),
        (HEAD, {"loss": "bce", "calibration": 1.5}, "calibration: 1.5 is not between 0 and 1"),
        (HEAD, {"loss": "bce", "label_smoothing": 0.1}, "label_smoothing: loss bce has no labels to smooth"),
        (HEAD, {"label_smoothing": 1.0}, "label_smoothing: 1.0 is not from 0 to below 1"),
        (HEAD, {"loss": "bce", "negatives": 0}, "negatives: 0 is less than 1"),
        (HEAD, {"output": "shared"}, "output: input should be 'tied' or 'separate'"),
    ],
)
def test_what_makes_no_sense_is_refused_with_its_place(
    raw_params: Any, place: tuple[str, ...], choices: dict[str, Any], says: str
) -> None:
    with pytest.raises(UsageError, match=says):
        check(with_choices(raw_params, place, choices))


@pytest.mark.parametrize(
    ("place", "choices"),
    [
        (ENCODER, {"kind": "transformer", "positions": "learned", "attention_heads": 4, "attention": "none"}),
        (ENCODER, {"kind": "lstm", "layers": 3, "attention": "self", "attention_heads": 8}),
        (ENCODER, {"kind": "attention", "item_features": ["category", "brand", "price", "popularity"]}),
        (HEAD, {"loss": "bpr_max", "regularisation": 0.0, "output": "separate"}),
        (HEAD, {"loss": "bce", "calibration": 1.0}),
        (HEAD, {"loss": "full", "label_smoothing": 0.1}),
    ],
)
def test_what_makes_sense_is_taken(raw_params: Any, place: tuple[str, ...], choices: dict[str, Any]) -> None:
    assert check(with_choices(raw_params, place, choices))
