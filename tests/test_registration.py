"""Registration that is closed, for a team or for the server: no new keys through the API, and where to go instead."""

from pathlib import Path

from click.testing import CliRunner
from conftest import ApiFactory
from library import owner, picture, run_teams, show_team
from wire import check_refusal

from imgpro_lite.cli.main import cli


def test_a_team_without_new_keys(start: ApiFactory) -> None:
    api = start(server={"public_url": "https://pics.example.com/img"})
    headers = owner(api)
    told = run_teams(api.data_dir, "set-registration", "ops@example.com", "closed")
    assert "gets no new keys" in told
    assert show_team(api.data_dir, "ops@example.com")["registration_closed"] is True
    assert "not through the API" in run_teams(api.data_dir, "show", "ops@example.com")
    for key in (headers, None):
        answer = api.client.post("/v1/keys", json={"email": "ops@example.com"}, headers={**(key or {}), "Host": "x"})
        body = check_refusal(answer, 403, "registration_closed")
        # The same for a stranger and for the owner; it is not this server's owner who closed it.
        assert body["message"] == (
            "New API keys for this e-mail address are not made through the API. Its owner makes them in the dashboard."
        )
        assert body["action"] == {
            "type": "redirect",
            "url": "https://pics.example.com/img/dashboard",
            "label": "Go to Dashboard",
        }
    assert api.client.post("/v1/keys", json={"email": "else@example.com"}).status_code == 201
    assert api.upload(picture(), headers).status_code == 201
    run_teams(api.data_dir, "set-registration", "ops@example.com", "open")
    assert api.client.post("/v1/keys", json={}, headers=headers).status_code == 201


def test_a_server_without_new_keys(start: ApiFactory) -> None:
    api = start(server={"registration_closed": True})
    answer = api.client.post("/v1/keys", json={"email": "new@example.com"})
    body = check_refusal(answer, 403, "registration_closed")
    assert body["action"]["url"] == "http://localhost:4647/dashboard"
    assert body["message"] == "Registration is closed here. Ask the owner of this server for a key."
    headers = owner(api)  # the operator makes keys as before
    assert api.client.post("/v1/keys", json={}, headers=headers).status_code == 201  # and their teams further ones


def test_another_state_is_refused(tmp_path: Path) -> None:
    result = CliRunner().invoke(cli, ["teams", "set-registration", "x", "ajar", "--data-dir", str(tmp_path)])
    assert result.exit_code == 2
