//! The filter: its SQL form and its form in memory select the same incidents, and equal filters have one canonical
//! form.

use std::collections::{HashMap, HashSet};

use watchfloor::app::Command;
use watchfloor::app::alert::{Destination as Target, Ingest};
use watchfloor::app::incident::{IncidentEdit, OwnerChoice};
use watchfloor::domain::account::{Actor, GroupDraft, OwnerId, UserDraft};
use watchfloor::domain::alert::{AlertDraft, Report};
use watchfloor::domain::classification::{
    Classification, ClassificationFilter, ExpectedActivity, FalsePositiveReason, Threat,
};
use watchfloor::domain::entity::{Entity, EntityKey, EntityKind};
use watchfloor::domain::filter::{
    EntityFilter, IncidentFilter, OwnerFilter, QueueFilter, Subject, TagFilter, TimeRange,
};
use watchfloor::domain::incident::{Incident, Patch, Severity, Status};
use watchfloor::domain::tag::{Tag, TagKind};
use watchfloor::domain::{GroupId, IncidentId, Instant, UserId, text};
use watchfloor::realtime::index::Interest;
use watchfloor::storage::{AlertFilter, Span};

use crate::support::database::{TestDatabase, each_database};
use crate::support::desk::{TestDesk, monday};
use crate::support::dice::Dice;
use crate::support::schema::fields_of;
use crate::support::stream::changes;

each_database!(sql_and_memory_select_the_same_incidents);

/// The words of titles, descriptions and needles: every way in which two databases and this program may disagree about
/// letters.
const WORDS: [&str; 22] = [
    "Straße",
    "STRASSE",
    "İstanbul",
    "istanbul",
    "ISTANBUL",
    "ﬁle",
    "file",
    "café",
    "cafe\u{301}",
    "漢字",
    "検知",
    "🚨🦀",
    "100%",
    "a_b",
    "axb",
    "C:\\Windows\\System32",
    "\\",
    "%",
    "_",
    "ΌΣΟΣ",
    "όσος",
    "naïve 'quote\"",
];
pub(crate) const TAGS: [&str; 7] = ["VIP", "vip", "Straße", "STRASSE", "phishing", "café", "50%_off\\"];
const PRODUCTS: [&str; 4] = ["Defender", "defender", "Suricata", "Größe 漢"];
const PROVIDERS: [&str; 3] = ["Microsoft", "Suricata", "ﬁrewall"];
const VALUES: [&str; 7] = ["10.0.0.1", "host-1", "HOST-1", "Jürgen", "jurgen", "c:\\a_b%", "ﬁle.exe"];
const KINDS: [EntityKind; 4] = [EntityKind::Ip, EntityKind::Device, EntityKind::User, EntityKind::File];
pub(crate) const STATUSES: [Status; 4] = [Status::New, Status::Active, Status::Resolved, Status::Redirected];
pub(crate) const SEVERITIES: [Severity; 4] = [Severity::Informational, Severity::Low, Severity::Medium, Severity::High];
const THREATS: [Threat; 3] = [Threat::Malware, Threat::Phishing, Threat::Other];
const ACTIVITIES: [ExpectedActivity; 2] = [ExpectedActivity::SecurityTesting, ExpectedActivity::Other];
const REASONS: [FalsePositiveReason; 2] = [FalsePositiveReason::NotMalicious, FalsePositiveReason::Other];

/// The persons and things that the corpus names.
#[derive(Clone)]
pub(crate) struct World {
    pub(crate) users: Vec<UserId>,
    pub(crate) groups: Vec<GroupId>,
    pub(crate) actor: Actor,
}

