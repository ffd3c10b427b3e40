"""Keep results as plain files, read them back, and see them as tables.

A result is a folder of JSON, safetensors and Parquet (see `unmask.store.folder`): readable without
the model, by other programs, and without running code. The terms and attributions of a run are
tables besides (see `unmask.store.tables`), in its folder or in an object store.
"""

from unmask.store.columns import frame
from unmask.store.folder import KeptModel, load, save
from unmask.store.frame_of_run import frame_of_run
from unmask.store.query import query
from unmask.store.size import Size, size_of
from unmask.store.whole import written

__all__ = [
    "KeptModel",
    "Size",
    "frame",
    "frame_of_run",
    "load",
    "query",
    "save",
    "size_of",
    "written",
]
