//! The limits that uploads share on a node: how many run at once, in total, per account and per address, and how fast
//! each must arrive.
//!
//! A running upload holds up to 5 MiB in memory. It gets its permit ("turn") only after its first 64 KiB, or all its
//! bytes, have arrived. So most uploads finish at once, and a slow sender holds no permit that others need. A sender
//! below the least rate is refused.

use std::collections::hash_map::Entry;
use std::collections::{HashMap, HashSet};
use std::hash::Hash;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures_util::stream::{Stream, StreamExt};
use parking_lot::{Mutex, MutexGuard};
use tokio::sync::Notify;
use tokio::time::{Instant, timeout};
use uuid::Uuid;

use crate::domain::{Error, Result, UserId};

/// How many bytes arrive before an upload gets its permit. Most pasted images are larger; icons and cut-outs are not.
const FIRST_BYTES: usize = 64 << 10;

/// The deadline of an upload, with its wait for a permit: 10 MiB over a line of 1 Mbit/s take 84 s.
pub(super) const UPLOAD_WAIT: Duration = Duration::from_secs(120);

/// How many failed uploads a node remembers.
const OVER_MAX: usize = 1_024;

/// The limits of uploads on one node.
#[derive(Clone, Debug)]
pub struct UploadSettings {
    /// How many uploads run at once. Each holds up to 5 MiB in memory. Others wait for a permit.
    pub at_once: usize,
    /// How many uploads of one account, and from one address, run at once. The rest stays free for others.
    pub at_once_of_one: usize,
    /// How many uploads have begun, running or waiting. Each holds a connection and up to 64 KiB.
    pub begun: usize,
    /// How many uploads of one account, and from one address, have begun. One comment may get 100 images at once.
    pub begun_of_one: usize,
    /// The least rate of an upload, in bytes a second: a tenth of what the worst mobile line does.
    pub bytes_per_second_min: u64,
    /// The period over which the rate is measured.
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

/// The uploads of a node. Clones share their limits.
#[derive(Clone, Default)]
pub struct Uploads(Arc<UploadsState>);

#[derive(Default)]
struct UploadsState {
    settings: UploadSettings,
    counts: Mutex<UploadCounts>,
    /// Uploads that failed and could not record this in the database. On this node no other upload waits for them.
    over: Mutex<HashSet<Uuid>>,
    /// Wakes waiting uploads when a permit is returned.
    ended: Notify,
}

#[derive(Default)]
struct UploadCounts {
    begun: Shares,
    at_once: Shares,
}

/// How many permits are taken, in total, per account and per address.
#[derive(Default)]
struct Shares {
    in_all: usize,
    by_account: HashMap<UserId, usize>,
    by_address: HashMap<IpAddr, usize>,
}

/// The owner of an upload: the account that announced it and the address that sends it, as far as they are known.
#[derive(Clone, Copy, Debug)]
pub(super) struct Sender {
    pub(super) account: Option<UserId>,
    pub(super) address: Option<IpAddr>,
}

/// An upload that has begun. It ends when this value is dropped.
pub(super) struct RunningUpload<'u> {
    uploads: &'u Uploads,
    sender: Sender,
    has_turn: bool,
}

impl Uploads {
    /// Creates the uploads of a node with these limits.
    pub fn within(settings: UploadSettings) -> Self {
        Self(Arc::new(UploadsState { settings, ..UploadsState::default() }))
    }

    /// Returns how many uploads have begun and not ended.
    pub fn begun(&self) -> usize {
        self.counts().begun.in_all
    }

    /// Remembers that an upload has ended, whatever the database says.
    pub(super) fn is_over(&self, upload: Uuid) {
        let mut over = self.0.over.lock();
        // After this, an upload waits for the forgotten ones until they expire.
        if over.len() >= OVER_MAX {
            over.clear();
        }
        over.insert(upload);
    }

    /// Returns whether this node remembers that an upload has ended.
    pub(super) fn was_over(&self, upload: Uuid) -> bool {
        self.0.over.lock().contains(&upload)
    }

    /// Begins an upload. Refuses (`UNAVAILABLE`) if too many have begun already.
    pub(super) fn begin(&self, sender: Sender) -> Result<RunningUpload<'_>> {
        let settings = &self.0.settings;
        let mut counts = self.counts();
        if counts.begun.take(sender, settings.begun, settings.begun_of_one) {
            Ok(RunningUpload { uploads: self, sender, has_turn: false })
        } else {
            Err(Error::unavailable("too many uploads are under way; try again"))
        }
    }

    fn counts(&self) -> MutexGuard<'_, UploadCounts> {
        // No code that can panic runs while this lock is held, so a poisoned count is still correct.
        self.0.counts.lock()
    }
}

impl RunningUpload<'_> {
    /// Receives `bytes` through `work`, after the first bytes have arrived and the upload has its permit.
    pub(super) async fn receive<S, T>(
        &mut self,
        bytes: &mut S,
        work: impl AsyncFnOnce(&mut IncomingBytes<'_, S>) -> Result<T>,
    ) -> Result<T>
    where
        S: Stream<Item = Result<Bytes>> + Send + Unpin,
    {
        let settings = &self.uploads.0.settings;
        let mut incoming = IncomingBytes { bytes, first: Vec::new(), settings, waited: Duration::ZERO, came: 0 };
        let received = timeout(UPLOAD_WAIT, async {
            incoming.read_first().await?;
            self.turn().await;
            work(&mut incoming).await
        });
        received.await.unwrap_or_else(|_| Err(too_slow("the upload took too long to come in".into())))
    }

    async fn turn(&mut self) {
        let UploadsState { settings, ended, .. } = &*self.uploads.0;
        loop {
            // Registered before the attempt, so that a permit which is returned right after it wakes this upload.
            let next = ended.notified();
            if self.uploads.counts().at_once.take(self.sender, settings.at_once, settings.at_once_of_one) {
                self.has_turn = true;
                return;
            }
            next.await;
        }
    }
}

impl Drop for RunningUpload<'_> {
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

/// The bytes of an upload, as they arrive.
pub(super) struct IncomingBytes<'b, S> {
    bytes: &'b mut S,
    /// The pieces that arrived before the permit, the last piece first.
    first: Vec<Bytes>,
    settings: &'b UploadSettings,
    /// How long the present window has waited for bytes, and how many bytes arrived in it.
    waited: Duration,
    came: u64,
}

impl<S: Stream<Item = Result<Bytes>> + Send + Unpin> IncomingBytes<'_, S> {
    /// Returns the next piece; `None` at the end.
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

    /// Waits for the next piece. Only this wait counts against the sender, not the time of storing.
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
