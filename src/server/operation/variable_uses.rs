//! Bounds what variables multiply: the executor copies the value of a variable at each of its uses. A list of 10,000
//! values that is used a hundred times becomes a million values.
//!
//! The first use is free, because `json_size.rs` has bounded the value itself. Each further use counts all values in
//! it.

use async_graphql::{Name, Value};

use crate::domain::{Error, Result};

/// The most values that variables may add beyond their first use: as many as a request may hold.
pub(super) const MULTIPLIED_MAX: usize = 20_000;

/// Refuses variables that are used too often for their size, with `LIMIT`. `uses` says how often the executor reads
/// each variable, and `size` how many values it holds.
pub(crate) fn judge<'n>(
    uses: impl IntoIterator<Item = (&'n Name, usize)>,
    size: impl Fn(&Name) -> Option<usize>,
) -> Result<()> {
    let mut left = MULTIPLIED_MAX;
    for (name, uses) in uses {
        let Some(size) = size(name).filter(|_| uses > 1) else { continue };
        match left.checked_sub(size.saturating_mul(uses - 1)) {
            Some(rest) => left = rest,
            None => {
                let message = format!(
                    "${name} is used {uses} times: variables may add up to {MULTIPLIED_MAX} values beyond their first use"
                );
                return Err(Error::limit(format!("variables.{name}"), message, MULTIPLIED_MAX));
            }
        }
    }
    Ok(())
}

/// Counts the values in a value, itself included.
pub(crate) fn size(value: &Value) -> usize {
    match value {
        Value::List(items) => 1 + items.iter().map(size).sum::<usize>(),
        Value::Object(fields) => 1 + fields.values().map(size).sum::<usize>(),
        _ => 1,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn judge_list(uses: usize, length: usize) -> Result<()> {
        judge([(&Name::new("l"), uses)], |_| Some(size(&Value::List(vec![Value::from(0); length - 1]))))
    }

    #[test]
    fn each_use_but_the_first_counts() {
        judge_list(1, 100_000).expect("used once");
        judge_list(3, 10_000).expect("used three times");
        let error = judge_list(3, 10_001).expect_err("one more");
        assert!(error.to_string().contains("$l is used 3 times"), "{error}");
    }
}