async fn sql_and_memory_select_the_same_incidents(database: TestDatabase) {
    let desk = TestDesk::open(&database).await;
    let mut dice = Dice::of_this_run();
    let world = people(&desk).await;
    corpus(&desk, &world, &mut dice).await;

    let reader = desk.app.store.read().await.expect("a snapshot");
    let log = changes(&reader, 0, 10_000).await;
    let rows: HashMap<IncidentId, _> = log.into_iter().map(|change| (change.incident(), change.body.row)).collect();
    let ids: Vec<IncidentId> = rows.keys().copied().collect();
    let incidents = reader.incidents(&ids).await.expect("incidents");
    let mut entities: HashMap<IncidentId, HashSet<EntityKey>> = HashMap::new();
    for id in &ids {
        let filter = AlertFilter { incident: Some(*id), ..AlertFilter::default() };
        assert_eq!(reader.alert_count(&filter).await.expect("a count"), rows[id].alert_count);
        let all = Span { after: None, before: None, limit: 1_000, from_end: false };
        let alerts = reader.alerts_page(&filter, all, false).await.expect("alerts");
        let ids: Vec<_> = alerts.iter().map(|alert| alert.id).collect();
        let named = reader.alert_entities(&ids).await.expect("entities");
        entities.insert(*id, named.values().flatten().map(Entity::key).collect());
    }
    let spans = reader.entity_spans(&VALUES.map(watchfloor::domain::entity::key), &ids).await.expect("spans");
    for incident in &incidents {
        let (id, row) = (incident.id, &rows[&incident.id]);
        assert_eq!(*row, incident.queue_row(), "the log's last row of an incident is the incident");
        let held = spans.iter().filter(|span| span.incident == id && span.covers(row.version));
        assert_eq!(held.map(|span| span.entity.clone()).collect::<HashSet<_>>(), entities[&id], "entities of {id}");
    }

    let (mut met, mut none, mut all) = (0, 0, 0);
    for number in 0..300 {
        let filter = match number % 10 {
            // One of several texts, as streams search them.
            0 => {
                let text = |dice: &mut Dice| IncidentFilter {
                    text: Some(text_of(dice, incidents.len())),
                    ..IncidentFilter::default()
                };
                let or = Some((0..1 + dice.below(3)).map(|_| text(&mut dice)).collect());
                IncidentFilter { status: Some(STATUSES.to_vec()), or, ..IncidentFilter::default() }
            }
            _ => any_filter(&mut dice, &world, 3, incidents.len()),
        };
        let queue = QueueFilter::resolve(&filter, &world.actor).expect("a filter");
        let as_a_stream_holds_it = queue.clone().into_held(&Interest::of(&queue).texts());
        let in_memory = |incident: &&Incident| {
            as_a_stream_holds_it.matches(Subject {
                row: &rows[&incident.id],
                tag_keys: None,
                title_folded: &text::fold(&incident.title),
                description_folded: &incident.description.as_deref().map(text::fold).unwrap_or_default(),
                entities: &entities[&incident.id],
            })
        };
        let mut memory: Vec<IncidentId> = incidents.iter().filter(in_memory).map(|incident| incident.id).collect();
        memory.sort();
        let sql = reader.queue_ids(&queue, u64::from(u32::MAX)).await.expect("ids");
        assert_eq!(sql, memory, "SQL left, memory right, filter {number}: {filter:#?}");
        assert_eq!(reader.queue_count(&queue).await.expect("a count"), sql.len() as u64);
        match sql.len() {
            0 => none += 1,
            n if n >= incidents.len() * 3 / 4 => all += 1,
            _ => met += 1,
        }
    }
    println!("of 300 filters {none} met nothing, {all} nearly everything, {met} some");
    assert!(met >= 60, "too few filters that tell incidents apart: {met}");
}

