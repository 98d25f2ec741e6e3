\set k random(1, 1000)
WITH locked AS (
    UPDATE incident SET version = version + 1, comment_count = comment_count + 1, updated_at = now()
    WHERE id = (SELECT id FROM bench_incident WHERE k = :k) RETURNING id, version
), written AS (
    INSERT INTO comment (id, incident_id, version, body, author, created_at)
    SELECT lpad(to_hex(nextval('bench_row')), 32, '0')::uuid, id, version, 'Called the site, nobody answers.', (SELECT actor FROM bench_body), now()
    FROM locked RETURNING id, incident_id, version, body, created_at, author
), first AS (
    INSERT INTO comment_revision (comment_id, ordinal, incident_id, version, body, at, by_actor)
    SELECT id, 1, incident_id, version, body, created_at, author FROM written
)
INSERT INTO change (position, incident_id, version, kinds, at, body, hash)
SELECT -nextval('bench_row'), id, version, 1024, now(), (SELECT body FROM bench_body), sha256('') FROM locked;
