"""Whether everything that is stored is as it should be, and what can be put right. Beside a running server or alone.

    database → access → start → rows → counts → files → manifests → leftovers → cache

Access comes first, because what its owner may not read cannot be looked at. Counts come before files, because marking
an image as deleted changes them. Everything is read in short steps and
written in short transactions, so a running server is never held up, and it may change anything in between: what looks
wrong is looked at again inside a write transaction, in which no upload and no sweep can be half done.
"""

from imgpro_lite.services.fsck.access import check_access
from imgpro_lite.services.fsck.cache import check_caches
from imgpro_lite.services.fsck.checkup import Checkup
from imgpro_lite.services.fsck.counts import check_counts
from imgpro_lite.services.fsck.database import check_database, check_rows
from imgpro_lite.services.fsck.files import check_files
from imgpro_lite.services.fsck.leftovers import check_leftovers
from imgpro_lite.services.fsck.manifests import check_manifests
from imgpro_lite.services.fsck.start import check_start

# In their order, after the database.
_CHECKS = (
    check_access,
    check_start,
    check_rows,
    check_counts,
    check_files,
    check_manifests,
    check_leftovers,
    check_caches,
)


def check_everything(checkup: Checkup) -> bool:
    """Look at everything: False when the database is too damaged for the rest. What is found is told as it is found.

    Raises OSError, sqlite3.Error, and Overloaded when another program holds the database.
    """
    if not check_database(checkup):
        return False
    for check in _CHECKS:
        check(checkup)
    return True
