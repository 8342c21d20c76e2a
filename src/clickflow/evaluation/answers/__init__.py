"""What can be done with each kind of answer: one file a kind, and this table of them.

A kind collects what systems answer, gives a value a row for every metric that is a mean over rows, sums up, and reads
the rows back for the gate. What its metrics are called stands in `clickflow.heads.metrics`.
"""

from collections.abc import Mapping

from clickflow.evaluation.answers import amount, classes, forecast, probability, ranking
from clickflow.evaluation.answers.answering import Answering
from clickflow.heads.head import Kind

KINDS: Mapping[Kind, Answering] = {
    "ranking": ranking,
    "classes": classes,
    "probability": probability,
    "amount": amount,
    "forecast": forecast,
}
"""By name of the kind."""
