-- How far the log is applied, and how many events it caused.
CREATE TABLE position (
    one     INTEGER PRIMARY KEY CHECK (one = 1),
    applied INTEGER NOT NULL,
    events  INTEGER NOT NULL
) STRICT;
INSERT INTO position VALUES (1, 0, 0);

CREATE TABLE log (
    number INTEGER PRIMARY KEY,
    entry  TEXT NOT NULL
) STRICT;

CREATE TABLE audit (
    number INTEGER PRIMARY KEY,
    at_ms  INTEGER NOT NULL,
    actor  TEXT NOT NULL,
    action TEXT NOT NULL,
    target TEXT NOT NULL,
    result TEXT NOT NULL
) STRICT;

CREATE TABLE events (
    number  INTEGER PRIMARY KEY,
    at_ms   INTEGER NOT NULL,
    kind    TEXT NOT NULL,
    subject TEXT NOT NULL,
    text    TEXT NOT NULL
) STRICT;

-- Secrets are sealed before they come here; whoever has a copy of the database alone has none of them.
CREATE TABLE authority (
    one            INTEGER PRIMARY KEY CHECK (one = 1),
    certificate    BLOB NOT NULL,
    sealed_key     BLOB NOT NULL,
    signing_public BLOB NOT NULL,
    sealed_signing BLOB NOT NULL,
    since_ms       INTEGER NOT NULL
) STRICT;

CREATE TABLE tokens (
    id         TEXT PRIMARY KEY,
    hash       BLOB NOT NULL UNIQUE,
    name       TEXT NOT NULL,
    role       TEXT NOT NULL,
    placement  TEXT,
    created_ms INTEGER NOT NULL,
    ends_ms    INTEGER
) STRICT;

CREATE TABLE sites (
    name   TEXT PRIMARY KEY,
    source TEXT,
    parts  TEXT NOT NULL,
    policy TEXT NOT NULL
) STRICT;

-- `groups` is a word of SQL.
CREATE TABLE content_groups (
    name       TEXT PRIMARY KEY,
    site       TEXT NOT NULL REFERENCES sites (name),
    parts      TEXT NOT NULL,
    selector   TEXT NOT NULL,
    sealed_key BLOB NOT NULL
) STRICT;
CREATE INDEX content_groups_by_site ON content_groups (site);

-- The entry of the log that kept a version orders it among those of its part.
CREATE TABLE versions (
    number  INTEGER PRIMARY KEY,
    site    TEXT NOT NULL REFERENCES sites (name) ON DELETE CASCADE,
    part    TEXT NOT NULL,
    version TEXT NOT NULL,
    files   INTEGER NOT NULL,
    bytes   INTEGER NOT NULL,
    kept_ms INTEGER NOT NULL
) STRICT;
CREATE INDEX versions_by_part ON versions (site, part, number);
CREATE INDEX versions_by_site ON versions (site, number);

CREATE TABLE jobs (
    -- The entry of the log that made it.
    number        INTEGER PRIMARY KEY,
    name          TEXT NOT NULL UNIQUE,
    changed       INTEGER NOT NULL,
    created_ms    INTEGER NOT NULL,
    changed_ms    INTEGER NOT NULL,
    kind          BLOB NOT NULL,
    site          TEXT NOT NULL,
    part          TEXT NOT NULL,
    content_group TEXT NOT NULL,
    target        TEXT,
    only_nodes    TEXT,
    status        BLOB NOT NULL,
    open          INTEGER NOT NULL,
    nodes         INTEGER NOT NULL,
    done          INTEGER NOT NULL,
    -- Last: it may be large, and lists do not read it.
    state         BLOB NOT NULL
) STRICT;
CREATE INDEX jobs_open ON jobs (number) WHERE open;
CREATE INDEX jobs_by_change ON jobs (changed);
CREATE INDEX jobs_by_site ON jobs (site, number);

-- What became live, by the jobs that were decided; the last one of a site, part and group is what is live.
CREATE TABLE lives (
    number        INTEGER PRIMARY KEY,
    site          TEXT NOT NULL,
    part          TEXT NOT NULL,
    content_group TEXT NOT NULL,
    version       TEXT,
    job           TEXT NOT NULL
) STRICT;
CREATE INDEX lives_by_group ON lives (site, part, content_group, number);

CREATE TABLE segments (
    name     TEXT PRIMARY KEY,
    title    TEXT UNIQUE,
    subnet   TEXT UNIQUE,
    settings INTEGER NOT NULL,
    -- Who led it when it was observed last.
    leader   TEXT
) STRICT;

CREATE TABLE segment_keys (
    segment TEXT NOT NULL REFERENCES segments (name) ON DELETE CASCADE,
    place   TEXT NOT NULL CHECK (place IN ('previous', 'current', 'next')),
    id      TEXT NOT NULL,
    sealed  BLOB NOT NULL,
    since_ms INTEGER NOT NULL,
    -- The entries of the log that made it, and that gave it its place.
    made    INTEGER NOT NULL,
    placed  INTEGER NOT NULL,
    PRIMARY KEY (segment, place)
) STRICT;

-- Nodes that may know a key of a segment that they do not belong to any more: put elsewhere, or put out.
CREATE TABLE departed (
    node    TEXT NOT NULL,
    segment TEXT NOT NULL REFERENCES segments (name) ON DELETE CASCADE,
    -- The entry of the log since which it may not.
    number  INTEGER NOT NULL,
    put_out INTEGER NOT NULL,
    PRIMARY KEY (node, segment)
) STRICT;
CREATE INDEX departed_by_segment ON departed (segment);

CREATE TABLE nodes (
    id          TEXT PRIMARY KEY,
    name        TEXT NOT NULL,
    segment     TEXT NOT NULL REFERENCES segments (name),
    addresses   TEXT NOT NULL,
    key         BLOB NOT NULL,
    enrolled_ms INTEGER NOT NULL,
    -- Whether it was there when it was observed last, and since when that is so.
    present     INTEGER NOT NULL DEFAULT 0,
    seen_ms     INTEGER
) STRICT;
CREATE INDEX nodes_by_segment ON nodes (segment);
CREATE INDEX nodes_by_name ON nodes (name);

-- The latest of each node, site and part.
CREATE TABLE receipts (
    node    TEXT NOT NULL REFERENCES nodes (id) ON DELETE CASCADE,
    site    TEXT NOT NULL,
    part    TEXT NOT NULL,
    version TEXT NOT NULL,
    term    INTEGER NOT NULL,
    serial  INTEGER NOT NULL,
    at_ms   INTEGER NOT NULL,
    receipt BLOB NOT NULL,
    PRIMARY KEY (node, site, part)
) STRICT;

CREATE TABLE node_labels (
    node  TEXT NOT NULL REFERENCES nodes (id) ON DELETE CASCADE,
    label TEXT NOT NULL,
    value TEXT NOT NULL,
    PRIMARY KEY (node, label)
) STRICT;

CREATE TABLE certificates (
    fingerprint BLOB PRIMARY KEY,
    node        TEXT NOT NULL REFERENCES nodes (id) ON DELETE CASCADE,
    ends_ms     INTEGER NOT NULL
) STRICT;
CREATE INDEX certificates_by_node ON certificates (node);