pub(crate) async fn people(desk: &TestDesk) -> World {
    let command = local(desk).await;
    let (mut users, mut groups) = (Vec::new(), Vec::new());
    for account in ["ada", "bob", "eve"] {
        let draft = UserDraft::parse(account, None, None, None).expect("a user");
        users.push(desk.app.upsert_user(&command, draft).await.expect("a user").value.id);
    }
    for account in ["tier-1", "tier-2"] {
        let draft = GroupDraft::parse(account, None).expect("a group");
        groups.push(desk.app.upsert_group(&command, draft).await.expect("a group").value.id);
    }
    desk.app.add_members(&command, groups[0], vec![users[0]]).await.expect("a member");
    let actor = desk.app.actor(users[0]).await.expect("ada");
    World { users, groups, actor }
}

pub(crate) async fn local(desk: &TestDesk) -> Command {
    Command::new(desk.app.local_caller(None).await.expect("a caller"), desk.clock.now(), "test")
}

pub(crate) fn words(dice: &mut Dice) -> String {
    let count = if dice.chance(8) { 60 } else { 1 + dice.below(4) };
    (0..count).map(|_| *dice.pick(&WORDS)).collect::<Vec<_>>().join(if dice.chance(50) { " " } else { "" })
}

fn moment(dice: &mut Dice) -> Instant {
    monday() + chrono::Duration::minutes(dice.below(200) as i64) + chrono::Duration::microseconds(dice.below(3) as i64)
}

pub(crate) fn classification(dice: &mut Dice) -> Classification {
    match dice.below(3) {
        0 => Classification::TruePositive(*dice.pick(&THREATS)),
        1 => Classification::InformationalExpectedActivity(*dice.pick(&ACTIVITIES)),
        _ => Classification::FalsePositive(*dice.pick(&REASONS)),
    }
}

/// Creates about ninety incidents: alerts in most of them, some moved, some unlinked, some incidents deleted.
pub(crate) async fn corpus(desk: &TestDesk, world: &World, dice: &mut Dice) {
    let mut incidents = Vec::new();
    let mut alerts = Vec::new();
    for number in 0..90 {
        desk.clock.advance(chrono::Duration::microseconds(1 + dice.below(120_000_000) as i64));
        let command = local(desk).await;
        let owner = match dice.below(5) {
            0 => Some(Some(OwnerChoice::Id(OwnerId::User(*dice.pick(&world.users))))),
            1 => Some(Some(OwnerChoice::Id(OwnerId::Group(*dice.pick(&world.groups))))),
            _ => None,
        };
        let tag = |name: &&str| Tag { kind: TagKind::Custom, name: (*name).into() };
        let mut add_tags: Vec<Tag> = if dice.chance(60) { dice.some(&TAGS).iter().map(tag).collect() } else { vec![] };
        if dice.chance(10) {
            add_tags.push(Tag { kind: TagKind::Expert, name: "VIP".into() });
        }
        let first = dice.chance(40).then(|| moment(dice));
        let patch = Patch {
            title: Some(format!("{} {number}", words(dice))),
            description: dice.chance(50).then(|| Some(words(dice))),
            severity: dice.chance(60).then(|| Some(*dice.pick(&SEVERITIES))),
            status: dice.chance(50).then(|| STATUSES[dice.below(3)]),
            classification: dice.chance(50).then(|| Some(classification(dice))),
            add_tags,
            first_activity_at: first.map(Some),
            last_activity_at: dice
                .chance(40)
                .then(|| Some(first.map_or(moment(dice), |first| first + chrono::Duration::minutes(5)))),
            ..Patch::default()
        };
        let edit = IncidentEdit { patch, owner, ..IncidentEdit::default() };
        let resolved = edit.patch.status == Some(Status::Resolved);
        let id = desk.app.create_incident(&command, None, edit).await.expect("an incident").value.incident.id;
        if dice.chance(65) && !resolved {
            let drafts = (0..1 + dice.below(3)).map(|n| draft(dice, &format!("{number}-{n}"))).collect();
            let into = if dice.chance(85) { Target::Incident(id) } else { Target::NewIncident };
            let ingested = desk.app.ingest_alerts(&command, Ingest::new(drafts, into)).await.expect("an ingest");
            alerts.extend(ingested.value.alerts.iter().map(|alert| alert.id));
        }
        incidents.push((id, resolved));
    }
    for _ in 0..50 {
        desk.clock.advance(chrono::Duration::seconds(1));
        let command = local(desk).await;
        let (id, resolved) = *dice.pick(&incidents);
        let mut edit = IncidentEdit::default();
        match dice.below(5) {
            0 if !resolved => (edit.link, edit.move_alerts) = (vec![*dice.pick(&alerts)], true),
            1 => edit.patch.severity = Some(None),
            2 => edit.patch.classification = Some(None),
            3 => edit.owner = Some(None),
            _ => edit.patch.remove_tags = vec![Tag { kind: TagKind::Custom, name: dice.pick(&TAGS).to_uppercase() }],
        }
        desk.app.update_incident(&command, id, edit).await.expect("an edit");
    }
    for number in 0..8 {
        let (id, _) = incidents.swap_remove(dice.below(incidents.len()));
        desk.app.delete_incident(&local(desk).await, id, None).await.expect("a deletion");
        if number < 3 {
            desk.app.restore_incident(&local(desk).await, id, None).await.expect("a restoration");
        }
    }
}

