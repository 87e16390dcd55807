"""A Parquet file from batches that arrive one by one, so that it may be larger than memory.

Written aside, synced and renamed, with page checksums and a SHA-256, as ``engine.files`` does for whole tables.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterable
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from aimwell.engine.files import DataFile, sync_folder


def write_batches(folder: Path, path: Path, schema: pa.Schema, batches: Iterable[pa.RecordBatch]) -> DataFile:
    """Write ``batches`` as the file ``path`` below ``folder``; nothing stands under that name before it is whole."""
    path.parent.mkdir(parents=True, exist_ok=True)
    aside = path.with_suffix(".writing")
    rows = 0
    with pq.ParquetWriter(aside, schema, compression="zstd", write_page_checksum=True) as writer:
        for batch in batches:
            writer.write_batch(batch, row_group_size=128 * 1024)
            rows += batch.num_rows
    with aside.open("rb+") as stream:
        os.fsync(stream.fileno())
        sha256 = hashlib.file_digest(stream, "sha256").hexdigest()
    aside.replace(path)
    sync_folder(path.parent)
    return DataFile(path.relative_to(folder).as_posix(), rows, path.stat().st_size, sha256)
