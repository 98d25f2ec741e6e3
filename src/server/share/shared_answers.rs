//! Shares answers: a query that the board answers is executed once for all clients that ask for the same at one
//! position.
//!
//! The answer to such a query depends on the operation, its variables, what the caller may see, the position of the
//! log, and the number of changes to users and groups. It also depends on the day, if it counts what was created and
//! resolved since midnight. The key and the [`AnswersFrom`] hold all of these, so no answer has to be invalidated: when
//! the log moves on, the next request finds no answer. As for every read of the board, the end of the log is read
//! before an answer is given: no answer is older than the log was when the request came.
//!
//! An answer with an error is never shared. An answer that needed a snapshot of the database is never shared either.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use async_graphql::Response as Answer;
use axum::body::Bytes;
use axum::http::{HeaderMap, HeaderValue, header};
use sha2::{Digest, Sha256};

use super::key::ShareKey;
use crate::domain::position::Position;
use crate::domain::{Error, Result};
use crate::server::edge::response::ResponseBody;
use crate::server::execution::answer_memory::AnswerSettings;
use crate::server::execution::executor::Executor;
use crate::server::operation::{Executed, Ready, endpoint::Endpoint, execute, words::Words};

/// The most bytes of kept answers. A page of 50 rows has 20 KB, so this holds 1,600 such pages: more than a desk is
/// asked for between two changes.
const KEPT_BYTES: usize = 32 << 20;

/// The most bytes of a kept answer: a page of 100 rows with all their fields has 200 KB.
const ANSWER_BYTES: usize = 512 << 10;

/// The approximate memory of a kept answer besides its bytes.
const ENTRY_BYTES: usize = 256;

/// The position of the board, and the number of changes to users and groups.
type AnswersFrom = (Position, u64);

/// The kept answers of one position of the log. Clones share them.
#[derive(Clone)]
pub(in crate::server) struct SharedAnswers {
    kept: Arc<Mutex<KeptAnswer>>,
    given_again: Arc<AtomicU64>,
}

#[derive(Default)]
struct KeptAnswer {
    at: Option<AnswersFrom>,
    answers: HashMap<ShareKey, SharedAnswer>,
    bytes: usize,
}

/// An answer without errors, as it is sent.
#[derive(Clone, Debug)]
pub(in crate::server) struct SharedAnswer {
    /// The body of the response.
    pub(in crate::server) json: Bytes,
    /// The entity tag, equal for equal answers.
    pub(in crate::server) tag: HeaderValue,
}

/// The answer to a query, by how it was found.
pub(in crate::server) enum Made {
    /// An answer for this request alone.
    Own(Answer),
    /// An answer that other requests may receive too.
    Shared(SharedAnswer),
    /// The client already holds the answer with this tag.
    Unchanged(HeaderValue),
}

/// Returns the key of a query whose answer may be shared; `None` if it may not.
pub(in crate::server) fn key<E: Endpoint>(endpoint: &E, ready: &Ready<E::Viewer>) -> Option<ShareKey> {
    if !ready.is_for_the_board() {
        return None;
    }
    let words = Words::of(ready.canonical.clone(), &ready.variables);
    Some(ShareKey::of_query(ready, &endpoint.sight(&ready.viewer, &words)?))
}

impl SharedAnswers {
    pub(in crate::server) fn new(settings: &AnswerSettings) -> Self {
        Self { kept: Arc::default(), given_again: settings.given_again.clone() }
    }

    /// Answers a query from a kept answer of the present position, or by executing it in its turn. `held` is set if the
    /// client says which answers it holds.
    pub(in crate::server) async fn answer<E: Endpoint>(
        &self,
        executor: &Executor,
        endpoint: &E,
        ready: Ready<E::Viewer>,
        key: ShareKey,
        held: Option<&HeaderMap>,
    ) -> Result<Made> {
        if let Some(made) = self.find(endpoint, &key, held).await {
            return Ok(made);
        }
        let (principal, effort) = (endpoint.principal(&ready.viewer), ready.effort);
        let run = async {
            // Queries that waited for their turn together are often equal.
            if let Some(made) = self.find(endpoint, &key, held).await {
                return Ok(made);
            }
            match execute(endpoint, ready, None).await {
                Executed { answer, from_board: Some(at) } => self.keep(key, at, &answer).map(Made::Shared),
                Executed { answer, from_board: None } => Ok(Made::Own(answer)),
            }
        };
        executor.query(principal, effort, run).await?
    }

    /// Finds the answer kept for this key at the end of the log. Reads the end of the log only if there may be such an
    /// answer.
    async fn find<E: Endpoint>(&self, endpoint: &E, key: &ShareKey, held: Option<&HeaderMap>) -> Option<Made> {
        if held.is_none() && !self.kept().answers.contains_key(key) {
            return None;
        }
        let at = endpoint.standing().await?;
        let tag = tag(key, &at);
        if held.is_some_and(|held| holds(held, &tag)) {
            return Some(Made::Unchanged(tag));
        }
        let kept = self.kept();
        let answer = kept.answers.get(key).filter(|_| kept.at == Some(at))?;
        self.given_again.fetch_add(1, Ordering::Relaxed);
        Some(Made::Shared(answer.clone()))
    }

    /// Keeps an answer for later requests, if it is of the newest position.
    fn keep(&self, key: ShareKey, at: AnswersFrom, answer: &Answer) -> Result<SharedAnswer> {
        let json =
            serde_json::to_vec(&ResponseBody(answer)).map_err(|error| Error::fault("writing an answer", error))?;
        let answer = SharedAnswer { json: json.into(), tag: tag(&key, &at) };
        let bytes = answer.json.len() + ENTRY_BYTES;
        let mut kept = self.kept();
        if kept.at != Some(at) {
            // After a restore, answers have another epoch: then the answer that came last is kept.
            if kept.at.is_some_and(|(newest, accounts)| {
                newest.epoch == at.0.epoch && (newest.offset, accounts) > (at.0.offset, at.1)
            }) {
                return Ok(answer);
            }
            *kept = KeptAnswer { at: Some(at), ..KeptAnswer::default() };
        }
        if answer.json.len() <= ANSWER_BYTES && kept.bytes + bytes <= KEPT_BYTES {
            kept.bytes += bytes;
            if kept.answers.insert(key, answer.clone()).is_some() {
                kept.bytes -= bytes;
            }
        }
        Ok(answer)
    }

    fn kept(&self) -> MutexGuard<'_, KeptAnswer> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Returns a weak tag: the answers of two media types have one body.
fn tag(key: &ShareKey, (position, accounts): &AnswersFrom) -> HeaderValue {
    let mut hash = Sha256::new();
    // Another version may write an equal answer in other bytes.
    hash.update(env!("CARGO_PKG_VERSION"));
    hash.update(key.bytes());
    hash.update(position.to_string());
    hash.update(accounts.to_be_bytes());
    let digest: String = hash.finalize().iter().take(16).map(|byte| format!("{byte:02x}")).collect();
    HeaderValue::try_from(format!("W/\"{digest}\"")).unwrap_or(HeaderValue::from_static("W/\"\""))
}

/// Returns whether the client says that it holds the answer with this tag. The server cannot know what `*` means here.
fn holds(headers: &HeaderMap, tag: &HeaderValue) -> bool {
    let given = headers.get_all(header::IF_NONE_MATCH).iter().filter_map(|value| value.to_str().ok());
    given.flat_map(|list| list.split(',')).any(|given| given.trim().as_bytes() == tag.as_bytes())
}
