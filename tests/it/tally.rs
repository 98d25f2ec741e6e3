//! Every summary of a stream equals a recount at its position: filters on every field against changes of every kind.
//! After each commit the recount reads from the tables which incidents meet the filter, and counts them here.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use futures_util::StreamExt;
use tokio::time::Instant as Moment;
use watchfloor::app::alert::{Destination as Target, Ingest};
use watchfloor::app::incident::{IncidentEdit, OwnerChoice};
use watchfloor::domain::account::{Owner, OwnerId};
use watchfloor::domain::filter::{EntityFilter, IncidentFilter, OwnerFilter};
use watchfloor::domain::incident::{Incident, Patch, Severity, Status};
use watchfloor::domain::merge::MergeRequest as Merging;
use watchfloor::domain::position::Position;
use watchfloor::domain::summary::{Numbers, Summary, SummaryFilter, TallyUse, Window};
use watchfloor::domain::tag::{Tag, TagKind};
use watchfloor::domain::{AlertId, IncidentId, Instant, text};
use watchfloor::realtime::feed::FeedSource;
use watchfloor::realtime::summary::{STATES_PER_SECOND_MAX, SummaryRequest, follow};
use watchfloor::realtime::track::Track;

use super::filter::{SEVERITIES, TAGS, World, any_filter, classification, draft, local, people, words};
use crate::support::database::{TestDatabase, each_database};
use crate::support::desk::{TestDesk, monday};
use crate::support::dice::Dice;
use crate::support::waiting::a_moment;

each_database!(every_summary_equals_a_recount_at_its_position);

const STREAMS: usize = 24;
const MUTATIONS: usize = 260;

/// The delivered states, with their times.
type Delivered = Arc<Mutex<Vec<(Moment, Position, Summary)>>>;

struct Stream {
    asked: SummaryRequest,
    delivered: Delivered,
    /// The offset from which recounts are known.
    born: u64,
}

