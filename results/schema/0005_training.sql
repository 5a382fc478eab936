-- training: to be filled before release.
SELECT 1;
