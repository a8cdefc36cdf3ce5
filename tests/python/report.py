"""A table that is printed row by row, and its verdict."""

import contextlib


class Report:
    def __init__(self):
        self.failures = 0
        self.skipped = 0

    def section(self, title, *columns):
        print(f"\n{title}")
        self._print("", [*columns, "limit", ""])

    def row(self, name, cells, limit, good):
        """One compared thing: cells are texts or numbers, `good` is the verdict."""
        self.failures += not good
        self._print(name, [*cells, limit, "ok" if good else "FAILED"])

    def note(self, name, cells):
        """A row without a verdict."""
        self._print(name, cells)

    def skip(self, name, reason):
        self.skipped += 1
        self._print(name, [f"SKIPPED: {reason}"])

    def error(self, name, problem):
        self.failures += 1
        self._print(name, [f"FAILED: {problem}"])

    @contextlib.contextmanager
    def attempt(self, name):
        """Whatever is raised inside is a failure of that row alone."""
        try:
            yield
        except Exception as problem:  # noqa: BLE001 a table goes on whatever one row meets
            self.error(name, f"{type(problem).__name__}: {problem}")

    def verdict(self):
        """The suite's exit code."""
        skipped = f", {self.skipped} skipped" if self.skipped else ""
        print(f"\n{self.failures} failed{skipped}" if self.failures else f"\nall within their limits{skipped}")
        return 1 if self.failures else 0

    def _print(self, name, cells):
        def text(cell):
            return f"{cell:.5g}" if isinstance(cell, float) else str(cell)

        print(f"  {name:<30} {' '.join(text(cell).rjust(12) for cell in cells)}".rstrip(), flush=True)


def median(values):
    ordered = sorted(values)
    middle = len(ordered) // 2
    return ordered[middle] if len(ordered) % 2 else (ordered[middle - 1] + ordered[middle]) / 2
