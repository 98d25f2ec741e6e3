\set k random(1, 1000)
WITH locked AS (
    UPDATE incident SET version = version + 1, updated_at = now(), owner_user_id = (SELECT id FROM "user" ORDER BY id LIMIT 1), owner_group_id = NULL
    WHERE id = (SELECT id FROM bench_incident WHERE k = :k) RETURNING id, version
)
INSERT INTO change (position, incident_id, version, kinds, at, body, hash)
SELECT -nextval('bench_row'), id, version, 128, now(), (SELECT body FROM bench_body), sha256('') FROM locked;
