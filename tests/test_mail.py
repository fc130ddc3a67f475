"""What mails say, to whom, and that they are files as long as there is no mail server."""

import re
from typing import Any

import pytest
from commands import make_key, run_keys
from conftest import Api, ApiFactory
from images import make_image
from library import connect, owner
from mailing import body, deliver, outbox_files, parse, read_outbox, runtime, tokens, words
from running import until
from wire import check_refusal

from imgpro_lite import links
from imgpro_lite.links import LINK_SECONDS
from imgpro_lite.mail import outbox
from imgpro_lite.services import mail, verification
from imgpro_lite.services.upgrades import accept, set_plan
from imgpro_lite.store.sqlite_file import Tx

PICTURE = make_image("png", 8, 6)
KINDS = ["plain", "html"]


def queue(api: Api, function: Any, *arguments: Any) -> None:
    """Run one of the functions that queue mail, in a transaction as the services do."""
    portal: Any = api.client.portal
    portal.call(runtime(api).db.write, function, *arguments)


def call(api: Api, function: Any, *arguments: Any) -> Any:
    """Call a service of the running server."""
    portal: Any = api.client.portal
    return portal.call(function, runtime(api), *arguments)


def new_key_id(api: Api, email: str = "dev@example.com", **options: Any) -> str:
    answer = api.client.post("/v1/keys", json={"email": email, **options})
    assert answer.status_code == 201, answer.text
    return str(answer.json()["key_id"])


def queued(api: Api) -> int:
    with connect(api.data_dir) as conn:
        return int(conn.execute("SELECT count(*) FROM mail_queue").fetchone()[0])


# ── verification ──


def test_a_new_key_is_mailed_to_its_address(api: Api) -> None:
    key_id = new_key_id(api)
    (message,) = read_outbox(api)
    assert message["From"] == "noreply@localhost"
    assert message["To"] == "dev@example.com"
    assert message["Subject"] == "Confirm your API key for localhost:4647"
    assert message["Date"] == "Tue, 14 Nov 2023 22:13:20 +0000"
    assert re.fullmatch(r"<[0-9a-f]{32}@localhost>", message["Message-ID"])
    assert message["Auto-Submitted"] == "auto-generated"
    assert message.get_content_type() == "multipart/alternative"
    for kind in KINDS:
        text = words(message, kind)
        assert key_id in text
        assert "2023-11-14 22:13 UTC, from testclient" in text
        assert "kept for good" in text
        assert "good for 7 days" in text
        assert "revokes the key" in text
        assert "after 30 days" in text
        assert "your account" not in text
    assert queued(api) == 0


def test_it_comes_by_itself(api: Api) -> None:
    api.new_key()
    until(lambda: outbox_files(api))


def test_the_link_is_the_one_of_the_page(api: Api) -> None:
    key_id = new_key_id(api)
    (message,) = read_outbox(api)
    (token,) = tokens(message)
    payload = {"key": key_id, "email": "dev@example.com"}
    assert runtime(api).links.load(links.VERIFY, token) == payload
    assert f'href="http://localhost:4647/verify?t={token}"' in body(message, "html")
    api.clock.advance(seconds=LINK_SECONDS)
    assert runtime(api).links.load(links.VERIFY, token) == payload
    api.clock.advance(seconds=1)
    with pytest.raises(links.ExpiredLink):
        runtime(api).links.load(links.VERIFY, token)


def test_the_link_can_be_copied_from_the_file(api: Api) -> None:
    """It is one line there, without quoted-printable's "=3D" and line breaks."""
    api.new_key(email="a-rather-long-name-of-a-mailbox@a-rather-long-name-of-a-department.example.com")
    (message,) = read_outbox(api)
    (token,) = tokens(message)
    assert f"http://localhost:4647/verify?t={token}".encode() in outbox_files(api)[0].read_bytes().split(b"\r\n")


def test_no_request_decides_what_a_mail_says(start: ApiFactory) -> None:
    """The name of a key would be a stranger's sentence in our mail; the Host header a stranger's address."""
    api = start(server={"public_url": "https://images.example.com/img"})
    name = "Your account is at risk, go to https://evil.example"
    headers = {"Host": "evil.example", "X-Forwarded-Host": "evil.example"}
    api.client.post("/v1/keys", json={"email": "dev@example.com", "name": name}, headers=headers)
    (message,) = read_outbox(api)
    assert "evil" not in message.as_string()
    assert "evil" not in body(message) + body(message, "html")
    assert message["From"] == "noreply@images.example.com"
    assert body(message).count("https://images.example.com/img/verify?t=") == 1


