\set k random(1, 1000)
SELECT i.*, u.name AS owner_name FROM bench_incident b JOIN incident i ON i.id = b.id LEFT JOIN "user" u ON u.id = i.owner_user_id WHERE b.k = :k;
SELECT c.* FROM bench_incident b JOIN change c ON c.incident_id = b.id WHERE b.k = :k ORDER BY c.version DESC LIMIT 50;
SELECT a.id, a.title, a.severity, a.status FROM bench_incident b JOIN alert a ON a.incident_id = b.id WHERE b.k = :k ORDER BY a.id LIMIT 50;
SELECT m.* FROM bench_incident b JOIN comment m ON m.incident_id = b.id WHERE b.k = :k AND m.deleted_at IS NULL ORDER BY m.version, m.id LIMIT 50;
