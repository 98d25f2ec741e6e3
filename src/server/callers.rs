//! Who called a moment ago: so that thousands who come back at once are not thousands of reads of one account.
//!
//! A change of users, groups or members on this node is seen by the next caller; one of another node within
//! [`KNOWN_FOR`]. Refusals are not kept.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

use crate::app::App;
use crate::domain::Result;
use crate::graphql::Viewer;

/// How long a caller is taken for what it was. A socket keeps its viewer far longer.
const KNOWN_FOR: Duration = Duration::from_secs(1);

/// Callers that are kept; beyond, all of them are read again.
const CALLERS_MAX: usize = 1_000;

/// The callers of the last moment. Clones share them.
#[derive(Clone, Default)]
pub(super) struct Callers(Arc<Mutex<HashMap<Option<String>, Known>>>);

struct Known {
    viewer: Viewer,
    since: Instant,
    /// How often accounts had changed before it was read.
    accounts: u64,
}

impl Callers {
    /// Whom a request names.
    pub(super) async fn named(&self, app: &App, account: Option<String>) -> Result<Viewer> {
        let (since, accounts) = (Instant::now(), app.hub.accounts());
        if let Some(known) = self.0.lock().unwrap_or_else(PoisonError::into_inner).get(&account)
            && known.accounts == accounts
            && known.since.elapsed() < KNOWN_FOR
        {
            return Ok(known.viewer.clone());
        }
        let viewer: Viewer = Arc::new(app.local_caller(account.as_deref()).await?);
        let mut callers = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if callers.len() >= CALLERS_MAX {
            callers.clear();
        }
        callers.insert(account, Known { viewer: viewer.clone(), since, accounts });
        Ok(viewer)
    }
}
