//! PostgreSQL's protocol, as far as it must be read to break it at one message.

/// How a connection breaks at a message.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Break {
    #[default]
    Nothing,
    /// It is closed, and the server has not heard the message.
    Before,
    /// The server has done what the message says, and it is closed before the answer passes.
    After,
    /// The server has done what the message says, and nothing passes any more. The connection stays open.
    Mute,
    /// It stays, but the server's transaction was aborted before the message, and the desk has not heard of it. At any message but
    /// COMMIT it would be told.
    Abort,
}

/// At which message.
#[derive(Debug, Default)]
pub(crate) struct Plan {
    /// How many messages are left, that one included.
    pub(crate) left: usize,
    pub(crate) how: Break,
    /// Whether no other messages count.
    pub(crate) only_commits: bool,
}

impl Plan {
    pub(crate) fn has_broken(&self) -> bool {
        self.left == 0 && self.how != Break::Nothing
    }

    /// What becomes of a message.
    pub(crate) fn meet(&mut self, frames: &mut Frames, frame: &[u8]) -> Break {
        let begins = says(frame, b"BEGIN ISOLATION LEVEL READ COMMITTED");
        let commits = says(frame, b"COMMIT");
        if begins {
            frames.is_writing = true;
        }
        let counts = frames.is_writing;
        // Also while nothing is planned: else what is read afterwards on the same connection would be counted.
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

/// Messages on their way in one direction.
#[derive(Default)]
pub(crate) struct Frames {
    waiting: Vec<u8>,
    has_begun: bool,
    is_writing: bool,
}

impl Frames {
    /// A server's, each of which has a type.
    pub(crate) fn of_a_server() -> Self {
        Self { has_begun: true, ..Self::default() }
    }

    pub(crate) fn add(&mut self, bytes: &[u8]) {
        self.waiting.extend_from_slice(bytes);
    }

    /// The next whole message. A client's first ones have a length and no type: the last of them, with the version 3.0, begins the
    /// session; those before it ask for encryption.
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
