//! Generates one incident, or one alert without an incident: its story, its persons and the work on it.

use chrono::Duration;

use super::{Generated, id};
use crate::app::Command;
use crate::app::incident::{IncidentEdit, NewComment, OwnerChoice};
use crate::app::load::{Case, Deed, LoneAlert};
use crate::domain::account::{Actor, OwnerId};
use crate::domain::alert::AlertDraft;
use crate::domain::incident::{Patch, Severity, Status};
use crate::domain::tag::{Tag, TagKind};
use crate::domain::{AlertId, CommentId, IncidentId, Instant, Result, TransactionId};
use crate::sample::dice::Dice;
use crate::sample::people::Cast;
use crate::sample::stories::{self, Stage, Story};
use crate::sample::telling::{CALLS, HANDOVERS, REOPENINGS, detection};

/// How many alerts open an incident: the percentage of incidents, and the smallest and the largest number of alerts.
const ALERTS: [(u64, u64, u64); 4] = [(64, 1, 1), (24, 2, 2), (8, 3, 4), (4, 5, 9)];

/// One incident in this many is worked on for days, by many people.
const LONG_STORY_IN: u64 = 1_000;

/// The number of consecutive alert ids of a product that are reserved for each incident.
const ALERT_NUMBERS: u64 = 128;

/// A planned step of the incident: its actor, and its delay after the step before.
struct PlannedStep<'a> {
    /// The delay in seconds.
    wait: u64,
    by: &'a Actor,
    /// The name of the mutation.
    name: &'static str,
    edit: IncidentEdit,
    /// The text of a comment.
    comment: Option<String>,
    /// The detections that arrive.
    stages: Vec<&'static Stage>,
}

impl<'a> PlannedStep<'a> {
    fn new(wait: u64, by: &'a Actor, name: &'static str, patch: Patch) -> Self {
        Self { wait, by, name, edit: IncidentEdit::from(patch), comment: None, stages: Vec::new() }
    }

    fn commented(self, comment: Option<String>) -> Self {
        Self { comment, ..self }
    }

    fn owned(mut self, owner: OwnerId) -> Self {
        self.edit.owner = Some(Some(OwnerChoice::Id(owner)));
        self
    }
}

/// One incident while it is generated.
struct Script<'a> {
    desk: &'a Generated,
    story: &'static Story,
    cast: Cast,
    by_phone: bool,
    acts: Vec<PlannedStep<'a>>,
}

impl Generated {
    /// Generates an alert that belongs to no incident.
    pub(super) fn lone_alert(&self, index: u64, at: Instant, dice: &mut Dice) -> Result<Case> {
        let story = stories::pick(dice);
        let stage = dice.pick(story.stages);
        let stage = Stage { severity: stage.severity.min(Severity::Low), ..*stage };
        let cast = self.world.cast(dice);
        let draft = draft(&stage, &cast, at, index * ALERT_NUMBERS + ALERT_NUMBERS - 1, dice)?;
        Ok(Case::Alert(Box::new(LoneAlert {
            command: Command::new(self.world.connector.clone(), at, "ingestAlerts"),
            transaction: TransactionId(id(at, dice)),
            id: AlertId(id(at, dice)),
            draft,
        })))
    }

    /// Generates an incident: its opening, the work on it and its ending.
    pub(super) fn incident(&self, index: u64, opened: Instant, dice: &mut Dice) -> Result<Case> {
        let open = self.is_open(index, dice);
        let cast = self.world.cast(dice);
        let (story, by_phone) = (stories::pick(dice), dice.percent(4));
        let mut script = Script { desk: self, story, cast, by_phone, acts: Vec::new() };
        script.open(dice);
        let untouched = open && dice.percent(45);
        if untouched {
            script.leave(dice);
        } else {
            script.work(open, dice);
        }
        script.tell(index, opened, dice)
    }
}

impl<'a> Script<'a> {
    fn fill(&self, text: &str) -> String {
        self.cast.fill(text)
    }

    fn remark(&self, dice: &mut Dice) -> Option<String> {
        (!self.story.remarks.is_empty()).then(|| self.fill(dice.pick::<&str>(self.story.remarks)))
    }

    /// Adds the opening: alerts that make an incident, or a call.
    fn open(&mut self, dice: &mut Dice) {
        let world = &*self.desk.world;
        if self.by_phone {
            let (title, description, severity) = dice.pick(&CALLS);
            let patch = Patch {
                title: Some(self.fill(title)),
                description: Some(Some(self.fill(description))),
                severity: Some(Some(*severity)),
                add_tags: vec![tag("by phone")],
                ..Patch::default()
            };
            self.acts.push(PlannedStep::new(0, world.analyst(dice), "createIncident", patch));
            return;
        }
        let system = self.story.system_tags.iter().filter(|_| dice.percent(70));
        let tags = system.map(|(kind, name)| Tag { kind: *kind, name: (*name).to_owned() }).collect();
        let patch = Patch { add_tags: tags, ..Patch::default() };
        let count = share(&ALERTS, dice);
        let stages = self.stages(count, dice);
        self.acts.push(PlannedStep { stages, ..PlannedStep::new(0, &world.connector, "ingestAlerts", patch) });
    }

