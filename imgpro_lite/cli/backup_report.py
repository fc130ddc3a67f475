"""What `backup`, `backup verify` and `restore` tell of problems: for people at once, so much as they can read."""

import json
from collections import Counter
from typing import Any

import rich_click as click

from imgpro_lite.cli.fsck import SHOWN_PROBLEMS, image_text
from imgpro_lite.cli.output import echo
from imgpro_lite.services.fsck.checkup import Kind, Problem


class Report:
    """Problems as they are found, and a last line."""

    def __init__(self, as_json: bool) -> None:
        self._as_json = as_json
        self.found: Counter[Kind] = Counter()

    def add(self, problem: Problem) -> None:
        """Take a problem that was just found."""
        self.found[problem.kind] += 1
        if self._as_json:
            echo(json.dumps(problem.as_json(), ensure_ascii=False))
            return
        if self.found.total() > SHOWN_PROBLEMS:
            return
        click.echo(problem.message, err=True)
        for image in problem.images:
            click.echo(f"  {image_text(image)}", err=True)
        if problem.image_count > len(problem.images):
            click.echo(f"  and {problem.image_count - len(problem.images):,} more images", err=True)

    def end(self, summary: dict[str, Any], *lines: str) -> None:
        """Print what was done: an object for scripts, sentences for people."""
        if self._as_json:
            echo(json.dumps({"ok": not self.found, "problems": self.found.total(), **summary}, ensure_ascii=False))
            return
        self.end_problems()
        for line in lines:
            echo(line)

    def end_problems(self) -> None:
        """Say how many problems were not shown."""
        if not self._as_json and self.found.total() > SHOWN_PROBLEMS:
            click.echo(f"and {self.found.total() - SHOWN_PROBLEMS:,} more; --json shows all", err=True)