async fn every_summary_equals_a_recount_at_its_position(database: TestDatabase) {
    let desk = TestDesk::open(&database).await;
    let mut dice = Dice::of_this_run();
    let world = people(&desk).await;
    let mut streams: Vec<Stream> = Vec::new();
    // By offset: the incidents, and the ids that meet each stream's filter without its statuses.
    let mut states: BTreeMap<u64, (Vec<Incident>, Vec<BTreeSet<IncidentId>>)> = BTreeMap::new();
    let mut alerts = Vec::new();
    let mut ids = Vec::new();
    for step in 0..MUTATIONS {
        // A third of the streams from the start, the others one by one, so that streams begin during the changes.
        while streams.len() < STREAMS && streams.len() < STREAMS / 3 + step / 8 {
            let filter = some_filter(&mut dice, &world, streams.len());
            streams.push(start(&desk, &mut dice, &world, &filter).await);
        }
        if step == MUTATIONS / 2 {
            desk.clock.advance(chrono::Duration::hours(20));
        }
        desk.clock.advance(chrono::Duration::microseconds(1 + dice.below(40_000_000) as i64));
        mutate(&desk, &world, &mut dice, &mut ids, &mut alerts).await;
        let reader = desk.app.store.read().await.expect("a snapshot");
        let mut sets = Vec::new();
        for stream in &streams {
            let met = reader.queue_ids(stream.asked.filter.any_status(), u64::from(u32::MAX)).await.expect("ids");
            sets.push(met.into_iter().collect());
        }
        let head = reader.head().await.expect("a head");
        states.insert(head.offset, (reader.incidents(&ids).await.expect("incidents"), sets));
        // A query at this moment, counted in SQL.
        let stream = dice.below(streams.len());
        let asked = &streams[stream].asked;
        let since = asked.window.start(desk.clock.now());
        let counted = reader.tally(&asked.filter, since, Numbers::ALL, TallyUse::Once).await.expect("a tally");
        let counted = counted.summary().expect("a summary");
        let (incidents, sets) = &states[&head.offset];
        assert_eq!(counted, recount(asked, since, incidents, &sets[stream]), "asked at {}: {asked:#?}", head.offset);
    }

    let (end, (incidents, sets)) = states.last_key_value().expect("a state");
    let (mut compared, mut distinct) = (0, 0);
    for (number, stream) in streams.iter().enumerate() {
        let since = stream.asked.window.start(desk.clock.now());
        let last = recount(&stream.asked, since, incidents, &sets[number]);
        let there = tokio::time::timeout(Duration::from_secs(20), async {
            while stream.delivered.lock().expect("a list").last().is_none_or(|(_, _, summary)| *summary != last) {
                a_moment().await;
            }
        });
        let is_there = there.await.is_ok();
        let delivered = stream.delivered.lock().expect("a list").clone();
        let name = format!("stream {number} with {:#?} to {end}", stream.asked);
        assert!(is_there, "the last state is never sent, but {:#?} instead of {last:#?} by {name}", delivered.last());
        for (at, position, summary) in &delivered {
            let Some((incidents, sets)) = states.get(&position.offset) else {
                assert!(position.offset <= stream.born, "{} is the end of no transaction: {name}", position.offset);
                continue;
            };
            let Some(set) = sets.get(number) else { continue };
            assert_eq!(
                *summary,
                recount(&stream.asked, summary.since, incidents, set),
                "at {}, {at:?}: {name}",
                position.offset
            );
            compared += 1;
        }
        let pause = Duration::from_secs(1) / STATES_PER_SECOND_MAX;
        for pair in delivered.windows(2) {
            assert!(pair[1].0 - pair[0].0 >= pause, "faster than {STATES_PER_SECOND_MAX} a second: {name}");
            assert!(pair[0].1.offset <= pair[1].1.offset, "back in time: {name}");
            assert!(pair[0].2.since <= pair[1].2.since, "back in its window: {name}");
            distinct += usize::from(pair[0].2 != pair[1].2);
        }
    }
    println!("{compared} summaries compared, {distinct} moves of numbers, at {} positions", states.len());
    assert!(compared > 3 * STREAMS && distinct > 2 * STREAMS, "nothing was tried: {compared}, {distinct}");
}

/// Returns the numbers as a person would count them on a list.
fn recount(asked: &SummaryRequest, since: Instant, incidents: &[Incident], met: &BTreeSet<IncidentId>) -> Summary {
    let met: Vec<&Incident> = incidents.iter().filter(|incident| met.contains(&incident.id)).collect();
    let named = asked.filter.queue().filter().status.clone();
    let is_open = |incident: &&&Incident| {
        named.as_ref().is_none_or(|named| named.contains(&incident.status))
            && matches!(incident.status, Status::New | Status::Active)
    };
    let open: Vec<&&Incident> = met.iter().filter(is_open).collect();
    let count = |is: &dyn Fn(&Incident) -> bool| open.iter().filter(|incident| is(incident)).count() as u64;
    let mut owners: Vec<Owner> = open.iter().filter_map(|incident| incident.owner.clone()).collect();
    owners.sort_by_key(|owner| owner.id);
    owners.dedup();
    let mut by_owner: Vec<(Owner, u64)> = owners
        .into_iter()
        .map(|owner| {
            (owner.clone(), count(&|incident| incident.owner.as_ref().is_some_and(|held| held.id == owner.id)))
        })
        .collect();
    by_owner.sort_by_key(|(owner, count)| (std::cmp::Reverse(*count), text::fold(&owner.name), owner.id));
    let mut tags: BTreeMap<(String, String), (Tag, u64)> = BTreeMap::new();
    let mut products: BTreeMap<String, u64> = BTreeMap::new();
    for incident in &open {
        for tag in &incident.tags {
            tags.entry((tag.key(), format!("{:?}", tag.kind))).or_insert((tag.clone(), 0)).1 += 1;
        }
        incident.products.iter().for_each(|product| *products.entry(product.clone()).or_default() += 1);
    }
    let mut by_tag: Vec<(Tag, u64)> = tags.into_values().collect();
    by_tag.sort_by_key(|(_, count)| std::cmp::Reverse(*count));
    let mut by_product: Vec<(String, u64)> = products.into_iter().collect();
    by_product.sort_by_key(|(_, count)| std::cmp::Reverse(*count));
    let severities = [Severity::High, Severity::Medium, Severity::Low, Severity::Informational];
    Summary {
        since,
        open: open.len() as u64,
        by_severity: severities.map(|severity| (severity, count(&|incident| incident.severity() == severity))).into(),
        by_status: [Status::New, Status::Active]
            .map(|status| (status, count(&|incident| incident.status == status)))
            .into(),
        unassigned: count(&|incident| incident.owner.is_none()),
        by_owner,
        by_tag,
        by_product,
        oldest: open.iter().map(|incident| incident.created_at).min(),
        created: met.iter().filter(|incident| incident.created_at >= since).count() as u64,
        resolved: met
            .iter()
            .filter(|incident| incident.status == Status::Resolved)
            .filter(|incident| incident.resolution.as_ref().is_some_and(|resolution| resolution.at >= since))
            .count() as u64,
    }
}