    /// Chooses this many detections of the story, in its order. The first stage always occurs; each may occur several
    /// times.
    fn stages(&self, count: u64, dice: &mut Dice) -> Vec<&'static Stage> {
        let mut stages = Vec::new();
        let mut place = 0;
        while (stages.len() as u64) < count {
            let stage = &self.story.stages[place % self.story.stages.len()];
            stages.push(stage);
            place += usize::from(stage.repeat == 1 || dice.percent(60));
        }
        stages
    }

    /// Leaves the incident untaken; at most an analyst has looked at it.
    fn leave(&mut self, dice: &mut Dice) {
        let by = self.desk.world.analyst(dice);
        if dice.percent(12) {
            let patch = Patch { add_tags: self.tags(dice), ..Patch::default() };
            let comment = self.remark(dice);
            self.acts.push(PlannedStep::new(dice.between(120, 7_200), by, "updateIncident", patch).commented(comment));
        }
    }

    /// Adds the triage, the work, the handover and the resolution.
    fn work(&mut self, open: bool, dice: &mut Dice) {
        let desk = self.desk;
        let mut by = desk.world.analyst(dice);
        // Some incidents are closed in one step, by a playbook or by an analyst who recognises them at once.
        let at_once = !open && dice.percent(28);
        if !at_once {
            let patch = Patch {
                status: Some(Status::Active),
                title: (!self.by_phone && dice.percent(28)).then(|| self.fill(self.story.renamed)),
                description: (!self.by_phone && dice.percent(40)).then(|| Some(self.description(dice))),
                severity: dice.percent(5).then(|| Some(*dice.pick(&[Severity::High, Severity::Medium, Severity::Low]))),
                add_tags: self.tags(dice),
                ..Patch::default()
            };
            let comment = if dice.percent(18) { self.remark(dice) } else { None };
            let wait = if dice.percent(8) { dice.between(7_200, 90_000) } else { dice.between(60, 3_600) };
            let owner = OwnerId::User(by.user.id);
            self.acts.push(PlannedStep::new(wait, by, "updateIncident", patch).owned(owner).commented(comment));
            if !self.by_phone && dice.percent(7) {
                self.more_alerts(1, dice);
            }
            if dice.percent(24) {
                self.comment(by, dice);
            }
            if dice.percent(7) {
                by = self.hand_over(by, dice);
            }
            if dice.roll().is_multiple_of(LONG_STORY_IN) {
                self.long_story(dice);
            }
        }
        if open {
            return;
        }
        self.resolve(by, at_once, dice);
        if dice.percent(2) {
            let patch = Patch { status: Some(Status::Active), ..Patch::default() };
            let comment = Some(self.fill(dice.pick::<&str>(&REOPENINGS)));
            let wait = dice.between(3_600, 60_000);
            self.acts.push(PlannedStep::new(wait, by, "reopenIncident", patch).commented(comment));
            self.resolve(by, false, dice);
        }
    }

    fn comment(&mut self, by: &'a Actor, dice: &mut Dice) {
        let comment = self.remark(dice);
        if comment.is_some() {
            self.acts.push(
                PlannedStep::new(dice.between(300, 9_000), by, "addComment", Patch::default()).commented(comment),
            );
        }
    }

    fn more_alerts(&mut self, count: u64, dice: &mut Dice) {
        let stages = self.stages(count, dice);
        let act =
            PlannedStep::new(dice.between(600, 9_000), &self.desk.world.connector, "ingestAlerts", Patch::default());
        self.acts.push(PlannedStep { stages, ..act });
    }

    fn resolve(&mut self, by: &'a Actor, at_once: bool, dice: &mut Dice) {
        let ending = dice.pick(self.story.endings);
        let mut note = if self.by_phone {
            "Talked through with the people concerned and written down; nothing left to do for us.".to_owned()
        } else {
            self.fill(ending.note)
        };
        if dice.percent(12)
            && let Some(remark) = self.remark(dice)
        {
            note = format!("{note}\n\n{remark}");
        }
        let classified = !self.by_phone && dice.percent(94);
        let patch = Patch {
            status: Some(Status::Resolved),
            note: Some(Some(note)),
            classification: classified.then_some(ending.classification),
            add_tags: if at_once { self.tags(dice) } else { Vec::new() },
            ..Patch::default()
        };
        let wait = if dice.percent(6) { dice.between(80_000, 700_000) } else { dice.between(600, 30_000) };
        let act = PlannedStep::new(wait, by, "resolveIncident", patch);
        let owned = at_once && dice.percent(60);
        self.acts.push(if owned { act.owned(OwnerId::User(by.user.id)) } else { act });
    }

    /// Makes a description from the texts of the first detections, sometimes a long one.
    fn description(&self, dice: &mut Dice) -> String {
        let sentences = if dice.percent(25) { dice.between(3, 6) as usize } else { 1 };
        let texts: Vec<String> =
            self.story.stages.iter().cycle().take(sentences).map(|stage| self.fill(stage.description)).collect();
        texts.join(" ")
    }

    /// Chooses the tags that analysts add.
    fn tags(&self, dice: &mut Dice) -> Vec<Tag> {
        let own = self.story.tags.iter().filter(|_| !self.by_phone && dice.percent(45)).map(|name| tag(name));
        let mut tags: Vec<Tag> = own.collect();
        let more = share(&[(52, 0, 0), (30, 1, 1), (12, 2, 2), (6, 3, 5)], dice);
        for _ in 0..more {
            let tag = tag(&self.desk.world.tag(dice));
            if !tags.contains(&tag) {
                tags.push(tag);
            }
        }
        tags
    }

    /// Hands the incident to a group, and returns the member who takes it.
    fn hand_over(&mut self, by: &'a Actor, dice: &mut Dice) -> &'a Actor {
        let desk = self.desk;
        let comment = Some(self.fill(dice.pick::<&str>(&HANDOVERS)));
        let group = OwnerId::Group(desk.world.group(dice).id);
        let wait = dice.between(1_800, 12_000);
        let given = PlannedStep::new(wait, by, "assignIncident", Patch::default()).owned(group).commented(comment);
        let next = desk.world.analyst(dice);
        let taken = PlannedStep::new(dice.between(300, 5_400), next, "assignIncident", Patch::default());
        self.acts.extend([given, taken.owned(OwnerId::User(next.user.id))]);
        next
    }

    /// Adds days of work: many comments by many people, and alerts in between.
    fn long_story(&mut self, dice: &mut Dice) {
        for _ in 0..dice.between(20, 70) {
            if dice.percent(35) {
                self.more_alerts(1, dice);
            } else {
                let by = self.desk.world.analyst(dice);
                self.comment(by, dice);
            }
        }
    }

    /// Gives each step its time before the end of the desk, and each object its id.
    fn tell(self, index: u64, opened: Instant, dice: &mut Dice) -> Result<Case> {
        let Self { desk, cast, acts, .. } = self;
        let room = u64::try_from((desk.plan.end - opened).num_milliseconds()).unwrap_or(0);
        let total = acts.iter().map(|act| act.wait * 1_000).sum::<u64>().max(1);
        let (mut at, mut number) = (opened, index * ALERT_NUMBERS);
        let incident = IncidentId(id(opened, dice));
        let mut deeds = Vec::with_capacity(acts.len());
        for act in acts {
            let mut wait = act.wait * 1_000;
            if total > room {
                // Shorten the delays, so that all steps are before the end.
                wait = u64::try_from(u128::from(wait) * u128::from(room) / u128::from(total)).unwrap_or(0);
            }
            at += Duration::milliseconds(i64::try_from(wait).unwrap_or(0));
            let mut alerts = Vec::with_capacity(act.stages.len());
            for stage in act.stages {
                alerts.push((AlertId(id(at, dice)), draft(stage, &cast, at, number, dice)?));
                number += 1;
            }
            let comment = act.comment.map(|body| NewComment { id: Some(CommentId(id(at, dice))), body });
            deeds.push(Deed {
                command: Command::new(act.by.clone(), at, act.name),
                transaction: TransactionId(id(at, dice)),
                alerts,
                edit: IncidentEdit { comment, ..act.edit },
            });
        }
        Ok(Case::Incident(incident, deeds))
    }
}

fn tag(name: &str) -> Tag {
    Tag { kind: TagKind::Custom, name: name.to_owned() }
}

/// Draws a number from a table of percentages, each with the smallest and the largest number.
fn share(table: &[(u64, u64, u64)], dice: &mut Dice) -> u64 {
    let mut roll = dice.between(0, 99);
    for (percent, low, high) in table {
        match roll.checked_sub(*percent) {
            None => return dice.between(*low, *high),
            Some(left) => roll = left,
        }
    }
    0
}

fn draft(stage: &Stage, cast: &Cast, at: Instant, number: u64, dice: &mut Dice) -> Result<AlertDraft> {
    let last = at - Duration::seconds(dice.between(20, 900) as i64);
    let first = last - Duration::seconds(dice.between(0, 2_400) as i64);
    let name = format!("{}-{number:012x}", stage.product.prefix);
    detection(stage, cast, name, [first, last, at], dice).draft()
}
