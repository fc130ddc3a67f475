-- What is known of each image, team and blocked file is kept in small files too, the manifests, from which a lost
-- database can be made anew (`imgpro-lite rebuild`). They are written a moment later, in the background. Triggers note
-- which of them are out of date, in the transaction that changes the rows, so no statement and no crash can forget one.
CREATE TABLE manifests_due (
    name TEXT PRIMARY KEY, -- as manifest_rows.py has them: 'images/k3f9…', 'teams/x4b2k', 'blocked/9f86…' or 'library'
    changes INTEGER NOT NULL DEFAULT 1 -- since it was noted, so that nobody takes away the note of a later one
) STRICT, WITHOUT ROWID;

-- At most one row: these images are still to be looked at, one after the other. A note for each of a million would take
-- seconds to write, for which an upgrade would wait.
CREATE TABLE manifest_backlog (
    one INTEGER PRIMARY KEY CHECK (one = 1),
    next_seq INTEGER NOT NULL,
    last_seq INTEGER NOT NULL
) STRICT;

CREATE TRIGGER media_inserted_manifest AFTER INSERT ON media BEGIN
    INSERT INTO manifests_due (name) VALUES ('images/' || NEW.id) ON CONFLICT DO UPDATE SET changes = changes + 1;
END;
CREATE TRIGGER media_updated_manifest AFTER UPDATE ON media BEGIN
    INSERT INTO manifests_due (name) VALUES ('images/' || NEW.id) ON CONFLICT DO UPDATE SET changes = changes + 1;
END;
CREATE TRIGGER media_deleted_manifest AFTER DELETE ON media BEGIN
    INSERT INTO manifests_due (name) VALUES ('images/' || OLD.id) ON CONFLICT DO UPDATE SET changes = changes + 1;
END;

-- Not of storage_bytes, which is counted again from the images.
CREATE TRIGGER teams_inserted_manifest AFTER INSERT ON teams BEGIN
    INSERT INTO manifests_due (name) VALUES ('teams/' || NEW.hash) ON CONFLICT DO UPDATE SET changes = changes + 1;
END;
CREATE TRIGGER teams_updated_manifest
AFTER UPDATE OF kind, email, plan, registration_closed, created_at, uploads_month, uploads_used ON teams BEGIN
    INSERT INTO manifests_due (name) VALUES ('teams/' || NEW.hash) ON CONFLICT DO UPDATE SET changes = changes + 1;
END;
CREATE TRIGGER teams_deleted_manifest AFTER DELETE ON teams BEGIN
    INSERT INTO manifests_due (name) VALUES ('teams/' || OLD.hash) ON CONFLICT DO UPDATE SET changes = changes + 1;
END;

-- A team's manifest has its keys, without those of sessions.
CREATE TRIGGER api_keys_inserted_manifest AFTER INSERT ON api_keys WHEN NEW.session_ends_at IS NULL BEGIN
    INSERT INTO manifests_due (name) SELECT 'teams/' || hash FROM teams WHERE id = NEW.team_id
        ON CONFLICT DO UPDATE SET changes = changes + 1;
END;
CREATE TRIGGER api_keys_updated_manifest AFTER UPDATE ON api_keys WHEN NEW.session_ends_at IS NULL BEGIN
    INSERT INTO manifests_due (name) SELECT 'teams/' || hash FROM teams WHERE id IN (OLD.team_id, NEW.team_id)
        ON CONFLICT DO UPDATE SET changes = changes + 1;
END;
CREATE TRIGGER api_keys_deleted_manifest AFTER DELETE ON api_keys WHEN OLD.session_ends_at IS NULL BEGIN
    INSERT INTO manifests_due (name) SELECT 'teams/' || hash FROM teams WHERE id = OLD.team_id
        ON CONFLICT DO UPDATE SET changes = changes + 1;
END;

CREATE TRIGGER blocked_blobs_inserted_manifest AFTER INSERT ON blocked_blobs BEGIN
    INSERT INTO manifests_due (name) VALUES ('blocked/' || lower(hex(NEW.sha256)))
        ON CONFLICT DO UPDATE SET changes = changes + 1;
END;
CREATE TRIGGER blocked_blobs_deleted_manifest AFTER DELETE ON blocked_blobs BEGIN
    INSERT INTO manifests_due (name) VALUES ('blocked/' || lower(hex(OLD.sha256)))
        ON CONFLICT DO UPDATE SET changes = changes + 1;
END;

CREATE TRIGGER library_updated_manifest AFTER UPDATE ON library BEGIN
    INSERT INTO manifests_due (name) VALUES ('library') ON CONFLICT DO UPDATE SET changes = changes + 1;
END;

-- What is there already.
INSERT INTO manifest_backlog SELECT 1, min(seq), max(seq) FROM media HAVING count(*) > 0;
INSERT INTO manifests_due (name)
    SELECT 'teams/' || hash FROM teams UNION ALL
    SELECT 'blocked/' || lower(hex(sha256)) FROM blocked_blobs UNION ALL
    SELECT 'library';
