//! PostgreSQL's protocol, as far as the proxy must parse it to break at one message.

/// The manner in which a connection breaks at a message.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Break {
    #[default]
    Nothing,
    /// The connection closes before the server receives the message.
    Before,
    /// The connection closes after the server has executed the message, before its answer.
    After,
    /// The server has executed the message, and no byte passes any more. The connection stays open.
    Mute,
    /// The connection stays open, but the server has aborted the transaction before the message, unknown to the desk.
    /// At any message but COMMIT the desk would be told.
    Abort,
}

/// The message at which a connection breaks.
#[derive(Debug, Default)]
pub(crate) struct Plan {
    /// How many messages are left, including the message of the break.
    pub(crate) left: usize,
    pub(crate) how: Break,
    /// Whether only COMMIT messages count.
    pub(crate) only_commits: bool,
}

impl Plan {
    pub(crate) fn has_broken(&self) -> bool {
        self.left == 0 && self.how != Break::Nothing
    }

    /// Decides the fate of a message.
    pub(crate) fn meet(&mut self, frames: &mut Frames, frame: &[u8]) -> Break {
        let begins = says(frame, b"BEGIN ISOLATION LEVEL READ COMMITTED");
        let commits = says(frame, b"COMMIT");
        if begins {
            frames.is_writing = true;
        }
        let counts = frames.is_writing;
        // Also without a plan: otherwise the next messages on the same connection would be counted.
        if commits || says(frame, b"ROLLBACK\0") {
            frames.is_writing = false;
        }
        if !counts || self.left == 0 {
            return Break::Nothing;
        }
        self.left -= usize::from(commits || !self.only_commits);
        if self.left == 0 { self.how } else { Break::Nothing }
    }
}

fn says(frame: &[u8], words: &[u8]) -> bool {
    frame[0] == b'Q' && frame[5..].starts_with(words)
}

/// A simple query.
pub(crate) fn query(sql: &str) -> Vec<u8> {
    let mut frame = vec![b'Q'];
    frame.extend((sql.len() as u32 + 5).to_be_bytes());
    frame.extend(sql.as_bytes());
    frame.push(0);
    frame
}

/// The messages on their way in one direction.
#[derive(Default)]
pub(crate) struct Frames {
    waiting: Vec<u8>,
    has_begun: bool,
    is_writing: bool,
}

impl Frames {
    /// Makes a parser for a server's messages, each of which has a type.
    pub(crate) fn of_a_server() -> Self {
        Self { has_begun: true, ..Self::default() }
    }

    pub(crate) fn add(&mut self, bytes: &[u8]) {
        self.waiting.extend_from_slice(bytes);
    }

    /// Returns the next whole message. A client's first messages have a length and no type: requests for encryption,
    /// and at last the message with the version 3.0, which begins the session.
    pub(crate) fn next(&mut self) -> Option<Vec<u8>> {
        let typed = usize::from(self.has_begun);
        let length = self.waiting.get(typed..typed + 4)?;
        let length = u32::from_be_bytes(length.try_into().expect("four bytes")) as usize + typed;
        if self.waiting.len() < length {
            return None;
        }
        let rest = self.waiting.split_off(length);
        let frame = std::mem::replace(&mut self.waiting, rest);
        self.has_begun |= frame.get(4..8) == Some(&[0, 3, 0, 0]);
        Some(frame)
    }
}