def test_a_stranger_s_address_is_escaped_in_html(api: Api) -> None:
    email = "a&b'{{7*7}}@example.com"
    owner(api, "--plan", "free", email=email)
    api.new_key(email=email)
    (message,) = read_outbox(api)
    assert message["To"].addresses[0].addr_spec == email
    team_id, _ = ask_for_pro(api, email)
    queue(api, mail.queue_upgrade_request, "ops@example.com", team_id, "pro")
    message = read_outbox(api)[-1]
    assert "a&amp;b&#39;{{7*7}}@example.com" in body(message, "html")
    assert email in body(message)


def test_images_and_nothing_else_are_loaded_from_nowhere(api: Api) -> None:
    """No pictures, no fonts, no scripts: nothing tells anybody that the mail was opened."""
    api.new_key()
    (message,) = read_outbox(api)
    html = body(message, "html")
    assert re.findall(r"<(?:img|script|link|iframe|object)|url\(|@import|src=", html) == []
    addresses = re.findall(r"https?://[^\"<\s]+", html)
    assert len(addresses) == 1


def test_an_address_with_a_team_is_told_what_the_key_will_be_able_to_do(api: Api) -> None:
    headers = owner(api, email="dev@example.com")
    for _ in range(2):
        assert api.upload(PICTURE, headers).status_code == 201
    api.new_key()
    (message,) = read_outbox(api)
    for kind in KINDS:
        assert "can read, change and delete the 2 images there" in words(message, kind)


def test_keys_that_were_confirmed_or_revoked_meanwhile_are_left_out(api: Api) -> None:
    revoked, confirmed, waiting = (new_key_id(api) for _ in range(3))
    deliver(api)
    run_keys(api.data_dir, "revoke", revoked)
    run_keys(api.data_dir, "verify", confirmed)
    before = len(outbox_files(api))
    queue(api, mail.queue_verification, "dev@example.com", [revoked, confirmed, waiting, "key_nobody00"])
    message = read_outbox(api)[-1]
    assert len(tokens(message)) == 1
    assert waiting in body(message)
    assert revoked not in body(message)
    queue(api, mail.queue_verification, "dev@example.com", [revoked, confirmed])
    assert len(read_outbox(api)) == before + 1
    assert queued(api) == 0


def test_a_key_of_another_address_is_never_mailed(api: Api) -> None:
    key_id = new_key_id(api, "victim@example.com")
    deliver(api)
    queue(api, mail.queue_verification, "mallory@example.com", [key_id])
    assert [message["To"] for message in read_outbox(api)] == ["victim@example.com"]


def test_several_keys_have_a_link_each(api: Api) -> None:
    key_ids = [new_key_id(api) for _ in range(3)]
    token = runtime(api).links.sign(links.VERIFY_RESEND, {"email": "dev@example.com"})
    call(api, verification.resend, token)
    message = read_outbox(api)[-1]
    assert message["Subject"] == "Confirm your API keys for localhost:4647"
    keys = [runtime(api).links.load(links.VERIFY, token)["key"] for token in tokens(message)]
    assert sorted(keys) == sorted(key_ids)
    assert body(message, "html").count("/verify?t=") == 3


@pytest.mark.parametrize("how", ["verified team", "command"])
def test_keys_that_need_no_confirmation_are_not_mailed(api: Api, how: str) -> None:
    headers = owner(api, email="dev@example.com")
    if how == "command":
        make_key(api.data_dir, email="other@example.com")
    else:
        assert api.client.post("/v1/keys", json={}, headers=headers).status_code == 201
    assert read_outbox(api) == []


def test_a_refused_key_is_not_mailed(api: Api) -> None:
    for email in ["a@example.com\r\nBcc: c@example.com", "a@example.com\nX: y", "a\r@example.com", "a@b.com,c@d.com"]:
        check_refusal(api.client.post("/v1/keys", json={"email": email}), 422, "validation_error")
    for _ in range(3):
        api.new_key()
    check_refusal(api.client.post("/v1/keys", json={"email": "dev@example.com"}), 403, "key_limit_reached")
    assert len(read_outbox(api)) == 3


@pytest.mark.parametrize(
    ("email", "written"),
    [
        ("jos\u00e9@example.com", "jos\u00e9@example.com"),
        ("dev@b\u00fccher.example", "dev@xn--bcher-kva.example"),
        (f"{'a' * 64}@{'b' * 60}.{'c' * 60}.{'d' * 50}.com", None),
        ("a!#$%&'*+/=?^_`{|}~-b@example.com", None),
    ],
)
def test_unusual_addresses(api: Api, email: str, written: str | None) -> None:
    api.new_key(email=email)
    (message,) = read_outbox(api)
    assert f"To: {written or email}\r\n".encode() in outbox_files(api)[0].read_bytes()
    (token,) = tokens(message)
    assert runtime(api).links.load(links.VERIFY, token)["email"] == email


