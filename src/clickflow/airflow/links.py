"""Buttons of a task in Airflow's UI that open the pages of its run."""

from collections.abc import Iterable
from typing import Any

from airflow.sdk import BaseOperatorLink

from clickflow.orchestration import pages
from clickflow.orchestration.tasks import RECORD

KEY = "pages"
"""Of the XCom in which a task hands links on, by page."""


class PageLink(BaseOperatorLink):  # type: ignore[misc]  # Airflow is not type-checked
    """A link to one page of the run, once `task` has published it."""

    def __init__(self, page: str, title: str, task: str = RECORD) -> None:
        self.page = page
        self.title = title
        self.task = task

    @property
    def name(self) -> str:
        """What the button says."""
        return self.title

    @property
    def xcom_key(self) -> str:
        """Where Airflow keeps the link."""
        return f"link_{self.page}"

    def get_link(self, operator: Any, *, ti_key: Any) -> str:  # noqa: ARG002  # the names are Airflow's
        """The link; asked for when the task has ended."""
        return of_run(ti_key, self.task).get(self.page, "")


def buttons(models: Iterable[str]) -> list[PageLink]:
    """Those of a task about these models."""
    return [PageLink(page, title) for page, title in pages.titles(models).items()]


def of_run(task_instance: Any, task: str = RECORD) -> dict[str, str]:
    """The links that a task of the run has handed on, by page."""
    return dict(task_instance.xcom_pull(task_ids=task, key=KEY) or {})
