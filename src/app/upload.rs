//! How uploads share a node: how many at once, in all, of one account and from one address, and how fast each must come in.
//!
//! An upload holds up to 5 MiB in memory while it takes its turn. It has no turn before its first 64 KiB are there, or all of
//! it: so most uploads are over at once, and a sender who dribbles keeps nobody's turn. A sender that is slower than the least
//! rate is given up.

use std::collections::hash_map::Entry;
use std::collections::{HashMap, HashSet};
use std::hash::Hash;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use futures_util::stream::{Stream, StreamExt};
use tokio::sync::Notify;
use tokio::time::{Instant, timeout};
use uuid::Uuid;

use crate::domain::{Error, Result, UserId};

/// Bytes that come in before an upload has its turn: most pasted images are larger, icons and cut-outs are not.
const FIRST_BYTES: usize = 64 << 10;

/// How long an upload may take, its turn included: 10 MiB over a line of 1 Mbit/s take 84 s.
pub(super) const UPLOAD_WAIT: Duration = Duration::from_secs(120);

/// Uploads that are remembered to have failed.
const OVER_MAX: usize = 1_024;

/// The bounds of uploads on one node.
#[derive(Clone, Debug)]
pub struct UploadSettings {
    /// Turns: each holds up to 5 MiB in memory. Others wait.
    pub at_once: usize,
    /// Turns of one account, and from one address: others have room beside it.
    pub at_once_of_one: usize,
    /// Uploads that have begun, with a turn or waiting: each holds a connection and up to 64 KiB.
    pub begun: usize,
    /// Those of one account, and from one address: 100 images dropped into one comment are as many.
    pub begun_of_one: usize,
    /// The least that comes in, in bytes a second: a tenth of what the worst mobile line does.
    pub bytes_per_second_min: u64,
    /// Over which time that is looked at.
    pub window: Duration,
}

impl Default for UploadSettings {
    fn default() -> Self {
        Self {
            at_once: 16,
            at_once_of_one: 8,
            begun: 512,
            begun_of_one: 128,
            bytes_per_second_min: 4_096,
            window: Duration::from_secs(10),
        }
    }
}

/// The uploads of a node. Clones share them.
#[derive(Clone, Default)]
pub struct Uploads(Arc<Shared>);

#[derive(Default)]
struct Shared {
    settings: UploadSettings,
    counts: Mutex<Counts>,
    /// Uploads that have failed and could not say so in the database: nobody waits for them on this node.
    over: Mutex<HashSet<Uuid>>,
    /// A turn has ended.
    ended: Notify,
}

#[derive(Default)]
struct Counts {
    begun: Shares,
    at_once: Shares,
}

/// How much is taken, in all and by each.
#[derive(Default)]
struct Shares {
    in_all: usize,
    by_account: HashMap<UserId, usize>,
    by_address: HashMap<IpAddr, usize>,
}

/// Whose upload it is: the account that announced it, and the address that sends it, as far as they are known.
#[derive(Clone, Copy, Debug)]
pub(super) struct Sender {
    pub(super) account: Option<UserId>,
    pub(super) address: Option<IpAddr>,
}

/// An upload that has begun; it ends when this is dropped.
pub(super) struct Begun<'u> {
    uploads: &'u Uploads,
    sender: Sender,
    has_turn: bool,
}

impl Uploads {
    /// Uploads within these bounds.
    pub fn within(settings: UploadSettings) -> Self {
        Self(Arc::new(Shared { settings, ..Shared::default() }))
    }

    /// How many uploads have begun and are not over.
    pub fn begun(&self) -> usize {
        self.counts().begun.in_all
    }

    /// Takes note that an upload has ended, whatever the database says.
    pub(super) fn is_over(&self, upload: Uuid) {
        let mut over = self.0.over.lock().unwrap_or_else(PoisonError::into_inner);
        // Those that are forgotten are waited for.
        if over.len() >= OVER_MAX {
            over.clear();
        }
        over.insert(upload);
    }

    /// Whether an upload of this node is known to have ended.
    pub(super) fn was_over(&self, upload: Uuid) -> bool {
        self.0.over.lock().unwrap_or_else(PoisonError::into_inner).contains(&upload)
    }

