-- One row: what this library is called by its backups and manifests, so that none is taken for that of another. A
-- library that is restored or rebuilt keeps it.
CREATE TABLE library (
    one INTEGER PRIMARY KEY CHECK (one = 1),
    id TEXT NOT NULL CHECK (length(id) = 32)
) STRICT;
INSERT INTO library VALUES (1, lower(hex(randomblob(16))));
