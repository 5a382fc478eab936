-- aliases, tokens: to be filled before release.
SELECT 1;
