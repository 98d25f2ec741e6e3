SELECT count(*) FROM incident WHERE deleted_at IS NULL AND (status = 1 OR status = 2);
