"""What is counted, and the index of tags, against the images themselves."""

from imgpro_lite.services.fsck.checkup import Checkup, Kind, Problem
from imgpro_lite.services.fsck.database import STEP_IMAGES
from imgpro_lite.store import integrity
from imgpro_lite.store import recount_rows as rows
from imgpro_lite.store.recount_rows import PAGE, Place

# Rows of the index that are repaired in one transaction: some 10 ms, for which a running server waits.
STEP_REPAIRS = 200


def check_counts(checkup: Checkup) -> None:
    """Storage of teams, namespaces, tags and totals."""
    checkup.progress.begin("Counts")
    _check_storage(checkup)
    _check_total(checkup)
    _check_namespaces(checkup)
    _check_tagged_images(checkup)
    _check_places(checkup)
    _check_tags(checkup)


def _check_storage(checkup: Checkup) -> None:
    while wrong := rows.list_wrong_storage(checkup.conn):
        for team_id, said_bytes, counted_bytes in wrong:
            if checkup.options.repair:
                with checkup.write() as tx:
                    rows.recount_storage(tx.conn, team_id)
            _tell(checkup, f"The storage of team {team_id} is said to be {said_bytes} bytes, but is {counted_bytes}.")
        if not checkup.options.repair or len(wrong) < PAGE:
            return


def _check_total(checkup: Checkup) -> None:
    """After the storage of teams: repairing that changes this."""
    wrong = rows.find_wrong_total(checkup.conn)
    if wrong is None:
        return
    if checkup.options.repair:
        with checkup.write() as tx:
            rows.recount_total(tx.conn)
    _tell(checkup, f"The storage of all unverified keys is said to be {wrong[0]} bytes, but is {wrong[1]}.")


def _check_namespaces(checkup: Checkup) -> None:
    while wrong := rows.list_wrong_namespaces(checkup.conn):
        for team_id, namespace, images, storage_bytes in wrong:
            if checkup.options.repair:
                with checkup.write() as tx:
                    rows.recount_namespace(tx.conn, team_id, namespace)
            _tell(
                checkup,
                f"The counts of namespace {namespace!r} of team {team_id} are off by {images} images and "
                f"{storage_bytes} bytes.",
            )
        if not checkup.options.repair or len(wrong) < PAGE:
            return


def _check_tagged_images(checkup: Checkup) -> None:
    """Every live image is in the index under each of its tags."""
    count, last_seq = integrity.measure_images(checkup.conn)
    checkup.progress.begin("Tags of images", count)
    for seq in range(0, last_seq + 1, STEP_IMAGES):
        untagged = rows.list_untagged(checkup.conn, seq, seq + STEP_IMAGES)
        for start in range(0, len(untagged) if checkup.options.repair else 0, STEP_REPAIRS):
            with checkup.write() as tx:
                for image in untagged[start : start + STEP_REPAIRS]:
                    rows.index_tags(tx.conn, image)
        if untagged:
            _tell(checkup, f"{len(untagged)} images are not in the index of tags as they are, {untagged[0]} the first.")
        checkup.progress.advance(min(STEP_IMAGES, max(count - seq, 0)))


def _check_places(checkup: Checkup) -> None:
    """Every row of the index stands for a tag of a live image."""
    checkup.progress.begin("Index of tags")
    last: Place | None = None
    while places := rows.list_places(checkup.conn, last, STEP_IMAGES):
        last = places[-1]
        misplaced = rows.list_misplaced(checkup.conn, places[0], last)
        for start in range(0, len(misplaced) if checkup.options.repair else 0, STEP_REPAIRS):
            with checkup.write() as tx:
                for place in misplaced[start : start + STEP_REPAIRS]:
                    for still in rows.list_misplaced(tx.conn, place, place):
                        rows.delete_place(tx.conn, still)
        if misplaced:
            _tell(checkup, f"{len(misplaced)} rows of the index of tags stand for no image.")


def _check_tags(checkup: Checkup) -> None:
    """After the index: repairing that changes this."""
    while wrong := rows.list_wrong_tags(checkup.conn):
        for tag_id, team_id, name, images, counted in wrong:
            if checkup.options.repair:
                with checkup.write() as tx:
                    rows.recount_tag(tx.conn, tag_id)
            _tell(checkup, f"The tag {name!r} of team {team_id} is said to have {images} images, but has {counted}.")
        if not checkup.options.repair or len(wrong) < PAGE:
            return


def _tell(checkup: Checkup, message: str) -> None:
    checkup.tell(Problem(Kind.COUNT, message, repaired=checkup.options.repair))
