//! The parameters of a request, from the JSON or the URL that a client sends. They are equal on every transport.
//!
//! Their text is measured first ([`json_size`]). Then each part is parsed once, directly into its final form.

use std::borrow::Cow;

use serde::Deserialize;
use serde_json::Value;
use serde_json::value::RawValue;

use super::given::Given;
use super::json_size::{self, ASIDE_VALUES_MAX, BATCH_VALUES_MAX, VALUES_MAX};
use crate::domain::{Error, Result};

/// The parameters of a GraphQL request, in the form of both protocols. Unknown parameters are ignored.
#[derive(Debug, Default)]
pub(crate) struct Parameters {
    /// The text of the document.
    pub(crate) query: String,
    /// The name of the operation to run, if the client names one; an empty name counts as absent.
    pub(crate) operation_name: Option<String>,
    /// The values of the variables.
    pub(crate) variables: Given,
    /// The client's id of the operation, if several operations share a stream.
    pub(crate) operation_id: Option<Value>,
}

/// A JSON object with the parameters, each part as its JSON text.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct WrittenParameters<'t> {
    #[serde(borrow, default)]
    query: Option<&'t RawValue>,
    #[serde(borrow, default)]
    operation_name: Option<&'t RawValue>,
    #[serde(borrow, default)]
    variables: Option<&'t RawValue>,
    #[serde(borrow, default)]
    extensions: Option<&'t RawValue>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Extensions<'t> {
    #[serde(borrow, default)]
    operation_id: Option<&'t RawValue>,
    #[serde(borrow, default)]
    persisted_query: Option<&'t RawValue>,
}

impl Parameters {
    /// Reads the parameters from a JSON object. `path` names the text in errors.
    ///
    /// `INVALID` if the text is not a JSON object, or if a parameter has another type. `LIMIT` if there are more values
    /// or deeper nesting than `json_size` allows.
    pub(crate) fn read(path: &str, text: &str) -> Result<Self> {
        let amount = json_size::within(path, text, BATCH_VALUES_MAX)?;
        let written: WrittenParameters<'_> = match text.trim_ascii_start().as_bytes().first() {
            Some(b'{') => serde_json::from_str(text).map_err(|error| not_json(path, &error))?,
            Some(b'[') => return Err(Error::invalid(path, "batches are not served; send one operation a request")),
            _ => {
                serde_json::from_str::<&RawValue>(text).map_err(|error| not_json(path, &error))?;
                return Err(Error::invalid(path, format!("the {path} must be a JSON object")));
            }
        };
        let query = match written.query.map(RawValue::get) {
            Some(query) if query.starts_with('"') => string(path, query)?,
            None if is_persisted(written.extensions) => return Err(Error::persisted_query()),
            _ => return Err(must("query", "a string")),
        };
        let operation_name = match written.operation_name.map(RawValue::get) {
            None => None,
            Some(name) if name.starts_with('"') => Some(string(path, name)?).filter(|name| !name.is_empty()),
            Some(_) => return Err(must("operationName", "a string or null")),
        };
        // Checked before anything is parsed further: only a batch may have more values.
        if amount.values > VALUES_MAX && !json_size::is_batch(&query, operation_name.as_deref()) {
            json_size::within(path, text, VALUES_MAX)?;
        }
        let variables = match written.variables.map(RawValue::get) {
            None => Given::default(),
            Some(variables) if variables.starts_with('{') => {
                Given::read(variables).map_err(|error| not_json(path, &error))?
            }
            Some(_) => return Err(must("variables", "an object or null")),
        };
        let operation_id = written.extensions.map(|extensions| read_extensions(path, extensions.get())).transpose()?;
        Ok(Self { query, operation_name, variables, operation_id: operation_id.flatten() })
    }

    /// Reads the parameters from a URL; an empty parameter counts as absent.
    pub(crate) fn of_address(pairs: Vec<(String, String)>) -> Result<Self> {
        let mut parameters = Self::default();
        let (mut has_query, mut is_persisted_only) = (false, false);
        for (name, value) in pairs.into_iter().filter(|(_, value)| !value.is_empty()) {
            let not_json = |error: serde_json::Error| Error::invalid(&name, format!("{name} is not JSON: {error}"));
            match name.as_str() {
                "query" => (parameters.query, has_query) = (value, true),
                "operationName" => parameters.operation_name = Some(value),
                "variables" => {
                    json_size::within("variables", &value, VALUES_MAX)?;
                    let raw: &RawValue = serde_json::from_str(&value).map_err(not_json)?;
                    parameters.variables = match raw.get() {
                        "null" => Given::default(),
                        text if text.starts_with('{') => Given::read(text).map_err(not_json)?,
                        _ => return Err(must("variables", "an object or null")),
                    };
                }
                "extensions" => {
                    let raw: &RawValue = serde_json::from_str(&value).map_err(not_json)?;
                    is_persisted_only = is_persisted(Some(raw));
                    parameters.operation_id = match raw.get() {
                        "null" => None,
                        text => read_extensions("extensions", text)?,
                    };
                }
                _ => {}
            }
        }
        if !has_query && is_persisted_only {
            return Err(Error::persisted_query());
        }
        if !has_query {
            return Err(must("query", "a string"));
        }
        Ok(parameters)
    }
}

fn read_extensions(path: &str, text: &str) -> Result<Option<Value>> {
    if !text.starts_with('{') {
        return Err(must("extensions", "an object or null"));
    }
    json_size::within("extensions", text, ASIDE_VALUES_MAX)?;
    let extensions: Extensions<'_> = serde_json::from_str(text).map_err(|error| not_json(path, &error))?;
    let id = extensions.operation_id.map(|id| serde_json::from_str(id.get()));
    id.transpose().map_err(|error| not_json(path, &error))
}

/// Returns whether the document is named by its hash. If the server refuses that, clients send the document itself.
fn is_persisted(extensions: Option<&RawValue>) -> bool {
    let extensions = extensions.map(|text| serde_json::from_str::<Extensions<'_>>(text.get()));
    extensions.is_some_and(|extensions| extensions.is_ok_and(|extensions| extensions.persisted_query.is_some()))
}

fn string(path: &str, text: &str) -> Result<String> {
    serde_json::from_str::<Cow<'_, str>>(text).map(Cow::into_owned).map_err(|error| not_json(path, &error))
}

fn must(name: &str, be: &str) -> Error {
    Error::invalid(name, format!("{name} must be {be}"))
}

fn not_json(path: &str, error: &serde_json::Error) -> Error {
    Error::invalid(path, format!("the {path} is not JSON: {error}"))
}
