SELECT i.*, u.name FROM incident i LEFT JOIN "user" u ON u.id = i.owner_user_id WHERE i.id = :id;
SELECT * FROM change WHERE incident_id = :id ORDER BY version DESC LIMIT 50;
SELECT id, title, severity, status FROM alert WHERE incident_id = :id ORDER BY id LIMIT 50;
SELECT * FROM comment WHERE incident_id = :id AND deleted_at IS NULL ORDER BY version, id LIMIT 50;