    /// Lets an upload begin, unless there are too many already.
    pub(super) fn begin(&self, sender: Sender) -> Result<Begun<'_>> {
        let settings = &self.0.settings;
        let mut counts = self.counts();
        match counts.begun.take(sender, settings.begun, settings.begun_of_one) {
            true => Ok(Begun { uploads: self, sender, has_turn: false }),
            false => Err(Error::unavailable("too many uploads are under way; try again")),
        }
    }

    fn counts(&self) -> MutexGuard<'_, Counts> {
        // Nothing is called while it is held, so a poisoned count is a whole one.
        self.0.counts.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Begun<'_> {
    /// Takes in `bytes` as `work` reads them, once the first ones are there and it is this upload's turn.
    pub(super) async fn receive<S, T>(
        &mut self,
        bytes: &mut S,
        work: impl AsyncFnOnce(&mut Incoming<'_, S>) -> Result<T>,
    ) -> Result<T>
    where
        S: Stream<Item = Result<Bytes>> + Send + Unpin,
    {
        let settings = &self.uploads.0.settings;
        let mut incoming = Incoming { bytes, first: Vec::new(), settings, waited: Duration::ZERO, came: 0 };
        let received = timeout(UPLOAD_WAIT, async {
            incoming.read_first().await?;
            self.turn().await;
            work(&mut incoming).await
        });
        received.await.unwrap_or_else(|_| Err(too_slow("the upload took too long to come in".into())))
    }

    async fn turn(&mut self) {
        let Shared { settings, ended, .. } = &*self.uploads.0;
        loop {
            // Before the look: a turn that ends behind it is heard of.
            let next = ended.notified();
            if self.uploads.counts().at_once.take(self.sender, settings.at_once, settings.at_once_of_one) {
                self.has_turn = true;
                return;
            }
            next.await;
        }
    }
}

impl Drop for Begun<'_> {
    fn drop(&mut self) {
        let mut counts = self.uploads.counts();
        counts.begun.give_back(self.sender);
        if self.has_turn {
            counts.at_once.give_back(self.sender);
            self.uploads.0.ended.notify_waiters();
        }
    }
}

impl Shares {
    fn take(&mut self, sender: Sender, of_all: usize, of_one: usize) -> bool {
        let of_account = sender.account.and_then(|account| self.by_account.get(&account).copied()).unwrap_or_default();
        let of_address = sender.address.and_then(|address| self.by_address.get(&address).copied()).unwrap_or_default();
        if self.in_all >= of_all || of_account >= of_one || of_address >= of_one {
            return false;
        }
        self.in_all += 1;
        if let Some(account) = sender.account {
            *self.by_account.entry(account).or_default() += 1;
        }
        if let Some(address) = sender.address {
            *self.by_address.entry(address).or_default() += 1;
        }
        true
    }

    fn give_back(&mut self, sender: Sender) {
        self.in_all -= 1;
        if let Some(account) = sender.account {
            one_less(&mut self.by_account, account);
        }
        if let Some(address) = sender.address {
            one_less(&mut self.by_address, address);
        }
    }
}

fn one_less<K: Eq + Hash>(counts: &mut HashMap<K, usize>, key: K) {
    if let Entry::Occupied(mut here) = counts.entry(key) {
        *here.get_mut() -= 1;
        if *here.get() == 0 {
            here.remove();
        }
    }
}

/// The bytes of an upload, as they come in.
pub(super) struct Incoming<'b, S> {
    bytes: &'b mut S,
    /// What came before the turn, the last piece first.
    first: Vec<Bytes>,
    settings: &'b UploadSettings,
    /// How long bytes were waited for in this window, and how many came.
    waited: Duration,
    came: u64,
}

