"""Smaller variants of a trained network: weights rounded so that a byte holds each, and fewer neighbours per item."""

import copy

import numpy as np
import torch

from clickflow.artefact import int8
from clickflow.models.answers.ranking import Ranking
from clickflow.models.associations import Table
from clickflow.models.ensemble import Ensemble
from clickflow.models.network import Network


def networks_of(network: Network | Ensemble) -> list[Network]:
    """All of an ensemble, or the one."""
    return network.networks if isinstance(network, Ensemble) else [network]


def rounded(network: Network | Ensemble) -> Network | Ensemble:
    """A copy whose weights are such that bytes and a scale a row hold them."""
    copied = copy.deepcopy(network)
    with torch.no_grad():
        for member in networks_of(copied):
            codes = member.directions(member.items)
            codes = torch.round(codes * (int8.ITEM / codes.abs().amax(-1, keepdim=True).clamp(min=1e-30)))
            if member.features is not None:  # what is known of an item is added before the direction is taken
                codes = codes - member.features(torch.arange(len(codes)) % member.sizes.known)
            member.items.copy_(codes)
            for name, weight in member.named_parameters():
                if name != "items" and weight.dim() == 2 and weight.numel() >= int8.SMALL:
                    scale = weight.abs().amax(-1, keepdim=True).clamp(min=1e-30) / int8.WEIGHT
                    weight.copy_(torch.round(weight / scale) * scale)
            for head in member.heads.values():
                if isinstance(head, Ranking) and head.associations is not None:
                    table = {name: tensor.numpy() for name, tensor in head.associations.table.items()}
                    head.associations.know(Table(**table | {"counts": int8.counts(*int8.count_codes(table["counts"]))}))
    return copied.eval()


def pruned(network: Network | Ensemble, sparsity: float) -> Network | Ensemble:
    """A copy without the least frequent neighbours of each item, such a share of them: by magnitude, and by whole
    columns of the table, so that it gets smaller and quicker. What they said falls to the softmax.
    """
    copied = copy.deepcopy(network)
    for member in networks_of(copied):
        for head in member.heads.values():
            if isinstance(head, Ranking) and head.associations is not None:
                table = {name: tensor.numpy() for name, tensor in head.associations.table.items()}
                kept = max(1, round(table["items"].shape[1] * (1 - sparsity)))
                fewer = {name: np.ascontiguousarray(table[name][:, :kept]) for name in ("items", "counts")}
                head.associations.know(Table(**table | fewer))
    return copied.eval()
