-- The roster, aliases, and what is known of model versions. Aliases and roster entries keep their history: the
-- current row is the one with the highest number that nobody has undone (rollback).

-- origin: who named the model: a settings file's path, 'embedded', 'serve' (its --model), '' for the database's own
-- entries. version_key: null where the model was taken off.
CREATE TABLE roster (
    model_key INTEGER,
    number INTEGER,
    version_key INTEGER,
    owner VARCHAR NOT NULL CHECK (owner IN ('file', 'user', 'trainer')),
    origin VARCHAR NOT NULL,
    set_at TIMESTAMP NOT NULL,
    undone_by UUID,
    PRIMARY KEY (model_key, number)
);

-- version_key: null where the alias was removed.
CREATE TABLE aliases (
    alias VARCHAR,
    number INTEGER,
    version_key INTEGER,
    set_at TIMESTAMP NOT NULL,
    undone_by UUID,
    PRIMARY KEY (alias, number)
);

-- facts: JSON (results.store.model_facts.ModelFacts).
CREATE TABLE model_facts (
    version_key INTEGER PRIMARY KEY,
    facts VARCHAR NOT NULL,
    recorded_at TIMESTAMP NOT NULL
);

-- Bearer tokens of the HTTP API and of operators. secret_sha256: of 256 random bits, so that a plain hash is enough.
CREATE TABLE tokens (
    id UUID PRIMARY KEY,
    name VARCHAR NOT NULL,
    scope VARCHAR NOT NULL CHECK (scope IN ('api', 'operator')),
    secret_sha256 VARCHAR NOT NULL,
    created_at TIMESTAMP NOT NULL,
    expires_at TIMESTAMP,
    revoked_at TIMESTAMP,
    last_used_at TIMESTAMP
);
