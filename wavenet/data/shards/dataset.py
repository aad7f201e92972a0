"""The dataset `shards`: a corpus that `wavenet prepare` has prepared."""

import json
from functools import cached_property
from pathlib import Path
from typing import Any

from wavenet.atomic_files import os_error_reason, remove_partial_files
from wavenet.bounds import CacheGigabytes, checked
from wavenet.data.cache_lock import locked
from wavenet.data.corpus import Corpus
from wavenet.data.dataset import DatasetError, Scan, Skipped
from wavenet.data.shards.block_cache import BlockCache
from wavenet.data.shards.layout import DTYPES, FORMAT, INDEX, MANIFEST, SKIPPED, digest_of, origin_from, sha256
from wavenet.data.shards.place import Place
from wavenet.data.shards.utterances import ShardedUtterances, ShardFiles, check_index

_SHAPE = {
    "name": str, "sample_rate": int, "dtype": str, "utterances": int, "samples": int, "conditions": list,
    "features": dict, "min_seconds": int | float, "origin": dict, "index": dict, "shards": list, "digest": str,
}  # fmt: skip


class Shards:
    """A corpus in shards; see `wavenet.data.shards`.

    Args:
        root: Its folder: a path, or a URI that Arrow's file systems reach, such as "s3://bucket/folder".
        cache_gigabytes: What is read of a corpus in a store is kept on this machine, up to about this size.
    """

    @checked
    def __init__(self, root: str | None = None, cache_gigabytes: CacheGigabytes = 16.0) -> None:
        if root is None:
            raise DatasetError("dataset.root is not given; give the folder that wavenet prepare wrote")
        self.root, self.cache_gigabytes = str(root), cache_gigabytes
        self._place = Place(self.root)

    @property
    def name(self) -> str:
        """Name of the dataset that was prepared."""
        return self.manifest["name"]

    @cached_property
    def manifest(self) -> dict[str, Any]:
        """What the corpus states of itself.

        Raises:
            DatasetError: If there is no corpus, or it is damaged or of another version.
        """
        place = self._place
        where = place.named(MANIFEST)
        try:
            manifest = json.loads(place.read(MANIFEST))
        except FileNotFoundError as error:
            parts = any(name.startswith("part-") for name in place.sizes())
            state = "the corpus is not complete; run the same wavenet prepare again" if parts else "there is no corpus"
            raise DatasetError(f"{where}: no such file; {state}") from error
        except ValueError as error:
            raise DatasetError(f"{where}: is not JSON ({error}); copy the corpus again") from error
        if not isinstance(manifest, dict) or manifest.get("format") != FORMAT:
            raise DatasetError(f"{where}: is not a corpus of format {FORMAT}, which this version reads")
        if any(not isinstance(manifest.get(name), kind) for name, kind in _SHAPE.items()):
            raise DatasetError(f"{where}: lacks a part, or has one of another type; copy the corpus again")
        if manifest["digest"] != digest_of(manifest) or manifest["dtype"] not in DTYPES:
            raise DatasetError(f"{where}: was changed after it was written; copy the corpus again")
        return manifest

    def scan(self) -> Scan:
        """Say that there are no recordings to be found.

        Raises:
            DatasetError: Always.
        """
        raise DatasetError(f"{self.root}: is prepared already, and its recordings are elsewhere")

    def open(self, sample_rate: int, cache_dir: Path, trim_db: float | None, min_seconds: float) -> Corpus:
        """Open the corpus: its index is mapped into memory, and no recording is looked at.

        Args:
            sample_rate: The rate that is needed, Hz.
            cache_dir: A folder for what is read of a corpus that is not on this machine.
            trim_db: The trimming that is needed; None: whatever it was prepared with.
            min_seconds: Shorter recordings are not wanted.

        Raises:
            DatasetError: If it was prepared otherwise, or is damaged.
        """
        manifest, place = self.manifest, self._place
        if sample_rate != manifest["sample_rate"]:
            raise DatasetError(
                f"{self.root}: has {manifest['sample_rate']} Hz, and {sample_rate} Hz are needed; give "
                f"model.sample_rate={manifest['sample_rate']}, or prepare it again"
            )
        for name, wanted, fits in (
            ("trim_db", trim_db, trim_db is None or trim_db == manifest.get("trim_db")),
            ("min_seconds", min_seconds, min_seconds <= max(0.1, manifest["min_seconds"])),
        ):
            if not fits:
                raise DatasetError(
                    f"{self.root}: was prepared with {name}={manifest.get(name)}, and preparation.{name} is {wanted}; "
                    "leave it out, or prepare it again"
                )
        index = self._index(cache_dir)
        check_index(index, manifest)
        cache = None
        if not place.is_local:
            sizes = [each["bytes"] for each in manifest["shards"]]
            limit = int(1e9 * self.cache_gigabytes)
            cache = BlockCache(place, self._cache_folder(cache_dir) / "blocks", limit, sizes)
        files = ShardFiles(place, manifest["dtype"], cache)
        utterances = ShardedUtterances(index, files, manifest["features"], manifest["digest"])
        return Corpus(
            manifest["name"],
            sample_rate,
            utterances,
            self._skipped(),
            folder=Path(self.root) if place.is_local else None,
            origin=origin_from(manifest["origin"]),
        )

    def _index(self, cache_dir: Path) -> Path:
        """Return the index's file; that of a corpus elsewhere is copied once."""
        place, stated = self._place, self.manifest["index"]
        path = Path(self.root) / INDEX
        try:
            if not place.is_local:
                path = self._cache_folder(cache_dir) / INDEX
                if not _is_whole(path, stated):  # one that is here is opened without the lock
                    self._copy_index(path, stated)
            size = path.stat().st_size
        except FileNotFoundError as error:
            raise DatasetError(f"{place.named(INDEX)}: no such file; copy the corpus again") from error
        except OSError as error:
            raise DatasetError(f"{path}: {os_error_reason(error)}") from error
        if size != stated["bytes"]:
            raise DatasetError(f"{path}: has {size} bytes instead of {stated['bytes']}; copy the corpus again")
        return path

    def _copy_index(self, path: Path, stated: dict[str, Any]) -> None:
        place, folder = self._place, path.parent
        folder.mkdir(parents=True, exist_ok=True)
        with locked(folder):
            if _is_whole(path, stated):
                return
            remove_partial_files(folder)
            content = place.read(INDEX)
            if sha256(content) != stated["sha256"]:
                raise DatasetError(f"{place.named(INDEX)}: is damaged; copy the corpus again")
            Place(str(folder)).write(INDEX, content)

    def _cache_folder(self, cache_dir: Path) -> Path:
        return cache_dir / f"shards-{self.manifest['digest'][:16]}"

    def _skipped(self) -> list[Skipped]:
        try:
            lines = self._place.read(SKIPPED).decode(errors="replace").splitlines()
        except FileNotFoundError:
            return []
        return [Skipped(*line.split(": ", 1)) if ": " in line else Skipped(line, "skipped") for line in lines]


def _is_whole(path: Path, stated: dict[str, Any]) -> bool:
    return path.is_file() and path.stat().st_size == stated["bytes"]
