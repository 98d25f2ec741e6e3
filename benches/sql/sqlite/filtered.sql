SELECT i.id, i.number, i.version, substr(i.title, 1, 1000), i.severity, i.status, i.alert_count, i.updated_at, u.name
FROM incident i JOIN "user" u ON u.id = i.owner_user_id
WHERE i.owner_user_id = :owner AND i.severity = :severity AND i.deleted_at IS NULL AND (i.status = 1 OR i.status = 2)
    AND EXISTS (SELECT 1 FROM incident_tag h WHERE h.incident_id = i.id AND h.key = :tag)
ORDER BY i.updated_at DESC, i.id DESC LIMIT 51;
