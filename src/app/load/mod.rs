//! Loads a whole desk into an empty database: the rows and the log that commands would have produced one after the
//! other.
//!
//! Cases come one by one and run in memory ([`case`]), by the same rules of the domain as commands. Their changes are
//! in the log in the order of their times, over all cases. Rows are written in batches ("lots"), so memory is bounded
//! for a desk of any size.
//!
//! PostgreSQL takes everything in one transaction. SQLite takes one transaction for each lot, because its write-ahead
//! log would else grow as large as the desk. The last transaction writes the end of the log; a desk without it does not
//! open.

pub mod case;

use std::collections::HashMap;

use tokio::sync::mpsc::{Receiver, channel};

pub use self::case::{Case, Deed, LoneAlert};
use self::case::{CaseStep, LoggedChange};
use crate::domain::account::{Group, Owner, OwnerId, User};
use crate::domain::incident::Status;
use crate::domain::position::Position;
use crate::domain::timeline::Timeline;
use crate::domain::{Error, Result, UserId};
use crate::storage::{End, Head, Load, Lot, Store, Tx};

/// How many cases one lot has: some 50 MB of rows.
const CASES_PER_LOT: u64 = 4_000;

/// How many lots wait for the database while the next lot is built.
const LOTS_WAITING: usize = 1;

/// The users and groups of a desk.
#[derive(Clone, Debug, Default)]
pub struct Accounts {
    /// The users.
    pub users: Vec<User>,
    /// The groups, each with its members.
    pub groups: Vec<(Group, Vec<UserId>)>,
}

impl Accounts {
    /// Returns every user and group as an owner, by its id.
    fn owners(&self) -> HashMap<OwnerId, Owner> {
        let users = self.users.iter().map(|user| Owner {
            id: OwnerId::User(user.id),
            account: user.account.clone(),
            name: user.name.clone(),
        });
        let groups = self.groups.iter().map(|(group, _)| Owner {
            id: OwnerId::Group(group.id),
            account: group.account.clone(),
            name: group.name.clone(),
        });
        users.chain(groups).map(|owner| (owner.id, owner)).collect()
    }
}

/// The content of a desk, counted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct DeskCounts {
    /// Incidents of status `NEW`.
    pub new: u64,
    /// Incidents of status `ACTIVE`.
    pub active: u64,
    /// Incidents of status `RESOLVED`.
    pub resolved: u64,
    /// Alerts of incidents.
    pub alerts: u64,
    /// Alerts of no incident.
    pub lone_alerts: u64,
    /// Comments.
    pub comments: u64,
    /// Changes in the log.
    pub changes: u64,
}

impl DeskCounts {
    /// Returns the number of incidents of every status.
    pub fn incidents(&self) -> u64 {
        self.new + self.active + self.resolved
    }

    fn note(&mut self, step: &CaseStep) {
        self.changes += 1;
        self.lone_alerts += u64::from(step.alert.is_some());
        let Some(whole) = &step.whole else { return };
        match whole.incident.status {
            Status::New => self.new += 1,
            Status::Active => self.active += 1,
            Status::Resolved | Status::Redirected => self.resolved += 1,
        }
        self.alerts += whole.alerts.len() as u64;
        self.comments += whole.comments.len() as u64;
    }
}

/// The result of a load.
#[derive(Clone, Debug, PartialEq)]
pub struct Loaded {
    /// The content of the desk.
    pub counts: DeskCounts,
    /// The end of the log.
    pub position: Position,
}

/// The cases of a desk, in the order in which they begin.
pub type Cases = Box<dyn Iterator<Item = Result<Case>> + Send>;

/// Reports the progress: how many incidents have been written.
pub type Progress<'a> = &'a (dyn Fn(u64) + Send + Sync);

/// A part of a desk, sent from the thread that builds it.
enum Parcel {
    Lot(Lot, DeskCounts),
    End(End, DeskCounts),
}

/// Loads a desk into a database with an up-to-date schema. Asks for the cases again if the database breaks off.
///
/// Refuses a database that is not empty, and one that an earlier load left incomplete.
pub async fn load(
    store: &Store,
    accounts: &Accounts,
    cases: impl Fn() -> Cases + Send + Sync,
    progress: Progress<'_>,
) -> Result<Loaded> {
    // Statements that read whole tables at the end may take their time.
    let store = &store.for_verification();
    if store.loads_at_once() {
        at_once(store, accounts, cases, progress).await
    } else {
        lot_by_lot(store, accounts, cases, progress).await
    }
}

