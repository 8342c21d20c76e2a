"""Sequences changed in training: no question is answered from what follows, and none is made up."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from markov_log import CPU, KNOWN, log, model, sizes

from clickflow.models.associations import Table
from clickflow.params.models import Augmentation, Model
from clickflow.training import augmentation, loop, trainer
from clickflow.training.answers import objectives
from clickflow.training.batches import Batch, gather, windows

NOTHING = Augmentation(crop=0.0, mask=0.0, reorder=0.0, substitute=0.0, adversarial=0.0)
FEW = 0.4
"""A share of a batch's few pairs of which, by chance, none may change places."""


def given_batch(seed: int) -> tuple[Batch, Any]:
    split = log(30, seed)
    cut = windows(split.offsets, 12, to_the_end=True)
    asking = objectives(model(item={"horizon": 2}), sizes(split))
    return gather(split, cut, ("item", "action"), asking, KNOWN), cut


def with_augmentation(spec: Model, **shares: float) -> Model:
    return replace(spec, augmentation=replace(NOTHING, **shares))


@settings(deadline=None, max_examples=40)
@given(st.integers(0, 99), st.floats(0.05, 0.95))
def test_where_steps_change_places_questions_go_with_them(seed: int, share: float) -> None:
    batch, cut = given_batch(seed)
    changed = augmentation.changed(batch, replace(NOTHING, reorder=share), None, np.random.default_rng(seed))
    item, action = changed.inputs["item"], changed.inputs["action"]
    if share > FEW:
        assert not np.array_equal(item, batch.inputs["item"])
    for row, length in enumerate(cut.length):
        assert sorted(item[row]) == sorted(batch.inputs["item"][row])
        assert not item[row, length:].any()
        pairs = list(zip(batch.inputs["item"][row], batch.inputs["action"][row], strict=True))
        assert sorted(zip(item[row], action[row], strict=True)) == sorted(pairs), "an action stays with its item"
        for step in range(length - 1):
            assert changed.targets["next_item"][0][row, step] in (-1, item[row, step + 1])
            assert changed.targets["next_action"][0][row, step] in (-1, action[row, step + 1])
        assert changed.targets["next_item"][0][row, length - 1] == batch.targets["next_item"][0][row, length - 1]
    now, before = (np.count_nonzero(each.targets["next_item"][0] > 0) for each in (changed, batch))
    assert now > 0.5 * before


@settings(deadline=None, max_examples=40)
@given(st.integers(0, 99), st.floats(0.05, 0.95))
def test_a_cropped_window_asks_what_it_still_reads(seed: int, share: float) -> None:
    _, cut = given_batch(seed)
    shorter = augmentation.cropped(cut, share, np.random.default_rng(seed))
    assert (shorter.length >= cut.length - cut.length // 2).all()
    assert (shorter.start + shorter.length == cut.start + cut.length).all()
    assert (shorter.start + shorter.first >= cut.start + cut.first).all()
    assert (shorter.end == cut.end).all()
    assert (shorter.first >= 0).all()


def test_masks_and_substitutes_have_their_share_and_leave_questions_alone() -> None:
    batch, _ = given_batch(0)
    draw = np.random.default_rng(0)
    there = batch.inputs["item"] > 1
    masked = augmentation.changed(batch, replace(NOTHING, mask=0.3), None, draw)
    assert np.mean(masked.inputs["item"][there] == augmentation.UNKNOWN) == pytest.approx(0.3, abs=0.1)
    assert not masked.inputs["item"][batch.inputs["item"] == 0].any()

    near = np.zeros((KNOWN, 4), np.int32)
    near[2 : KNOWN - 3, 0], near[2 : KNOWN - 3, 1] = KNOWN - 2, KNOWN - 1
    table = Table(near, near.astype(np.float32), near.sum(1).astype(np.float32))
    other = augmentation.changed(batch, replace(NOTHING, substitute=0.5), augmentation.Near.of(table), draw)
    new = other.inputs["item"] != batch.inputs["item"]
    assert set(other.inputs["item"][new]) == {KNOWN - 2, KNOWN - 1}
    assert np.mean(new[there]) == pytest.approx(0.5, abs=0.12)
    for changed in (masked, other):
        for head, targets in batch.targets.items():
            assert all(np.array_equal(*pair) for pair in zip(changed.targets[head], targets, strict=True))


def test_what_past_sessions_said_of_a_changed_step_is_not_used() -> None:
    batch, _ = given_batch(1)
    rows, steps = batch.inputs["item"].shape
    associations = (np.ones((rows, steps, steps), np.float32), np.ones((rows, steps), np.float32))
    changed = augmentation.changed(batch, replace(NOTHING, mask=0.4, reorder=0.4), None, np.random.default_rng(1))
    beside, support = augmentation.unsaid(associations, changed, batch, "next_item")
    same = changed.inputs["item"] == batch.inputs["item"]
    assert np.array_equal(support > 0, same)
    kept = changed.targets["next_item"][0] == batch.targets["next_item"][0]
    assert np.array_equal(beside > 0, same[:, None, :] & kept[:, :, None])
    assert not same.all()
    assert not kept.all()


@pytest.mark.parametrize("name", ["crop", "mask", "reorder", "substitute", "adversarial"])
def test_each_changes_training_and_is_the_same_for_the_same_seed(name: str) -> None:
    split = log(120, 0)
    plain = loop.train(model(epochs=2), sizes(split), split, seed=0, settings=CPU)
    spec = with_augmentation(model(epochs=2), **{name: 0.3})
    once, again = (loop.train(spec, sizes(split), split, seed=0, settings=CPU) for _ in range(2))
    assert torch.equal(once.network.items, again.network.items)
    assert not torch.equal(once.network.items, plain.network.items)


def test_vectors_are_moved_to_where_the_loss_is_higher(monkeypatch: pytest.MonkeyPatch) -> None:
    split = log(120, 0)
    totals: list[float] = []
    real = trainer.loss

    def seen(*given: Any, **choices: Any) -> Any:
        step = real(*given, **choices)
        totals.append(float(step.total.detach()))
        return step

    monkeypatch.setattr(trainer, "loss", seen)
    spec = with_augmentation(model(epochs=3), adversarial=0.1)
    spec = replace(spec, encoder=replace(spec.encoder, dropout=0.0))
    loop.train(spec, sizes(split), split, seed=0, settings=CPU)
    assert all(moved > there for there, moved in zip(totals[::2], totals[1::2], strict=True))
