"""A whole model: item embedding, encoder and heads, built from its spec; saved and loaded as safetensors and JSON.

safetensors is imported where it is needed: training itself needs torch and numpy alone.
"""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from clickflow.files import sha256
from clickflow.models.associations import Table
from clickflow.models.directions import unit
from clickflow.models.encoders import Encoder, StepFeatures
from clickflow.models.heads import NEVER, Mixture, NextAction, NextItem
from clickflow.models.item_features import Codes, ItemFeatures
from clickflow.params import Budget, Heads, Model, NextActionHead, NextItemHead, Optimiser
from clickflow.params import Encoder as EncoderSpec

WEIGHTS, CARD = "weights.safetensors", "model.json"
ASSOCIATIONS = "associations."
"""How the names of their table begin in the file of weights."""


@dataclass(frozen=True, kw_only=True)
class Sizes:
    """What the data says about a model's size.

    `known`: item indexes below are the model's items (0 padding, 1 unknown); `actions`: the event types in the order
    of their codes, without exit; `categories`: number of category indexes; `statistics`: mean and standard deviation
    of log(1 + x) of gap, since_start and price in the training part; `item_codes`: see `item_features.codes`, needed
    where the spec asks for item features; `associations`: needed where the spec asks for them.
    """

    known: int
    actions: tuple[str, ...]
    categories: int
    statistics: Mapping[str, tuple[float, float]]
    item_codes: Codes | None = field(default=None, compare=False)
    associations: Table | None = field(default=None, compare=False)


class Network(nn.Module):
    """Raw sequences in, log-probabilities out.

    Attributes: `spec`, `sizes`, `inputs` (the names of the tensors that `forward` reads), `items` (the item embedding,
    of which only the direction counts: [known, D] where items are read and answered by the same vectors, [2 known, D]
    where those of the answers are separate and stand behind), `outputs` (the row where they begin), `features` (of
    items), `encoder`, `next_item` and `next_action` (None where the model has no such head).
    """

    def __init__(self, spec: Model, sizes: Sizes) -> None:
        super().__init__()
        self.spec, self.sizes = spec, sizes
        units, longest = spec.encoder.units, spec.budget.max_length
        features = tuple(spec.encoder.features)
        self.inputs = ("item", *features)
        item, action = spec.heads.next_item, spec.heads.next_action
        self.outputs = sizes.known if item and item.output == "separate" else 0
        self.items = nn.Parameter(torch.randn(self.outputs + sizes.known, units) * units**-0.5)
        classes = {"action": len(sizes.actions), "hour": 24, "weekday": 7, "category": sizes.categories}
        self.encoder = Encoder(spec.encoder, StepFeatures(features, classes, sizes.statistics), longest)
        self.next_item = NextItem(units, longest, item, sizes.known, sizes.associations) if item else None
        self.next_action = NextAction(units, len(sizes.actions) + 1) if action else None
        self.features: ItemFeatures | None = None
        if spec.encoder.item_features:
            if sizes.item_codes is None:
                raise TypeError("the spec asks for item features, and the sizes hold no codes of items")
            codes = sizes.item_codes
            self.features = ItemFeatures(codes, int(codes.max(initial=0)) + 1, units)

    def directions(self, rows: Tensor, which: Tensor | None = None) -> Tensor:
        """Embedding rows [n, D] as unit vectors: the scale of an item's embedding carries no meaning.

        `which` [n]: where in the embedding they stand, for what is known of their items to be joined; None: all rows.
        """
        if self.features is not None:
            place = torch.arange(len(self.items), device=rows.device) if which is None else which
            rows = rows + self.features(place % self.sizes.known)
        return unit(rows, training=self.training)

    def encode(self, vectors: Tensor, inputs: Mapping[str, Tensor]) -> tuple[Tensor, Tensor]:
        """Unit item vectors [B, T, D] and raw features [B, T] to states and readouts, both [B, T, D]."""
        # unit vectors have entries of about 1 / sqrt(D); a recurrent network wants them near 1
        states, readouts = self.encoder(vectors * vectors.shape[-1] ** 0.5, inputs)
        return states, readouts

    @property
    def answers(self) -> list[str]:
        """The names of what `forward` answers, in order."""
        item = self.next_item
        there = {"next_item": item, "next_items": item and item.decoder, "next_action": self.next_action}
        return [name for name, head in there.items() if head is not None]

    def forward(self, inputs: Mapping[str, Tensor], row: Tensor, column: Tensor) -> dict[str, Tensor]:
        """Answer questions: given the steps 0 to column[k] of sequence row[k], what comes next.

        `inputs`: the tensors named in `self.inputs`, [B, T], right-padded with 0: `item`, `action`, `hour`,
        `weekday`, `category` int64; `gap`, `since_start` in seconds and `price` (0: none) float32. Item indexes from
        `known` on are read as unknown. `row`, `column`: int64 [N].
        Returns `next_item` [N, known] and `next_action` [N, actions + 1] (the last is exit), log-probabilities, as
        the model has heads; with a horizon above 1 also `next_items` [N, known], which item stands at a step picked
        evenly from the next ones up to the horizon. Index 0 and 1 are no items and have -1e9.
        """
        return self.ask(self.read(inputs, self.directions(self.items), ahead=True), row, column)

    def read(self, inputs: Mapping[str, Tensor], table: Tensor, *, ahead: bool = False) -> "Reading":
        """What `ask` needs of sequences; `table` is `directions(items)`, `ahead` also what `next_items` needs."""
        items = inputs["item"]
        items = torch.where(items < self.sizes.known, items, torch.ones_like(items))
        states, readouts = self.encode(table[items], inputs)
        head, reads = self.next_item, [readouts]
        if head is not None and ahead:
            flat = readouts.reshape(-1, readouts.shape[-1])
            reads += [read.view(readouts.shape) for read in head.ahead(flat)]
        found = [
            Read(read, head.mixture(read, states, items, later=ahead > 0) if head else None)
            for ahead, read in enumerate(reads)
        ]
        returning = head.returning(items) if head else None
        bias = returning[1] if returning else None
        return Reading(table[self.outputs :] if self.outputs else table, items, bias, found)

    def ask(self, reading: "Reading", row: Tensor, column: Tensor) -> dict[str, Tensor]:
        """The answers of `forward` to some of the questions about what was read."""
        answers = {}
        if self.next_item is not None:
            steps = [self._item_at(self.next_item, reading, read, row, column) for read in reading.steps]
            answers["next_item"] = steps[0]
            if len(steps) > 1:
                mean = torch.stack([step.exp() for step in steps]).mean(0).clamp(min=1e-30).log()
                answers["next_items"] = torch.where(steps[0] > NEVER / 2, mean, steps[0])
        if self.next_action is not None:
            answers["next_action"] = self.next_action(reading.steps[0].readouts[row, column]).log_softmax(-1)
        return answers

    def _item_at(self, head: NextItem, reading: "Reading", read: "Read", row: Tensor, column: Tensor) -> Tensor:
        """Log-probabilities [N, known] of the items at one of the steps ahead."""
        scores = head.sharpened(head.query(read.readouts[row, column])) @ reading.table.t()
        if reading.bias is not None:
            scores = scores.scatter_add(1, reading.items[row], reading.bias[row, column])
        if read.mixture is None:
            return head.log_probabilities(scores)
        added = head.added(read.mixture, reading.items, row, column)
        return head.log_probabilities(scores, read.mixture.softmax[row, column], *added)


