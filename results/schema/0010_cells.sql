-- Who met whom with what verdict, as one number (results.store.cells), null where the vote does not count: leaderboards
-- from single votes group by it.
ALTER TABLE votes ADD COLUMN cell BIGINT;

UPDATE votes SET cell =
    4 * CASE WHEN version_a < version_b THEN version_b::BIGINT * version_b + version_a
             ELSE version_a::BIGINT * version_a + version_a + version_b END
    + CASE verdict WHEN 'a' THEN 0 WHEN 'tie' THEN 1 WHEN 'b' THEN 2 WHEN 'both_bad' THEN 3 END
WHERE excluded IS NULL;
