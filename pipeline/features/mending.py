"""Repairing a feature set before and after a run: committed files enter the ledger, broken ones leave it.

The caller keeps other processes from writing to the set (`Folder.exclusive`). Every function may be interrupted
anywhere and called again: files leave the ledger before they are deleted, so no row ever counts twice, or counts as
done when it is not.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable
from dataclasses import replace

from pipeline.errors import QpertError
from pipeline.features.checkpoint import committed_stems, forget, has_checkpoint, pending_stems, stem
from pipeline.features.damage import Damage, DamagedFileError
from pipeline.features.files import FEATURES, FeatureFiles
from pipeline.features.ledger import LEDGER, DamagedLedgerError, FileNote, Ledger
from pipeline.features.marks import SCHEMAS, delete_marks, drop_marks, mark_files, read_marks
from pipeline.features.removing import record
from pipeline.io.locations import Folder

COMPACTED = "compact-"
"""Prefix of files that replace others; such a file that is not in the ledger never replaced any."""


def mend(
    folder: Folder, fingerprint: str, counted: Callable[[int], object] = lambda files: None, *, adopt: bool = True
) -> tuple[Damage, ...]:
    """Remove what is lost or damaged from the record of what is done, so that a run indexes its photos again.

    Files that are not in the ledger, or were modified since, are read whole. A lost or damaged ledger or checkpoint is
    rebuilt from the files.

    Args:
        folder: the feature set.
        fingerprint: of it.
        counted: called now and then with the number of files read.
        adopt: features without any record have this fingerprint, so they are taken over.

    Returns:
        The files that were lost or damaged.
    """
    _drop_damaged_records(folder)
    files = FeatureFiles.snapshot(folder, fingerprint, complete=adopt and not has_checkpoint(folder))
    damages, notes = list(files.damages), dict[str, FileNote]()

    def examine(name: str) -> FileNote | Damage:
        try:
            return files.examine(name, whole=True)
        except DamagedFileError as error:
            return error.damage

    unnoted = files.unnoted()
    for number, (name, note) in enumerate(zip(unnoted, files.map(examine, unnoted), strict=True), 1):
        counted(number)
        if isinstance(note, Damage):
            damages.append(note)
        else:
            notes[name] = note
    before = files.ledger or Ledger()
    ledger = before.replacing([damage.name for damage in damages], notes)
    if ledger != before:
        ledger.write(folder)
    tidy(folder, fingerprint)
    return tuple(damages)


def tidy(folder: Folder, fingerprint: str) -> None:
    """Finish what an interrupted run or compaction began, as far as the ledger says that it counts."""
    files = FeatureFiles.snapshot(folder, fingerprint)
    if files.ledger is None:
        return
    for name in files.present:
        # Readers without this package would read these rows twice.
        if name.startswith(COMPACTED) and name not in files.ledger.files and name not in files.ledger.retired:
            folder.subfolder(FEATURES).delete(name)
    # The checkpoint names all files that the ledger does: each of the two can be rebuilt from the other.
    committed = committed_stems(folder, fingerprint)
    record(files, [name for name in files.names if stem(name) not in committed])
    _clear_retired(folder, fingerprint, files.ledger)


def note_committed(folder: Folder, fingerprint: str, *, whole: bool = False, complete: bool = False) -> FeatureFiles:
    """Enter committed files into the ledger; returns the files of the set afterwards.

    Args:
        folder: the feature set.
        fingerprint: of it.
        whole: read files that are not in the ledger yet whole, because this run did not write them itself.
        complete: see `FeatureFiles.snapshot`.

    Raises:
        QpertError: a file is lost or damaged.
    """
    files = FeatureFiles.snapshot(folder, fingerprint, complete=complete)
    files.check_complete()
    new = files.unnoted()
    notes = dict(zip(new, files.map(lambda name: files.examine(name, whole=whole), new), strict=True))
    if notes:
        (files.ledger or Ledger()).replacing((), notes).write(folder)
        files = FeatureFiles.snapshot(folder, fingerprint)
    return files


def take_back(folder: Folder, fingerprint: str) -> None:
    """Delete what an interrupted run wrote without committing it."""
    stems = pending_stems(folder, fingerprint)
    features = folder.subfolder(FEATURES)
    for info in features.files() if stems else ():
        if stem(info.base_name) in stems:
            features.delete(info.base_name)
    for name in stems:
        forget(folder, fingerprint, name, pending=True)


def _clear_retired(folder: Folder, fingerprint: str, ledger: Ledger) -> None:
    """Delete the remains of files that no longer count, then forget them."""
    if not ledger.retired:
        return
    used = {stem(name) for name in ledger.files}
    for name in sorted(ledger.retired):
        folder.subfolder(FEATURES).delete(name)
        if stem(name) not in used:
            forget(folder, fingerprint, stem(name))
    drop_marks(folder, ledger.retired)
    replace(ledger, retired=frozenset()).write(folder)


def _drop_damaged_records(folder: Folder) -> None:
    for kind in SCHEMAS:
        for name in mark_files(folder, kind):
            try:
                read_marks(folder, name, kind)
            except QpertError as error:
                warnings.warn(f"{error.args[0].partition(';')[0]}; its content will be worked out again", stacklevel=2)
                delete_marks(folder, name, kind)
    try:
        Ledger.find(folder)
    except DamagedLedgerError as error:
        warnings.warn(f"{error.args[0].partition(';')[0]}; it is rebuilt from the files", stacklevel=2)
        folder.delete(LEDGER)
