//! The work by hand on SQLite: rusqlite with prepared statements, one connection for each client.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use chrono::{DateTime, SecondsFormat, Utc};
use rusqlite::types::Value;
use rusqlite::{Connection, OptionalExtension};
use uuid::Uuid;

use super::{World, statements};

/// A file, and the values that the statements take.
#[derive(Clone)]
pub(crate) struct Rusqlite {
    file: PathBuf,
    filters: Arc<[(Uuid, i64, String)]>,
    /// Incidents, with the time of their last change as the file has it.
    incidents: Arc<[(Uuid, String)]>,
    words: Arc<[String]>,
    body: String,
    /// The number of the next run of the statements. Rows by hand have negative numbers and positions.
    next: Arc<AtomicUsize>,
}

impl Rusqlite {
    /// Chooses what the requests ask for.
    pub(crate) fn prepare(file: &Path) -> (Self, World) {
        let connection = open(file);
        connection.execute_batch("ANALYZE").unwrap();
        let filters: Vec<(Uuid, i64, String)> = rows(
            &connection,
            "SELECT DISTINCT i.owner_user_id, i.severity, h.key FROM incident i JOIN incident_tag h ON h.incident_id = i.id
             WHERE i.deleted_at IS NULL AND (i.status = 1 OR i.status = 2) AND i.owner_user_id IS NOT NULL LIMIT 1000",
            |row| (id(row, 0), row.get(1).unwrap(), row.get(2).unwrap()),
        );
        // The end of an id is random.
        let incidents: Vec<(Uuid, String)> = rows(
            &connection,
            "SELECT id, updated_at FROM incident WHERE deleted_at IS NULL AND status < 4 ORDER BY substr(id, 9) LIMIT 1000",
            |row| (id(row, 0), row.get(1).unwrap()),
        );
        let titles: Vec<String> = rows(
            &connection,
            "SELECT title_folded FROM incident WHERE deleted_at IS NULL AND (status = 1 OR status = 2) LIMIT 20000",
            |row| row.get(0).unwrap(),
        );
        let words = titles.iter().filter_map(|title| {
            let mut words = title.split(' ').skip(1);
            let (second, third) = (words.next()?, words.next()?);
            (third.len() > 3).then(|| format!("{second} {third}"))
        });
        let words: Vec<String> = words.collect::<BTreeSet<_>>().into_iter().take(1_000).collect();
        let body = connection
            .query_row("SELECT body FROM change WHERE length(body) > 900 ORDER BY position LIMIT 1", [], |row| {
                row.get(0)
            })
            .unwrap();
        let time = |text: &String| {
            let time: DateTime<Utc> = text.parse().unwrap();
            time.to_rfc3339_opts(SecondsFormat::Micros, true)
        };
        let world = World {
            filters: filters.iter().map(|(owner, severity, tag)| (owner.to_string(), *severity, tag.clone())).collect(),
            incidents: incidents.iter().map(|(id, updated)| (id.to_string(), time(updated))).collect(),
            words: words.clone(),
            cursors: Vec::new(),
        };
        let next = Arc::new(AtomicUsize::new(1));
        let (filters, incidents, words) = (filters.into(), incidents.into(), words.into());
        (Self { file: file.to_owned(), filters, incidents, words, body, next }, world)
    }

    /// Runs the statements for some time. Returns how often a second.
    pub(crate) fn rate(&self, names: &[&str], clients: usize, time: Duration) -> f64 {
        let texts: Vec<String> = statements("sqlite", names)
            .iter()
            .flat_map(|text| text.split(';').map(str::trim).filter(|text| !text.is_empty()).map(str::to_owned))
            .collect();
        let begun = Instant::now();
        let count: usize = std::thread::scope(|scope| {
            let clients: Vec<_> = (0..clients).map(|_| scope.spawn(|| self.client(&texts, begun + time))).collect();
            clients.into_iter().map(|client| client.join().unwrap()).sum()
        });
        count as f64 / begun.elapsed().as_secs_f64()
    }

    fn client(&self, texts: &[String], end: Instant) -> usize {
        let connection = open(&self.file);
        let mut prepared: Vec<_> = texts.iter().map(|text| connection.prepare(text).unwrap()).collect();
        let mut count = 0;
        while Instant::now() < end {
            let n = self.next.fetch_add(1, Ordering::Relaxed);
            let new = Uuid::now_v7();
            for statement in &mut prepared {
                for place in 1..=statement.parameter_count() {
                    let value = self.value(statement.parameter_name(place).unwrap(), n, new);
                    statement.raw_bind_parameter(place, value).unwrap();
                }
                let columns = statement.column_count();
                let mut rows = statement.raw_query();
                while let Some(row) = rows.next().unwrap() {
                    for column in 0..columns {
                        std::hint::black_box(row.get_ref(column).unwrap());
                    }
                }
            }
            count += 1;
        }
        count
    }

    fn value(&self, name: &str, n: usize, new: Uuid) -> Value {
        let blob = |id: Uuid| Value::Blob(id.as_bytes().to_vec());
        let (owner, severity, tag) = &self.filters[n % self.filters.len()];
        let (incident, updated) = &self.incidents[n % self.incidents.len()];
        let word = &self.words[n % self.words.len()];
        match name {
            ":id" => blob(*incident),
            ":updated" => Value::Text(updated.clone()),
            ":owner" => blob(*owner),
            ":severity" => Value::Integer(*severity),
            ":tag" => Value::Text(tag.clone()),
            ":word" => Value::Text(word.clone()),
            ":trigrams" => Value::Text(trigrams(word)),
            ":new" => blob(new),
            ":n" => Value::Integer(n as i64),
            ":now" => Value::Text(Utc::now().to_rfc3339_opts(SecondsFormat::Millis, false)),
            ":body" => Value::Text(self.body.clone()),
            ":actor" => {
                Value::Text(r#"{"user":{"id":"01a22c53-96a4-7697-81ef-6a80f95611a3","account":"bench"}}"#.to_owned())
            }
            name => panic!("there is no value for {name}"),
        }
    }
}

/// Opens the file as the desk does: every commit is synced.
fn open(file: &Path) -> Connection {
    let connection = Connection::open(file).unwrap();
    connection.busy_timeout(Duration::from_secs(10)).unwrap();
    connection
        .execute_batch("PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL; PRAGMA cache_size = -16384")
        .unwrap();
    connection
}

fn rows<T>(connection: &Connection, sql: &str, read: impl Fn(&rusqlite::Row<'_>) -> T) -> Vec<T> {
    let mut statement = connection.prepare(sql).unwrap();
    let rows = statement.query_map([], |row| Ok(read(row))).unwrap();
    rows.map(|row| row.optional().unwrap().unwrap()).collect()
}

fn id(row: &rusqlite::Row<'_>, column: usize) -> Uuid {
    Uuid::from_slice(row.get_ref(column).unwrap().as_blob().unwrap()).unwrap()
}

/// Builds the query of the trigram index, whose trigrams have no places.
fn trigrams(word: &str) -> String {
    let characters: Vec<char> = word.chars().collect();
    let all: BTreeSet<&[char]> = characters.windows(3).collect();
    let quoted: Vec<String> =
        all.iter().map(|trigram| format!("\"{}\"", trigram.iter().collect::<String>().replace('"', "\"\""))).collect();
    quoted.join(" AND ")
}
