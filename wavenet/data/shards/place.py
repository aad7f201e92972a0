"""A folder of files, local or in a store that Arrow's file systems reach."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from pyarrow import fs

from wavenet.atomic_files import atomic_write, os_error_reason
from wavenet.data.dataset import DatasetError


@dataclass(frozen=True)
class Place:
    """A folder.

    Attributes:
        text: As it was given: a path, or a URI such as "s3://bucket/folder?region=eu-west-1".
    """

    text: str

    @property
    def is_local(self) -> bool:
        """Whether it is a path of this machine."""
        return "://" not in self.text

    @cached_property
    def _located(self) -> tuple[Any, str]:
        try:
            return fs.FileSystem.from_uri(self.text)
        except (OSError, ValueError, TypeError) as error:
            raise DatasetError(f"{self.text}: {first_line(error)}") from error

    def __getstate__(self) -> dict[str, str]:
        return {"text": self.text}  # each process makes its own connection

    def named(self, name: str) -> str:
        """Return a file's name for messages."""
        return f"{self.text.rstrip('/')}/{name}" if self.is_local or "?" not in self.text else f"{self.text}: {name}"

    def read(self, name: str) -> bytes:
        """Read a file.

        Raises:
            FileNotFoundError: If there is no such file.
            DatasetError: If it cannot be read.
        """
        with self._explained(name):
            if self.is_local:
                return (Path(self.text) / name).read_bytes()
            with self.open(name) as file:
                return file.read_at(file.size(), 0)

    def open(self, name: str) -> Any:
        """Open a file of a store for ranges of bytes: an Arrow file, which several threads may use."""
        system, folder = self._located
        return system.open_input_file(f"{folder}/{name}")

    def write(self, name: str, content: bytes | memoryview) -> None:
        """Write a file; it appears complete or not at all.

        Raises:
            DatasetError: If it cannot be written.
        """
        with self._explained(name):
            if self.is_local:
                with atomic_write(Path(self.text) / name) as beside:
                    beside.write_bytes(content)
                return
            system, folder = self._located
            with system.open_output_stream(f"{folder}/{name}") as file:
                file.write(content)

    def sizes(self) -> dict[str, int]:
        """Return the size of each file in it, bytes; none if it does not exist."""
        with self._explained(""):
            if self.is_local:
                folder = Path(self.text)
                return {each.name: each.stat().st_size for each in folder.iterdir()} if folder.is_dir() else {}
            system, folder = self._located
            found = system.get_file_info(fs.FileSelector(folder, allow_not_found=True))
            return {each.base_name: each.size for each in found}

    def remove(self, name: str) -> None:
        """Remove a file."""
        with self._explained(name):
            if self.is_local:
                (Path(self.text) / name).unlink()
            else:
                system, folder = self._located
                system.delete_file(f"{folder}/{name}")

    @contextmanager
    def _explained(self, name: str) -> Iterator[None]:
        try:
            yield
        except FileNotFoundError:
            raise
        except OSError as error:
            reason = os_error_reason(error) if error.errno is not None and self.is_local else first_line(error)
            raise DatasetError(f"{self.named(name)}: {reason}") from error


def cut_off(where: str, end: int) -> DatasetError:
    """Return the error for a shard that ends before a byte which the index says it has."""
    return DatasetError(f"{where}: is damaged, it ends before byte {end}; copy it again, or prepare the corpus again")


def first_line(error: Exception) -> str:
    """Return what a store says, in one line."""
    return str(error).strip().split("\n", 1)[0]
