-- Times are Unix seconds, sizes bytes or pixels as the names say.

PRAGMA application_id = 0x696D6770; -- "imgp", so that no other database is taken for one of ours

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
    -- Sum of filesize_bytes of the team's live images; the triggers below keep it.
    storage_bytes INTEGER NOT NULL DEFAULT 0 CHECK (storage_bytes >= 0)
) STRICT;
CREATE UNIQUE INDEX teams_verified_email ON teams (email) WHERE kind = 'verified';
CREATE INDEX teams_email ON teams (email);

-- One row: what all unverified teams store together, against [limits] unverified_storage_mb. A trigger keeps it.
CREATE TABLE totals (
    id INTEGER PRIMARY KEY CHECK (id = 1),
    unverified_storage_bytes INTEGER NOT NULL CHECK (unverified_storage_bytes >= 0)
) STRICT;
INSERT INTO totals VALUES (1, 0);

-- Teams begin and end empty, so only changes count.
CREATE TRIGGER teams_totals AFTER UPDATE OF storage_bytes, kind ON teams BEGIN
    UPDATE totals SET unverified_storage_bytes = unverified_storage_bytes
        + iif(NEW.kind = 'unverified', NEW.storage_bytes, 0) - iif(OLD.kind = 'unverified', OLD.storage_bytes, 0);
END;

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
    -- Lists are newest first by this, then by seq.
    sort_at INTEGER GENERATED ALWAYS AS (coalesce(date_at, created_at)) STORED,
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
CREATE INDEX media_list ON media (team_id, sort_at, seq) WHERE deleted_at IS NULL;
CREATE INDEX media_namespace ON media (team_id, namespace, sort_at, seq)
    WHERE deleted_at IS NULL AND namespace IS NOT NULL;
CREATE INDEX media_deleted ON media (deleted_at) WHERE deleted_at IS NOT NULL;
CREATE INDEX media_expiry ON media (expires_at) WHERE deleted_at IS NULL AND expires_at IS NOT NULL;
-- Anonymous images (team 1) may repeat an external_id (decision 35).
CREATE UNIQUE INDEX media_external_id ON media (team_id, external_id)
    WHERE external_id IS NOT NULL AND deleted_at IS NULL AND team_id <> 1;

-- What lists and counts are read from. The triggers below derive all of it from the live rows of media (those that are
-- not deleted), whatever statement changes them, so it always equals a recount.

CREATE TABLE namespaces (
    team_id INTEGER NOT NULL REFERENCES teams (id),
    namespace TEXT NOT NULL,
    images INTEGER NOT NULL CHECK (images >= 0),
    storage_bytes INTEGER NOT NULL CHECK (storage_bytes >= 0),
    PRIMARY KEY (team_id, namespace)
) STRICT, WITHOUT ROWID;

CREATE TABLE tags (
    id INTEGER PRIMARY KEY,
    team_id INTEGER NOT NULL REFERENCES teams (id),
    name TEXT NOT NULL,
    images INTEGER NOT NULL CHECK (images >= 0),
    UNIQUE (team_id, name)
) STRICT;

-- The images of each tag in list order, so that a list by tags reads no row that it does not show.
CREATE TABLE media_tags (
    tag_id INTEGER NOT NULL,
    sort_at INTEGER NOT NULL,
    seq INTEGER NOT NULL,
    PRIMARY KEY (tag_id, sort_at, seq)
) STRICT, WITHOUT ROWID;

-- CROSS JOIN, because SQLite would otherwise walk all tags of the team for each tag of the image (measured: 5 times slower).
CREATE TRIGGER media_inserted AFTER INSERT ON media WHEN NEW.deleted_at IS NULL BEGIN
    UPDATE teams SET storage_bytes = storage_bytes + NEW.filesize_bytes WHERE id = NEW.team_id;
    INSERT INTO namespaces SELECT NEW.team_id, NEW.namespace, 1, NEW.filesize_bytes WHERE NEW.namespace IS NOT NULL
        ON CONFLICT DO UPDATE SET images = images + 1, storage_bytes = storage_bytes + excluded.storage_bytes;
    INSERT INTO tags (team_id, name, images) SELECT NEW.team_id, value, 1 FROM json_each(NEW.tags) WHERE TRUE
        ON CONFLICT DO UPDATE SET images = images + 1;
    INSERT INTO media_tags SELECT tags.id, NEW.sort_at, NEW.seq
        FROM json_each(NEW.tags) CROSS JOIN tags ON tags.team_id = NEW.team_id AND tags.name = value;
