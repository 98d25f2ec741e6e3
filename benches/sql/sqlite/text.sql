SELECT i.id, i.number, substr(i.title, 1, 1000), i.updated_at FROM incident i
WHERE i.number IN (SELECT rowid FROM incident_search WHERE incident_search MATCH :trigrams)
    AND i.deleted_at IS NULL AND (i.status = 1 OR i.status = 2)
    AND (instr(i.title_folded, :word) > 0 OR instr(i.description_folded, :word) > 0)
ORDER BY i.updated_at DESC, i.id DESC LIMIT 51;
