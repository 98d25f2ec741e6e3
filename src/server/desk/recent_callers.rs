//! A cache of recent callers: a thousand clients that reconnect at once do not read one account a thousand times.
//!
//! The next caller sees a change of users, groups or members on this node at once, and a change on another node within
//! [`KNOWN_FOR`]. Refusals are not kept. `docs/DESIGN.md` says why this is no cache of moka ("Choices of structure").

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

use crate::app::App;
use crate::domain::Result;
use crate::graphql::Viewer;

/// How long a caller stays in the cache. A socket keeps its viewer far longer.
const KNOWN_FOR: Duration = Duration::from_secs(1);

/// The most callers in the cache. Beyond it the cache is cleared.
const CALLERS_MAX: usize = 1_000;

/// The recent callers. Clones share them.
#[derive(Clone, Default)]
pub(super) struct RecentCallers(Arc<Mutex<HashMap<Option<String>, RecentCaller>>>);

struct RecentCaller {
    viewer: Viewer,
    since: Instant,
    /// The number of changes to accounts before the caller was read.
    accounts: u64,
}

impl RecentCallers {
    /// Returns the viewer of the account that a request names, from the cache or from the database.
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
        callers.insert(account, RecentCaller { viewer: viewer.clone(), since, accounts });
        Ok(viewer)
    }
}
