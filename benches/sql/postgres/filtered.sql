\set k random(1, 1000)
SELECT i.id, i.number, i.version, substr(i.title, 1, 1000) AS title, i.severity, i.status, i.alert_count, i.updated_at, u.name
FROM bench_filter f
JOIN LATERAL (
    SELECT * FROM incident i WHERE i.owner_user_id = f.owner AND i.severity = f.severity AND i.deleted_at IS NULL
        AND i.status IN (1, 2) AND EXISTS (SELECT 1 FROM incident_tag h WHERE h.incident_id = i.id AND h.key = f.tag)
    ORDER BY i.updated_at DESC, i.id DESC LIMIT 51) i ON true
JOIN "user" u ON u.id = i.owner_user_id
WHERE f.k = :k;