pub(crate) fn draft(dice: &mut Dice, id: &str) -> AlertDraft {
    let first = dice.chance(60).then(|| moment(dice));
    let mut entities = Vec::new();
    for _ in 0..dice.below(4) {
        let value = VALUES[dice.below(VALUES.len())];
        entities.push(Entity::parse("value", *dice.pick(&KINDS), value, None).expect("an entity"));
    }
    let report = Report {
        provider: (*dice.pick(&PROVIDERS)).into(),
        provider_alert_id: id.into(),
        product: dice.chance(80).then(|| (*dice.pick(&PRODUCTS)).into()),
        title: words(dice),
        description: None,
        severity: *dice.pick(&SEVERITIES),
        category: None,
        techniques: Vec::new(),
        first_activity_at: first,
        last_activity_at: first.map(|first| first + chrono::Duration::minutes(1)),
        entities,
    };
    AlertDraft { report: report.checked().expect("a report"), status: None, classification: None, raw: None }
}

/// Returns a part of a word, or a text that occurs nowhere.
fn needle(dice: &mut Dice) -> String {
    loop {
        let word: Vec<char> = dice.pick(&WORDS).chars().collect();
        let from = dice.below(word.len());
        let needle: String = word[from..from + 1 + dice.below(word.len() - from)].iter().collect();
        let needle = match dice.below(4) {
            0 => needle.to_uppercase(),
            1 => needle.to_lowercase(),
            _ => needle,
        };
        // Folding removes a lone combining mark, and the blank needle would be refused.
        if !text::fold(&needle).trim().is_empty() {
            return needle;
        }
    }
}

/// Returns a needle, or the reference of an incident that may exist.
fn text_of(dice: &mut Dice, incidents: usize) -> String {
    if !dice.chance(20) {
        return needle(dice);
    }
    let number = dice.below(incidents + 5);
    let form = *dice.pick(&["INC-", "inc-", "Inc ", " inc-", "ＩＮＣ-", "INC", "INC--", "#"]);
    format!("{form}{number}")
}

fn names(dice: &mut Dice, from: &[&str]) -> Vec<String> {
    let mut names: Vec<String> = dice.some(from).into_iter().map(str::to_owned).collect();
    if dice.chance(15) {
        names.push("no such name".into());
    }
    names
}

fn range(dice: &mut Dice) -> TimeRange {
    TimeRange { from: dice.chance(60).then(|| moment(dice)), to: dice.chance(60).then(|| moment(dice)) }
}

