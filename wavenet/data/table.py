"""Tables that users write: comma-separated values with a header."""

import csv
import io
from collections.abc import Callable, Iterator
from pathlib import Path

from wavenet.data.dataset import DatasetError


def read_table(
    path: Path, name: str | None = None, delimiter: Callable[[str], str] = lambda text: ","
) -> Iterator[tuple[str, list[str]]]:
    """Read a table in UTF-8, with or without a byte order mark.

    Args:
        path: The table.
        name: Its name in messages about the whole of it; None: its path.
        delimiter: Returns what separates the columns of a text.

    Yields:
        Of each line that is not empty, its place for messages, and its values; first of the header, if need be an
        empty one. Every line has as many values as the header.

    Raises:
        DatasetError: If the file is not such a table; names the line and the fix.
    """
    name = str(path) if name is None else name
    try:
        data = path.read_bytes()
    except OSError as error:
        raise DatasetError(f"{name}: cannot be read ({error.strerror})") from error
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = data[: error.start].count(b"\n") + 1
        raise DatasetError(f"{name}, line {line}: not UTF-8; save the table as UTF-8") from error
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter(text), strict=True)
    try:
        header = next(reader, [])
        yield f"{path}, line 1", header
        for row in reader:
            place = f"{path}, line {reader.line_num}"
            if row and len(row) != len(header):
                raise DatasetError(
                    f"{place}: {len(row)} values for {len(header)} columns; give one for each, in quotes if it has the "
                    "separator"
                )
            if row:
                yield place, row
    except csv.Error as error:
        raise DatasetError(f"{path}, line {reader.line_num}: {error}; fix the quotes") from error
