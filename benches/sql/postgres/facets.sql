SELECT severity, count(*) FROM incident WHERE deleted_at IS NULL AND status IN (1, 2) GROUP BY severity;
SELECT owner_user_id, owner_group_id, count(*) FROM incident WHERE deleted_at IS NULL AND status IN (1, 2) GROUP BY 1, 2 ORDER BY 3 DESC LIMIT 1000;
SELECT h.kind, h.key, count(*) FROM incident_tag h JOIN incident i ON i.id = h.incident_id
    WHERE i.deleted_at IS NULL AND i.status IN (1, 2) GROUP BY 1, 2 ORDER BY 3 DESC LIMIT 100;
SELECT a.product, count(DISTINCT a.incident_id) FROM alert a JOIN incident i ON i.id = a.incident_id
    WHERE i.deleted_at IS NULL AND i.status IN (1, 2) AND a.product IS NOT NULL GROUP BY 1 ORDER BY 2 DESC LIMIT 1000;
