BEGIN IMMEDIATE;
UPDATE incident SET version = version + 1, updated_at = :now, owner_user_id = :owner, owner_group_id = NULL WHERE id = :id;
UPDATE alert SET owner_user_id = :owner, owner_group_id = NULL, updated_at = :now WHERE incident_id = :id;
INSERT INTO assignee_pick (picked_by, owner_id, is_group, picked_at) VALUES (:owner, :owner, false, :now)
    ON CONFLICT (picked_by, owner_id) DO UPDATE SET picked_at = excluded.picked_at;
INSERT INTO change (position, incident_id, version, kinds, at, body, hash)
    SELECT -:n, id, version, 128, :now, :body, zeroblob(32) FROM incident WHERE id = :id;
COMMIT;
