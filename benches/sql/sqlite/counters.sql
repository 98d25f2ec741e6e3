SELECT status, severity, owner_user_id, owner_group_id, count(*), min(created_at) FROM incident
    WHERE deleted_at IS NULL AND (status = 1 OR status = 2) GROUP BY 1, 2, 3, 4;
SELECT count(*) FROM incident WHERE deleted_at IS NULL AND created_at >= strftime('%Y-%m-%dT00:00:00', 'now');
SELECT count(*) FROM incident WHERE deleted_at IS NULL AND status = 3 AND resolved_at IS NOT NULL AND resolved_at >= strftime('%Y-%m-%dT00:00:00', 'now');
