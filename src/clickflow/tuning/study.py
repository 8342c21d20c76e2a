"""A study: what was tried for a model, on which data and of which space, kept so that it can go on.

`<home>/tuning/<model>/<fingerprint>/` holds study.json (what makes it this study), study.db (Optuna's storage), a job
and a log per trial, and the report. One process at a time works on it; trials are processes that know nothing of it.
"""

import json
import shutil
import time
import uuid
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from clickflow.params.file import with_values
from clickflow.params.models import own
from clickflow.params.schema import Params
from clickflow.params.tuning import is_loss
from clickflow.system import locks
from clickflow.system.errors import ClickflowError, UsageError
from clickflow.system.files import read_json, sha256, sha256_json, write_json
from clickflow.tracking.experiment import flat_params
from clickflow.training import code
from clickflow.tuning import space as spaces
from clickflow.tuning.space import Setting, Space

if TYPE_CHECKING:
    import optuna

RETRIES = 2
"""How often a trial that was cut short is tried again: one that ends the machine must not do so for ever."""
DRAWS = 200
"""Draws in a row that give nothing new before a space that has ranges, or more choices, counts as exhausted."""
CARD, STORAGE = "study.json", "study.db"

WORDS = {
    "data": "the data",
    "space": "the space",
    "objective": "the objective",
    "params": "other params",
    "code": "the code that trains",
}
"""What makes a study another one, for people."""


@dataclass(frozen=True)
class Study:
    """An open study; `id` names it for MLflow."""

    folder: Path
    id: str
    params: Params
    space: Space
    optuna_study: "optuna.Study"

    @property
    def report(self) -> Path:
        """Its folder of figures and tables."""
        return self.folder / "report"

    @property
    def lower(self) -> bool:
        """Whether less of the objective is better."""
        return is_loss(self.params.tuning.objective)

    def best(self) -> "list[optuna.trial.FrozenTrial]":
        """Finished trials, the best first."""
        done = [trial for trial in self.optuna_study.get_trials(deepcopy=False) if trial.state.name == "COMPLETE"]
        return sorted(done, key=lambda trial: (trial.value or 0.0) * (1 if self.lower else -1))

    def present(self) -> "optuna.trial.FrozenTrial | None":
        """The finished trial of the params as they are."""
        now = spaces.current(self.params, self.space)
        return next((trial for trial in self.best() if trial.user_attrs["setting"] == now), None)


def parts(params: Params, space: Space, data: str) -> dict[str, Any]:
    """What a study is about: trials of another one cannot be compared with its own."""
    fixed = flat_params(own(params.model(space.model)))
    keys = ("budget.epochs",) if params.tuning.epochs is not None else ()
    return {
        "data": data,
        "space": {key: asdict(tuned) for key, tuned in sorted(space.tuned.items())},
        "objective": params.tuning.objective,
        "params": {key: value for key, value in sorted(fixed.items()) if key not in (*space.tuned, *keys)}
        | {"tuning.epochs": params.tuning.epochs, "tuning.max_sequences": params.tuning.max_sequences}
        | {"seed": params.seed, "device": params.training.device, "precision": params.training.precision},
        "code": sha256_json([[path.name, sha256(path)] for path in code.files()])[:16],
    }


@contextmanager
def opened(
    home: Path, params: Params, space: Space, data: str, *, fresh: bool, say: Callable[[str], None]
) -> Iterator[Study]:
    """The study of these params, space and data: the one that there is, or a new one.

    `fresh`: what there is of it is put aside. What was running when it was last left is tried again. Raises UsageError
    where another process works on it.
    """
    from optuna.exceptions import StorageInternalError
    from sqlalchemy.exc import SQLAlchemyError

    about = parts(params, space, data)
    above = home / "tuning" / space.model
    folder = above / sha256_json(about)[:16]
    refusal = UsageError(
        f"another `clickflow tune {space.model}` works on the same study, {folder}",
        kept="it goes on",
        next_step="wait for it or stop it; --jobs gives one study more processes",
    )
    with locks.held(above / f".{folder.name}.lock", refusal):
        try:
            if fresh and folder.exists():
                aside = above / f"{folder.name}.{time.strftime('%Y%m%d-%H%M%S')}-{uuid.uuid4().hex[:4]}"
                folder.rename(aside)
                say(f"the study so far is put aside: {aside}")
            if not (folder / CARD).is_file():
                shutil.rmtree(folder, ignore_errors=True)
                _tell_change(above, about, say)
                write_json(folder / CARD, {"id": uuid.uuid4().hex, "about": about, "begun": time.time()})
            study = Study(folder, read_json(folder / CARD)["id"], params, space, _storage(folder, params))
            _go_on(study, say)
            yield study
        except (SQLAlchemyError, StorageInternalError) as error:
            raise ClickflowError(
                f"the study {folder} cannot be read or written: {(str(error).splitlines() or [''])[0][:200]}",
                kept="what it holds",
                next_step="see that the disk has room; a damaged file is put aside by --fresh, which begins anew",
            ) from error


def _tell_change(above: Path, about: Mapping[str, Any], say: Callable[[str], None]) -> None:
    """Say why an earlier study does not go on, if there is one."""
    cards = [read_json(path) for path in above.glob(f"*/{CARD}") if "." not in path.parent.name]
    if not cards:
        return
    before = max(cards, key=lambda card: float(card["begun"]))["about"]
    now = json.loads(json.dumps(about))  # lists for tuples, as in the file
    what = [words for name, words in WORDS.items() if before.get(name) != now[name]]
    say(f"a new study begins, for {' and '.join(what)} changed since the last one, which is kept")


