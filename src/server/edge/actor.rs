//! The account for which a caller acts, as a request names it.

use axum::http::HeaderMap;

use crate::domain::Error;

/// The header, and the field of `connection_init`, that names the account for which a caller acts.
pub(in crate::server) const ACTOR: &str = "Watchfloor-Actor";

/// Returns the account that the caller names; `None` if it names no account.
pub(in crate::server) fn actor(headers: &HeaderMap) -> Result<Option<String>, Error> {
    let mut values = headers.get_all(ACTOR).iter();
    let Some(value) = values.next() else { return Ok(None) };
    if values.next().is_some() {
        return Err(Error::invalid(ACTOR, format!("the header {ACTOR} comes twice")));
    }
    match std::str::from_utf8(value.as_bytes()) {
        Ok(account) => named_account(account).map(Some),
        Err(_) => Err(Error::invalid(ACTOR, format!("the header {ACTOR} is not UTF-8"))),
    }
}

/// Checks the name of an account, and removes the blanks around it. An empty name is a mistake of a script. Such a
/// script must not act as the local manager.
pub(in crate::server) fn named_account(account: &str) -> Result<String, Error> {
    match account.trim() {
        "" => Err(Error::invalid(ACTOR, format!("{ACTOR} names nobody: name an account, or leave it out"))),
        account => Ok(account.to_owned()),
    }
}
