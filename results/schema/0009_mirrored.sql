-- Prepared battles are shown to several people, to some of them with the sides exchanged. A vote's verdict names the
-- sides as the battle has them; mirrored says that its voter saw them the other way round (null: as they are).

ALTER TABLE votes ADD COLUMN mirrored BOOLEAN;

CREATE OR REPLACE VIEW comparisons AS
SELECT id, 'human' AS source, '' AS judge, voter_id AS voter, battle_id, version_a, version_b, verdict,
       category, language, time, seq, excluded, selection_probability, import_id, mirrored
FROM votes
WHERE import_id IS NULL OR import_id NOT IN (SELECT i.id FROM imports i WHERE i.state = 'running')
UNION ALL
SELECT j.id, 'judge', g.name, NULL, j.battle_id, j.version_a, j.version_b, j.verdict,
       j.category, j.language, j.time, j.seq, j.excluded, j.selection_probability, j.import_id, NULL
FROM judgments j JOIN judges g USING (judge_key)
WHERE j.import_id IS NULL OR j.import_id NOT IN (SELECT i.id FROM imports i WHERE i.state = 'running');
