"""A trained model as files, weights as safetensors and the rest as JSON, and back.

safetensors is imported where it is needed: training itself needs torch and numpy alone.
"""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from clickflow.heads import HEADS
from clickflow.heads.head import Kind
from clickflow.models.answers.ranking import Ranking
from clickflow.models.associations import Table
from clickflow.models.ensemble import Ensemble, build, parameters
from clickflow.models.network import Network
from clickflow.models.sizes import Sizes
from clickflow.params.models import Augmentation, Budget, Distillation, Model, Optimiser, own
from clickflow.params.models import Encoder as EncoderSpec
from clickflow.system.files import sha256

WEIGHTS, CARD = "weights.safetensors", "model.json"
ASSOCIATIONS = "associations."
"""How the names of their table begin in the file of weights."""
ADDED = ("returns", "familiar", "sight.weight", "sight.bias", "habit.weight")
"""Weights of a head of kind ranking that earlier versions did not have."""
UNCHANGED = {"crop": 0.0, "mask": 0.0, "reorder": 0.0, "substitute": 0.0, "adversarial": 0.0}
"""The augmentation of a model from before there was any."""
FORMER: Mapping[Kind, Mapping[str, Any]] = {
    "ranking": {
        "label_smoothing": 0.0,
        "regularisation": None,
        "calibration": None,
        "output": "tied",
        "horizon": 1,
        "associations": False,
    },
    "classes": {},
    "probability": {},
    "amount": {},
}
"""By kind of answer, what a head's params were before they could be chosen."""


def save(network: Network | Ensemble, folder: Path, card: Mapping[str, Any]) -> None:
    """Write weights.safetensors and model.json: spec, sizes, number of parameters, hash, and what `card` adds."""
    from safetensors.torch import save_file

    tensors = network.state_dict()
    for head in network.heads.values():  # all have the same table
        if isinstance(head, Ranking) and head.associations is not None:
            tensors |= {ASSOCIATIONS + name: tensor for name, tensor in head.associations.table.items()}
    weights = {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}
    save_file(weights, folder / WEIGHTS)
    content = {
        "spec": {key: value for key, value in own(network.spec).items() if key != "kind"},  # it is a network
        "known": network.sizes.known,
        "actions": list(network.sizes.actions),
        "categories": network.sizes.categories,
        "statistics": {name: list(pair) for name, pair in network.sizes.statistics.items()},
        "inputs": list(network.inputs),
        **({"hand_made": list(network.sizes.hand_made)} if network.sizes.hand_made else {}),
        "parameters": parameters(network),
        "weights_sha256": sha256(folder / WEIGHTS),
        **card,
    }
    text = json.dumps(content, indent=2, sort_keys=True, ensure_ascii=False)
    (folder / CARD).write_text(text + "\n", encoding="utf-8")


def load_trained(folder: Path) -> Network | Ensemble:
    """The network, or the ensemble, of a folder written by `save`, on the CPU and ready to answer (no dropout)."""
    from safetensors.torch import load_file

    card = json.loads((folder / CARD).read_text(encoding="utf-8"))
    weights = load_file(folder / WEIGHTS)
    codes = weights.get("features.codes")
    named = [name for name in weights if name.startswith(ASSOCIATIONS)]
    table = {name.removeprefix(ASSOCIATIONS): weights.pop(name).numpy() for name in named}
    sizes = Sizes(
        known=card["known"],
        actions=tuple(card["actions"]),
        categories=card["categories"],
        statistics={name: (mean, std) for name, (mean, std) in card["statistics"].items()},
        item_codes=None if codes is None else codes.numpy(),
        associations=Table(**table) if table else None,
        hand_made=tuple(card.get("hand_made", ())),
    )
    network = build(spec_from(card["spec"]), sizes)
    # what an earlier version did not have begins at 0, which is as if it were not there
    new = tuple(f"{name}.{each}" for name, head in network.heads.items() if isinstance(head, Ranking) for each in ADDED)
    added = {name: tensor for name, tensor in network.state_dict().items() if name.endswith(new)}
    network.load_state_dict(added | weights)
    return network.eval()


def spec_from(raw: Mapping[str, Any]) -> Model:
    """A spec as it stands in model.json; the reverse of `dataclasses.asdict`, without pydantic.

    What earlier versions did not write is what they did.
    """
    encoder = {"attention_heads": None, "positions": None, "item_features": (), "hand_made": False} | raw["encoder"]
    for name in ("features", "item_features"):
        encoder[name] = tuple(encoder[name])
    if isinstance(encoder["attention"], bool):
        encoder["attention"] = "bilinear" if encoder["attention"] else "none"
    taught = {"teacher": ()} | raw.get("distillation", {})
    return Model(
        unit=raw["unit"],
        encoder=EncoderSpec(**encoder),
        heads={
            name: head.params(**FORMER[head.kind] | raw["heads"][name])
            for name, head in HEADS.items()
            if raw["heads"].get(name) is not None
        },
        loss_weights=raw.get("loss_weights", "given"),
        optimiser=Optimiser(**raw["optimiser"]),
        augmentation=Augmentation(**raw.get("augmentation", UNCHANGED)),
        budget=Budget(**raw["budget"]),
        ensemble=tuple(raw.get("ensemble", ())),
        distillation=Distillation(**taught | {"teacher": tuple(taught["teacher"])}),
    )