END;

-- Out with the old, in with the new. One trigger, because the order of two would be undefined.
CREATE TRIGGER media_updated AFTER UPDATE OF team_id, filesize_bytes, namespace, tags, date_at, deleted_at ON media BEGIN
    UPDATE teams SET storage_bytes = storage_bytes - OLD.filesize_bytes
        WHERE OLD.deleted_at IS NULL AND id = OLD.team_id;
    UPDATE namespaces SET images = images - 1, storage_bytes = storage_bytes - OLD.filesize_bytes
        WHERE OLD.deleted_at IS NULL AND team_id = OLD.team_id AND namespace = OLD.namespace;
    DELETE FROM media_tags WHERE OLD.deleted_at IS NULL AND sort_at = OLD.sort_at AND seq = OLD.seq AND tag_id IN
        (SELECT tags.id FROM json_each(OLD.tags) CROSS JOIN tags ON tags.team_id = OLD.team_id AND tags.name = value);
    UPDATE tags SET images = images - 1
        WHERE OLD.deleted_at IS NULL AND team_id = OLD.team_id AND name IN (SELECT value FROM json_each(OLD.tags));

    UPDATE teams SET storage_bytes = storage_bytes + NEW.filesize_bytes
        WHERE NEW.deleted_at IS NULL AND id = NEW.team_id;
    INSERT INTO namespaces SELECT NEW.team_id, NEW.namespace, 1, NEW.filesize_bytes
        WHERE NEW.deleted_at IS NULL AND NEW.namespace IS NOT NULL
        ON CONFLICT DO UPDATE SET images = images + 1, storage_bytes = storage_bytes + excluded.storage_bytes;
    INSERT INTO tags (team_id, name, images) SELECT NEW.team_id, value, 1 FROM json_each(NEW.tags)
        WHERE NEW.deleted_at IS NULL ON CONFLICT DO UPDATE SET images = images + 1;
    INSERT INTO media_tags SELECT tags.id, NEW.sort_at, NEW.seq
        FROM json_each(NEW.tags) CROSS JOIN tags ON tags.team_id = NEW.team_id AND tags.name = value
        WHERE NEW.deleted_at IS NULL;

    DELETE FROM namespaces WHERE team_id = OLD.team_id AND namespace = OLD.namespace AND images = 0;
    DELETE FROM tags WHERE team_id = OLD.team_id AND name IN (SELECT value FROM json_each(OLD.tags)) AND images = 0;
END;

-- Bytes that a row which is gone for good had. The sweeper removes the file unless another row has them.
CREATE TABLE purgeable_blobs (
    sha256 BLOB PRIMARY KEY CHECK (length(sha256) = 32)
) STRICT, WITHOUT ROWID;
CREATE TRIGGER media_deleted_for_good AFTER DELETE ON media BEGIN
    INSERT INTO purgeable_blobs VALUES (OLD.sha256) ON CONFLICT DO NOTHING;
END;

-- A row goes for good only after it was marked as deleted, so that nothing above can be forgotten.
CREATE TRIGGER media_purged BEFORE DELETE ON media WHEN OLD.deleted_at IS NULL BEGIN
    SELECT raise(ABORT, 'an image is marked as deleted before its row is removed');
END;

-- Bytes that the operator refuses for good.
CREATE TABLE blocked_blobs (
    sha256 BLOB PRIMARY KEY CHECK (length(sha256) = 32),
    blocked_at INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

-- Attempts in the current window of each rate limit, saved once a second so that a restart forgets nothing.
CREATE TABLE rate_windows (
    limit_name TEXT NOT NULL,
    subject TEXT NOT NULL, -- an address, an e-mail address or a key_id
    ends_at INTEGER NOT NULL,
    attempts INTEGER NOT NULL,
    PRIMARY KEY (limit_name, subject)
) STRICT, WITHOUT ROWID;
CREATE INDEX rate_windows_end ON rate_windows (ends_at);
