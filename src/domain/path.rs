//! The path of a value in an input, as `extensions.path` of a refusal names it.

use std::fmt::Display;

use super::Result;

/// The path of a value in an input: names of fields and positions in lists, joined by dots. An example is
/// `filter.and.1.owner.users.3`. A reader of nested inputs carries one path, which grows and shrinks with the depth.
#[derive(Clone, Debug)]
pub(crate) struct InputPath(String);

impl InputPath {
    /// Starts a path at a field or an argument.
    pub(crate) fn new(start: &str) -> Self {
        Self(start.to_owned())
    }

    /// Returns the path, dotted.
    pub(crate) fn as_str(&self) -> &str {
        &self.0
    }

    /// Calls `read` with the path of a field or a list item of this value. Afterwards the path is as before.
    pub(crate) fn below<T>(&mut self, segment: impl Display, read: impl FnOnce(&mut Self) -> T) -> T {
        let end = self.0.len();
        self.0.push('.');
        self.0.push_str(&segment.to_string());
        let done = read(self);
        self.0.truncate(end);
        done
    }

    /// Reads each item of the list at this path with the path of the item. Stops at the first refusal.
    pub(crate) fn each<I, T>(
        &mut self,
        items: impl IntoIterator<Item = I>,
        mut read: impl FnMut(&mut Self, I) -> Result<T>,
    ) -> Result<Vec<T>> {
        items.into_iter().enumerate().map(|(index, item)| self.below(index, |path| read(path, item))).collect()
    }
}

/// Reads each item of the list at `path` with the path of the item. Stops at the first refusal.
pub(crate) fn each<I, T>(
    path: &str,
    items: impl IntoIterator<Item = I>,
    mut read: impl FnMut(&str, I) -> Result<T>,
) -> Result<Vec<T>> {
    InputPath::new(path).each(items, |path, item| read(path.as_str(), item))
}

#[cfg(test)]
mod tests {
    use super::super::Error;
    use super::*;

    #[test]
    fn a_path_names_fields_and_positions() {
        let mut path = InputPath::new("filter");
        let read = path.below("and", |path| {
            path.each([1, 2, 3], |path, item| match item {
                2 => path.below("owner", |path| Err(Error::invalid(path.as_str(), "no"))),
                item => Ok(item),
            })
        });
        let Err(Error::Refused(refusal)) = read else { panic!("a refusal") };
        assert_eq!(refusal.path.as_deref(), Some("filter.and.1.owner"));
        assert_eq!(path.as_str(), "filter");
    }
}
