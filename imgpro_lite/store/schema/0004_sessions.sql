-- Ids of signed tokens that are of no use any more before their time: sign-in links that were used, and sessions that
-- were signed out. Each is kept until the token would have ended by itself.
CREATE TABLE spent_tokens (
    id TEXT PRIMARY KEY,
    ends_at INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
CREATE INDEX spent_tokens_end ON spent_tokens (ends_at);

-- NULL for a key that somebody has. A session that began with a mailed link has a key of its own, which nobody ever
-- sees: it is listed and revoked like the others, and of no use after this time.
ALTER TABLE api_keys ADD COLUMN session_ends_at INTEGER;

-- The same table with one more kind of mail; SQLite cannot change a CHECK.
CREATE TABLE mail_queue_with_sign_in (
    id INTEGER PRIMARY KEY,
    kind TEXT NOT NULL CHECK (kind IN ('verify', 'joined', 'upgrade_request', 'sign_in')),
    recipient TEXT NOT NULL,
    details TEXT NOT NULL, -- JSON object
    created_at INTEGER NOT NULL,
    attempts INTEGER NOT NULL DEFAULT 0 CHECK (attempts >= 0),
    next_attempt_at INTEGER NOT NULL
) STRICT;
INSERT INTO mail_queue_with_sign_in SELECT * FROM mail_queue;
DROP TABLE mail_queue;
ALTER TABLE mail_queue_with_sign_in RENAME TO mail_queue;
CREATE INDEX mail_queue_due ON mail_queue (next_attempt_at);
