//! Finds settings of PostgreSQL that weaken the promise that an acknowledged mutation stays, for the log at the start.

use sea_orm::{ConnectionTrait, DbBackend, DbErr, Statement};
use tracing::info;

use super::Store;
use crate::domain::Result;

const SETTINGS: &str = "SELECT current_setting('synchronous_commit'), current_setting('fsync'),
    current_setting('full_page_writes')";

/// Running backups are no standbys. A role without the right to see more gets nulls, except for the process id.
const STANDBYS: &str = "SELECT count(*), count(*) FILTER (WHERE sync_state IN ('sync', 'quorum')),
    count(*) FILTER (WHERE sync_state IS NULL), current_setting('synchronous_standby_names') <> ''
    FROM pg_stat_replication WHERE state IS DISTINCT FROM 'backup'";

impl Store {
    /// Returns a sentence for each weakness that an operator should know. It is empty on SQLite.
    pub async fn cautions(&self) -> Result<Vec<&'static str>> {
        let mut cautions = Vec::new();
        if !self.is_postgres() {
            return Ok(cautions);
        }
        let (commit, fsync, pages): (String, String, String) = self
            .ask(SETTINGS, |row| Ok((row.try_get_by_index(0)?, row.try_get_by_index(1)?, row.try_get_by_index(2)?)))
            .await?;
        // `off` is no weakness, because the desk's own transactions override it.
        if commit == "local" {
            cautions.push(
                "synchronous_commit is local: a failover may lose mutations that were acknowledged, even to a synchronous \
                 standby",
            );
        }
        if fsync == "off" || pages == "off" {
            cautions.push("fsync or full_page_writes is off: a loss of power may destroy the database");
        }
        let standbys: Result<(i64, i64, i64, bool)> = self
            .ask(STANDBYS, |row| {
                Ok((
                    row.try_get_by_index(0)?,
                    row.try_get_by_index(1)?,
                    row.try_get_by_index(2)?,
                    row.try_get_by_index(3)?,
                ))
            })
            .await;
        match standbys {
            Err(error) => info!(%error, "whether PostgreSQL has standbys cannot be seen"),
            Ok((1.., 0, hidden, named)) if hidden == 0 || !named => cautions.push(
                "standbys are attached and none is synchronous (synchronous_standby_names): a failover may lose mutations \
                 that were acknowledged",
            ),
            Ok(_) => {}
        }
        Ok(cautions)
    }

    async fn ask<T>(&self, sql: &str, read: impl Fn(sea_orm::QueryResult) -> Result<T, DbErr>) -> Result<T> {
        let reader = self.read().await?;
        let row = reader.conn().query_one_raw(Statement::from_string(DbBackend::Postgres, sql)).await?;
        Ok(read(row.ok_or_else(|| DbErr::RecordNotFound(sql.to_owned()))?)?)
    }
}
