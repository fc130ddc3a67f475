-- Times are Unix seconds, sizes bytes or pixels as the names say.

-- A space of keys and images. Every unverified key has one of its own (decision 6).
CREATE TABLE teams (
    id INTEGER PRIMARY KEY,
    hash TEXT NOT NULL UNIQUE CHECK (length(hash) = 5),
    kind TEXT NOT NULL CHECK (kind IN ('anonymous', 'unverified', 'verified')),
    email TEXT CHECK ((email IS NULL) = (kind = 'anonymous')),
    plan TEXT NOT NULL,
    registration_closed INTEGER NOT NULL DEFAULT 0 CHECK (registration_closed IN (0, 1)),
    created_at INTEGER NOT NULL,
    -- The calendar month (year * 12 + month - 1) that uploads_used counts.
    uploads_month INTEGER NOT NULL DEFAULT 0,
    uploads_used INTEGER NOT NULL DEFAULT 0 CHECK (uploads_used >= 0),
    -- Sum of filesize_bytes of the team's live images.
    storage_bytes INTEGER NOT NULL DEFAULT 0 CHECK (storage_bytes >= 0)
) STRICT;
CREATE UNIQUE INDEX teams_verified_email ON teams (email) WHERE kind = 'verified';
CREATE INDEX teams_email ON teams (email);

-- One row: what all unverified teams store together, against [limits] unverified_storage_mb.
CREATE TABLE totals (
    id INTEGER PRIMARY KEY CHECK (id = 1),
    unverified_storage_bytes INTEGER NOT NULL CHECK (unverified_storage_bytes >= 0)
) STRICT;
INSERT INTO totals VALUES (1, 0);

CREATE TABLE api_keys (
    key_id TEXT PRIMARY KEY,
    team_id INTEGER NOT NULL REFERENCES teams (id),
    -- SHA-256 of the key; the key itself is stored nowhere.
    secret_sha256 BLOB NOT NULL UNIQUE CHECK (length(secret_sha256) = 32),
    name TEXT NOT NULL,
    can_read INTEGER NOT NULL CHECK (can_read IN (0, 1)),
    can_write INTEGER NOT NULL CHECK (can_write IN (0, 1)),
    created_at INTEGER NOT NULL,
    -- Address it was asked for from; NULL when the operator made it.
    created_from TEXT,
    revoked_at INTEGER
) STRICT, WITHOUT ROWID;
CREATE INDEX api_keys_team ON api_keys (team_id);

CREATE TABLE media (
    seq INTEGER PRIMARY KEY AUTOINCREMENT, -- order of insertion, never used twice
    id TEXT NOT NULL UNIQUE CHECK (length(id) = 14),
    team_id INTEGER NOT NULL REFERENCES teams (id),
    -- The team's hash when the image was made, so that its URL never changes.
    team_hash TEXT NOT NULL,
    -- Names the stored bytes in blobs/.
    sha256 BLOB NOT NULL CHECK (length(sha256) = 32),
    format TEXT NOT NULL,
    -- Of the upright picture.
    width_px INTEGER NOT NULL CHECK (width_px > 0),
    height_px INTEGER NOT NULL CHECK (height_px > 0),
    frames INTEGER NOT NULL CHECK (frames > 0),
    has_alpha INTEGER NOT NULL CHECK (has_alpha IN (0, 1)),
    filesize_bytes INTEGER NOT NULL CHECK (filesize_bytes >= 0),
    name TEXT NOT NULL,
    namespace TEXT,
    tags TEXT NOT NULL, -- JSON array of strings, in the order given
    public INTEGER NOT NULL CHECK (public IN (0, 1)),
    external_id TEXT,
    metadata TEXT NOT NULL, -- JSON object
    date_at INTEGER, -- the caller's own date
    created_at INTEGER NOT NULL,
    -- Why and when it ends: by the caller's ttl, or by the retention of its team. Verifying lifts only the second.
    ttl_expires_at INTEGER,
    retention_expires_at INTEGER,
    expires_at INTEGER GENERATED ALWAYS AS (
        CASE
            WHEN ttl_expires_at IS NULL THEN retention_expires_at
            WHEN retention_expires_at IS NULL THEN ttl_expires_at
            ELSE min(ttl_expires_at, retention_expires_at)
        END
    ) STORED,
    deleted_at INTEGER
) STRICT;
CREATE INDEX media_sha256 ON media (sha256);
CREATE INDEX media_expiry ON media (expires_at) WHERE deleted_at IS NULL AND expires_at IS NOT NULL;
-- Anonymous images (team 1) may repeat an external_id (decision 35).
CREATE UNIQUE INDEX media_external_id ON media (team_id, external_id)
    WHERE external_id IS NOT NULL AND deleted_at IS NULL AND team_id <> 1;

-- Attempts in the current window of each rate limit, saved once a second so that a restart forgets nothing.
CREATE TABLE rate_windows (
    limit_name TEXT NOT NULL,
    subject TEXT NOT NULL, -- an address, an e-mail address or a key_id
    ends_at INTEGER NOT NULL,
    attempts INTEGER NOT NULL,
    PRIMARY KEY (limit_name, subject)
) STRICT, WITHOUT ROWID;
CREATE INDEX rate_windows_end ON rate_windows (ends_at);
