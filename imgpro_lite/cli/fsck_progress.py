"""How far `imgpro-lite fsck` is: a bar on a terminal, else a line now and then."""

import contextlib
import time
from collections.abc import Iterator

import rich_click as click
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

from imgpro_lite.cli.offline import size_text
from imgpro_lite.services.fsck.checkup import Progress as Progressing

LINE_EVERY_SECONDS = 10  # in a log, of a pass that may take hours


@contextlib.contextmanager
def show_progress() -> Iterator[Progressing]:
    """Progress on standard error, so that what is found can go to a file or another program."""
    console = Console(stderr=True, highlight=False, markup=False)
    if not console.is_terminal:
        yield _Lines()
        return
    columns = (TextColumn("{task.description}"), BarColumn(), TextColumn("{task.fields[done]}"), TimeRemainingColumn())
    with Progress(*columns, console=console, transient=True) as progress:
        yield _Bar(progress)


class _Done:
    """How much of the present check is done. `part` of it, from 0 to 1, is None where the whole is not known."""

    def __init__(self) -> None:
        self._begin("")

    def _begin(self, title: str, files: int | None = None, size_bytes: int | None = None) -> None:
        self.title = title
        self.files = self.size_bytes = 0
        self.all_files, self.all_bytes = files, size_bytes

    def _add(self, files: int, size_bytes: int) -> None:
        self.files += files
        self.size_bytes += size_bytes

    @property
    def part(self) -> float | None:
        """By bytes, where they are read; else by files."""
        if self.all_bytes:
            return min(self.size_bytes / self.all_bytes, 1)
        return min(self.files / self.all_files, 1) if self.all_files else None

    @property
    def text(self) -> str:
        """In words."""
        texts = [f"{self.files:,} of {self.all_files:,}"] if self.all_files else []
        if self.all_bytes:
            texts.append(f"{size_text(self.size_bytes)} of {size_text(self.all_bytes)}")
        return ", ".join(texts)


class _Lines(_Done):
    """A line every few seconds."""

    def begin(self, title: str, files: int | None = None, size_bytes: int | None = None) -> None:
        """Say which check begins; the short ones are not worth a line."""
        self._begin(title, files, size_bytes)
        self._begun_at = self._told_at = time.monotonic()

    def advance(self, files: int, size_bytes: int = 0) -> None:
        """Tell, if the last line was long ago."""
        self._add(files, size_bytes)
        now = time.monotonic()
        if now - self._told_at < LINE_EVERY_SECONDS:
            return
        self._told_at = now
        left = ""
        if self.part:
            left_seconds = int((now - self._begun_at) * (1 - self.part) / self.part)
            left = f", about {left_seconds // 60}:{left_seconds % 60:02} minutes left"
        click.echo(f"{self.title}: {self.text}{left}", err=True)


class _Bar(_Done):
    """A bar for the present check."""

    def __init__(self, progress: Progress) -> None:
        super().__init__()
        self._progress = progress
        self._task = progress.add_task("", total=None, done="")

    def begin(self, title: str, files: int | None = None, size_bytes: int | None = None) -> None:
        """Start the bar anew."""
        self._begin(title, files, size_bytes)
        self._progress.remove_task(self._task)
        self._task = self._progress.add_task(title, total=1 if files else None, done="")

    def advance(self, files: int, size_bytes: int = 0) -> None:
        """Move on."""
        self._add(files, size_bytes)
        self._progress.update(self._task, completed=self.part or 0, done=self.text)
