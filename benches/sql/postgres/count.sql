SELECT count(*) FROM incident WHERE deleted_at IS NULL AND status IN (1, 2);
