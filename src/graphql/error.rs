//! The errors as clients see them. Only this file writes `extensions`.
//!
//! Every error has a `code` of the closed list. A refusal keeps its message, the input field (`path`) and what is true
//! now (`now`). A fault shows only a `reference`, which the log repeats next to the cause.

use std::{
    any::Any,
    collections::VecDeque,
    hash::{BuildHasher, DefaultHasher, Hash, Hasher, RandomState},
    sync::Arc,
    time::{Duration, Instant},
};

use async_graphql::{ErrorExtensionValues, Response, ServerError, Value};
use parking_lot::Mutex;

use crate::domain::{
    self, Code,
    error::{RETRY_AFTER, Refusal},
};

/// Returns the response as clients may see it. The transports call it on every response; it is idempotent.
#[must_use]
pub fn present(mut response: Response) -> Response {
    response.errors.iter_mut().for_each(present_error);
    response
}

/// Returns the response to a mutation as clients may see it; `commands` is the number of commands in
/// the document. Call it once: a second call would repeat the words.
///
/// An error below a root field concerns the answer alone: the command of that field was carried out. So it does not
/// carry `retryAfter`, which says that nothing was changed. The same holds if another command of the document may have
/// changed something.
#[must_use]
pub fn present_mutation(response: Response, commands: usize) -> Response {
    let mut response = present(response);
    for error in &mut response.errors {
        let concerns_answer = error.path.len() > 1;
        if concerns_answer {
            error.message =
                format!("the command was carried out, but a part of its answer is missing: {}", error.message);
        }
        if (concerns_answer || commands > 1)
            && let Some(extensions) = &mut error.extensions
        {
            extensions.unset("retryAfter");
        }
    }
    response
}

/// Returns the response to a request that is refused before it is executed.
#[must_use]
pub fn refuse(error: domain::Error) -> Response {
    Response::from_errors(vec![server_error(error)])
}

/// Returns a domain error as an error that clients may see.
#[must_use]
pub fn server_error(error: domain::Error) -> ServerError {
    let mut refused = ServerError::new(error.to_string(), None);
    refused.source = Some(Arc::new(error));
    present_error(&mut refused);
    refused
}

/// Returns the code of an error, if it was presented.
#[must_use]
pub fn code_of(error: &ServerError) -> Option<&str> {
    match error.extensions.as_ref()?.get("code")? {
        Value::String(code) => Some(code),
        _ => None,
    }
}

/// Whether the request failed before anything was executed, so that its response has no `data` entry.
///
/// Errors of execution name the field in which they happened; errors of parsing, validation and coercion do not.
#[must_use]
pub fn is_request_error(response: &Response) -> bool {
    response.is_err() && response.data == Value::Null && response.errors.iter().all(|error| error.path.is_empty())
}

fn present_error(error: &mut ServerError) {
    if code_of(error).is_some() {
        error.source = None;
        return;
    }
    let Some(source) = error.source.take() else {
        // Only async-graphql itself makes errors without a source: syntax, validation and coercion of input.
        let path = argument_of(&error.message).map(str::to_owned);
        error.message = plain(&error.message);
        let extensions = extend(error, Code::Invalid);
        if let Some(path) = path {
            extensions.set("path", path);
        }
        return;
    };
    match domain_error(source.as_ref()) {
        Some(domain::Error::Refused(refusal)) => show(error, refusal),
        Some(busy @ domain::Error::Busy) => {
            error.message = busy.to_string();
            extend(error, busy.code()).set("retryAfter", RETRY_AFTER);
        }
        Some(fault @ domain::Error::Fault { .. }) => mask(error, &chain(fault)),
        None => {
            let cause = std::mem::take(&mut error.message);
            mask(error, &cause);
        }
    }
}

/// Returns the input field that a validation message of async-graphql is about.
fn argument_of(message: &str) -> Option<&str> {
    message.strip_prefix("Invalid value for argument \"")?.split_once('"').map(|(path, _)| path)
}

