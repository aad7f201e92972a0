"""A prepared corpus in shards: Arrow files of samples and features, beside an index of all utterances.

A folder, local or in a store that Arrow's file systems reach, holds

- `corpus.json`: what the corpus is, its licences, and the size and digest of each other file; written last, so a corpus
  without it is not complete;
- `index.arrow`: one row for each utterance, sorted by id;
- `shard-00000.arrow` and so on: the samples, and the features that they were prepared with;
- `skipped.txt`: the recordings that were left out, and why.

They are plain Arrow IPC files, which other programs can read. Training reads ranges of bytes from them, whose places
are in the index. Nothing in a corpus is ever changed: its digest stands for all of it.
"""

from importlib.util import find_spec

from wavenet.extras import install_command

if find_spec("pyarrow") is None:
    raise ModuleNotFoundError(f"a corpus in shards needs pyarrow: {install_command('shards')}")

from wavenet.data.shards.dataset import Shards
from wavenet.data.shards.write import prepare_shards

__all__ = ["Shards", "prepare_shards"]