def _storage(folder: Path, params: Params) -> "optuna.Study":
    """Optuna's study, in SQLite: a kill or a full disk leaves the last whole transaction."""
    import optuna

    optuna.logging.set_verbosity(optuna.logging.ERROR)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # that constant_liar is experimental
        study = optuna.create_study(
            storage=f"sqlite:///{folder / STORAGE}",
            study_name="study",
            load_if_exists=True,
            direction="minimize" if is_loss(params.tuning.objective) else "maximize",
            pruner=_pruner(params.tuning.pruning),
        )
        # another seed each time it goes on: the same would draw the first trials again
        seed = params.seed + len(study.get_trials(deepcopy=False))
        study.sampler = optuna.samplers.TPESampler(seed=seed, n_startup_trials=8, constant_liar=True)
    return study


def _pruner(kind: str) -> "optuna.pruners.BasePruner":
    """From the second epoch on: a first one says more of learning rates than of where training leads."""
    import optuna

    if kind == "median":
        return optuna.pruners.MedianPruner(n_startup_trials=4, n_warmup_steps=2)
    if kind == "halving":
        return optuna.pruners.SuccessiveHalvingPruner(min_resource=2, reduction_factor=2)
    return optuna.pruners.NopPruner()


def _go_on(study: Study, say: Callable[[str], None]) -> None:
    """Try again what was cut short, and the present params first if they were never tried."""
    trials = study.optuna_study.get_trials(deepcopy=False)
    done = sum(trial.state.name in ("COMPLETE", "PRUNED") for trial in trials)
    if done:
        say(f"the study goes on: {done} trials of it are kept ({study.folder})")
    cut = [trial for trial in trials if trial.state.name == "RUNNING"]
    for trial in cut:
        again(study, trial)
    if cut:
        numbers = ", ".join(str(trial.number) for trial in cut)
        say(f"trial{'s' if len(cut) > 1 else ''} {numbers} had been cut short, and will be tried again")
    now = spaces.current(study.params, study.space)
    if not any(_setting(trial) == now and not _cut(trial) for trial in study.optuna_study.get_trials(deepcopy=False)):
        _enqueue(study, now, 0)


def again(study: Study, trial: "optuna.trial.FrozenTrial | optuna.Trial") -> None:
    """Note that a running trial was cut short, and let it be tried again."""
    setting, retries = _setting(trial), trial.user_attrs.get("retries", 0)
    study.optuna_study.tell(trial.number, state=_state("FAIL"))
    if setting is not None and retries < RETRIES:
        _enqueue(study, setting, retries + 1)


def _enqueue(study: Study, setting: Setting, retries: int) -> None:
    """Let `setting` be tried next; what the space does not have of it is given beside it."""
    inside = {key for key, value in setting.items() if spaces.inside(study.space, key, value)}
    study.optuna_study.enqueue_trial(
        {key: spaces.word(setting[key]) for key in inside},
        user_attrs={
            "wanted": setting,
            "retries": retries,
            "given": {key: value for key, value in setting.items() if key not in inside},
        },
    )


def _setting(trial: "optuna.trial.FrozenTrial | optuna.Trial") -> Setting | None:
    return trial.user_attrs.get("setting", trial.user_attrs.get("wanted"))


def _cut(trial: "optuna.trial.FrozenTrial") -> bool:
    """Cut short from outside, and not by a fault of its own."""
    return trial.state.name == "FAIL" and "failed" not in trial.user_attrs


def _state(name: str) -> "optuna.trial.TrialState":
    import optuna

    return optuna.trial.TrialState[name]


def ask(study: Study) -> "tuple[optuna.Trial, Setting, Params] | None":
    """The next trial: its setting, and the params with it; None where the space has nothing new.

    What the model refuses in combination, and what was tried before, is passed over; a space of choices alone has
    nothing new when each of their combinations was.
    """
    of_choices, passed = spaces.combinations(study.space), set[str]()
    known = [
        _setting(trial)
        for trial in study.optuna_study.get_trials(deepcopy=False)
        if trial.state.name != "WAITING" and not _cut(trial)
    ]
    for _ in range(DRAWS):
        if len(passed) == of_choices:
            return None
        trial = study.optuna_study.ask()
        drawn = spaces.draw(trial, study.space, trial.user_attrs.get("given", {}))
        if not trial.user_attrs.get("given"):
            passed.add(json.dumps(drawn))  # unless it is returned below
        drawn = trial.user_attrs.get("wanted", drawn)  # to the last digit
        try:
            params = with_values(study.params, study.space.model, drawn)
        except UsageError as error:
            fail(study, trial, f"passed over: {error.what.splitlines()[0]}")
            continue
        setting = spaces.current(params, study.space)
        if setting in known:
            fail(study, trial, "passed over: it was tried before")
            continue
        trial.set_user_attr("setting", setting)
        return trial, setting, params
    return None


def fail(study: Study, trial: "optuna.Trial", why: str) -> None:
    """A trial that gives nothing, by a fault of its own."""
    trial.set_user_attr("failed", why)
    study.optuna_study.tell(trial, state=_state("FAIL"))


def prune(study: Study, trial: "optuna.Trial") -> None:
    """A trial that was stopped early."""
    study.optuna_study.tell(trial, state=_state("PRUNED"))


def complete(study: Study, trial: "optuna.Trial", value: float) -> None:
    """A trial that has ended with a value of the objective."""
    study.optuna_study.tell(trial, value)