/// Removes the parts of a message of async-graphql that clients do not need: the drawing of its parser (the error has
/// the place in `locations`), and the names of input types on the way to a value.
fn plain(message: &str) -> String {
    if message.starts_with(" --> ") {
        let said = message.rsplit_once("= ").map_or("the document cannot be read", |(_, said)| said);
        return format!("syntax error: {said}");
    }
    let end = message.find(" (occurred while parsing").unwrap_or(message.len());
    match message[..end].strip_prefix("Failed to parse \"").and_then(|rest| rest.split_once("\": ")) {
        Some((scalar, why)) => format!("this is not a {scalar}: {why}"),
        None => message[..end].to_owned(),
    }
}

/// Finds the domain error. A data loader gives one error to many fields, behind an `Arc`.
fn domain_error(source: &(dyn Any + Send + Sync)) -> Option<&domain::Error> {
    source.downcast_ref::<domain::Error>().or_else(|| source.downcast_ref::<Arc<domain::Error>>().map(AsRef::as_ref))
}

fn show(error: &mut ServerError, refusal: &Refusal) {
    error.message.clone_from(&refusal.message);
    let extensions = extend(error, refusal.code);
    if let Some(path) = &refusal.path {
        extensions.set("path", path.as_str());
    }
    if let Some(seconds) = refusal.retry_after {
        extensions.set("retryAfter", seconds);
    }
    if let Some(now) = refusal.now.clone().and_then(|now| Value::from_json(now).ok()) {
        extensions.set("now", now);
    }
}

fn mask(error: &mut ServerError, cause: &str) {
    let reference = FAULTS.lock().reference(cause);
    // The log does not repeat a cause that it has written within a minute.
    tracing::error!(error.reference = %reference, error.cause = %cause, "an operation failed for a reason of ours");
    error.message = format!("something went wrong here; reference {reference}");
    extend(error, Code::Internal).set("reference", reference);
}

fn extend(error: &mut ServerError, code: Code) -> &mut ErrorExtensionValues {
    let extensions = error.extensions.get_or_insert_default();
    extensions.set("code", code.as_str());
    extensions
}

/// How long faults of one cause share a reference. The log writes each cause once a minute, and every reference must be
/// found in it.
const ONE_REFERENCE: Duration = Duration::from_secs(60);

/// The most causes whose reference is remembered.
const CAUSES_MAX: usize = 64;

static FAULTS: Mutex<Faults> = Mutex::new(Faults(VecDeque::new()));

/// The causes of the last minute, the newest last: the hash of the cause, when it got its reference, and the reference.
struct Faults(VecDeque<(u64, Instant, String)>);

impl Faults {
    fn reference(&mut self, cause: &str) -> String {
        let mut hasher = DefaultHasher::new();
        cause.hash(&mut hasher);
        let cause = hasher.finish();
        while self.0.len() >= CAUSES_MAX || self.0.front().is_some_and(|(_, since, _)| since.elapsed() >= ONE_REFERENCE)
        {
            self.0.pop_front();
        }
        if let Some((_, _, reference)) = self.0.iter().find(|(known, ..)| *known == cause) {
            return reference.clone();
        }
        let reference = reference();
        self.0.push_back((cause, Instant::now(), reference.clone()));
        reference
    }
}

/// Returns sixteen hexadecimal digits from the process's random state. They name a line of the log. They are not an id
/// of the domain, so they do not come from the clock.
fn reference() -> String {
    format!("{:016x}", RandomState::new().hash_one(()))
}

fn chain(error: &dyn std::error::Error) -> String {
    let causes = std::iter::successors(error.source(), |cause| cause.source());
    causes.fold(error.to_string(), |text, cause| format!("{text}: {cause}"))
}

#[cfg(test)]
mod tests {
    use async_graphql::PathSegment;

    use super::*;

    fn from_resolver(error: domain::Error) -> serde_json::Value {
        let error: async_graphql::Error = error.into();
        let response = Response::from_errors(vec![error.into_server_error(async_graphql::Pos::default())]);
        serde_json::to_value(&present(present(response)).errors[0]).expect("an error is JSON")
    }

