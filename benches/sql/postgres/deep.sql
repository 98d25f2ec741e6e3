\set k random(1, 1000)
SELECT i.id, i.number, i.version, substr(i.title, 1, 1000) AS title, i.severity, i.status, i.alert_count, i.updated_at, u.name,
    (SELECT json_agg(t.name ORDER BY t.name) FROM incident_tag h JOIN tag t USING (kind, key) WHERE h.incident_id = i.id) AS tags
FROM incident i LEFT JOIN "user" u ON u.id = i.owner_user_id
WHERE i.deleted_at IS NULL AND i.status IN (1, 2, 3) AND (i.updated_at, i.id) < (SELECT updated_at, id FROM bench_incident WHERE k = :k)
ORDER BY i.updated_at DESC, i.id DESC LIMIT 51;
