SELECT status, severity, owner_user_id, owner_group_id, count(*), min(created_at) FROM incident
WHERE deleted_at IS NULL AND status IN (1, 2) GROUP BY 1, 2, 3, 4;
SELECT count(*) FROM incident WHERE deleted_at IS NULL AND created_at >= date_trunc('day', now());
SELECT count(*) FROM incident WHERE deleted_at IS NULL AND status = 3 AND resolved_at >= date_trunc('day', now());
