//! The filter index: a feed receives every change that concerns it.

use std::time::Duration;

use futures_util::StreamExt;
use watchfloor::domain::filter::{IncidentFilter, QueueFilter};
use watchfloor::domain::position::Position;
use watchfloor::realtime::feed::{self, Event, FeedSource, Movement};
use watchfloor::realtime::index::Interest;
use watchfloor::realtime::track::Track;

use crate::filter::{STATUSES, World, any_filter, corpus, people};
use crate::support::database::{TestDatabase, each_database};
use crate::support::desk::TestDesk;
use crate::support::dice::Dice;

each_database!(an_indexed_feed_delivers_what_an_unindexed_one_delivers);

const FILTERS: usize = 120;

/// An item in short: offset, kind, and the whole row.
type Item = (u64, &'static str, String);

/// Follows a queue up to an offset. Before `live` a feed reads the whole log and checks its filter against every
/// change; afterwards only against the changes that the index hands it.
async fn follow(
    source: FeedSource,
    world: World,
    filter: QueueFilter,
    after: Option<Position>,
    live: impl FnOnce(),
    end: impl Fn() -> Option<u64>,
) -> Vec<Item> {
    let mut live = Some(live);
    let mut items = Vec::new();
    let mut stream = std::pin::pin!(feed::queue(source, world.actor, filter, after, Track::default()));
    while let Some(placed) = stream.next().await {
        let placed = placed.expect("a frame");
        let item = match placed.event {
            Event::Item(event) => Some(match event.movement {
                Movement::Entered(row) => ("entered", format!("{row:?}")),
                Movement::Updated(row) => ("updated", format!("{row:?}")),
                Movement::Left(left) => ("left", format!("{} {left:?}", event.change.incident())),
            }),
            Event::Live => {
                live.take().into_iter().for_each(|live| live());
                None
            }
            Event::Heartbeat => None,
            Event::Resync(reason) => panic!("{reason:?}"),
        };
        items.extend(item.map(|(kind, text)| (placed.position.offset, kind, text)));
        if end().is_some_and(|end| placed.position.offset >= end) {
            break;
        }
    }
    items
}

async fn an_indexed_feed_delivers_what_an_unindexed_one_delivers(database: TestDatabase) {
    let desk = TestDesk::open(&database).await;
    let mut dice = Dice::of_this_run();
    let world = people(&desk).await;
    let source = |heartbeat| FeedSource { store: desk.app.store.clone(), hub: desk.app.hub.clone(), heartbeat };
    let start = desk.app.hub.known().end;
    let (end, ended) = tokio::sync::watch::channel(None);
    let (told, mut all_live) = tokio::sync::mpsc::channel(FILTERS);
    let (mut feeds, mut indexed) = (Vec::new(), 0);
    for number in 0..FILTERS {
        let filter = match number % 3 {
            // Several conditions, none of which implies another.
            0 => IncidentFilter {
                status: Some(STATUSES.to_vec()),
                or: Some((0..2).map(|_| any_filter(&mut dice, &world, 1, 90)).collect()),
                ..IncidentFilter::default()
            },
            _ => any_filter(&mut dice, &world, 3, 90),
        };
        let filter = QueueFilter::resolve(&filter, &world.actor).expect("a filter");
        indexed += usize::from(Interest::of(&filter) != Interest::All);
        let (told, ended) = (told.clone(), ended.clone());
        let live = move || told.try_send(()).expect("room");
        // Without an item at the end, a heartbeat tells that the end was reached.
        let follow = follow(source(Duration::from_millis(100)), world.clone(), filter.clone(), None, live, move || {
            *ended.borrow()
        });
        feeds.push((filter, tokio::spawn(follow)));
    }
    for _ in 0..FILTERS {
        all_live.recv().await.expect("it goes live");
    }
    corpus(&desk, &world, &mut dice).await;
    let log_end = desk.log_end().await;
    end.send_replace(Some(log_end));
    let (mut items, mut left) = (0, 0);
    for (filter, feed) in feeds {
        let live = feed.await.expect("a feed");
        let held = start.of_queue(filter.fingerprint());
        let by_log =
            follow(source(Duration::from_secs(60)), world.clone(), filter.clone(), Some(held), || {}, || Some(log_end))
                .await;
        let same = live == by_log;
        assert!(same, "{:?} of {:#?}\n{live:#?}\n{by_log:#?}", Interest::of(&filter), filter.filter());
        items += live.len();
        left += live.iter().filter(|item| item.1 == "left").count();
    }
    println!("{indexed} of {FILTERS} filters have keys; {items} items, {left} of them left, of {log_end} changes");
    assert!(indexed > FILTERS * 2 / 3 && left > 20, "too little was tried");
}
