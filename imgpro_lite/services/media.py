"""Reading images, and how each is shown."""

from imgpro_lite.errors import NotFound
from imgpro_lite.models import Caller, Media
from imgpro_lite.runtime import Runtime
from imgpro_lite.store import media_rows


async def get_media(rt: Runtime, caller: Caller | None, media_id: str) -> Media:
    """An image that the caller may see: a public one, or any of its own team (decisions 30 and 40). Raises NotFound.

    None is somebody who looks at a page.
    """
    media = await rt.db.read(media_rows.find_media, media_id, rt.clock.now())
    if media is None or not (media.public or owns(caller, media)):
        raise NotFound("There is no such image, or it is not accessible with this key.")
    return media


def owns(caller: Caller | None, media: Media) -> bool:
    """Whether the image belongs to the caller's team. Nobody owns what was uploaded without a key."""
    return caller is not None and not caller.anonymous and caller.team.id == media.team_id
