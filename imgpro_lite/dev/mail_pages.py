"""The mail of dev mode as pages, for people: the same addresses as for programs, told apart by the Accept header."""

from urllib.parse import urlsplit

from starlette.requests import Request

from imgpro_lite.dev.mails import Mail
from imgpro_lite.web.page_answer import PageAnswer, page, pages
from imgpro_lite.web.requests import runtime

# A mail is shown as it is, in its own colours. Nothing in it is loaded, and without scripts and forms it cannot turn
# anything. Its links replace the page around it when they are clicked.
_MAIL_POLICY = {
    "style-src": "'unsafe-inline'",
    "img-src": "'none'",
    "form-action": "'none'",
    "base-uri": "'self'",
    "frame-ancestors": "'self'",
    # Without scripts its origin gives it nothing but that links in it are from our own pages, and so act.
    "sandbox": "allow-same-origin allow-top-navigation-by-user-activation",
}
MAX_MAILS = 200  # on a page; programs get all
_BASE = '<base target="_top">'


def prefer_page(request: Request) -> None:
    """Answer with a page, refusals too, where a browser asks. Programs that take anything get JSON."""
    request.state.is_page = "text/html" in request.headers.get("accept", "")


def is_page(request: Request) -> bool:
    """Whether the answer is to be a page."""
    return bool(request.state.is_page)


def same_origin_forms(answer: PageAnswer) -> PageAnswer:
    """Have the browser say which page its forms are of, which the guard wants to know. No such page has a token in
    its address."""
    answer.headers["Referrer-Policy"] = "same-origin"
    return answer


def show_mails(request: Request, mails: list[Mail]) -> PageAnswer:
    """A list of mail, the newest first."""
    shown = mails[: -MAX_MAILS - 1 : -1]
    context = {"mails": shown, "older": len(mails) - len(shown), "is_filtered": bool(request.query_params)}
    answer = same_origin_forms(page(request, "dev/mails.html", context))
    answer.headers["Vary"] = "Accept"
    return answer


def show_mail(request: Request, mail: Mail) -> PageAnswer:
    """One mail: what it says as HTML and as text."""
    context = {"mail": mail, "links": own_links(request, mail)}
    html = pages(request).render("dev/mail.html", context)
    return PageAnswer(html, headers={"Vary": "Accept"}, policy={"frame-src": "'self'"})


def own_links(request: Request, mail: Mail) -> list[tuple[str, str]]:
    """The links of a mail that do something here, each with its path for people to tell them apart."""
    home = urlsplit(runtime(request).public_url)
    found = [urlsplit(url) for url in mail.links]
    here = [url for url in found if url.netloc == home.netloc and url.path.rstrip("/") != home.path]
    return [(url.geturl(), url.path.removeprefix(home.path)) for url in here]


def show_html(request: Request, mail: Mail) -> PageAnswer:
    """The HTML of a mail alone, which the page of the mail has in a frame."""
    return PageAnswer(mail.html.replace("<head>", f"<head>{_BASE}", 1), policy=_MAIL_POLICY)
