//! Tells one incident from its story: its alerts, the incident, the work of the shift, and the ending.

use chrono::Duration;
use serde_json::json;

use super::dice::Dice;
use super::people::{ANALYSTS, Analyst, CLOUD_RESPONSE, Cast, FIRST_LINE, SECOND_LINE};
use super::stories::{self, Stage, Story};
use crate::domain::Instant;
use crate::domain::incident::{Severity, Status};
use crate::import::Record;
use crate::import::record::{
    AlertRecord, AlertRef, EntityRecord, GroupName, IncidentRecord, Party, Person, Remark, TagRecord, UpdateRecord,
};

/// The source of the sample's incidents.
pub(crate) const SOURCE: &str = "sample";

/// A record, and its time.
#[derive(Clone, Debug)]
pub(crate) struct Happening {
    /// The time of the record.
    pub at: Instant,
    /// The record.
    pub record: Record,
}

/// The parameters of one incident.
#[derive(Clone, Debug)]
pub(crate) struct Telling {
    /// The incident's external id.
    pub id: String,
    /// The time at which the incident opens.
    pub opened: Instant,
    /// How many times longer than usual it waits for an owner.
    pub patience: i64,
    /// How many times longer than usual the work on it takes.
    pub pace: i64,
}

/// Incidents that people report by phone: title, description and severity.
pub(super) const CALLS: [(&str, &str, Severity); 8] = [
    (
        "{name} reports a call from somebody who said to be the help desk",
        "The caller asked for the code of the second factor. {name} hung up.",
        Severity::Medium,
    ),
    (
        "Badge reader at the east gate opens for every card",
        "Reported by the night guard. Facilities are on their way, the door is watched.",
        Severity::High,
    ),
    (
        "Letter with a request to change a supplier's bank account",
        "Paper mail to finance, very well made. No payment was changed.",
        Severity::Low,
    ),
    (
        "USB sticks found in the parking lot",
        "{few} sticks with our logo, handed in at the reception. Nobody has plugged one in, as far as we know.",
        Severity::Medium,
    ),
    (
        "Partner reports mails from our domain that we did not send",
        "Headers show that they were sent from {ip}. Our policy rejects them, theirs does not look.",
        Severity::Low,
    ),
    (
        "{name} sees files of another department after a move",
        "Group membership was copied instead of set. Needs a look at who else has it.",
        Severity::Medium,
    ),
    (
        "Ransom note by mail, without anything encrypted",
        "Claims to have {n} GB of our data and shows a directory listing that is two years old.",
        Severity::High,
    ),
    (
        "Journalist asks about a leak of freight papers",
        "Sent by the press office. Sample attached: looks like a partner's export, not ours.",
        Severity::Medium,
    ),
];

/// Comments at a handover.
pub(super) const HANDOVERS: [&str; 3] = [
    "Handing over to second line: this needs somebody who can look at memory.",
    "End of my shift. Open: *who else got it*, and the log of the proxy from last night.",
    "Escalating. Two hours on it and the first cause is still not clear.",
];

/// Comments when an incident is reopened.
pub(super) const REOPENINGS: [&str; 3] = [
    "Seen again this morning on the same account, so this was not all.",
    "Reopened: the block had a typing error and never matched.",
    "Owner called back and remembers it differently. Looking again.",
];

impl Telling {
    /// Returns all records of the incident, in the order of their times.
    pub(crate) fn tell(&self, dice: &mut Dice) -> Vec<Happening> {
        let story = stories::pick(dice);
        let cast = Cast::new(dice);
        let by_phone = dice.percent(5);
        let mut told = ToldStory { telling: self, cast, by_phone, at: self.opened, happenings: Vec::new() };
        let later = if by_phone { told.call(dice) } else { told.open(story, dice) };
        told.work(story, &later, dice);
        told.happenings
    }
}

/// Returns an alert that belongs to no incident.
pub(crate) fn loose_alert(dice: &mut Dice, at: Instant) -> Happening {
    let story = stories::pick(dice);
    let cast = Cast::new(dice);
    let stage = dice.pick(story.stages);
    let severity = stage.severity.min(Severity::Low);
    let alert = alert(&Stage { severity, ..*stage }, &cast, at, dice);
    Happening { at, record: Record::Alert(Box::new(alert)) }
}

struct ToldStory<'a> {
    telling: &'a Telling,
    cast: Cast,
    /// Whether the incident was written down after a call.
    by_phone: bool,
    at: Instant,
    happenings: Vec<Happening>,
}

