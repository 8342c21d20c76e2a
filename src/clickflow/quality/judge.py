"""Great Expectations at work: the suites of a prepared context on the tables beside them, and its Data Docs."""

import os
import shutil
import time
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from clickflow.quality.suites import CHECKPOINT, Rule
from clickflow.system import files
from clickflow.system.errors import UsageError

TABLES = "uncommitted/tables"
RESULTS = "uncommitted/validations"
SITE = "uncommitted/data_docs"


def write_tables(context: Path, tables: Mapping[str, pa.Table]) -> None:
    """Put the tables beside the context (a copy), and point its data source at them."""
    import yaml

    settings = context / "great_expectations.yml"
    content = yaml.safe_load(settings.read_text(encoding="utf-8"))
    folder = context / TABLES
    content["fluent_datasources"]["tables"]["base_directory"] = str(folder)
    files.write_text(settings, yaml.safe_dump(content))
    folder.mkdir(parents=True)
    for name, table in tables.items():
        pq.write_table(table, folder / f"{name}.parquet")


def judge(
    context: Path, rules: Sequence[Rule], known: Mapping[str, float | None], moment: datetime
) -> dict[str, Mapping[str, Any]]:
    """Run the checkpoint of the context (a copy: results and Data Docs are written below it).

    `moment` names the run; it comes from the data, so that the same data gives the same pages. Returns, for each rule
    that was checked, by its id, `success` and `result` as Great Expectations gives them. Raises UsageError where an
    expectation cannot be read or evaluated.
    """
    os.environ["GX_ANALYTICS_ENABLED"] = "false"
    with warnings.catch_warnings(), _utc():
        warnings.simplefilter("ignore")
        import great_expectations as gx
        from great_expectations.core import RunIdentifier

        _must_be_readable(context, rules)
        try:
            opened = gx.get_context(mode="file", context_root_dir=context)
            outcome = opened.checkpoints.get(CHECKPOINT).run(
                expectation_parameters={name: value for name, value in known.items() if value is not None},
                run_id=RunIdentifier(run_name="clickflow", run_time=moment),
            )
        except (gx.exceptions.GreatExpectationsError, ValueError, TypeError, LookupError) as error:
            raise _unusable(f"Great Expectations cannot use what stands in expectations/: {error}") from error
        names = {rule.id: rule for rule in rules}
        outcomes: dict[str, Mapping[str, Any]] = {}
        for run in outcome.run_results.values():
            for result in run.to_json_dict()["results"]:
                rule = names[result["expectation_config"]["id"]]
                fault = _fault(result["exception_info"])
                if fault:
                    raise _unusable(f"{_where(rule)} cannot be evaluated: {fault}")
                outcomes[rule.id] = {"success": result["success"], "result": result["result"]}
        _forget_this_machine(context / RESULTS)
        opened.build_data_docs(build_index=False)
    shutil.rmtree(context / SITE / "static", ignore_errors=True)
    return outcomes


@contextmanager
def _utc() -> Iterator[None]:
    """The zone of this process is UTC: Great Expectations takes a run's time to the local one, and calls it Z."""
    before = os.environ.get("TZ")
    os.environ["TZ"] = "UTC"
    time.tzset()
    try:
        yield
    finally:
        if before is None:
            del os.environ["TZ"]
        else:
            os.environ["TZ"] = before
        time.tzset()


def _must_be_readable(context: Path, rules: Sequence[Rule]) -> None:
    """Great Expectations logs and then leaves out an expectation that it cannot read; here that is an error."""
    from great_expectations.exceptions import GreatExpectationsError
    from great_expectations.expectations.expectation_configuration import ExpectationConfiguration

    names = {rule.id: rule for rule in rules}
    for suite in sorted({rule.suite for rule in rules}):
        for expectation in files.read_json(context / "expectations" / f"{suite}.json")["expectations"]:
            try:
                ExpectationConfiguration(**expectation).to_domain_obj()
            except (GreatExpectationsError, ValueError, TypeError) as error:
                raise _unusable(f"{_where(names[expectation['id']])} cannot be read: {error}") from error


def _where(rule: Rule) -> str:
    return f"expectations/expectations/{rule.suite}.json: {rule.name}"


def _unusable(what: str) -> UsageError:
    return UsageError(
        what,
        kept="nothing was written",
        next_step="correct the expectation; docs/howto/expectations.md says what a suite and its table hold",
    )


def _fault(info: Mapping[str, Any]) -> str:
    """What an expectation raised, if it did; Great Expectations gives one such dict, or one for each metric."""
    if "raised_exception" in info:
        return str(info["exception_message"]) if info["raised_exception"] else ""
    return "; ".join(str(i["exception_message"]) for i in info.values() if i.get("raised_exception"))


def _forget_this_machine(results: Path) -> None:
    """Take clock and paths out of the results before pages are made of them."""
    for path in sorted(results.rglob("*.json")):
        result = files.read_json(path)
        for key in ("batch_markers", "batch_spec"):
            result["meta"].pop(key, None)
        files.write_json(path, result)
