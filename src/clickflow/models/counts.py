"""Which items, by counts: what a person did with each item and how lately, what goes with it, and what all buy.

p(item) is a softmax over sums of a few numbers of each item, each times a weight: a conditional logit (McFadden 1974).
The numbers are what simple systems rank by (own past by count and recency, as TIFU-kNN fades it, Hu et al. 2020;
item-kNN; popularity), so that none of them can be better but by chance; the weights say how much each is worth here.

Shapes: B sequences, T steps, N questions, K items (padding and unknown among them), C categories, W weights.
"""

import json
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import torch
from torch import Tensor, nn

from clickflow.models.answers.ranking import NEVER
from clickflow.models.saved import CARD, WEIGHTS
from clickflow.sequences.features import Array
from clickflow.sequences.indexes import FIRST_ITEM
from clickflow.system.files import sha256

BOUGHT = "purchase"
EVER = math.inf
"""A half-life: nothing fades."""
HALF_LIVES: Mapping[bool, tuple[float, ...]] = {True: (30.0, 90.0, EVER), False: (2.0, 30.0, EVER)}
"""Days in which a step comes to count half: of purchases, and of all else."""
POPULAR: tuple[tuple[bool, float], ...] = ((True, 7.0), (True, 30.0), (True, EVER), (False, 30.0), (False, EVER))
"""Of the counts of an item in the shop: whether of purchases or of all else, and their half-life."""
BASKET = 0.5
"""Half-life of the days before the last step: whether an item was in what was done last."""
GOES_WITH, OF_CATEGORY = 30.0, 60.0
"""Half-lives of the steps whose items' neighbours, and whose category, count."""
SHARPER = 100.0
"""Likeness of items is small: it is read as log(1 + so many times it)."""
SILENCE = "silence_days"
"""The hand-made feature that says how long before the moment of asking the last step was."""
MAX_LENGTH = 500
"""Steps that are read, the last ones."""


@dataclass(frozen=True)
class Tables:
    """What the shop's log says of its items: `popular` [len(POPULAR), K] the logs of faded counts; `again` [K] how much
    more often than others it is bought again, a log; `beside`, `likeness` [K, M] its neighbours; `category` [K] codes.
    """

    popular: Array
    again: Array
    beside: Array
    likeness: Array
    category: Array


