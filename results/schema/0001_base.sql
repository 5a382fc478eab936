-- Models, battles, votes, judgments, and what is counted from them.
-- One primary key per table and nothing else that indexes: on DuckDB 1.5 a secondary index can break after a
-- crash with a pending WAL, and foreign keys make updates of referenced rows fail. Times are UTC.

CREATE TABLE models (
    model_key INTEGER PRIMARY KEY,
    name VARCHAR NOT NULL,
    created_at TIMESTAMP NOT NULL
);

CREATE TABLE model_versions (
    version_key INTEGER PRIMARY KEY,
    model_key INTEGER NOT NULL,
    number INTEGER NOT NULL,
    digest VARCHAR NOT NULL,
    spec VARCHAR NOT NULL,
    owner VARCHAR NOT NULL CHECK (owner IN ('file', 'user', 'import', 'trainer')),
    created_at TIMESTAMP NOT NULL
);

-- id: the first 128 bits of the SHA-256 of the text (results.ids.item_id).
CREATE TABLE items (
    id UUID PRIMARY KEY,
    text VARCHAR NOT NULL,
    category VARCHAR NOT NULL DEFAULT '',
    language VARCHAR NOT NULL DEFAULT '',
    origin VARCHAR NOT NULL,
    held_out BOOLEAN NOT NULL DEFAULT false,
    import_id UUID,
    created_at TIMESTAMP NOT NULL
);

-- failed_side: set when a generation of the battle failed; such a battle's votes are kept but not counted.
-- conversation_a, conversation_b: JSON message lists of imported battles; others have turns and generations.
CREATE TABLE battles (
    id UUID PRIMARY KEY,
    item_id UUID,
    version_a INTEGER NOT NULL,
    version_b INTEGER NOT NULL,
    mode VARCHAR NOT NULL CHECK (mode IN ('battle', 'named', 'script', 'import')),
    state VARCHAR NOT NULL CHECK (state IN ('open', 'done', 'abandoned')),
    selection_policy VARCHAR,
    selection_probability DOUBLE,
    voter_id UUID,
    category VARCHAR NOT NULL DEFAULT '',
    language VARCHAR NOT NULL DEFAULT '',
    failed_side VARCHAR CHECK (failed_side IN ('a', 'b')),
    conversation_a VARCHAR,
    conversation_b VARCHAR,
    import_id UUID,
    created_at TIMESTAMP NOT NULL
);

CREATE TABLE turns (
    battle_id UUID,
    number INTEGER,
    message VARCHAR NOT NULL,
    created_at TIMESTAMP NOT NULL,
    PRIMARY KEY (battle_id, number)
);

CREATE TABLE generations (
    id UUID PRIMARY KEY,
    battle_id UUID NOT NULL,
    turn INTEGER NOT NULL,
    side VARCHAR NOT NULL CHECK (side IN ('a', 'b')),
    version_key INTEGER NOT NULL,
    text VARCHAR NOT NULL,
    thinking VARCHAR,
    finish_reason VARCHAR NOT NULL CHECK (finish_reason IN ('stop', 'length', 'cancelled', 'error')),
    prompt_tokens INTEGER,
    completion_tokens INTEGER,
    time_to_first_token DOUBLE,
    duration DOUBLE,
    rendered_prompt VARCHAR,
    rendered_by VARCHAR CHECK (rendered_by IN ('engine', 'server')),
    prompt_log VARCHAR NOT NULL,
    sampling VARCHAR NOT NULL,
    error_kind VARCHAR,
    error VARCHAR,
    created_at TIMESTAMP NOT NULL
);

CREATE TABLE voters (
    id UUID PRIMARY KEY,
    origin VARCHAR NOT NULL CHECK (origin IN ('web', 'import', 'cli')),
    consent_at TIMESTAMP,
    import_id UUID,
    created_at TIMESTAMP NOT NULL
);

