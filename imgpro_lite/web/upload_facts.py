"""What the upload box of a page says beforehand: formats, sizes and limits, and how long images stay."""

from dataclasses import dataclass

from imgpro_lite.formats import Format
from imgpro_lite.models import Strip
from imgpro_lite.settings import Settings

_LABELS = {Format.JPEG: "JPEG", Format.WEBP: "WebP"}


@dataclass(frozen=True)
class UploadFacts:
    """The same for every visitor."""

    formats: tuple[str, ...]
    anonymous: bool
    anonymous_file_mb: int
    file_mb: int
    svg_file_mb: int
    retention_days: int
    per_hour: int
    """Anonymous uploads for each address; 0 is no limit, as for `per_day`."""
    per_day: int
    stripped_without_key: Strip | None
    """What is taken out of pictures before they are stored."""
    stripped_with_key: Strip | None


def upload_facts(settings: Settings) -> UploadFacts:
    """What is true with these settings."""
    limits = settings.limits
    return UploadFacts(
        tuple(_LABELS.get(format_, format_.upper()) for format_ in Format),
        settings.anonymous.enabled,
        limits.anonymous_file_mb,
        limits.file_mb,
        limits.svg_file_mb,
        limits.retention_days,
        limits.anonymous_uploads_per_hour,
        limits.anonymous_uploads_per_day,
        settings.uploads.stripped(anonymous=True),
        settings.uploads.stripped(anonymous=False),
    )