# ── the other kinds ──


def confirm_second_key(api: Api) -> str:
    """A key with an image that joins the team of its address: its id."""
    owner(api, email="dev@example.com")
    answer = api.client.post("/v1/keys", json={"email": "dev@example.com"}).json()
    assert api.upload(PICTURE, {"Authorization": f"Bearer {answer['key']}"}).status_code == 201
    (message,) = read_outbox(api)
    call(api, verification.confirm, tokens(message)[0])
    return str(answer["key_id"])


@pytest.mark.parametrize("contact", ["ops@example.com", ""])
def test_a_join_is_announced(start: ApiFactory, contact: str) -> None:
    api = start(server={"contact": contact})
    key_id = confirm_second_key(api)
    message = read_outbox(api)[-1]
    assert message["Subject"] == "An API key joined your account at localhost:4647"
    assert message["To"] == "dev@example.com"
    for kind in KINDS:
        assert f"imgpro-lite keys revoke {key_id}" in words(message, kind)
        assert "the image uploaded with it" in words(message, kind)
        assert ("ops@example.com" in words(message, kind)) == bool(contact)
    assert ('href="mailto:ops@example.com"' in body(message, "html")) == bool(contact)
    assert tokens(message) == []


def test_a_join_is_announced_even_when_the_key_was_revoked_since(api: Api) -> None:
    """Otherwise whoever has stolen a key could hide that it was there."""
    key_id = new_key_id(api)
    deliver(api)
    run_keys(api.data_dir, "revoke", key_id)
    queue(api, mail.queue_joined, "dev@example.com", key_id, 2)
    message = read_outbox(api)[-1]
    for kind in KINDS:
        assert "has been revoked" in words(message, kind)
        assert "the 2 images uploaded with it" in words(message, kind)
        assert "keys revoke" not in words(message, kind)


def ask_for_pro(api: Api, email: str) -> tuple[int, str]:
    """Press the button of an upgrade link: the team's id and hash."""
    with connect(api.data_dir) as conn:
        query = "SELECT id, hash FROM teams WHERE email = ? AND kind = 'verified'"
        team_id, team_hash = conn.execute(query, (email,)).fetchone()
    call(api, accept, "pro", runtime(api).links.sign(links.UPGRADE, {"team": team_hash, "plan": "pro"}))
    return team_id, team_hash


def test_an_upgrade_request_is_mailed_to_the_operator(start: ApiFactory) -> None:
    api = start(server={"contact": "ops@example.com"})
    owner(api, "--plan", "free", email="dev@example.com")
    for _ in range(2):
        _, team_hash = ask_for_pro(api, "dev@example.com")
    (message,) = read_outbox(api)
    assert message["To"] == "ops@example.com"
    assert message["Subject"] == "Plan pro requested at localhost:4647"
    for kind in KINDS:
        # By its hash: an e-mail address could have characters that a shell understands.
        assert f"imgpro-lite teams set-plan {team_hash} pro" in words(message, kind)
        assert "dev@example.com" in words(message, kind)
        assert "free" in words(message, kind)


def test_an_upgrade_request_that_was_settled_meanwhile_is_dropped(api: Api) -> None:
    owner(api, "--plan", "free", email="dev@example.com")
    team_id, _ = ask_for_pro(api, "dev@example.com")

    def settle_and_queue(tx: Tx) -> None:
        set_plan(tx, team_id, "pro")
        mail.queue_upgrade_request(tx, "ops@example.com", team_id, "pro")
        mail.queue_upgrade_request(tx, "ops@example.com", 4711, "pro")

    queue(api, settle_and_queue)
    assert read_outbox(api) == []
    assert queued(api) == 0


def test_the_sender_of_the_settings(start: ApiFactory) -> None:
    api = start(mail={"from": "Bilder f\u00fcr alle <images@b\u00fccher.example>"})
    api.new_key()
    (message,) = read_outbox(api)
    (sender,) = message["From"].addresses
    assert (sender.display_name, sender.addr_spec) == ("Bilder f\u00fcr alle", "images@xn--bcher-kva.example")


@pytest.mark.parametrize("public_url", ["http://127.0.0.1:4647", "http://[2001:db8::1]/img"])
def test_a_server_without_a_name_has_one_in_mail(start: ApiFactory, public_url: str) -> None:
    api = start(server={"public_url": public_url})
    api.new_key()
    (message,) = read_outbox(api)
    assert message["From"] == "noreply@localhost"
    assert message["Message-ID"].endswith("@localhost>")
    assert f"{public_url}/verify?t=" in body(message)