/// The first filters are in every run; the others are random.
fn some_filter(dice: &mut Dice, world: &World, number: usize) -> IncidentFilter {
    let none = IncidentFilter::default();
    match number {
        0 | 1 => none,
        2 => {
            IncidentFilter { owner: Some(OwnerFilter { me: true, unassigned: true, ..OwnerFilter::default() }), ..none }
        }
        3 => IncidentFilter {
            entity: Some(
                ["host-1", "jurgen", "10.0.0.1"].map(|value| EntityFilter { kind: None, value: value.into() }).into(),
            ),
            ..none
        },
        4 => IncidentFilter { text: Some("e".into()), ..none },
        5 => IncidentFilter { status: Some(vec![Status::Active, Status::Resolved]), ..none },
        _ => any_filter(dice, world, 3, 60),
    }
}

async fn start(desk: &TestDesk, dice: &mut Dice, world: &World, filter: &IncidentFilter) -> Stream {
    let asked = SummaryRequest {
        actor: world.actor.clone(),
        filter: SummaryFilter::resolve(filter, &world.actor).expect("a filter"),
        window: match dice.below(2) {
            0 => Window::Today,
            _ => Window::Since(monday() + chrono::Duration::minutes(dice.below(60) as i64)),
        },
    };
    // The end of a day is noticed at the heartbeat at the latest. To streams with a fixed window no heartbeat may bring
    // a last state that was forgotten.
    let often = asked.window == Window::Today || dice.chance(20);
    let heartbeat = Duration::from_millis(if often { 300 } else { 600_000 });
    let source = FeedSource { store: desk.app.store.clone(), hub: desk.app.hub.clone(), heartbeat };
    let delivered = Delivered::default();
    let mut states = Box::pin(follow(source, desk.clock.clone(), asked.clone(), Numbers::ALL, Track::default()));
    let first = states.next().await.expect("the state now").expect("a state");
    let list = delivered.clone();
    list.lock().expect("a list").push((Moment::now(), first.0, first.1));
    tokio::spawn(async move {
        while let Some(state) = states.next().await {
            let (position, summary) = state.expect("a state");
            list.lock().expect("a list").push((Moment::now(), position, summary));
        }
    });
    Stream { asked, delivered, born: desk.log_end().await }
}