class Counts(nn.Module):
    """Log-probabilities of all items, as a `Network` gives them: it is exported, checked and asked as one.

    `actions`: the event types in the order of their codes; `read`: those of which steps are counted.
    """

    inputs = ("item", "action", "gap")
    popular: Tensor
    again: Tensor
    likeness: Tensor
    beside: Tensor
    category: Tensor

    def __init__(self, unit: str, heads: Sequence[str], actions: Sequence[str], read: Sequence[str], tables: Tables):
        super().__init__()
        self.known, self.categories = len(tables.category), int(tables.category.max(initial=1)) + 1
        self.spec = SimpleNamespace(unit=unit, heads=tuple(heads))
        self.sizes = SimpleNamespace(known=self.known, actions=tuple(actions), hand_made=(SILENCE,))
        self.read = tuple(read)
        self.weights = nn.Parameter(torch.zeros(len(heads), len(self.names)), requires_grad=False)
        self.know(tables)

    def know(self, tables: Tables) -> None:
        """Have these tables from now on."""
        for name in ("popular", "again", "likeness"):
            self.register_buffer(name, torch.from_numpy(getattr(tables, name)).float())
        for name in ("beside", "category"):
            self.register_buffer(name, torch.from_numpy(getattr(tables, name)).long())

    @property
    def answers(self) -> list[str]:
        """The names of what `forward` answers, in order."""
        return list(self.spec.heads)

    @property
    def grouped(self) -> bool:
        """Whether items have categories that tell them apart."""
        return self.categories > FIRST_ITEM + 1

    @property
    def names(self) -> list[str]:
        """What each weight is of, in the order of `columns`."""
        names = []
        for action in self.read:
            bought = action == BOUGHT
            names += [f"own_{action}_{days:g}d" for days in HALF_LIVES[bought]]
            names += ["own_last", "own_ever", "own_ever_again", f"beside_{action}_ever"] if bought else []
            names += [f"beside_{action}_{GOES_WITH:g}d", *([f"category_{action}"] if self.grouped else [])]
        return [*names, *(f"popular_{BOUGHT if bought else 'others'}_{days:g}d" for bought, days in POPULAR)]

    def columns(self, inputs: Mapping[str, Tensor], row: Tensor, column: Tensor, features: Tensor) -> Iterator[Tensor]:
        """The numbers of each item, a [N, K] or [1, K] for each of `names`; `features` [N, 1]: `SILENCE`."""
        item = torch.where(inputs["item"] < self.known, inputs["item"], torch.ones_like(inputs["item"]))[row]
        action, days = inputs["action"][row], (inputs["gap"] / 86_400).cumsum(1)[row]
        back = (days.gather(1, column.unsqueeze(1)) - days).clamp(min=0)
        age = back + features
        step = torch.arange(item.shape[1], device=item.device)
        there = (step <= column.unsqueeze(1)) & (item >= FIRST_ITEM)
        for name in self.read:
            bought = name == BOUGHT
            own = (there & (action == self.sizes.actions.index(name))).to(age.dtype)
            for half_life in HALF_LIVES[bought]:
                yield torch.log1p(self._by_item(item, _faded(own, age, half_life)))
            if bought:
                yield torch.log1p(self._by_item(item, _faded(own, back, BASKET)))
                ever = (self._by_item(item, own) > 0).to(age.dtype)
                yield ever
                yield ever * self.again
                yield self._goes_with(item, own)
            yield self._goes_with(item, _faded(own, age, GOES_WITH))
            if self.grouped:
                yield self._of_category(item, _faded(own, age, OF_CATEGORY))
        yield from self.popular.unsqueeze(1)

    def forward(
        self, inputs: Mapping[str, Tensor], row: Tensor, column: Tensor, features: Tensor | None = None
    ) -> dict[str, Tensor]:
        """As `Network.forward`."""
        assert features is not None
        scores: list[Tensor] = []
        for place, values in enumerate(self.columns(inputs, row, column, features)):
            for head in range(len(self.answers)):
                own = self.weights[head, place] * values
                if place:
                    scores[head] = scores[head] + own
                else:
                    scores.append(own)
        never = torch.arange(self.known, device=row.device) < FIRST_ITEM
        return {
            name: own.masked_fill(never, NEVER).log_softmax(-1) for name, own in zip(self.answers, scores, strict=True)
        }

    def _by_item(self, item: Tensor, values: Tensor) -> Tensor:
        """The sums [N, K] of what steps [N, T] count, by item."""
        return values.new_zeros(item.shape[0], self.known).scatter_add(1, item, values)

    def _goes_with(self, item: Tensor, values: Tensor) -> Tensor:
        """How well each item goes with those of steps that count so much, the mean of them as a log, [N, K]."""
        likeness = (values.unsqueeze(-1) * self.likeness[item]).flatten(1)
        likeness_of = values.new_zeros(item.shape[0], self.known).scatter_add(1, self.beside[item].flatten(1), likeness)
        return torch.log1p(SHARPER * likeness_of / (1 + values.sum(1, keepdim=True)))

    def _of_category(self, item: Tensor, values: Tensor) -> Tensor:
        """How much steps count that are of the item's category, as a log, [N, K]; 0 for an item without."""
        totals = values.new_zeros(item.shape[0], self.categories).scatter_add(1, self.category[item], values)
        return torch.log1p(totals)[:, self.category] * (self.category >= FIRST_ITEM)


def _faded(values: Tensor, days: Tensor, half_life: float) -> Tensor:
    return values if half_life == EVER else values * (days * (-math.log(2) / half_life)).exp()


def save(model: Counts, folder: Path, card: Mapping[str, Any]) -> None:
    """Write weights.safetensors and model.json, with what `card` adds."""
    from safetensors.torch import save_file

    save_file({name: tensor.contiguous() for name, tensor in model.state_dict().items()}, folder / WEIGHTS)
    content = {
        "unit": model.spec.unit,
        "heads": model.answers,
        "read": list(model.read),
        "known": model.known,
        "actions": list(model.sizes.actions),
        "weights": {
            head: {name: round(value, 6) for name, value in zip(model.names, own, strict=True)}
            for head, own in zip(model.answers, model.weights.double().tolist(), strict=True)
        },
        "parameters": model.weights.numel(),
        "weights_sha256": sha256(folder / WEIGHTS),
        **card,
    }
    text = json.dumps(content, indent=2, sort_keys=True, ensure_ascii=False)
    (folder / CARD).write_text(text + "\n", encoding="utf-8")


def load(folder: Path) -> Counts:
    """What `save` wrote."""
    from safetensors.torch import load_file

    card = json.loads((folder / CARD).read_text(encoding="utf-8"))
    tensors = load_file(folder / WEIGHTS)
    tables = Tables(**{name: tensors[name].numpy() for name in Tables.__dataclass_fields__})
    model = Counts(card["unit"], card["heads"], card["actions"], card["read"], tables)
    model.load_state_dict(tensors)
    return model.eval()
