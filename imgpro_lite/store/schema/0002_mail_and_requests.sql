-- Mail that is to be sent, until it is. It is composed when it is sent, so no link is ever stored.
CREATE TABLE mail_queue (
    id INTEGER PRIMARY KEY,
    kind TEXT NOT NULL CHECK (kind IN ('verify', 'joined', 'upgrade_request')),
    recipient TEXT NOT NULL,
    details TEXT NOT NULL, -- JSON object
    created_at INTEGER NOT NULL,
    attempts INTEGER NOT NULL DEFAULT 0 CHECK (attempts >= 0),
    next_attempt_at INTEGER NOT NULL
) STRICT;
CREATE INDEX mail_queue_due ON mail_queue (next_attempt_at);

-- Plans that teams have asked the operator for ([upgrade] mode "ask"), until they have got one.
CREATE TABLE upgrade_requests (
    team_id INTEGER NOT NULL REFERENCES teams (id) ON DELETE CASCADE,
    plan TEXT NOT NULL,
    requested_at INTEGER NOT NULL,
    PRIMARY KEY (team_id, plan)
) STRICT, WITHOUT ROWID;
