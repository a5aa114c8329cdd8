"""A folder takes the place of another one in one step, where the file system can."""

import ctypes
import os
import shutil
from pathlib import Path


def put_in_place(draft: Path, final: Path) -> Path | None:
    """Rename the draft to its final name. Returns where the folder is now that had the name before."""
    if not final.exists():
        draft.rename(final)
        return None
    if _exchange(draft, final):
        return draft
    old = draft.with_name(draft.name + ".old")
    shutil.rmtree(old, ignore_errors=True)
    final.rename(old)
    try:
        draft.rename(final)  # a kill just here leaves no artifact, and the old one among the drafts
    except OSError:
        old.rename(final)
        raise
    return old


def _exchange(left: Path, right: Path) -> bool:
    """Swap two folders in one step: renameat2(2) with RENAME_EXCHANGE. False where it cannot be had, such as on NFS."""
    try:
        renameat2 = ctypes.CDLL(None).renameat2
    except (AttributeError, OSError):
        return False
    here, exchange = -100, 2  # AT_FDCWD, RENAME_EXCHANGE
    return renameat2(here, os.fsencode(left), here, os.fsencode(right), exchange) == 0


def sync(path: Path) -> None:
    """Return when a file's content, or a folder's list of names, has reached the disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
