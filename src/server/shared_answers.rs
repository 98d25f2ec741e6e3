//! Answers that are made once for everybody who asks for the same: queries that the board answers.
//!
//! The answer to such a query is a function of the operation, its variables, what the caller may see, the day where it says what
//! was created and resolved since midnight, the position of the log and how often users and groups have been changed. All of
//! these are in the key, so an answer never has to be taken back: when
//! the log moves on, the next request has another key. Before an answer is given, the end of the log is read, as for every
//! read of the board: no answer is older than the log was when its request came.
//!
//! An answer with an error is never shared, nor is one that needed a snapshot of the database.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use async_graphql::Response as Answer;
use axum::body::Bytes;
use axum::http::{HeaderMap, HeaderValue, header};
use sha2::{Digest, Sha256};

use super::answers::AnswerSettings;
use super::asked::{Key, Words};
use super::endpoint::Endpoint;
use super::operation::{Body, Executed, Ready, execute};
use super::work::Work;
use crate::domain::position::Position;
use crate::domain::{Error, Result};

/// Bytes of answers that are kept. A page of 50 rows has 20 KB: these are the pages of 1,600 different filters, more than a
/// desk is asked for between two changes.
const KEPT_BYTES: usize = 32 << 20;

/// Bytes of one answer that is kept: a page of 100 rows with all that a row holds has 200 KB.
const ANSWER_BYTES: usize = 512 << 10;

/// Memory of a kept answer beside its bytes, about.
const ENTRY_BYTES: usize = 256;

/// Where the board stands, and how often users and groups had been changed.
type Standing = (Position, u64);

/// The answers of one position of the log. Clones share them.
#[derive(Clone)]
pub(super) struct SharedAnswers {
    kept: Arc<Mutex<Kept>>,
    given_again: Arc<AtomicU64>,
}

#[derive(Default)]
struct Kept {
    at: Option<Standing>,
    answers: HashMap<Key, SharedAnswer>,
    bytes: usize,
}

/// An answer without errors, as it is sent.
#[derive(Clone, Debug)]
pub(super) struct SharedAnswer {
    /// The body of the response.
    pub(super) json: Bytes,
    /// Equal for equal answers.
    pub(super) tag: HeaderValue,
}

/// An answer to a query.
pub(super) enum Made {
    /// Of this request alone.
    Own(Answer),
    /// Of all who ask for the same.
    Shared(SharedAnswer),
    /// The client holds it.
    Unchanged(HeaderValue),
}

/// The key of a query that may be answered by what another was answered; none where it may not.
pub(super) fn key<E: Endpoint>(endpoint: &E, ready: &Ready<E::Viewer>) -> Option<Key> {
    if !ready.is_for_the_board() {
        return None;
    }
    let words = Words::of(ready.canonical.clone(), &ready.variables);
    Some(Key::of_query(ready, &endpoint.sight(&ready.viewer, &words)?))
}

impl SharedAnswers {
    pub(super) fn new(settings: &AnswerSettings) -> Self {
        Self { kept: Arc::default(), given_again: settings.given_again.clone() }
    }

    /// Answers a query: as another was answered at the same position, or by running it in its turn. `held` is what the client
    /// says that it holds.
    pub(super) async fn answer<E: Endpoint>(
        &self,
        work: &Work,
        endpoint: &E,
        ready: Ready<E::Viewer>,
        key: Key,
        held: Option<&HeaderMap>,
    ) -> Result<Made> {
        if let Some(made) = self.find(endpoint, &key, held).await {
            return Ok(made);
        }
        let (principal, effort) = (endpoint.principal(&ready.viewer), ready.effort);
        let run = async {
            // Those who waited for their turn together ask for the same more often than not.
            if let Some(made) = self.find(endpoint, &key, held).await {
                return Ok(made);
            }
            match execute(endpoint, ready, None).await {
                Executed { answer, from_board: Some(at) } => self.keep(key, at, &answer).map(Made::Shared),
                Executed { answer, from_board: None } => Ok(Made::Own(answer)),
            }
        };
        work.query(principal, effort, run).await?
    }

    /// What is kept for this key at the end of the log as of now. The end is read only where that may be something.
    async fn find<E: Endpoint>(&self, endpoint: &E, key: &Key, held: Option<&HeaderMap>) -> Option<Made> {
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

    /// Keeps an answer for the next who asks, where it is of the newest position.
    fn keep(&self, key: Key, at: Standing, answer: &Answer) -> Result<SharedAnswer> {
        let json = serde_json::to_vec(&Body(answer)).map_err(|error| Error::fault("writing an answer", error))?;
        let answer = SharedAnswer { json: json.into(), tag: tag(&key, &at) };
        let bytes = answer.json.len() + ENTRY_BYTES;
        let mut kept = self.kept();
        if kept.at != Some(at) {
            // An answer of another life of the log comes after a restore: the newest to come is kept then.
            if kept.at.is_some_and(|(newest, accounts)| {
                newest.epoch == at.0.epoch && (newest.offset, accounts) > (at.0.offset, at.1)
            }) {
                return Ok(answer);
            }
            *kept = Kept { at: Some(at), ..Kept::default() };
        }
        if answer.json.len() <= ANSWER_BYTES && kept.bytes + bytes <= KEPT_BYTES {
            kept.bytes += bytes;
            if kept.answers.insert(key, answer.clone()).is_some() {
                kept.bytes -= bytes;
            }
        }
        Ok(answer)
    }

    fn kept(&self) -> MutexGuard<'_, Kept> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A weak tag: the answers of two media types have one body.
fn tag(key: &Key, (position, accounts): &Standing) -> HeaderValue {
    let mut hash = Sha256::new();
    // Another version may write the same answer in other bytes.
    hash.update(env!("CARGO_PKG_VERSION"));
    hash.update(key.bytes());
    hash.update(position.to_string());
    hash.update(accounts.to_be_bytes());
    let digest: String = hash.finalize().iter().take(16).map(|byte| format!("{byte:02x}")).collect();
    HeaderValue::try_from(format!("W/\"{digest}\"")).unwrap_or(HeaderValue::from_static("W/\"\""))
}

/// Whether a client says that it holds what this tag names. `*` names nothing that this server could know of.
fn holds(headers: &HeaderMap, tag: &HeaderValue) -> bool {
    let given = headers.get_all(header::IF_NONE_MATCH).iter().filter_map(|value| value.to_str().ok());
    given.flat_map(|list| list.split(',')).any(|given| given.trim().as_bytes() == tag.as_bytes())
}
