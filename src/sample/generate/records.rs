//! Writes a generated desk as records of the desk's own import format: a case consists of commands, a file of records.

use std::collections::HashMap;

use chrono::DateTime;

use crate::app::Command;
use crate::app::incident::{IncidentEdit, OwnerChoice};
use crate::app::load::{Accounts, Case, Deed};
use crate::domain::account::OwnerId;
use crate::domain::alert::AlertDraft;
use crate::domain::tag::Tag;
use crate::domain::{Instant, Result};
use crate::import::Record;
use crate::import::record::{
    AlertRecord, EntityRecord, GroupName, GroupRecord, IncidentRecord, Party, Person, Remark, TagRecord, UpdateRecord,
    UserRecord,
};

/// The source of generated incidents.
const SOURCE: &str = "generated";

/// The names under which records refer to owners.
pub(super) struct Names(HashMap<OwnerId, Party>);

impl Names {
    pub(super) fn of(accounts: &Accounts) -> Self {
        let users = accounts.users.iter();
        let users = users.map(|user| (OwnerId::User(user.id), Party::User(Person::named(user.account.clone()))));
        let groups = accounts.groups.iter().map(|(group, _)| {
            let party = Party::Group(GroupName { group: group.account.clone(), name: None });
            (OwnerId::Group(group.id), party)
        });
        Self(users.chain(groups).collect())
    }

    fn party(&self, choice: OwnerChoice, by: Option<&Person>) -> Option<Party> {
        match choice {
            OwnerChoice::Me => by.cloned().map(Party::User),
            OwnerChoice::Id(id) => self.0.get(&id).cloned(),
        }
    }
}

/// Returns the users and groups as records.
pub(super) fn of_accounts(accounts: &Accounts) -> Vec<Record> {
    let users = accounts.users.iter().map(|user| {
        Record::User(UserRecord {
            account: user.account.clone(),
            name: Some(user.name.clone()),
            email: user.email.clone(),
            role: Some(user.role),
            at: Some(user.created_at),
        })
    });
    let accounts_of: HashMap<_, _> = accounts.users.iter().map(|user| (user.id, user.account.as_str())).collect();
    let groups = accounts.groups.iter().map(|(group, members)| {
        let members =
            members.iter().filter_map(|member| accounts_of.get(member)).map(|account| Person::named(*account));
        Record::Group(GroupRecord {
            account: group.account.clone(),
            name: Some(group.name.clone()),
            members: members.collect(),
            at: Some(group.created_at),
        })
    });
    users.chain(groups).collect()
}

/// Returns the records of a case, each with its time. `incidents` counts the incidents so far; each incident adds one.
pub(super) fn of_case(case: Result<Case>, incidents: &mut u64, names: &Names) -> Vec<(Instant, Result<Record>)> {
    let mut records = Vec::new();
    match case {
        // The earliest time, because an error ends the desk.
        Err(error) => records.push((DateTime::UNIX_EPOCH, Err(error))),
        Ok(Case::Alert(alert)) => records.push((alert.command.at, Ok(of_alert(alert.draft, &alert.command)))),
        Ok(Case::Incident(_, deeds)) => {
            *incidents += 1;
            let id = format!("{SOURCE}-{incidents:07}");
            for (index, deed) in deeds.into_iter().enumerate() {
                let at = deed.command.at;
                of_deed(deed, index == 0, &id, names, &mut |record| records.push((at, Ok(record))));
            }
        }
    }
    records
}

fn of_deed(deed: Deed, makes: bool, id: &str, names: &Names, tell: &mut dyn FnMut(Record)) {
    let Deed { command, alerts, edit: IncidentEdit { patch, owner, comment, .. }, .. } = deed;
    let by = command.actor.as_ref().map(|actor| Person::named(actor.user.account.clone()));
    let mut link = Vec::with_capacity(alerts.len());
    for (_, draft) in alerts {
        let Record::Alert(alert) = of_alert(draft, &command) else { continue };
        link.push(alert.reference());
        tell(Record::Alert(alert));
    }
    let (at, tags) = (Some(command.at), patch.add_tags.into_iter().map(record_of).collect());
    let remark = |body| Remark { body, at, by: by.clone(), ..Remark::default() };
    let comment = comment.map(|new| remark(new.body));
    if makes {
        tell(Record::Incident(Box::new(IncidentRecord {
            source: SOURCE.to_owned(),
            external_id: id.to_owned(),
            title: patch.title,
            description: patch.description.flatten(),
            severity: patch.severity.flatten(),
            tags,
            alerts: link,
            comments: comment.into_iter().collect(),
            created_at: at,
            by,
            ..IncidentRecord::default()
        })));
        return;
    }
    tell(Record::Update(Box::new(UpdateRecord {
        source: SOURCE.to_owned(),
        external_id: id.to_owned(),
        at,
        title: patch.title,
        // A blank description clears it.
        description: patch.description.map(Option::unwrap_or_default),
        severity: patch.severity,
        status: patch.status,
        note: patch.note.flatten(),
        classification: patch.classification,
        owner: owner.map(|owner| owner.and_then(|owner| names.party(owner, by.as_ref()))),
        add_tags: tags,
        comment,
        link,
        by,
        ..UpdateRecord::default()
    })));
}

fn record_of(tag: Tag) -> TagRecord {
    TagRecord { name: tag.name, kind: tag.kind }
}

fn of_alert(draft: AlertDraft, command: &Command) -> Record {
    let AlertDraft { report, status, classification, raw } = draft;
    let entities = report.entities.into_iter();
    Record::Alert(Box::new(AlertRecord {
        provider: report.provider,
        provider_alert_id: report.provider_alert_id,
        product: report.product,
        title: report.title,
        description: report.description,
        severity: report.severity,
        category: report.category,
        techniques: report.techniques,
        first_activity_at: report.first_activity_at,
        last_activity_at: report.last_activity_at,
        entities: entities.map(|e| EntityRecord { kind: e.kind, value: e.value, verdict: e.verdict }).collect(),
        status,
        classification,
        raw,
        at: Some(command.at),
    }))
}
