BEGIN IMMEDIATE;
INSERT INTO incident (id, number, version, title, title_key, title_folded, title_version, title_generated, description_version, severity,
    computed_severity, status, alert_count, comment_count, has_active_alerts, products, providers, created_at, updated_at)
VALUES (:new, -:n, 1, 'Gate valve of line two leaks', 'gate valve of line two leaks', 'gate valve of line two leaks', 1, false, 1, 3,
    3, 1, 0, 0, false, '[]', '[]', :now, :now);
INSERT INTO change (position, incident_id, version, kinds, at, body, hash) VALUES (-:n, :new, 1, 27, :now, :body, zeroblob(32));
COMMIT;