pub(crate) async fn mutate(
    desk: &TestDesk,
    world: &World,
    dice: &mut Dice,
    ids: &mut Vec<IncidentId>,
    alerts: &mut Vec<AlertId>,
) {
    let mut command = local(desk).await;
    if dice.chance(30) {
        command.actor = Some(world.actor.clone());
    }
    let mut edit = IncidentEdit::default();
    let kind = if ids.len() < 8 { 0 } else { dice.below(19) };
    let id = ids.get(dice.below(ids.len().max(1))).copied();
    match (kind, id) {
        (0 | 1, _) | (_, None) => {
            let tag = |name: &&str| Tag { kind: TagKind::Custom, name: (*name).into() };
            edit.patch = Patch {
                title: Some(words(dice)),
                description: dice.chance(40).then(|| Some(words(dice))),
                severity: dice.chance(60).then(|| Some(*dice.pick(&SEVERITIES))),
                status: dice.chance(30).then(|| *dice.pick(&[Status::New, Status::Active, Status::Resolved])),
                add_tags: dice.some(&TAGS).iter().map(tag).collect(),
                ..Patch::default()
            };
            if dice.chance(40) {
                edit.owner = Some(Some(OwnerChoice::Id(OwnerId::User(*dice.pick(&world.users)))));
            }
            ids.push(desk.app.create_incident(&command, None, edit).await.expect("an incident").value.incident.id);
            return;
        }
        (2 | 3, Some(id)) => {
            let drafts = (0..1 + dice.below(2)).map(|_| draft(dice, &alerts.len().to_string())).collect();
            let into = if dice.chance(70) { Target::Incident(id) } else { Target::NewIncident };
            if let Ok(taken) = desk.app.ingest_alerts(&command, Ingest::new(drafts, into)).await {
                alerts.extend(taken.value.alerts.iter().map(|alert| alert.id));
                ids.extend(taken.value.incident.map(|incident| incident.id).filter(|id| !ids.contains(id)).as_slice());
            }
            return;
        }
        (4, Some(id)) => {
            desk.app.delete_incident(&local(desk).await, id, None).await.ok();
            return;
        }
        (15, Some(source)) => {
            let asked = Merging { source, target: *dice.pick(ids), keep_title: dice.chance(30) };
            desk.app
                .merge_incidents(&local(desk).await, asked, watchfloor::app::merge::KnownSides::default())
                .await
                .ok();
            return;
        }
        (16, _) => {
            let read = desk.app.store.read().await.expect("a snapshot").incidents(ids).await.expect("incidents");
            let merged: Vec<&Incident> = read.iter().filter(|incident| incident.redirected_to.is_some()).collect();
            if !merged.is_empty() {
                desk.app.undo_merge(&local(desk).await, dice.pick(&merged).id).await.ok();
            }
            return;
        }
        (18, _) => {
            let read = desk.app.store.read().await.expect("a snapshot").incidents(ids).await.expect("incidents");
            let deleted: Vec<&Incident> = read.iter().filter(|incident| incident.deleted_at.is_some()).collect();
            if !deleted.is_empty() {
                let id = dice.pick(&deleted).id;
                desk.app.restore_incident(&local(desk).await, id, None).await.expect("a restoration");
            }
            return;
        }
        (5 | 6, _) => edit.patch.status = Some(*dice.pick(&[Status::New, Status::Active])),
        (7 | 8, _) => edit.patch.status = Some(Status::Resolved),
        (9, _) => edit.owner = Some(Some(OwnerChoice::Id(OwnerId::Group(*dice.pick(&world.groups))))),
        (10, _) => edit.owner = Some(Some(OwnerChoice::Me)),
        (11, _) => edit.owner = Some(None),
        (12, _) => edit.patch.severity = Some(dice.chance(70).then(|| *dice.pick(&SEVERITIES))),
        (13, _) => edit.patch.classification = Some(dice.chance(70).then(|| classification(dice))),
        (14, _) if !alerts.is_empty() => {
            (edit.link, edit.move_alerts, edit.reopen) = (vec![*dice.pick(alerts)], true, true);
        }
        _ => {
            (edit.patch.title, edit.patch.description) =
                (Some(words(dice)), Some(dice.chance(50).then(|| words(dice))));
        }
    }
    if let Some(id) = id {
        // A deleted incident refuses, and an alert may be linked already.
        desk.app.update_incident(&command, id, edit).await.ok();
    }
}