-- Versions, category, language and probability are the battle's, repeated here: counting ten million rows must
-- not join them to ten million battles. excluded: null where the vote counts, else why it does not.
-- changed_at is the time of the request that the row stands for, time that of the first one.
CREATE TABLE votes (
    id UUID PRIMARY KEY,
    battle_id UUID NOT NULL,
    voter_id UUID,
    request_id UUID,
    verdict VARCHAR NOT NULL CHECK (verdict IN ('a', 'b', 'tie', 'both_bad')),
    version_a INTEGER NOT NULL,
    version_b INTEGER NOT NULL,
    category VARCHAR NOT NULL DEFAULT '',
    language VARCHAR NOT NULL DEFAULT '',
    selection_probability DOUBLE,
    excluded VARCHAR,
    seq BIGINT NOT NULL,
    time TIMESTAMP NOT NULL,
    changed_at TIMESTAMP NOT NULL,
    import_id UUID
);

CREATE TABLE judges (
    judge_key INTEGER PRIMARY KEY,
    name VARCHAR NOT NULL,
    created_at TIMESTAMP NOT NULL
);

CREATE TABLE judgments (
    id UUID PRIMARY KEY,
    battle_id UUID NOT NULL,
    judge_key INTEGER NOT NULL,
    verdict VARCHAR NOT NULL CHECK (verdict IN ('a', 'b', 'tie', 'both_bad')),
    version_a INTEGER NOT NULL,
    version_b INTEGER NOT NULL,
    category VARCHAR NOT NULL DEFAULT '',
    language VARCHAR NOT NULL DEFAULT '',
    selection_probability DOUBLE,
    excluded VARCHAR,
    seq BIGINT NOT NULL,
    time TIMESTAMP NOT NULL,
    import_id UUID
);

-- chunks, added, known: how far a running import has come. Its rows become visible when state becomes 'done'.
CREATE TABLE imports (
    id UUID PRIMARY KEY,
    path VARCHAR NOT NULL,
    source VARCHAR NOT NULL CHECK (source IN ('human', 'judge')),
    judge VARCHAR,
    state VARCHAR NOT NULL CHECK (state IN ('running', 'done')),
    chunks INTEGER NOT NULL,
    added BIGINT NOT NULL,
    known BIGINT NOT NULL,
    created_at TIMESTAMP NOT NULL,
    finished_at TIMESTAMP
);

CREATE TABLE audit (
    id UUID PRIMARY KEY,
    time TIMESTAMP NOT NULL,
    action VARCHAR NOT NULL,
    entity_id UUID NOT NULL,
    request_id UUID,
    earlier_request_id UUID,
    before VARCHAR NOT NULL,
    after VARCHAR NOT NULL
);

-- Valid comparisons only; judge is '' for votes. Plain leaderboards are computed from this table alone.
CREATE TABLE pair_counts (
    version_a INTEGER,
    version_b INTEGER,
    source VARCHAR,
    judge VARCHAR,
    category VARCHAR,
    language VARCHAR,
    verdict VARCHAR,
    n BIGINT NOT NULL,
    PRIMARY KEY (version_a, version_b, source, judge, category, language, verdict)
);

CREATE VIEW comparisons AS
SELECT id, 'human' AS source, '' AS judge, voter_id AS voter, battle_id, version_a, version_b, verdict,
       category, language, time, seq, excluded, selection_probability, import_id
FROM votes
WHERE import_id IS NULL OR import_id IN (SELECT i.id FROM imports i WHERE i.state = 'done')
UNION ALL
SELECT j.id, 'judge', g.name, NULL, j.battle_id, j.version_a, j.version_b, j.verdict,
       j.category, j.language, j.time, j.seq, j.excluded, j.selection_probability, j.import_id
FROM judgments j JOIN judges g USING (judge_key)
WHERE j.import_id IS NULL OR j.import_id IN (SELECT i.id FROM imports i WHERE i.state = 'done');
