"""What a model may be: this table, by `models.*.kind`. Standard library only, as params ask it.

What a kind does stands in a table of each room, by the same names: `clickflow.training.stage.TRAINERS`,
`clickflow.artefact.export.EXPORTERS`. From there on an artefact is an artefact: nothing else asks for the kind.
"""

KINDS: dict[str, str] = {"network": "an encoder with heads, trained by gradient descent"}
"""By name, what it is."""
