SELECT severity, count(*) FROM incident WHERE deleted_at IS NULL AND (status = 1 OR status = 2) GROUP BY severity;
SELECT owner_user_id, owner_group_id, count(*) FROM incident WHERE deleted_at IS NULL AND (status = 1 OR status = 2) GROUP BY 1, 2 ORDER BY 3 DESC LIMIT 1000;
SELECT h.kind, h.key, count(*) FROM incident i CROSS JOIN incident_tag h ON h.incident_id = i.id
    WHERE i.deleted_at IS NULL AND (i.status = 1 OR i.status = 2) GROUP BY 1, 2 ORDER BY 3 DESC LIMIT 100;
SELECT a.product, count(DISTINCT a.incident_id) FROM incident i CROSS JOIN alert a ON a.incident_id = i.id
    WHERE i.deleted_at IS NULL AND (i.status = 1 OR i.status = 2) AND a.product IS NOT NULL GROUP BY 1 ORDER BY 2 DESC LIMIT 1000;
