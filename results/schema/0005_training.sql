-- Training: datasets as immutable versions (their rows lie in files named by digest), and the queue of jobs.

-- origin, statistics: JSON. removed_at: off the list; jobs and lineage still refer to it.
CREATE TABLE datasets (
    dataset_key INTEGER PRIMARY KEY,
    name VARCHAR NOT NULL,
    number INTEGER NOT NULL,
    digest VARCHAR NOT NULL,
    kind VARCHAR NOT NULL CHECK (kind IN ('chat', 'preference', 'kto', 'text', 'labelled', 'prompts')),
    row_count BIGINT NOT NULL,
    held_out_count BIGINT NOT NULL,
    licence VARCHAR,
    origin VARCHAR NOT NULL,
    statistics VARCHAR NOT NULL,
    created_at TIMESTAMP NOT NULL,
    removed_at TIMESTAMP
);

-- recipe, progress, result: JSON. pid and process_start name the process that runs it, so that a number that the
-- system gave to another process is not mistaken for it.
CREATE TABLE jobs (
    id UUID PRIMARY KEY,
    name VARCHAR NOT NULL,
    recipe VARCHAR NOT NULL,
    state VARCHAR NOT NULL CHECK (state IN ('queued', 'running', 'done', 'failed', 'cancelled')),
    cancel_asked BOOLEAN NOT NULL DEFAULT false,
    pid INTEGER,
    process_start DOUBLE,
    attempt INTEGER NOT NULL DEFAULT 0,
    progress VARCHAR NOT NULL DEFAULT '{}',
    result VARCHAR NOT NULL DEFAULT '{}',
    error_kind VARCHAR,
    error VARCHAR,
    created_at TIMESTAMP NOT NULL,
    started_at TIMESTAMP,
    finished_at TIMESTAMP
);
