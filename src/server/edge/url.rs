//! The parameters in the URL of a request.

use axum::extract::Query;
use axum::http::Uri;

use crate::domain::Error;

/// Returns a parameter of the URL; an empty parameter counts as absent.
pub(in crate::server) fn url_parameter(uri: &Uri, name: &str) -> Result<Option<String>, Error> {
    let pairs = form_pairs(uri.query().unwrap_or_default())?;
    let mut values = pairs.into_iter().filter(|(given, _)| given == name).map(|(_, value)| value);
    Ok(values.find(|value| !value.is_empty()))
}

/// Returns the parameters of a query string, in its order.
pub(in crate::server) fn form_pairs(query: &str) -> Result<Vec<(String, String)>, Error> {
    let uri = format!("/?{query}").parse().map_err(|_| Error::invalid("query", "the URL cannot be read"))?;
    match Query::try_from_uri(&uri) {
        Ok(Query(pairs)) => Ok(pairs),
        Err(_) => Err(Error::invalid("query", "the URL cannot be read")),
    }
}
