-- The same rows as before, told the other way round: rows of imports that run are left out, instead of those of
-- finished ones let in. As a rule none runs, and DuckDB then skips the comparison of ten million import ids.

CREATE OR REPLACE VIEW comparisons AS
SELECT id, 'human' AS source, '' AS judge, voter_id AS voter, battle_id, version_a, version_b, verdict,
       category, language, time, seq, excluded, selection_probability, import_id
FROM votes
WHERE import_id IS NULL OR import_id NOT IN (SELECT i.id FROM imports i WHERE i.state = 'running')
UNION ALL
SELECT j.id, 'judge', g.name, NULL, j.battle_id, j.version_a, j.version_b, j.verdict,
       j.category, j.language, j.time, j.seq, j.excluded, j.selection_probability, j.import_id
FROM judgments j JOIN judges g USING (judge_key)
WHERE j.import_id IS NULL OR j.import_id NOT IN (SELECT i.id FROM imports i WHERE i.state = 'running');