pub(crate) fn any_filter(dice: &mut Dice, world: &World, depth: usize, incidents: usize) -> IncidentFilter {
    let mut filter = IncidentFilter::default();
    for _ in 0..1 + dice.below(3) {
        match dice.below(22) {
            20 => filter.has_active_alerts = Some(dice.chance(50)),
            0 | 1 => filter.status = Some(dice.some(&STATUSES)),
            2 => filter.severity = Some(dice.some(&SEVERITIES)),
            3 => {
                filter.owner = Some(OwnerFilter {
                    users: dice.chance(60).then(|| dice.some(&world.users)),
                    groups: dice.chance(60).then(|| dice.some(&world.groups)),
                    unassigned: dice.chance(30),
                    me: dice.chance(30),
                    me_and_my_groups: dice.chance(30),
                });
            }
            4 | 5 => {
                filter.tags = Some(TagFilter {
                    any: dice.chance(50).then(|| names(dice, &TAGS)),
                    all: dice.chance(30).then(|| names(dice, &TAGS[..dice.clone().below(3)])),
                    none: dice.chance(40).then(|| names(dice, &TAGS)),
                    kind: dice.chance(25).then(|| dice.some(&[TagKind::Custom, TagKind::Expert])),
                });
            }
            6 => {
                filter.classification = Some(dice.some(&[
                    ClassificationFilter::NotSet,
                    ClassificationFilter::TruePositive,
                    ClassificationFilter::InformationalExpectedActivity,
                    ClassificationFilter::FalsePositive,
                ]));
            }
            7 => filter.threat = Some(dice.some(&THREATS)),
            8 => filter.activity = Some(dice.some(&ACTIVITIES)),
            9 => filter.reason = Some(dice.some(&REASONS)),
            10 => filter.product = Some(names(dice, &PRODUCTS)),
            11 => filter.provider = Some(names(dice, &PROVIDERS)),
            12 | 13 => {
                let one = |dice: &mut Dice| EntityFilter {
                    kind: dice.chance(50).then(|| *dice.pick(&KINDS)),
                    value: (*dice.pick(&VALUES)).into(),
                };
                filter.entity = Some((0..dice.below(3)).map(|_| one(dice)).collect());
            }
            14 => filter.created = Some(range(dice)),
            15 => filter.updated = Some(range(dice)),
            16 => filter.first_activity = Some(range(dice)),
            17 => filter.last_activity = Some(range(dice)),
            18 => filter.resolved = Some(range(dice)),
            19 => filter.number = Some((0..dice.below(30)).map(|_| dice.below(incidents + 5) as i64).collect()),
            _ => filter.text = Some(text_of(dice, incidents)),
        }
    }
    let some = |dice: &mut Dice| -> Vec<IncidentFilter> {
        (0..dice.below(3)).map(|_| any_filter(dice, world, depth - 1, incidents)).collect()
    };
    if depth > 1 {
        filter.and = dice.chance(15).then(|| some(dice));
        filter.or = dice.chance(25).then(|| some(dice));
        if dice.chance(30) {
            filter.not = Some(Box::new(any_filter(dice, world, depth - 1, incidents)));
        }
    }
    filter
}

/// The generator sets every condition of the API: a condition that it never sets is compared by no test.
#[tokio::test]
async fn the_generator_knows_every_condition() {
    let database = TestDatabase::fresh(crate::support::database::Kind::Sqlite).await;
    let desk = TestDesk::open(&database).await;
    let world = people(&desk).await;
    let (mut dice, mut unset) = (Dice::of_this_run(), fields_of("IncidentFilterInput"));
    for _ in 0..5_000 {
        let filter = serde_json::to_value(any_filter(&mut dice, &world, 2, 90)).expect("JSON");
        unset.retain(|field| filter.get(field).is_none());
    }
    assert!(unset.is_empty(), "any_filter never sets {unset:?}");
}