# ── the outbox ──


def test_the_files_are_for_the_owner_only_and_the_log_tells_little(api: Api, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level("INFO"):
        api.new_key(email="somebody@example.com")
        (message,) = read_outbox(api)
    (path,) = outbox_files(api)
    assert path.stat().st_mode & 0o777 == 0o600
    assert path.parent.stat().st_mode & 0o777 == 0o700
    assert list(path.parent.iterdir()) == [path]
    assert re.fullmatch(r"20231114T221320Z-000001-verify-[0-9a-f]{8}\.eml", path.name)
    (record,) = [record for record in caplog.records if record.name == "imgpro_lite.mail"]
    assert record.getMessage() == f"mail written to outbox/{path.name}, because [mail] host is not set"
    assert vars(record)["domain"] == "example.com"
    logged = "".join(str(vars(record)) for record in caplog.records)
    assert "somebody" not in logged
    assert tokens(message)[0] not in logged


def test_names_sort_by_time(api: Api) -> None:
    for number in range(12):
        api.new_key(email=f"dev{number}@example.com")
        if number % 5 == 4:
            api.clock.advance(seconds=1)
    assert [message["To"] for message in read_outbox(api)] == [f"dev{number}@example.com" for number in range(12)]


def tidy(api: Api) -> None:
    portal: Any = api.client.portal
    portal.call(runtime(api).mail.sender.keep_tidy)


def test_files_go_when_their_links_are_of_no_use(start: ApiFactory) -> None:
    api = start()
    api.new_key(email="first@example.com")
    deliver(api)
    others = [api.data_dir / "outbox" / name for name in ["notes.txt", "99999999T999999Z-1-verify-00.eml"]]
    for path in others:
        path.touch()
    api.clock.advance(seconds=LINK_SECONDS - 1)
    api.new_key(email="second@example.com")
    deliver(api)
    tidy(api)
    api = start()  # which reads their age from their names
    tidy(api)
    assert len(outbox_files(api)) == 3
    api.clock.advance(seconds=1)
    tidy(api)
    api.clock.advance(seconds=-3600)
    tidy(api)
    (kept,) = [path for path in outbox_files(api) if path not in others]
    assert parse(kept.read_bytes())["To"] == "second@example.com"
    assert all(path.exists() for path in others)


def test_the_last_days_of_a_month_are_days_too(start: ApiFactory) -> None:
    api = start()
    api.clock.at = 1_701_345_600  # 30 November 2023
    api.new_key(email="first@example.com")
    deliver(api)
    api = start()
    api.clock.advance(seconds=LINK_SECONDS)
    tidy(api)
    assert outbox_files(api) == []


def test_numbers_go_on_after_a_restart(start: ApiFactory) -> None:
    start().new_key(email="first@example.com")
    api = start()
    deliver(api)
    api.clock.advance(seconds=-3600)
    api.new_key(email="second@example.com")
    deliver(api)
    assert [path.name.split("-")[1] for path in outbox_files(api)] == ["000002", "000001"]


def test_what_a_crash_left_half_written_goes(start: ApiFactory) -> None:
    api = start()
    api.new_key()
    deliver(api)
    half = api.data_dir / "outbox" / ".20231114T221320Z-000002-verify-0123abcd.eml.tmp"
    half.touch()
    api = start(crashed=True)
    until(lambda: not half.exists())
    assert len(outbox_files(api)) == 1


def test_there_is_an_end_to_the_files(api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(outbox, "MAX_FILES", 3)
    for number in range(5):
        api.new_key(email=f"dev{number}@example.com")
    deliver(api)
    tidy(api)
    assert [message["To"] for message in read_outbox(api)] == [f"dev{number}@example.com" for number in range(2, 5)]


def test_a_directory_that_cannot_be_written_keeps_the_mail_queued(api: Api, caplog: pytest.LogCaptureFixture) -> None:
    (api.data_dir / "outbox").write_text("a file where the directory should be")
    api.new_key(email="somebody@example.com")
    deliver(api)
    assert queued(api) == 1
    record = next(record for record in caplog.records if record.name == "imgpro_lite.mail")
    assert record.getMessage() == "mail not sent"
    assert "somebody" not in str(vars(record))
    (api.data_dir / "outbox").unlink()
    api.clock.advance(seconds=60)
    assert len(read_outbox(api)) == 1


def test_health_does_not_depend_on_mail(api: Api) -> None:
    (api.data_dir / "outbox").write_text("a file where the directory should be")
    api.new_key()
    deliver(api)
    assert api.client.get("/healthz").status_code == 200
