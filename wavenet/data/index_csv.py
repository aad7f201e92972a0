"""Table of the named conditions of a folder's files."""

import csv
import posixpath
from pathlib import Path

from wavenet.data.dataset import DatasetError, why_missing
from wavenet.data.table import read_table
from wavenet.names import normalise

INDEX = "index.csv"
_DELIMITERS = (",", ";", "\t")
_COLUMNS = frozenset({"file", "speaker", "language", "gender", "licence", "license", "attribution"})


def read_index(path: Path) -> dict[str, dict[str, str]]:
    """Read the named conditions of files from a table.

    Args:
        path: UTF-8 values separated by commas, semicolons or tabs, with or without a byte order mark. The first line
            names the columns, of which one is `file`: a path relative to the table's folder, with slashes or, where
            there is no such file, with backslashes. Capital letters do not matter in the names of the columns that
            this package itself uses, such as `File` or `Speaker`.

    Returns:
        The other columns' values by name, for each file in the table's order; one line each, empty ones are omitted.

    Raises:
        DatasetError: If the file is not such a table; names the line and the fix.
    """
    lines = read_table(path, delimiter=_delimiter)
    _, header = next(lines)
    names = [_column(name) for name in header]
    _check_names(path, names)
    files: dict[str, dict[str, str]] = {}
    for place, row in lines:
        file, values = _entry(place, path.parent, names, row)
        if file in files:
            raise DatasetError(f"{place}: '{file}' is listed twice; keep one line")
        files[file] = values
    return files


def _delimiter(text: str) -> str:
    """Return what separates the columns of a table: the first candidate with which one of them is `file`."""
    header = text.splitlines()[0] if text else ""
    for delimiter in _DELIMITERS:
        if "file" in map(_column, next(csv.reader([header], delimiter=delimiter), [])):
            return delimiter
    return _DELIMITERS[0]


def _column(name: str) -> str:
    name = normalise(name)
    return name.lower() if name.lower() in _COLUMNS else name


def _check_names(path: Path, names: list[str]) -> None:
    if names.count("file") != 1:
        raise DatasetError(
            f"{path}, line 1: one column must be 'file', each file's path relative to the folder; the columns are "
            f"{', '.join(names) or 'none'}; add it, or rename the table if it is something else"
        )
    for name in names:
        if not name or names.count(name) > 1:
            raise DatasetError(
                f"{path}, line 1: two columns are named '{name}', or one has no name; give each column a unique name"
            )


def _entry(place: str, folder: Path, names: list[str], row: list[str]) -> tuple[str, dict[str, str]]:
    values = {name: value.strip() for name, value in zip(names, row, strict=True)}
    path = values.pop("file")
    if "\\" in path and why_missing(folder / path) is not None:  # elsewhere than on Windows, a name may contain one
        path = path.replace("\\", "/")
    file = posixpath.normpath(path) if path else ""
    if not file or posixpath.isabs(file) or file.split("/")[0] in {".", ".."}:
        raise DatasetError(f"{place}: file is '{path}'; give a path inside the folder, relative to it")
    return file, {name: normalise(value) for name, value in values.items() if value}
