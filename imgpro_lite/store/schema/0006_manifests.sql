-- What is known of images, teams and blocked files is kept in small files too, the manifests, from which a lost
-- database can be made anew (`imgpro-lite rebuild`). They are written a moment later, in the background. Triggers note
-- which are out of date, in the transaction that changes the rows, so no statement and no crash can forget one.
CREATE TABLE manifests_due (
    -- As manifest_rows.py has them: 'images/12' is of those with seq 768 to 831, 'teams/7' of the team with this
    -- id, 'blocked/9f' of hashes that begin so; and 'library'.
    name TEXT PRIMARY KEY,
    changes INTEGER NOT NULL DEFAULT 1 -- since it was noted, so that nobody takes away the note of a later one
) STRICT, WITHOUT ROWID;

-- At most one row: these manifests of images are still to be compared, one after the other, as after this migration.
CREATE TABLE manifest_backlog (
    one INTEGER PRIMARY KEY CHECK (one = 1),
    next_number INTEGER NOT NULL,
    last_number INTEGER NOT NULL
) STRICT;

-- One row: which database the manifests were last written from, and how often. `manifests/state` says the same, so that
-- a start notices when an older database was put in the place of this one.
CREATE TABLE manifest_state (
    one INTEGER PRIMARY KEY CHECK (one = 1),
    line TEXT NOT NULL,
    batches INTEGER NOT NULL
) STRICT;
INSERT INTO manifest_state VALUES (1, lower(hex(randomblob(8))), 0);

CREATE TRIGGER media_inserted_manifest AFTER INSERT ON media BEGIN
    INSERT INTO manifests_due (name) VALUES ('images/' || (NEW.seq / 64)) ON CONFLICT DO UPDATE SET changes = changes + 1;
END;
CREATE TRIGGER media_updated_manifest AFTER UPDATE ON media BEGIN
    INSERT INTO manifests_due (name) VALUES ('images/' || (NEW.seq / 64)) ON CONFLICT DO UPDATE SET changes = changes + 1;
END;
CREATE TRIGGER media_deleted_manifest AFTER DELETE ON media BEGIN
    INSERT INTO manifests_due (name) VALUES ('images/' || (OLD.seq / 64)) ON CONFLICT DO UPDATE SET changes = changes + 1;
END;

-- Not of storage_bytes, which is counted again from the images.
CREATE TRIGGER teams_inserted_manifest AFTER INSERT ON teams BEGIN
    INSERT INTO manifests_due (name) VALUES ('teams/' || NEW.id) ON CONFLICT DO UPDATE SET changes = changes + 1;
END;
CREATE TRIGGER teams_updated_manifest
AFTER UPDATE OF hash, kind, email, plan, registration_closed, created_at, uploads_month, uploads_used ON teams BEGIN
    INSERT INTO manifests_due (name) VALUES ('teams/' || NEW.id) ON CONFLICT DO UPDATE SET changes = changes + 1;
END;
CREATE TRIGGER teams_deleted_manifest AFTER DELETE ON teams BEGIN
    INSERT INTO manifests_due (name) VALUES ('teams/' || OLD.id) ON CONFLICT DO UPDATE SET changes = changes + 1;
END;

-- The keys are in the manifest of their team, but for those of sessions.
CREATE TRIGGER api_keys_inserted_manifest AFTER INSERT ON api_keys WHEN NEW.session_ends_at IS NULL BEGIN
    INSERT INTO manifests_due (name) VALUES ('teams/' || NEW.team_id)
        ON CONFLICT DO UPDATE SET changes = changes + 1;
END;
CREATE TRIGGER api_keys_updated_manifest AFTER UPDATE ON api_keys WHEN NEW.session_ends_at IS NULL BEGIN
    INSERT INTO manifests_due (name) VALUES ('teams/' || OLD.team_id)
        ON CONFLICT DO UPDATE SET changes = changes + 1;
    INSERT INTO manifests_due (name) VALUES ('teams/' || NEW.team_id)
        ON CONFLICT DO UPDATE SET changes = changes + 1;
END;
CREATE TRIGGER api_keys_deleted_manifest AFTER DELETE ON api_keys WHEN OLD.session_ends_at IS NULL BEGIN
    INSERT INTO manifests_due (name) VALUES ('teams/' || OLD.team_id)
        ON CONFLICT DO UPDATE SET changes = changes + 1;
END;

CREATE TRIGGER blocked_blobs_inserted_manifest AFTER INSERT ON blocked_blobs BEGIN
    INSERT INTO manifests_due (name) VALUES ('blocked/' || lower(substr(hex(NEW.sha256), 1, 2)))
        ON CONFLICT DO UPDATE SET changes = changes + 1;
END;
CREATE TRIGGER blocked_blobs_deleted_manifest AFTER DELETE ON blocked_blobs BEGIN
    INSERT INTO manifests_due (name) VALUES ('blocked/' || lower(substr(hex(OLD.sha256), 1, 2)))
        ON CONFLICT DO UPDATE SET changes = changes + 1;
END;
CREATE TRIGGER library_updated_manifest AFTER UPDATE ON library BEGIN
    INSERT INTO manifests_due (name) VALUES ('library') ON CONFLICT DO UPDATE SET changes = changes + 1;
END;

-- What is there already.
INSERT INTO manifest_backlog SELECT 1, min(seq) / 64, max(seq) / 64 FROM media HAVING count(*) > 0;
INSERT INTO manifests_due (name)
    SELECT 'teams/' || id FROM teams UNION ALL
    SELECT DISTINCT 'blocked/' || lower(substr(hex(sha256), 1, 2)) FROM blocked_blobs UNION ALL
    SELECT 'library';