/// Equal filters have one fingerprint, and a canonical filter is its own canonical form.
#[tokio::test]
async fn equal_filters_share_a_fingerprint() {
    let database = TestDatabase::fresh(crate::support::database::Kind::Sqlite).await;
    let desk = TestDesk::open(&database).await;
    let world = people(&desk).await;
    let bob = desk.app.actor(world.users[1]).await.expect("bob");
    let print = |filter: &IncidentFilter, actor: &Actor| {
        let queue = QueueFilter::resolve(filter, actor).expect("a filter");
        (queue.fingerprint().filter, queue.fingerprint().scope)
    };
    let list = |names: &[&str]| Some(names.iter().map(|&name| name.to_owned()).collect::<Vec<String>>());
    let one = IncidentFilter {
        severity: Some(vec![Severity::High, Severity::Low, Severity::High]),
        tags: Some(TagFilter { any: list(&["VIP", "Straße"]), ..TagFilter::default() }),
        entity: Some(vec![EntityFilter { kind: None, value: " HOST-1 ".into() }]),
        text: Some("CAFÉ".into()),
        ..IncidentFilter::default()
    };
    let same = IncidentFilter {
        status: Some(vec![Status::Active, Status::New]),
        severity: Some(vec![Severity::Low, Severity::High]),
        tags: Some(TagFilter { any: list(&["strasse", "vip", "vip"]), ..TagFilter::default() }),
        entity: Some(vec![EntityFilter { kind: None, value: "host-1".into() }]),
        text: Some("cafe\u{301}".into()),
        ..IncidentFilter::default()
    };
    assert_eq!(print(&one, &world.actor), print(&same, &world.actor));
    assert_eq!(print(&one, &world.actor), print(&one, &bob), "without `me` the caller is of no matter");
    assert_ne!(print(&one, &world.actor), print(&IncidentFilter { text: None, ..one.clone() }, &world.actor));
    let nothing = IncidentFilter { severity: Some(Vec::new()), ..one.clone() };
    assert_ne!(print(&one, &world.actor), print(&nothing, &world.actor));
    let mine =
        IncidentFilter { owner: Some(OwnerFilter { me: true, ..OwnerFilter::default() }), ..IncidentFilter::default() };
    let (of_ada, of_bob) = (print(&mine, &world.actor), print(&mine, &bob));
    assert_eq!(of_ada.0, of_bob.0, "the same filter");
    assert_ne!(of_ada.1, of_bob.1, "read for another caller");
    let mut random = Dice::of_this_run();
    for _ in 0..200 {
        let filter = any_filter(&mut random, &world, 3, 90);
        let queue = QueueFilter::resolve(&filter, &world.actor).expect("a filter");
        let again = QueueFilter::resolve(queue.filter(), &world.actor).expect("a filter");
        assert_eq!(again.filter(), queue.filter(), "what is canonical stays: {filter:#?}");
    }
}

/// U+0000 is refused in every text (docs/PRODUCT.md, P13): PostgreSQL could not even receive it.
#[tokio::test]
async fn a_filter_with_the_character_that_cannot_be_stored_is_refused() {
    let database = TestDatabase::fresh(crate::support::database::Kind::Postgres).await;
    let desk = TestDesk::open(&database).await;
    for (filter, path) in [
        (serde_json::json!({ "text": "a\0b" }), "text"),
        (serde_json::json!({ "tags": { "any": ["a\0b"] } }), "tags.any.0"),
        (serde_json::json!({ "not": { "product": ["a\0b"] } }), "not.product.0"),
        (serde_json::json!({ "provider": ["a\0b"] }), "provider.0"),
        (serde_json::json!({ "entity": [{ "value": "a\0b" }] }), "entity.0.value"),
    ] {
        let query = "query($filter: IncidentFilterInput) { incidents(filter: $filter) { totalCount } }";
        let refusal = desk.refused(query, serde_json::json!({ "filter": filter })).await;
        let expected = ("INVALID", Some(format!("filter.{path}")));
        assert_eq!((refusal.code.as_str(), refusal.path.clone()), expected, "{filter}: {refusal:?}");
    }
}
