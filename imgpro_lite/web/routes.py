"""Every address that the server answers, and the shapes of names in them."""

from starlette.convertors import StringConvertor, register_url_convertor
from starlette.routing import BaseRoute, Route

from imgpro_lite.ids import MEDIA_ID_CHARS, TEAM_HASH_CHARS
from imgpro_lite.web import (
    account_pages,
    api,
    cdn,
    dashboard,
    docs,
    health,
    helper_pages,
    library,
    oembed,
    pages,
    sign_in,
    upload_page,
    viewer,
)
from imgpro_lite.web.page_answer import static_file


class _MediaId(StringConvertor):
    regex = f"[a-z0-9]{{{MEDIA_ID_CHARS}}}"


class _TeamHash(StringConvertor):
    regex = f"[a-z0-9]{{{TEAM_HASH_CHARS}}}"


class _Extension(StringConvertor):
    regex = "[A-Za-z0-9]{1,8}"


# Routes match exactly the shapes of our names, so that no page can ever collide with an image (decision 4).
register_url_convertor("media_id", _MediaId())
register_url_convertor("team_hash", _TeamHash())
register_url_convertor("extension", _Extension())


def routes() -> list[BaseRoute]:
    """Every address that the server answers."""
    return [
        Route("/", upload_page.show_upload, methods=["GET"]),
        Route("/", upload_page.upload_form, methods=["POST"]),
        Route("/healthz", health.healthz, methods=["GET"]),
        Route("/v1/keys", api.create_key, methods=["POST"]),
        Route("/v1/upload", api.upload, methods=["POST"]),
        Route("/v1/import", api.import_, methods=["POST"]),
        Route("/v1/media", library.list_media, methods=["GET"]),
        Route("/v1/media/batch", library.update_batch, methods=["PATCH"]),
        Route("/v1/media/batch", library.delete_batch, methods=["DELETE"]),
        Route("/v1/media/{media_id:media_id}", library.get_media, methods=["GET"]),
        Route("/v1/media/{media_id:media_id}", library.update_media, methods=["PATCH"]),
        Route("/v1/media/{media_id:media_id}", library.delete_media, methods=["DELETE"]),
        Route("/v1/usage", library.usage, methods=["GET"]),
        Route("/v1/namespaces", library.list_namespaces, methods=["GET"]),
        Route("/verify", pages.show_verification, methods=["GET"]),
        Route("/verify", pages.answer_verification, methods=["POST"]),
        Route("/verify/resend", pages.show_resend, methods=["GET"]),
        Route("/verify/resend", pages.resend, methods=["POST"]),
        Route("/upgrade/{plan}", pages.show_upgrade, methods=["GET"]),
        Route("/upgrade/{plan}", pages.accept_upgrade, methods=["POST"]),
        Route("/dashboard", dashboard.show_dashboard, methods=["GET"]),
        Route("/dashboard/keys", account_pages.show_keys, methods=["GET"]),
        Route("/dashboard/keys", account_pages.create_key, methods=["POST"]),
        Route("/dashboard/keys/revoke", account_pages.revoke_key, methods=["POST"]),
        Route("/dashboard/helpers", helper_pages.show_helpers, methods=["GET"]),
        Route("/dashboard/helpers", helper_pages.create_helper_key, methods=["POST"]),
        Route("/dashboard/helpers/file", helper_pages.download_helper, methods=["POST"]),
        Route("/dashboard/settings", account_pages.show_settings, methods=["GET"]),
        Route("/dashboard/settings", account_pages.save_settings, methods=["POST"]),
        Route("/dashboard/sign-in", sign_in.show_sign_in, methods=["GET"]),
        Route("/dashboard/sign-in", sign_in.sign_in, methods=["POST"]),
        Route("/dashboard/sign-in/link", sign_in.show_link, methods=["GET"]),
        Route("/dashboard/sign-in/link", sign_in.follow_link, methods=["POST"]),
        Route("/dashboard/sign-out", sign_in.sign_out, methods=["POST"]),
        Route("/api", docs.show_interactive, methods=["GET"]),
        Route("/api/{name}", docs.show_article, methods=["GET"]),
        Route("/pricing", docs.show_article, methods=["GET"]),
        Route("/pricing.md", docs.show_article, methods=["GET"]),
        Route("/openapi.yaml", docs.openapi_yaml, methods=["GET"]),
        Route("/openapi.json", docs.openapi_json, methods=["GET"]),
        Route("/llms.txt", docs.llms, methods=["GET"]),
        Route("/llms-full.txt", docs.llms_full, methods=["GET"]),
        Route("/{media_id:media_id}", viewer.show_image, methods=["GET"]),
        Route("/oembed", oembed.oembed, methods=["GET"]),
        Route("/static/{name}", static_file, methods=["GET"]),
        Route("/{team_hash:team_hash}/{media_id:media_id}.{extension:extension}", cdn.image, methods=["GET"]),
    ]