impl ToldStory<'_> {
    /// Advances the time by some minutes, multiplied by the pace of the incident.
    fn wait(&mut self, low: u64, high: u64, dice: &mut Dice) {
        self.wait_times(self.telling.pace, low, high, dice);
    }

    fn wait_times(&mut self, factor: i64, low: u64, high: u64, dice: &mut Dice) {
        let seconds = dice.between(low * 60, high * 60) as i64 * factor;
        self.at += Duration::seconds(seconds.max(1));
    }

    fn push(&mut self, record: Record) {
        self.happenings.push(Happening { at: self.at, record });
    }

    fn update(&mut self, by: &Analyst, update: UpdateRecord) {
        let record = UpdateRecord {
            source: SOURCE.to_owned(),
            external_id: self.telling.id.clone(),
            at: Some(self.at),
            by: Some(Person::named(by.account)),
            ..update
        };
        self.push(Record::Update(Box::new(record)));
    }

    fn remark(&self, text: &str) -> Remark {
        Remark { body: self.cast.fill(text), ..Remark::default() }
    }

    /// Makes the alerts that open the incident, and the incident; returns the stages that come later.
    fn open<'s>(&mut self, story: &'s Story, dice: &mut Dice) -> Vec<&'s Stage> {
        let mut stages: Vec<&Stage> = story
            .stages
            .iter()
            .enumerate()
            .filter(|(i, s)| *i == 0 || dice.percent(s.chance))
            .map(|(_, s)| s)
            .collect();
        let later = if stages.len() > 2 && dice.percent(40) { stages.split_off(stages.len() - 1) } else { Vec::new() };
        let alerts = self.detect(&stages, dice);
        let system = story.system_tags.iter().filter(|_| dice.percent(70));
        let tags = system.map(|(kind, name)| TagRecord { name: (*name).to_owned(), kind: *kind }).collect();
        let titled = dice.percent(12);
        let described = dice.percent(35);
        let first = stages.first().map(|stage| self.cast.fill(stage.description));
        let incident = IncidentRecord {
            source: SOURCE.to_owned(),
            external_id: self.telling.id.clone(),
            // Some rules name their incidents; the other incidents get a title from their alerts.
            title: titled.then(|| self.cast.fill(story.renamed)),
            description: first.filter(|_| described),
            tags,
            alerts,
            created_at: Some(self.at),
            ..IncidentRecord::default()
        };
        self.push(Record::Incident(Box::new(incident)));
        later
    }

    /// Makes an incident without alerts, written down after a call.
    fn call<'s>(&mut self, dice: &mut Dice) -> Vec<&'s Stage> {
        let (title, description, severity) = dice.pick(&CALLS);
        let incident = IncidentRecord {
            source: SOURCE.to_owned(),
            external_id: self.telling.id.clone(),
            title: Some(self.cast.fill(title)),
            description: Some(self.cast.fill(description)),
            severity: Some(*severity),
            tags: vec![TagRecord::custom("by phone")],
            created_at: Some(self.at),
            first_activity_at: Some(self.at - Duration::minutes(dice.between(5, 90) as i64)),
            by: Some(Person::named(on_shift(FIRST_LINE, dice).account)),
            ..IncidentRecord::default()
        };
        self.push(Record::Incident(Box::new(incident)));
        Vec::new()
    }

    fn detect(&mut self, stages: &[&Stage], dice: &mut Dice) -> Vec<AlertRef> {
        let mut links = Vec::new();
        for stage in stages {
            for _ in 0..dice.between(1, stage.repeat).max(dice.between(1, stage.repeat)) {
                let alert = alert(stage, &self.cast, self.at, dice);
                links.push(alert.reference());
                self.push(Record::Alert(Box::new(alert)));
            }
        }
        links
    }

    /// Makes the triage, the work, the handover and the resolution.
    fn work(&mut self, story: &Story, later: &[&Stage], dice: &mut Dice) {
        let cloudy = story.tags.contains(&"cloud");
        let mut owner = on_shift(if cloudy { CLOUD_RESPONSE } else { FIRST_LINE }, dice);
        self.wait_times(self.telling.patience, 2, 75, dice);
        let by_phone = self.by_phone;
        let tags = story.tags.iter().filter(|_| !by_phone && dice.percent(60)).map(|tag| TagRecord::custom(*tag));
        let tags = tags.collect();
        let mut remarks = story.remarks.iter().filter(|_| !by_phone);
        // The analyst who takes an incident often writes a first comment at once.
        let at_once = if dice.percent(35) { remarks.next() } else { None };
        let triage = UpdateRecord {
            status: Some(Status::Active),
            owner: Some(Some(Party::User(Person::named(owner.account)))),
            add_tags: tags,
            comment: at_once.map(|text| self.remark(text)),
            ..UpdateRecord::default()
        };
        self.update(owner, triage);
        if !later.is_empty() {
            self.wait(15, 140, dice);
            let link = self.detect(later, dice);
            let linked = UpdateRecord {
                source: SOURCE.to_owned(),
                external_id: self.telling.id.clone(),
                at: Some(self.at),
                link,
                ..UpdateRecord::default()
            };
            self.push(Record::Update(Box::new(linked)));
        }
        if at_once.is_none()
            && dice.percent(40)
            && let Some(text) = remarks.next()
        {
            self.wait(10, 90, dice);
            let renamed = dice.percent(20).then(|| self.cast.fill(story.renamed));
            let comment = Some(self.remark(text));
            self.update(owner, UpdateRecord { title: renamed, comment, ..UpdateRecord::default() });
        }
        if dice.percent(6) {
            self.wait(5, 30, dice);
            let severity = Some(Some(*dice.pick(&[Severity::High, Severity::Low, Severity::Medium])));
            self.update(owner, UpdateRecord { severity, ..UpdateRecord::default() });
        }
        if dice.percent(14) {
            owner = self.hand_over(owner, dice);
        }
        if dice.percent(30)
            && let Some(text) = remarks.next()
        {
            self.wait(20, 240, dice);
            let comment = Some(self.remark(text));
            self.update(owner, UpdateRecord { comment, ..UpdateRecord::default() });
        }
        self.resolve(story, owner, dice);
        if dice.percent(4) {
            self.reopen(owner, dice);
            self.resolve(story, owner, dice);
        }
    }

    fn reopen(&mut self, owner: &Analyst, dice: &mut Dice) {
        self.wait(120, 900, dice);
        let comment = Some(self.remark(dice.pick::<&str>(&REOPENINGS)));
        self.update(owner, UpdateRecord { status: Some(Status::Active), comment, ..UpdateRecord::default() });
    }

    fn hand_over(&mut self, owner: &Analyst, dice: &mut Dice) -> &'static Analyst {
        self.wait(30, 200, dice);
        let group = Party::Group(GroupName { group: SECOND_LINE.to_owned(), name: None });
        let comment = Some(self.remark(dice.pick::<&str>(&HANDOVERS)));
        self.update(owner, UpdateRecord { owner: Some(Some(group)), comment, ..UpdateRecord::default() });
        let next = on_shift(SECOND_LINE, dice);
        self.wait(5, 90, dice);
        let taken = Some(Some(Party::User(Person::named(next.account))));
        self.update(next, UpdateRecord { owner: taken, ..UpdateRecord::default() });
        next
    }

    fn resolve(&mut self, story: &Story, owner: &Analyst, dice: &mut Dice) {
        self.wait(25, 700, dice);
        let ending = dice.pick(story.endings);
        let (classification, note) = if self.by_phone {
            (None, "Talked through with the people concerned and written down; nothing left to do for us.")
        } else {
            (ending.classification.filter(|_| dice.percent(94)), ending.note)
        };
        let update = UpdateRecord {
            status: Some(Status::Resolved),
            classification: classification.map(Some),
            note: Some(self.cast.fill(note)),
            ..UpdateRecord::default()
        };
        self.update(owner, update);
    }
}

