-- Battles from scripts, and LLM judges: what they were asked, what they replied, and what was made of it.

CREATE TABLE script_runs (
    id UUID PRIMARY KEY,
    config VARCHAR NOT NULL,
    state VARCHAR NOT NULL CHECK (state IN ('running', 'done')),
    created_at TIMESTAMP NOT NULL,
    finished_at TIMESTAMP
);

-- One model version's answers to all turns of one prompt. id: v5 over everything that makes them.
-- messages: the prompt as a JSON list of user messages; generations: one JSON object a turn.
CREATE TABLE script_answers (
    id UUID PRIMARY KEY,
    version_key INTEGER NOT NULL,
    sample INTEGER NOT NULL,
    messages VARCHAR NOT NULL,
    generations VARCHAR NOT NULL,
    created_at TIMESTAMP NOT NULL
);

-- reference: JSON list of reference answers, one a turn, or null.
CREATE TABLE script_battles (
    run_id UUID,
    battle_id UUID,
    prompt_name VARCHAR NOT NULL,
    sample INTEGER NOT NULL,
    reference VARCHAR,
    PRIMARY KEY (run_id, battle_id)
);

-- What a judge of ours is (imported judges have no row). usable: null while too little is known.
CREATE TABLE judge_profiles (
    judge_key INTEGER PRIMARY KEY,
    version_key INTEGER,
    mode VARCHAR NOT NULL CHECK (mode IN ('pairwise', 'reference', 'single', 'rubric', 'jury')),
    prompts VARCHAR NOT NULL,
    digest VARCHAR NOT NULL,
    usable BOOLEAN,
    reason VARCHAR NOT NULL,
    updated_at TIMESTAMP NOT NULL
);

CREATE TABLE judge_runs (
    id UUID PRIMARY KEY,
    judge_key INTEGER NOT NULL,
    config VARCHAR NOT NULL,
    state VARCHAR NOT NULL CHECK (state IN ('running', 'done', 'stopped')),
    created_at TIMESTAMP NOT NULL,
    finished_at TIMESTAMP
);

-- One reply. Pairs: first is the battle's side that stood in the first slot, first_label the label it had
-- there, verdict and p_* are turned back to the battle's sides. Grades: side is whose answer was graded.
-- cache_key: hash of judge, messages and sampling; a reply under an equal key is taken over (cached).
CREATE TABLE judge_calls (
    id UUID PRIMARY KEY,
    cache_key VARCHAR NOT NULL,
    battle_id UUID NOT NULL,
    judge_key INTEGER NOT NULL,
    turn INTEGER NOT NULL,
    side VARCHAR CHECK (side IN ('a', 'b')),
    first VARCHAR CHECK (first IN ('a', 'b')),
    first_label VARCHAR CHECK (first_label IN ('A', 'B')),
    reading VARCHAR NOT NULL CHECK (reading IN ('parsed', 'unparsed', 'refused', 'failed')),
    verdict VARCHAR CHECK (verdict IN ('a', 'b', 'tie')),
    score DOUBLE,
    p_a DOUBLE,
    p_tie DOUBLE,
    p_b DOUBLE,
    expected DOUBLE,
    reply VARCHAR NOT NULL,
    logprobs VARCHAR,
    retried BOOLEAN NOT NULL,
    cached BOOLEAN NOT NULL,
    prompt_tokens INTEGER,
    completion_tokens INTEGER,
    cost DOUBLE,
    duration DOUBLE,
    error_kind VARCHAR,
    error VARCHAR,
    created_at TIMESTAMP NOT NULL
);

-- criterion: '' for the overall grade. score is null where it could not be read.
CREATE TABLE rubric_grades (
    id UUID PRIMARY KEY,
    call_id UUID NOT NULL,
    battle_id UUID NOT NULL,
    side VARCHAR NOT NULL CHECK (side IN ('a', 'b')),
    version_key INTEGER NOT NULL,
    turn INTEGER NOT NULL,
    judge_key INTEGER NOT NULL,
    criterion VARCHAR NOT NULL,
    score DOUBLE,
    lowest DOUBLE NOT NULL,
    highest DOUBLE NOT NULL,
    weight DOUBLE NOT NULL,
    category VARCHAR NOT NULL,
    language VARCHAR NOT NULL,
    created_at TIMESTAMP NOT NULL
);

-- What a judge's replies on one battle come to. id: that of the judgment, which exists where verdict is not
-- null. inconsistent: the two orders disagree, a tie. expected: side a's expected score, from 0 to 1.
-- kin: sides whose model is of the judge's family ('', 'a', 'b', 'ab'); length_a, length_b: characters.
CREATE TABLE judge_outcomes (
    id UUID PRIMARY KEY,
    battle_id UUID NOT NULL,
    judge_key INTEGER NOT NULL,
    run_id UUID NOT NULL,
    status VARCHAR NOT NULL CHECK (status IN ('verdict', 'inconsistent', 'unparsed', 'refused', 'failed')),
    verdict VARCHAR CHECK (verdict IN ('a', 'b', 'tie')),
    expected DOUBLE,
    kin VARCHAR NOT NULL CHECK (kin IN ('', 'a', 'b', 'ab')),
    length_a INTEGER NOT NULL,
    length_b INTEGER NOT NULL,
    created_at TIMESTAMP NOT NULL
);
