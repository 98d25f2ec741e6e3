//! People and groups, as records name them: by account, with a name and an email if the record gives them.

use serde::{Deserialize, Serialize};

/// A person, by account. Name and email are used only when the account is created.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(from = "PersonForm", into = "PersonForm")]
pub struct Person {
    /// The account id.
    pub account: String,
    /// The display name.
    pub name: Option<String>,
    /// A mail address.
    pub email: Option<String>,
}

#[derive(Serialize, Deserialize)]
#[serde(untagged, expecting = "a person is an account, or an object of account, name and email")]
enum PersonForm {
    Account(String),
    Full(PersonFields),
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct PersonFields {
    account: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    name: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    email: Option<String>,
}

/// An owner: a person, or `{"group": "<account>"}`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(untagged, expecting = "an owner is a person, or an object of group and name")]
pub enum Party {
    /// A group of users.
    Group(GroupName),
    /// One user.
    User(Person),
}

/// A group, by account.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct GroupName {
    /// The account id.
    pub group: String,
    /// The display name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
}

impl Person {
    /// Makes a person with an account and no name or email.
    pub fn named(account: impl Into<String>) -> Self {
        Self { account: account.into(), name: None, email: None }
    }
}

impl From<PersonForm> for Person {
    fn from(form: PersonForm) -> Self {
        match form {
            PersonForm::Account(account) => Self::named(account),
            PersonForm::Full(PersonFields { account, name, email }) => Self { account, name, email },
        }
    }
}

impl From<Person> for PersonForm {
    fn from(person: Person) -> Self {
        match person {
            Person { account, name: None, email: None } => Self::Account(account),
            Person { account, name, email } => Self::Full(PersonFields { account, name, email }),
        }
    }
}