async fn at_once(
    store: &Store,
    accounts: &Accounts,
    cases: impl Fn() -> Cases + Send + Sync,
    progress: Progress<'_>,
) -> Result<Loaded> {
    let (loaded, _) = store
        .transact(|tx| {
            let cases = cases();
            async move {
                let head = tx.begin_load().await?;
                write_accounts(&tx, accounts).await?;
                let mut parcels = produce(Load::onto(store, head), accounts, cases);
                loop {
                    match next(&mut parcels).await? {
                        Parcel::Lot(lot, counts) => {
                            tx.write_lot(&lot).await?;
                            progress(counts.incidents());
                        }
                        Parcel::End(end, counts) => {
                            tx.end_load(&end).await?;
                            return Ok(loaded(&end, counts));
                        }
                    }
                }
            }
        })
        .await?;
    Ok(loaded)
}

async fn lot_by_lot(
    store: &Store,
    accounts: &Accounts,
    cases: impl Fn() -> Cases + Send + Sync,
    progress: Progress<'_>,
) -> Result<Loaded> {
    let (head, _) = store.transact(|tx| async move { tx.begin_load().await }).await?;
    let mut parcels = produce(Load::onto(store, head), accounts, cases());
    let mut begun = false;
    loop {
        match next(&mut parcels).await? {
            Parcel::Lot(lot, counts) => {
                let (lot, first) = (&lot, !begun);
                store
                    .transact(|tx| async move {
                        if first {
                            write_accounts(&tx, accounts).await?;
                        }
                        tx.write_lot(lot).await
                    })
                    .await?;
                begun = true;
                progress(counts.incidents());
            }
            Parcel::End(end, counts) => {
                let end = &end;
                store.transact(|tx| async move { tx.end_load(end).await }).await?;
                return Ok(loaded(end, counts));
            }
        }
    }
}

fn loaded(end: &End, counts: DeskCounts) -> Loaded {
    Loaded { counts, position: end.head().position() }
}

async fn next(parcels: &mut Receiver<Result<Parcel>>) -> Result<Parcel> {
    let ended = || Err(Error::fault("making a desk", "the thread that makes it has ended"));
    parcels.recv().await.unwrap_or_else(ended)
}

/// Builds the parcels of a desk on a thread of its own, so that the next lot is built while the database writes one.
/// Sends at least one lot, and then the end.
fn produce(load: Load, accounts: &Accounts, cases: Cases) -> Receiver<Result<Parcel>> {
    let (sender, receiver) = channel(LOTS_WAITING);
    let owners = accounts.owners();
    tokio::task::spawn_blocking(move || {
        let send = |parcel| sender.blocking_send(parcel).is_ok();
        if let Err(error) = make(load, &owners, cases, &|parcel| send(Ok(parcel))) {
            send(Err(error));
        }
    });
    receiver
}

/// Sends parcel after parcel until the receiver stops.
fn make(
    mut load: Load,
    owners: &HashMap<OwnerId, Owner>,
    cases: Cases,
    hand_over: &dyn Fn(Parcel) -> bool,
) -> Result<()> {
    let (mut counts, mut number, mut lots) = (DeskCounts::default(), 0, 1);
    let mut failed = None;
    // A case that fails ends the iteration.
    let stories = cases.map_while(|case| match case.and_then(|case| case.run(&mut number, owners)) {
        Ok(steps) => Some(steps.into_iter().map(|step| (step.told.at(), step)).collect()),
        Err(error) => {
            failed = Some(error);
            None
        }
    });
    for (_, step) in Timeline::of(stories) {
        counts.note(&step);
        take_in(&mut load, step)?;
        if counts.incidents() + counts.lone_alerts >= lots * CASES_PER_LOT {
            lots += 1;
            if !hand_over(Parcel::Lot(load.lot()?, counts)) {
                return Ok(());
            }
        }
    }
    if let Some(error) = failed {
        return Err(error);
    }
    if hand_over(Parcel::Lot(load.lot()?, counts)) {
        hand_over(Parcel::End(load.end(), counts));
    }
    Ok(())
}

fn take_in(load: &mut Load, step: CaseStep) -> Result<()> {
    if let Some(whole) = step.whole {
        load.incident(*whole)?;
    }
    if let Some((alert, raw)) = step.alert {
        load.alert(&alert, raw)?;
    }
    match &step.told {
        LoggedChange::Incident(body) => load.change(body),
        LoggedChange::Alert(body) => load.alert_change(body),
    }
}

async fn write_accounts(tx: &Tx, accounts: &Accounts) -> Result<()> {
    for user in &accounts.users {
        tx.insert_user(user).await?;
    }
    for (group, members) in &accounts.groups {
        tx.insert_group(group).await?;
        tx.add_members(group.id, members).await?;
    }
    tx.note_accounts().await;
    Ok(())
}

/// Refuses a desk of which only a part was loaded.
pub(super) async fn refuse_incomplete(store: &Store) -> Result<()> {
    let reader = store.read().await?;
    let head: Head = reader.head().await?;
    if reader.goes_beyond(&head).await? { Err(crate::storage::incomplete()) } else { Ok(()) }
}
