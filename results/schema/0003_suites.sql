-- Test suites: runs, their results, every sample, and the answers that samples share.

-- plan: JSON of what was to be run; plan_hash finds an unfinished run of the same plan again.
CREATE TABLE suite_runs (
    id UUID PRIMARY KEY,
    name VARCHAR NOT NULL DEFAULT '',
    plan VARCHAR NOT NULL,
    plan_hash VARCHAR NOT NULL,
    state VARCHAR NOT NULL CHECK (state IN ('running', 'done', 'stopped', 'failed')),
    note VARCHAR NOT NULL DEFAULT '',
    created_at TIMESTAMP NOT NULL,
    finished_at TIMESTAMP
);

-- What a model version answered to one request. The id is v5 over the version's digest and the whole request,
-- so that an answer is made once for all runs and suites, and never taken for another model's.
-- choices: JSON list of [logprob, tokens, greedy] where continuations were scored instead of text generated.
CREATE TABLE answers (
    id UUID PRIMARY KEY,
    version_key INTEGER NOT NULL,
    request VARCHAR NOT NULL,
    rendered_prompt VARCHAR,
    text VARCHAR,
    thinking VARCHAR,
    finish_reason VARCHAR,
    choices VARCHAR,
    prompt_tokens INTEGER,
    completion_tokens INTEGER,
    duration DOUBLE,
    cost DOUBLE,
    prompt_log VARCHAR NOT NULL,
    created_at TIMESTAMP NOT NULL
);

-- One item answered by one model version in one run; the id is v5 over (run, version, suite, item, repeat).
-- score: the suite's first metric (null where there is none, because of `error`); metrics: JSON, name -> number.
-- item_hash is over the item's whole content: equal hashes are the same test.
CREATE TABLE samples (
    id UUID PRIMARY KEY,
    run_id UUID NOT NULL,
    version_key INTEGER NOT NULL,
    suite VARCHAR NOT NULL,
    suite_version VARCHAR NOT NULL,
    item VARCHAR NOT NULL,
    item_hash VARCHAR NOT NULL,
    repeat INTEGER NOT NULL,
    language VARCHAR NOT NULL DEFAULT '',
    category VARCHAR NOT NULL DEFAULT '',
    item_group VARCHAR,
    answer_id UUID,
    score DOUBLE,
    metrics VARCHAR NOT NULL,
    detail VARCHAR NOT NULL,
    error_kind VARCHAR,
    error VARCHAR,
    created_at TIMESTAMP NOT NULL
);

-- language '' stands for all of them together. value and stderr are null where nothing could be scored.
CREATE TABLE suite_results (
    run_id UUID,
    version_key INTEGER,
    suite VARCHAR,
    language VARCHAR,
    metric VARCHAR,
    suite_version VARCHAR NOT NULL,
    value DOUBLE,
    stderr DOUBLE,
    items INTEGER NOT NULL,
    samples INTEGER NOT NULL,
    errors INTEGER NOT NULL,
    is_score BOOLEAN NOT NULL,
    PRIMARY KEY (run_id, version_key, suite, language, metric)
);

-- Every sample beside the answer that it stands for.
CREATE VIEW suite_samples AS
SELECT s.*, a.rendered_prompt, a.text, a.thinking, a.finish_reason, a.choices, a.prompt_tokens,
       a.completion_tokens, a.duration, a.cost
FROM samples s LEFT JOIN answers a ON a.id = s.answer_id;
