"""A small shop and untrained networks for tests: what a stage would find, without training anything."""

import atexit
import json
import shutil
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from tempfile import mkdtemp
from types import MappingProxyType
from typing import Any

import numpy as np
import torch

from clickflow.artefact import export, networks
from clickflow.heads import HEADS
from clickflow.models import ensemble, item_features, network, saved
from clickflow.models.hand_made import read_by
from clickflow.models.sizes import Sizes
from clickflow.params.file import load
from clickflow.params.models import Model
from clickflow.params.schema import Params
from clickflow.sequences.from_arrays import write_store
from clickflow.sequences.store import Card, open_split, read_card
from clickflow.system import integrity
from clickflow.system.moments import HOUR
from clickflow.system.paths import Paths
from clickflow.training import associations

ROOT = Path(__file__).resolve().parents[2]
ITEMS, KNOWN, MAX_LENGTH = 40, 36, 8
Folders = tuple[Path, Path]
EVERY_FEATURE = ("action", "hour", "weekday", "gap", "since_start", "price", "category")


def split(sequences: int, seed: int, start: int = 0) -> dict[str, np.ndarray]:
    """Sessions of 2 to 14 steps over a few days, with every column; items wander among neighbours."""
    draw = np.random.default_rng(seed)
    lengths = draw.integers(2, 15, sequences)
    total = int(lengths.sum())
    offsets = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64)
    begin = np.sort(draw.integers(0, 72, sequences)) * HOUR + start
    inside = np.concatenate([np.cumsum(draw.integers(1, 90, length)) for length in lengths]) * 1_000_000
    item = 2 + (np.repeat(draw.integers(0, ITEMS, sequences), lengths) + draw.integers(0, 4, total)) % ITEMS
    price = draw.uniform(1, 90, total).astype(np.float32)
    price[draw.random(total) < 0.2] = np.nan
    return {
        "offsets": offsets,
        "item": item.astype(np.int32),
        "action": draw.choice([0, 0, 0, 1, 4], total).astype(np.uint8),
        "time": np.repeat(begin, lengths) + inside,
        "price": price,
        "category": draw.integers(0, 6, total).astype(np.int32),
    }


def shop(folder: Path, *, test: int = 60) -> Card:
    """A packed store in `folder`; items from `KNOWN` on are unknown to models."""
    parts = {
        "train": split(300, 0),
        "valid": split(40, 1, 80 * HOUR),
        "test": split(test, 2, 160 * HOUR),
    }
    return write_store(folder, parts, known=KNOWN)


def spec(
    kind: str = "gru",
    layers: int = 1,
    *,
    attention: str = "bilinear",
    copy: bool = True,
    features: tuple[str, ...] = EVERY_FEATURE,
    heads: tuple[str, ...] = ("next_item", "next_action"),
    item: Mapping[str, object] = MappingProxyType({}),
    ensemble: tuple[str, ...] = (),
    **encoder: object,
) -> Model:
    """The model of params.yaml, made small and without hand-made features; `item` are params of the head next_item, the
    rest of the encoder.
    """
    model = load(ROOT / "params.yaml").models["next_step"]
    small = {"kind": kind, "units": 12, "layers": layers, "dropout": 0.2, "attention": attention, "features": features}
    small |= {"hand_made": False, **encoder}
    of_items = {"next_item": {"copy": copy, **item}}
    return replace(
        model,
        encoder=replace(model.encoder, **small),  # type: ignore[arg-type]
        heads={
            name: replace(model.heads.get(name) or HEADS[name].params(), **of_items.get(name, {})) for name in heads
        },
        budget=replace(model.budget, max_length=MAX_LENGTH),
        ensemble=ensemble,  # type: ignore[arg-type]
    )


def trained(folder: Path, store: Path, model: Model, *, seed: int = 0) -> network.Network:
    """Write a network with random weights as the training stage would, and return it."""
    card = read_card(store)
    torch.manual_seed(seed)
    built = ensemble.build(
        model,
        Sizes(
            known=card.known,
            actions=card.actions,
            categories=card.categories,
            statistics={name: (each["mean"], each["std"]) for name, each in card.statistics.items()},
            item_codes=item_features.read(store, model.encoder.item_features, card.known),
            associations=associations.count(open_split(store, "train"), card.known)[0],
            hand_made=read_by(model),
        ),
    )
    # fresh weights are small: larger ones tell apart what should differ
    with torch.no_grad():
        for parameter in built.parameters():
            parameter.mul_(2.0)
    folder.mkdir(parents=True)
    saved.save(built, folder, {"data_sha256": card.sha256, "seed": seed})
    integrity.seal(folder)
    return built.eval()  # type: ignore[return-value]


def workspace(folder: Path, *, seed: int = 0, test: int = 60, **choices: Any) -> tuple[Paths, Params]:
    """A store and an untrained model next_step of `spec(**choices)`, and params in which it is the only model."""
    paths, model = Paths(folder), spec(**choices)
    shop(paths.sequences("session"), test=test)
    trained(paths.trained("next_step"), paths.sequences("session"), model, seed=seed)
    return paths, replace(load(ROOT / "params.yaml"), models={"next_step": model}, champion={"next_step": 0})


def graph(folder: Path, out: Path) -> None:
    """Write the ONNX graph of the network trained into a folder, as a process of its own would."""
    out.write_bytes(networks.to_onnx(saved.load_trained(folder)))


_folders: dict[str, Path] = {}
"""Workspaces, made once for each choice: an export takes half a second."""


def exported(folder: Path, **choices: Any) -> Folders:
    """The folders of an artefact, and of the store it was made from."""
    key = json.dumps(choices, sort_keys=True)
    if key not in _folders:
        _folders[key] = Path(mkdtemp())
        atexit.register(shutil.rmtree, _folders[key], ignore_errors=True)
        workplace, params = workspace(_folders[key], **choices)
        export.run(params, workplace, "next_step")
    shutil.copytree(_folders[key], folder, dirs_exist_ok=True)
    paths = Paths(folder)
    return paths.exported("next_step"), paths.sequences("session")