@dataclass(frozen=True)
class Read:
    """What is read for a step ahead: `readouts` [B, T, D], and what is mixed with the softmax."""

    readouts: Tensor
    mixture: Mixture | None


@dataclass(frozen=True)
class Reading:
    """Sequences as a network has read them: `table` [known, D] of the answers' unit vectors, `items` [B, T], `bias`
    [B, T, T] see `NextItem.returning`, and what is read for the next step, then for those after it if they are asked
    for.
    """

    table: Tensor
    items: Tensor
    bias: Tensor | None
    steps: list[Read]


def build(spec: Model, sizes: Sizes) -> Network:
    """A fresh network; its first weights follow from torch's random state."""
    return Network(spec, sizes)


def parameters(network: Network) -> int:
    """How many numbers are trained."""
    return sum(parameter.numel() for parameter in network.parameters())


def save(network: Network, folder: Path, card: Mapping[str, Any]) -> None:
    """Write weights.safetensors and model.json: spec, sizes, number of parameters, hash, and what `card` adds."""
    from safetensors.torch import save_file

    tensors = network.state_dict()
    if network.next_item is not None and network.next_item.associations is not None:
        tensors |= {ASSOCIATIONS + name: tensor for name, tensor in network.next_item.associations.table.items()}
    weights = {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}
    save_file(weights, folder / WEIGHTS)
    content = {
        "spec": asdict(network.spec),
        "known": network.sizes.known,
        "actions": list(network.sizes.actions),
        "categories": network.sizes.categories,
        "statistics": {name: list(pair) for name, pair in network.sizes.statistics.items()},
        "inputs": list(network.inputs),
        "parameters": parameters(network),
        "weights_sha256": sha256(folder / WEIGHTS),
        **card,
    }
    text = json.dumps(content, indent=2, sort_keys=True, ensure_ascii=False)
    (folder / CARD).write_text(text + "\n", encoding="utf-8")


def load_trained(folder: Path) -> Network:
    """The network of a folder written by `save`, on the CPU and ready to answer (no dropout)."""
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
    )
    network = build(spec_from(card["spec"]), sizes)
    if network.next_item is not None and network.next_item.returns is not None:
        weights.setdefault("next_item.returns", network.next_item.returns.detach())  # of an earlier version: none
    network.load_state_dict(weights)
    return network.eval()


def spec_from(raw: Mapping[str, Any]) -> Model:
    """A spec as it stands in model.json; the reverse of `dataclasses.asdict`, without pydantic.

    What earlier versions did not write is what they did.
    """
    heads = raw["heads"]
    item, action = heads.get("next_item"), heads.get("next_action")
    encoder = {"attention_heads": None, "positions": None, "item_features": (), **raw["encoder"]}
    for name in ("features", "item_features"):
        encoder[name] = tuple(encoder[name])
    if isinstance(encoder["attention"], bool):
        encoder["attention"] = "bilinear" if encoder["attention"] else "none"
    if item:
        item = {"label_smoothing": 0.0, "regularisation": None, "calibration": None, **item}
        item = {"output": "tied", "horizon": 1, "associations": False, **item}
    return Model(
        unit=raw["unit"],
        encoder=EncoderSpec(**encoder),
        heads=Heads(
            next_item=NextItemHead(**item) if item else None, next_action=NextActionHead(**action) if action else None
        ),
        optimiser=Optimiser(**raw["optimiser"]),
        budget=Budget(**raw["budget"]),
    )
