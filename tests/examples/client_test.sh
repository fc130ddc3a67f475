#!/bin/sh
# How a suite in any language tests a client of the img.pro API; here it is sh, with curl:
#   imgpro-lite exec -- sh client_test.sh
set -eu

pixel=$(mktemp)
answer=$(mktemp)
trap 'rm -f "$pixel" "$answer"' EXIT
printf 'GIF89a\001\000\001\000\200\000\000\000\000\000\377\377\377\054\000\000\000\000\001\000\001\000\000\002\001\104\000\073' >"$pixel"

# What is tested: the status is printed, the answer is in a file. Told IMGPRO_URL in the place of https://api.img.pro.
upload() { curl -s -o "$answer" -w '%{http_code}' -F "file=@$pixel;filename=pixel.gif" -H "Authorization: Bearer $1" "$IMGPRO_URL/v1/upload"; }

control() { curl -sS --fail-with-body -X "$1" "$IMGPRO_CONTROL_URL$2" ${3+-d "$3"}; }
field() { sed -n "s/.*\"$1\":\"\([^\"]*\)\".*/\1/p"; }
begin() { test_name=$1 && control POST /reset >/dev/null; }
expect() { [ "$1" = "$2" ] || { echo "not ok: $test_name: $1 is not $2"; cat "$answer"; exit 1; }; }

begin "quota exceeded"
control PATCH /teams/dev@example.com '{"uploads_used": 100}' >/dev/null
expect "$(upload "$IMGPRO_KEY")" 413
control PATCH /teams/dev@example.com '{"plan": "pro"}' >/dev/null
expect "$(upload "$IMGPRO_KEY")" 201
echo "ok: $test_name"

begin "an unverified upload expires"
key=$(control POST /keys '{"email": "new@example.com"}' | field key)
expect "$(upload "$key")" 201
src=$(field src <"$answer")
control POST /clock/advance '{"days": 31}' >/dev/null
expect "$(curl -s -o "$answer" -w '%{http_code}' "$src")" 404
echo "ok: $test_name"

begin "verification by mail"
key=$(curl -s -d '{"email": "new@example.com"}' -H "Content-Type: application/json" "$IMGPRO_URL/v1/keys" | field key)
link=$(control GET "/outbox?to=new@example.com&wait_seconds=5" | sed 's/.*"links":\["\([^"]*\)".*/\1/')
curl -s -o /dev/null "$link"
curl -s -o "$answer" -H "Authorization: Bearer $key" "$IMGPRO_URL/v1/usage"
expect "$(sed 's/.*"verified":\([a-z]*\).*/\1/' "$answer")" true
echo "ok: $test_name"

begin "a rate limit"
control POST /faults '{"path": "/v1/upload", "status": 429, "times": 1}' >/dev/null
expect "$(upload "$IMGPRO_KEY")" 429
expect "$(upload "$IMGPRO_KEY")" 201
echo "ok: $test_name"
