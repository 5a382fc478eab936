-- Contamination: which rows of training data overlap items of test suites, what models were seen to know by heart,
-- and near-duplicates inside datasets.

-- One comparison of a dataset's rows (by digest: equal rows under another name are the same) with a suite's items as
-- they were (suite_digest). settings: JSON of the method and its version. id: v5 over all of these.
CREATE TABLE contamination_checks (
    id UUID PRIMARY KEY,
    dataset_digest VARCHAR NOT NULL,
    suite VARCHAR NOT NULL,
    suite_digest VARCHAR NOT NULL,
    method VARCHAR NOT NULL CHECK (method IN ('ngram', 'embedding')),
    settings VARCHAR NOT NULL,
    row_count BIGINT NOT NULL,
    item_count INTEGER NOT NULL,
    flagged_rows BIGINT NOT NULL,
    flagged_items INTEGER NOT NULL,
    created_at TIMESTAMP NOT NULL
);

-- share: of the item's text in the row (for embeddings: the cosine). span: the item's text that was found.
CREATE TABLE contamination_flags (
    id UUID PRIMARY KEY,
    check_id UUID NOT NULL,
    row_digest VARCHAR NOT NULL,
    row_number BIGINT NOT NULL,
    split VARCHAR NOT NULL CHECK (split IN ('train', 'held_out')),
    item VARCHAR NOT NULL,
    item_hash VARCHAR NOT NULL,
    field VARCHAR NOT NULL,
    evidence VARCHAR NOT NULL CHECK (evidence IN ('ngram', 'whole', 'embedding')),
    share DOUBLE NOT NULL,
    span VARCHAR NOT NULL
);

-- What a model version did with one item. completion: value is the share of the item's second half that it continued
-- letter by letter, control the same for halves of other items. order: value is the log-likelihood of the options in
-- their order, control the mean of other orders; such an item alone is no evidence, so none is flagged.
CREATE TABLE model_probes (
    id UUID PRIMARY KEY,
    version_key INTEGER NOT NULL,
    suite VARCHAR NOT NULL,
    item VARCHAR NOT NULL,
    item_hash VARCHAR NOT NULL,
    probe VARCHAR NOT NULL CHECK (probe IN ('completion', 'order')),
    value DOUBLE NOT NULL,
    control DOUBLE NOT NULL,
    flagged BOOLEAN NOT NULL,
    detail VARCHAR NOT NULL,
    created_at TIMESTAMP NOT NULL
);

-- clusters: JSON list of lists of row numbers (the largest first, cut to a thousand).
CREATE TABLE dataset_duplicates (
    dataset_digest VARCHAR PRIMARY KEY,
    settings VARCHAR NOT NULL,
    row_count BIGINT NOT NULL,
    cluster_count BIGINT NOT NULL,
    extra_rows BIGINT NOT NULL,
    clusters VARCHAR NOT NULL,
    created_at TIMESTAMP NOT NULL
);
