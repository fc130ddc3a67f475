"""What a page's form or link sends, taken from strangers."""

from urllib.parse import parse_qsl

from starlette.requests import Request

from imgpro_lite.errors import BadRequest
from imgpro_lite.web.requests import read_body

FORM_TYPE = "application/x-www-form-urlencoded"
# A token of the longest e-mail address (254 characters) has 500 characters.
MAX_FORM_BYTES = 4096
MAX_FORM_FIELDS = 8  # the largest form has two


def link_token(request: Request) -> str:
    """The token of a link. What is missing, or there more than once, is no token."""
    tokens = request.query_params.getlist("t")
    return tokens[0] if len(tokens) == 1 else ""


async def read_form(request: Request) -> dict[str, str]:
    """The fields of a form. Raises BadRequest for what no form of ours sends."""
    if request.headers.get("content-type", "").partition(";")[0].strip().lower() != FORM_TYPE:
        raise BadRequest(f"The form must be sent as {FORM_TYPE}.")
    body = await read_body(request, MAX_FORM_BYTES)
    try:
        fields = parse_qsl(body.decode("ascii"), keep_blank_values=True, max_num_fields=MAX_FORM_FIELDS)
    except ValueError:
        raise BadRequest("The form cannot be read.") from None
    values = dict(fields)
    if len(values) < len(fields):
        raise BadRequest("A field of the form was sent more than once.")
    return values
