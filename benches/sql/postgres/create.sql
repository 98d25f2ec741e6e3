WITH made AS (
    INSERT INTO incident (id, number, version, title, title_key, title_folded, title_version, title_generated, description_version, severity,
        computed_severity, status, alert_count, comment_count, has_active_alerts, products, providers, created_at, updated_at)
    VALUES (lpad(to_hex(nextval('bench_row')), 32, '0')::uuid, -nextval('bench_row'), 1, 'Gate valve of line two leaks', 'gate valve of line two leaks',
        'gate valve of line two leaks', 1, false, 1, 3, 3, 1, 0, 0, false, '[]', '[]', now(), now())
    RETURNING id
)
INSERT INTO change (position, incident_id, version, kinds, at, body, hash)
SELECT -nextval('bench_row'), id, 1, 27, now(), (SELECT body FROM bench_body), sha256('') FROM made;
