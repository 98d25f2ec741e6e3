//! Statements that write many rows.

use sea_orm::{DbBackend, EntityTrait, IdenStatic, Iterable, ModelTrait, Statement, Value};

/// Returns the values of a row, in the order of the columns.
pub(super) fn values<E: EntityTrait>(row: &E::Model) -> Vec<Value> {
    E::Column::iter().map(|column| row.get(column)).collect()
}

/// Builds the INSERT of rows, each with its values in the order of the columns. Values go into it without a builder of
/// statements, which copies each of them several times.
pub(super) fn insert<E: EntityTrait>(backend: DbBackend, rows: Vec<Vec<Value>>) -> Statement {
    let columns: Vec<String> = E::Column::iter().map(|column| format!("\"{}\"", column.as_str())).collect();
    let tuples = tuples(backend, rows.len(), columns.len());
    let sql = format!("INSERT INTO \"{}\" ({}) VALUES {tuples}", E::default().table_name(), columns.join(", "));
    Statement::from_sql_and_values(backend, sql, rows.into_iter().flatten())
}

/// Builds the INSERTs of rows, with at most `rows_max` rows each.
pub(super) fn inserts<E: EntityTrait>(backend: DbBackend, rows: &[E::Model], rows_max: usize) -> Vec<Statement> {
    rows.chunks(rows_max).map(|rows| insert::<E>(backend, rows.iter().map(values::<E>).collect())).collect()
}

/// Builds the UPDATE of columns of several rows. The first value of each row is its id.
pub(super) fn update(backend: DbBackend, table: &str, columns: &[&'static str], rows: Vec<Vec<Value>>) -> Statement {
    let sql = match rows.len() {
        1 => {
            let sets: Vec<_> = (2..).zip(columns).map(|(place, column)| format!("\"{column}\" = ${place}")).collect();
            format!("UPDATE \"{table}\" SET {} WHERE \"{table}\".\"id\" = $1", sets.join(", "))
        }
        _ => {
            let sets: Vec<_> = (2..).zip(columns).map(|(n, column)| format!("\"{column}\" = new.column{n}")).collect();
            let (sets, tuples) = (sets.join(", "), tuples(backend, rows.len(), 1 + columns.len()));
            format!(
                "UPDATE \"{table}\" SET {sets} FROM (VALUES {tuples}) AS new WHERE \"{table}\".\"id\" = new.column1"
            )
        }
    };
    Statement::from_sql_and_values(backend, sql, rows.into_iter().flatten())
}

/// Returns the placeholders of rows: `($1, $2), ($3, $4), …`.
///
/// On SQLite they have no numbers: `(?, ?), (?, ?), …`. SQLite keeps each number as a name in a list, and the driver
/// looks for the name of each value that it binds, so the time of a statement would grow with the square of its values.
pub(super) fn tuples(backend: DbBackend, rows: usize, columns: usize) -> String {
    let place = |place: usize| match backend {
        DbBackend::Sqlite => "?".to_owned(),
        _ => format!("${place}"),
    };
    let row = |row: usize| (1..=columns).map(|column| place(row * columns + column)).collect::<Vec<_>>().join(", ");
    (0..rows).map(|at| format!("({})", row(at))).collect::<Vec<_>>().join(", ")
}

/// Divides rows into groups of `size`, then of half of `size`, and so on.
pub(super) fn lots<T>(mut rows: Vec<T>, mut size: usize, mut each: impl FnMut(Vec<T>)) {
    while !rows.is_empty() {
        while size > rows.len() {
            size /= 2;
        }
        let rest = rows.split_off(size);
        each(std::mem::replace(&mut rows, rest));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lots_are_powers_of_two() {
        let mut sizes = Vec::new();
        lots((0..47).collect(), 16, |rows: Vec<i32>| sizes.push(rows.len()));
        assert_eq!(sizes, [16, 16, 8, 4, 2, 1]);
    }

    #[test]
    fn placeholders_have_numbers_on_postgresql_only() {
        assert_eq!(tuples(DbBackend::Postgres, 2, 3), "($1, $2, $3), ($4, $5, $6)");
        assert_eq!(tuples(DbBackend::Sqlite, 2, 3), "(?, ?, ?), (?, ?, ?)");
    }
}