    #[test]
    fn a_refusal_keeps_its_words_field_and_truth() {
        let error = from_resolver(domain::Error::limit("input.title", "the title is too long", 256));
        assert_eq!(error["message"], "the title is too long");
        let extensions = serde_json::json!({ "code": "LIMIT", "path": "input.title", "now": { "limit": 256 } });
        assert_eq!(error["extensions"], extensions);
    }

    #[test]
    fn a_fault_shows_a_reference_and_no_cause() {
        let error = from_resolver(domain::Error::fault("reading the queue", "password authentication failed"));
        let reference = error["extensions"]["reference"].as_str().expect("a reference");
        assert_eq!(error["message"], format!("something went wrong here; reference {reference}"));
        assert_eq!(error["extensions"]["code"], "INTERNAL");
        assert!(!error.to_string().contains("password"));
    }

    #[test]
    fn an_error_of_another_library_is_masked_too() {
        let source: async_graphql::Error = std::io::Error::other("/var/lib/desk.db is gone").into();
        let response = Response::from_errors(vec![source.into_server_error(async_graphql::Pos::default())]);
        let shown = serde_json::to_string(&present(response)).expect("a response is JSON");
        assert!(shown.contains("INTERNAL") && !shown.contains("desk.db"));
    }

    #[test]
    fn a_shared_error_of_a_data_loader_is_understood() {
        let error: async_graphql::Error = Arc::new(domain::Error::not_found("incident", 7)).into();
        let mut error = error.into_server_error(async_graphql::Pos::default());
        present_error(&mut error);
        assert_eq!((error.message.as_str(), code_of(&error)), ("there is no incident 7", Some("NOT_FOUND")));
    }

    #[test]
    fn a_busy_desk_says_that_it_may_be_asked_again() {
        assert_eq!(from_resolver(domain::Error::Busy)["extensions"]["code"], "UNAVAILABLE");
    }

    #[test]
    fn an_answer_to_a_mutation_says_that_nothing_was_changed_only_if_that_is_so() {
        let busy = |path: &[&str]| {
            let error: async_graphql::Error = domain::Error::unavailable("the desk is busy").into();
            let error = error.into_server_error(async_graphql::Pos::default());
            let path = path.iter().map(|name| PathSegment::Field((*name).to_owned())).collect();
            Response::from_errors(vec![ServerError { path, ..error }])
        };
        let shown = |path: &[&str], fields: usize| {
            let response = present_mutation(busy(path), fields);
            serde_json::to_value(&response.errors[0]).expect("an error is JSON")
        };
        let refused = shown(&["createIncident"], 1);
        assert_eq!(refused["extensions"], serde_json::json!({ "code": "UNAVAILABLE", "retryAfter": 1 }));
        assert_eq!(shown(&["b"], 2)["extensions"], serde_json::json!({ "code": "UNAVAILABLE" }));
        let unread = shown(&["createIncident", "incident", "comments"], 1);
        assert_eq!(unread["extensions"], serde_json::json!({ "code": "UNAVAILABLE" }));
        let message = "the command was carried out, but a part of its answer is missing: the desk is busy";
        assert_eq!(unread["message"], message);
    }

    #[test]
    fn messages_of_the_library_are_plain_and_name_the_field() {
        let says = |message: &str| {
            let shown = present(Response::from_errors(vec![ServerError::new(message, None)]));
            serde_json::to_value(&shown.errors[0]).expect("an error is JSON")
        };
        let unknown =
            says("Invalid value for argument \"filter.status.0\", enumeration type \"S\" does not contain \"X\"");
        assert_eq!(unknown["extensions"], serde_json::json!({ "code": "INVALID", "path": "filter.status.0" }));
        let time = says("Failed to parse \"DateTime\": premature end (occurred while parsing \"TimeRangeInput\")");
        assert_eq!(time["message"], "this is not a DateTime: premature end");
        assert_eq!(
            says(" --> 1:18\n  |\n1 | {a(b:)}\n  |\n  = expected value")["message"],
            "syntax error: expected value"
        );
    }

    #[test]
    fn an_error_of_syntax_is_invalid_input() {
        let response = present(Response::from_errors(vec![ServerError::new("expected a name", None)]));
        assert_eq!(code_of(&response.errors[0]), Some("INVALID"));
        assert!(is_request_error(&response));
    }
}