fn on_shift(group: &str, dice: &mut Dice) -> &'static Analyst {
    let people: Vec<&'static Analyst> = ANALYSTS.iter().filter(|analyst| analyst.group == group).collect();
    if people.is_empty() { &ANALYSTS[0] } else { dice.pick::<&Analyst>(&people) }
}

fn alert(stage: &Stage, cast: &Cast, reported: Instant, dice: &mut Dice) -> AlertRecord {
    let last = reported - Duration::seconds(dice.between(20, 900) as i64);
    let first = last - Duration::seconds(dice.between(0, 2_400) as i64);
    let id = format!("{}-{:012x}", stage.product.prefix, dice.roll() >> 16);
    detection(stage, cast, id, [first, last, reported], dice)
}

/// Returns a product's report of a stage under this id, with its start, its end and its time of arrival.
pub(super) fn detection(
    stage: &Stage,
    cast: &Cast,
    id: String,
    [first, last, reported]: [Instant; 3],
    dice: &mut Dice,
) -> AlertRecord {
    let entities = stage.entities.iter().map(|(kind, value, verdict)| EntityRecord {
        kind: *kind,
        value: cast.fill(value),
        verdict: *verdict,
    });
    let entities: Vec<EntityRecord> = entities.collect();
    let (title, description) = (cast.fill(stage.title), cast.fill(stage.description));
    let raw = json!({
        "id": id,
        "product": stage.product.name,
        "rule": { "name": title, "tactic": stage.category, "techniques": stage.techniques },
        "observed": { "from": first, "to": last },
        "score": dice.between(20, 99),
        "objects": entities.iter().map(|entity| &entity.value).collect::<Vec<_>>(),
        "text": description,
    });
    AlertRecord {
        provider: stage.product.provider.to_owned(),
        provider_alert_id: id,
        product: Some(stage.product.name.to_owned()),
        title,
        description: Some(description),
        severity: stage.severity,
        category: Some(stage.category.to_owned()),
        techniques: stage.techniques.iter().map(|id| (*id).to_owned()).collect(),
        first_activity_at: Some(first),
        last_activity_at: Some(last),
        entities,
        status: None,
        classification: None,
        raw: Some(raw.to_string()),
        at: Some(reported),
    }
}
