"""Keep results as plain files, read them back, and see them as tables.

A result is a folder of JSON, safetensors and Parquet (see `unmask.store.folder`): readable without
the model, by other programs, and without running code.
"""

from unmask.store.columns import frame
from unmask.store.folder import KeptModel, load, save
from unmask.store.query import query
from unmask.store.whole import written

__all__ = ["KeptModel", "frame", "load", "query", "save", "written"]
