\set k random(1, 1000)
SELECT i.id, i.number, substr(i.title, 1, 1000) AS title, i.updated_at FROM incident i, bench_word w
WHERE w.k = :k AND i.deleted_at IS NULL AND i.status IN (1, 2)
    AND (i.title_folded LIKE '%' || w.word || '%' OR i.description_folded LIKE '%' || w.word || '%')
ORDER BY i.updated_at DESC, i.id DESC LIMIT 51;
