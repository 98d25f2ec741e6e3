\set k random(1, 1000)
\set o random(0, 1000)
WITH owner AS (
    SELECT id FROM "user" ORDER BY id OFFSET (:o % (SELECT count(*) FROM "user")) LIMIT 1
), locked AS (
    UPDATE incident SET version = version + 1, updated_at = now(), owner_user_id = (SELECT id FROM owner), owner_group_id = NULL
    WHERE id = (SELECT id FROM bench_incident WHERE k = :k) RETURNING id, version
), followed AS (
    UPDATE alert SET owner_user_id = (SELECT id FROM owner), owner_group_id = NULL, updated_at = now()
    WHERE incident_id IN (SELECT id FROM locked)
), picked AS (
    INSERT INTO assignee_pick (picked_by, owner_id, is_group, picked_at)
    SELECT (SELECT id FROM "user" ORDER BY id LIMIT 1), id, false, now() FROM owner
    ON CONFLICT (picked_by, owner_id) DO UPDATE SET picked_at = excluded.picked_at
)
INSERT INTO change (position, incident_id, version, kinds, at, body, hash)
SELECT -nextval('bench_row'), id, version, 128, now(), (SELECT body FROM bench_body), sha256('') FROM locked;