impl<S: Stream<Item = Result<Bytes>> + Send + Unpin> Incoming<'_, S> {
    /// The next piece; none at the end.
    pub(super) async fn next(&mut self) -> Result<Option<Bytes>> {
        match self.first.pop() {
            Some(piece) => Ok(Some(piece)),
            None => self.wait().await,
        }
    }

    async fn read_first(&mut self) -> Result<()> {
        let mut read = 0;
        while read < FIRST_BYTES
            && let Some(piece) = self.wait().await?
        {
            read += piece.len();
            self.first.push(piece);
        }
        self.first.reverse();
        Ok(())
    }

    /// Waits for the next piece. Only that counts against the sender, not how long storing takes.
    async fn wait(&mut self) -> Result<Option<Bytes>> {
        let UploadSettings { bytes_per_second_min, window, .. } = *self.settings;
        loop {
            let start = Instant::now();
            let piece = timeout(window.saturating_sub(self.waited), self.bytes.next()).await;
            self.waited += start.elapsed();
            if let Ok(Some(Ok(piece))) = &piece {
                self.came += piece.len() as u64;
            }
            if self.waited >= window {
                if u128::from(self.came) * 1_000 < u128::from(bytes_per_second_min) * window.as_millis() {
                    let message =
                        format!("the upload comes in too slowly: {bytes_per_second_min} bytes a second are the least");
                    return Err(too_slow(message));
                }
                (self.waited, self.came) = (Duration::ZERO, 0);
            }
            if let Ok(piece) = piece {
                return piece.transpose();
            }
        }
    }
}

fn too_slow(message: String) -> Error {
    Error::invalid("body", message)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sender(account: u128, address: u8) -> Sender {
        Sender { account: Some(UserId(uuid::Uuid::from_u128(account))), address: Some([10, 0, 0, address].into()) }
    }

    #[tokio::test]
    async fn turns_are_shared_by_account_and_by_address() {
        let uploads = Uploads::within(UploadSettings { at_once: 3, at_once_of_one: 2, ..UploadSettings::default() });
        let begin = |account, address| uploads.begin(sender(account, address)).expect("room");
        let (mut one, mut two) = (begin(1, 1), begin(1, 2));
        one.turn().await;
        two.turn().await;
        let mut third = begin(1, 3);
        assert!(timeout(Duration::ZERO, third.turn()).await.is_err(), "the account has its share");
        let mut other = begin(2, 1);
        other.turn().await;
        assert!(timeout(Duration::ZERO, begin(3, 3).turn()).await.is_err(), "all have theirs");
        drop(one);
        third.turn().await;
        drop(two);
        let mut next = begin(4, 1);
        next.turn().await;
    }

    #[tokio::test]
    async fn as_many_begin_as_there_is_room_for() {
        let uploads = Uploads::within(UploadSettings { begun: 3, begun_of_one: 2, ..UploadSettings::default() });
        let two = [uploads.begin(sender(1, 1)), uploads.begin(sender(1, 2))];
        assert!(two.iter().all(Result::is_ok) && uploads.begin(sender(1, 3)).is_err());
        let other = uploads.begin(sender(2, 1));
        assert!(other.is_ok() && uploads.begin(sender(3, 3)).is_err());
        drop(two);
        assert!(uploads.begin(sender(1, 3)).is_ok());
    }

    #[tokio::test]
    async fn a_sender_that_dribbles_is_given_up_and_a_slow_one_is_not() {
        let window = Duration::from_millis(200);
        let uploads = Uploads::within(UploadSettings { window, ..UploadSettings::default() });
        let take = async |bytes: usize, every: Duration| {
            let pieces = futures_util::stream::unfold((), move |()| async move {
                tokio::time::sleep(every).await;
                Some((Ok(Bytes::from(vec![0; bytes])), ()))
            });
            let mut pieces = Box::pin(pieces.take(40));
            let mut begun = uploads.begin(sender(1, 1)).expect("room");
            let start = Instant::now();
            let taken = begun.receive(&mut pieces, async |incoming| {
                let mut bytes = 0;
                while let Some(piece) = incoming.next().await? {
                    bytes += piece.len();
                }
                Ok(bytes)
            });
            (taken.await, start.elapsed())
        };
        let often = Duration::from_millis(10);
        let (taken, _) = take(1_000, often).await;
        assert_eq!(taken.expect("all of it"), 40 * 1_000);
        for (bytes, every) in [(20, often), (1_000, 600 * often)] {
            let (refused, after) = take(bytes, every).await;
            assert!(refused.is_err() && after < 20 * window, "{bytes} bytes each {every:?}: {after:?}");
        }
    }
}
