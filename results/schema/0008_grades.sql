-- Grades of single answers that other tools' judges gave, one a turn. question: its name in the file; prompts: the name of
-- the judge's prompt; asked, reply: what the judge was shown and said. score is null where the reply held no grade.
-- stamp: epoch seconds as the file has them; place: in the file, whose first grade of an answer is the one that is compared.
-- id: v5 over the row, the judge and the turn.
CREATE TABLE answer_grades (
    id UUID PRIMARY KEY,
    judge_key INTEGER NOT NULL,
    version_key INTEGER NOT NULL,
    question VARCHAR NOT NULL,
    turn INTEGER NOT NULL,
    reading VARCHAR NOT NULL CHECK (reading IN ('parsed', 'unparsed')),
    score DOUBLE,
    lowest DOUBLE NOT NULL,
    highest DOUBLE NOT NULL,
    prompts VARCHAR NOT NULL,
    asked VARCHAR NOT NULL,
    reply VARCHAR NOT NULL,
    category VARCHAR NOT NULL,
    language VARCHAR NOT NULL,
    stamp DOUBLE,
    place INTEGER NOT NULL,
    import_id UUID NOT NULL,
    created_at TIMESTAMP NOT NULL
);
