BEGIN IMMEDIATE;
UPDATE incident SET version = version + 1, comment_count = comment_count + 1, updated_at = :now WHERE id = :id;
INSERT INTO comment (id, incident_id, version, body, author, created_at)
    SELECT :new, id, version, 'Called the site, nobody answers.', :actor, :now FROM incident WHERE id = :id;
INSERT INTO comment_revision (comment_id, ordinal, incident_id, version, body, at, by_actor)
    SELECT :new, 1, id, version, 'Called the site, nobody answers.', :now, :actor FROM incident WHERE id = :id;
INSERT INTO change (position, incident_id, version, kinds, at, body, hash)
    SELECT -:n, id, version, 1024, :now, :body, zeroblob(32) FROM incident WHERE id = :id;
COMMIT;
