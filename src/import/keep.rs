//! Fits records into the desk's bounds. A text that is too long is cut, and a required text that is missing is replaced
//! by a text that says so; both are reported. The odd parts of an incident stay with it, as they came, in a comment.
//!
//! An alert keeps its odd parts in its raw payload. A user or a group cannot keep them; the warning shows them.

use std::collections::BTreeSet;

use super::decode;
use super::odd::{Became, Odds};
use super::record::{
    AlertRecord, CommentRecord, EntityRecord, GroupRecord, IncidentRecord, Party, Person, Record, Remark, TagRecord,
    UpdateRecord, UserRecord,
};
use super::times;
use super::{ImportItem, Odd};
use crate::domain::account::ACCOUNT_CHARS_MAX;
use crate::domain::alert::{
    ALERTS_PER_LINK_MAX, DESCRIPTION_CHARS_MAX as ALERT_DESCRIPTION_CHARS_MAX, ENTITIES_PER_ALERT_MAX, LABELS_MAX,
    NAME_CHARS_MAX,
};
use crate::domain::comment::COMMENT_CHARS_MAX;
use crate::domain::entity::ENTITY_CHARS_MAX;
use crate::domain::incident::{DESCRIPTION_CHARS_MAX, NOTE_CHARS_MAX, Status};
use crate::domain::tag::{TAG_CHARS_MAX, TAGS_PER_INCIDENT_MAX};
use crate::domain::{Instant, instant, text};

/// The most characters of one odd part in one comment, so that the comment has room for it and for its frame.
const PART_CHARS: usize = 25_000;

/// The first line of each comment about odd parts.
const HEADING: &str = "Parts of this record that could not be read, as they came:";

/// The most kinds of hidden characters that a report names.
const CODES_MAX: usize = 5;

/// Returns the records of one element within the desk's bounds. The odd parts go with the first record.
pub(super) fn records(records: Vec<Record>, mut odds: Odds) -> Vec<ImportItem> {
    let line = odds.line();
    let mut kept: Vec<Record> = Vec::with_capacity(records.len());
    for record in records {
        let mut record = unmarked(record, &mut odds);
        match &mut record {
            Record::Alert(record) => alert(record, &mut odds),
            Record::Incident(record) => incident(record, &mut odds),
            Record::Comment(record) => comment(record, &mut odds),
            Record::Update(record) => update(record, &mut odds),
            Record::User(record) => user(record, &mut odds),
            Record::Group(record) => group(record, &mut odds),
        }
        kept.push(record);
    }
    let raw = odds.raw().to_owned();
    let odd = odds.into_parts();
    let told: Vec<&Odd> = odd.iter().filter(|odd| odd.became == Became::Raw).collect();
    if let Some(record) = kept.first_mut().filter(|_| !told.is_empty()) {
        let more = stay_with(record, &told, raw);
        kept.extend(more);
    }
    let mut items: Vec<ImportItem> = kept
        .into_iter()
        .flat_map(parts)
        .map(|record| ImportItem { line, record: Ok(record), odd: Vec::new() })
        .collect();
    if let Some(first) = items.first_mut() {
        first.odd = odd;
    }
    items
}

/// Stores the odd parts in their record, or returns further comments that hold them.
fn stay_with(record: &mut Record, told: &[&Odd], raw: String) -> Vec<Record> {
    let (source, external_id, at) = match record {
        // The whole element, because it also contains the provider's own payload.
        Record::Alert(alert) => {
            alert.raw = Some(raw);
            return Vec::new();
        }
        Record::Incident(incident) => {
            let at = incident.updated_at.or(incident.created_at);
            let remarks = bodies(told).into_iter().enumerate();
            incident.comments.extend(remarks.map(|(index, body)| {
                let id = Some(format!("odd parts/{index}"));
                Remark { id, body, at, by: None }
            }));
            return Vec::new();
        }
        Record::Comment(comment) => (&comment.source, &comment.external_id, comment.at),
        Record::Update(update) => (&update.source, &update.external_id, update.at),
        Record::User(_) | Record::Group(_) => return Vec::new(),
    };
    let comment = |body| {
        let (source, external_id) = (source.clone(), external_id.clone());
        Record::Comment(Box::new(CommentRecord { source, external_id, body, at, ..CommentRecord::default() }))
    };
    bodies(told).into_iter().map(comment).collect()
}

/// Returns the bodies of comments that quote odd parts as they came.
fn bodies(told: &[&Odd]) -> Vec<String> {
    let mut bodies = vec![HEADING.to_owned()];
    let mut chars = HEADING.len();
    for odd in told {
        let reason: String = odd.reason.chars().take(NAME_CHARS_MAX).collect();
        for part in chunks(&odd.raw, PART_CHARS) {
            // The fence is longer than every run of backquotes in the part; otherwise the code block would end there.
            let longest = part.split(|c| c != '`').map(str::len).max().unwrap_or(0);
            let fence = "`".repeat(longest.max(2) + 1);
            let block = format!("\n\n`{}`: {reason}\n\n{fence}\n{part}\n{fence}", odd.field.replace('`', "'"));
            let block_chars = block.chars().count();
            if chars + block_chars > COMMENT_CHARS_MAX {
                bodies.push(HEADING.to_owned());
                chars = HEADING.len();
            }
            if let Some(body) = bodies.last_mut() {
                body.extend(block.chars().take(COMMENT_CHARS_MAX - HEADING.len()));
                chars += block_chars;
            }
        }
    }
    bodies
}

/// Splits a text into pieces of at most `limit` characters. An empty text gives one empty piece.
fn chunks(text: &str, limit: usize) -> Vec<String> {
    let mut chunks = vec![String::new()];
    let mut room = limit;
    for c in text.chars() {
        if room == 0 {
            chunks.push(String::new());
            room = limit;
        }
        if let Some(chunk) = chunks.last_mut() {
            chunk.push(c);
        }
        room -= 1;
    }
    chunks
}

/// Returns the record with U+FFFD in place of each mark of undecodable bytes, and reports each such field.
fn unmarked(record: Record, odds: &mut Odds) -> Record {
    let written = match serde_json::to_string(&record) {
        Ok(written) if decode::has_marks(&written) => written,
        _ => return record,
    };
    if let Ok(value) = serde_json::from_str(&written) {
        tell_marks(&value, String::new(), odds);
    }
    serde_json::from_str(&decode::plain(&written)).unwrap_or(record)
}

fn tell_marks(value: &serde_json::Value, path: String, odds: &mut Odds) {
    let below = |name: &str| if path.is_empty() { name.to_owned() } else { format!("{path}.{name}") };
    match value {
        serde_json::Value::String(text) if decode::has_marks(text) => {
            odds.keep(path, text, "bytes that are no UTF-8 text, U+0000, and U+10FE00 to U+10FEFF are shown as U+FFFD");
        }
        serde_json::Value::Array(values) => {
            values.iter().enumerate().for_each(|(index, value)| tell_marks(value, below(&index.to_string()), odds));
        }
        serde_json::Value::Object(members) => {
            members.iter().for_each(|(name, value)| tell_marks(value, below(name), odds));
        }
        _ => {}
    }
}

fn user(user: &mut UserRecord, odds: &mut Odds) {
    time(&mut user.at, "at", odds);
    tell_hidden(&user.account, "account", odds);
    label(&mut user.name, "name", ACCOUNT_CHARS_MAX, odds);
    label(&mut user.email, "email", ACCOUNT_CHARS_MAX, odds);
}

fn group(group: &mut GroupRecord, odds: &mut Odds) {
    time(&mut group.at, "at", odds);
    tell_hidden(&group.account, "account", odds);
    label(&mut group.name, "name", ACCOUNT_CHARS_MAX, odds);
    let members = std::mem::take(&mut group.members);
    for (index, member) in members.into_iter().enumerate() {
        group.members.extend(person(Some(member), &format!("members.{index}"), odds));
    }
}

fn alert(alert: &mut AlertRecord, odds: &mut Odds) {
    time(&mut alert.at, "at", odds);
    activity(&mut alert.first_activity_at, &mut alert.last_activity_at, odds);
    let other = || format!("Alert {} of {}", alert.provider_alert_id.trim(), alert.provider.trim());
    title(&mut alert.title, other, odds);
    name(&mut alert.product, "product", NAME_CHARS_MAX, odds);
    name(&mut alert.category, "category", NAME_CHARS_MAX, odds);
    cut(&mut alert.description, "description", ALERT_DESCRIPTION_CHARS_MAX, odds);
    let mut techniques = Vec::with_capacity(alert.techniques.len());
    for (index, technique) in alert.techniques.drain(..).enumerate() {
        let mut technique = Some(technique);
        name(&mut technique, &format!("techniques.{index}"), NAME_CHARS_MAX, odds);
        techniques.extend(technique);
    }
    bound(&mut techniques, LABELS_MAX, "techniques", odds);
    alert.techniques = techniques;
    let entities = std::mem::take(&mut alert.entities).into_iter().enumerate();
    alert.entities = entities.filter_map(|(index, entity)| self::entity(entity, index, odds)).collect();
    bound(&mut alert.entities, ENTITIES_PER_ALERT_MAX, "entities", odds);
}

fn entity(mut entity: EntityRecord, index: usize, odds: &mut Odds) -> Option<EntityRecord> {
    let path = || format!("entities.{index}.value");
    if text::is_blank(&entity.value) {
        odds.keep(path(), &entity.value, "this names nothing");
        return None;
    }
    let value = entity.value.trim();
    if value.chars().count() > ENTITY_CHARS_MAX {
        odds.keep(path(), value, format!("cut after {ENTITY_CHARS_MAX} characters"));
        entity.value = value.chars().take(ENTITY_CHARS_MAX).collect();
    }
    Some(entity)
}

fn incident(incident: &mut IncidentRecord, odds: &mut Odds) {
    time(&mut incident.created_at, "createdAt", odds);
    time(&mut incident.updated_at, "updatedAt", odds);
    time(&mut incident.resolved_at, "resolvedAt", odds);
    activity(&mut incident.first_activity_at, &mut incident.last_activity_at, odds);
    if incident.alerts.is_empty() || incident.title.is_some() {
        let mut given = incident.title.take().unwrap_or_default();
        let other =
            || format!("Incident {} of {}, without a title", incident.external_id.trim(), incident.source.trim());
        title(&mut given, other, odds);
        incident.title = Some(given);
    }
    cut(&mut incident.description, "description", DESCRIPTION_CHARS_MAX, odds);
    cut(&mut incident.note, "note", NOTE_CHARS_MAX, odds);
    if let Some(note) = incident.note.take_if(|note| incident.status != Some(Status::Resolved) && !text::is_blank(note))
    {
        odds.keep("note", &note, "a resolution note belongs to a resolved incident");
    }
    tags(&mut incident.tags, "tags", odds);
    bound(&mut incident.tags, TAGS_PER_INCIDENT_MAX, "tags", odds);
    incident.owner = incident.owner.take().and_then(|owner| party(owner, odds));
    incident.by = person(incident.by.take(), "by", odds);
    let comments = std::mem::take(&mut incident.comments);
    for (index, mut remark) in comments.into_iter().enumerate() {
        time(&mut remark.at, &format!("comments.{index}.at"), odds);
        remark.by = person(remark.by.take(), &format!("comments.{index}.by"), odds);
        if text::is_blank(&remark.body) {
            odds.keep(format!("comments.{index}.body"), &remark.body, "a comment cannot be blank");
            continue;
        }
        incident.comments.extend(remarks(remark));
    }
}

fn comment(comment: &mut CommentRecord, odds: &mut Odds) {
    time(&mut comment.at, "at", odds);
    comment.by = person(comment.by.take(), "by", odds);
}

fn update(update: &mut UpdateRecord, odds: &mut Odds) {
    if let Some(blank) = update.title.take_if(|title| text::is_blank(title)) {
        odds.keep("title", &blank, "a title cannot be blank");
    }
    cut(&mut update.description, "description", DESCRIPTION_CHARS_MAX, odds);
    cut(&mut update.note, "note", NOTE_CHARS_MAX, odds);
    tags(&mut update.add_tags, "addTags", odds);
    tags(&mut update.remove_tags, "removeTags", odds);
    update.by = person(update.by.take(), "by", odds);
    if let Some(Some(owner)) = update.owner.take_if(|owner| owner.is_some()) {
        update.owner = party(owner, odds).map(Some);
    }
    if let Some(remark) = &mut update.comment {
        time(&mut remark.at, "comment.at", odds);
        remark.by = person(remark.by.take(), "comment.by", odds);
    }
    if let Some(blank) = update.comment.take_if(|remark| text::is_blank(&remark.body)) {
        odds.keep("comment.body", &blank.body, "a comment cannot be blank");
    }
}

/// Splits a record that exceeds the limits of one command into several records.
fn parts(record: Record) -> Vec<Record> {
    match record {
        Record::Incident(mut incident) if incident.alerts.len() > ALERTS_PER_LINK_MAX => {
            let rest = incident.alerts.split_off(ALERTS_PER_LINK_MAX);
            let link = |link: &[_]| {
                let (source, external_id) = (incident.source.clone(), incident.external_id.clone());
                let link = link.to_vec();
                Record::Update(Box::new(UpdateRecord { source, external_id, link, ..UpdateRecord::default() }))
            };
            let links: Vec<Record> = rest.chunks(ALERTS_PER_LINK_MAX).map(link).collect();
            std::iter::once(Record::Incident(incident)).chain(links).collect()
        }
        Record::Comment(comment) if comment.body.chars().count() > COMMENT_CHARS_MAX => {
            let CommentRecord { source, external_id, id, body, at, by } = *comment;
            remarks(Remark { id, body, at, by })
                .into_iter()
                .map(|Remark { id, body, at, by }| {
                    let (source, external_id) = (source.clone(), external_id.clone());
                    Record::Comment(Box::new(CommentRecord { source, external_id, id, body, at, by }))
                })
                .collect()
        }
        record => vec![record],
    }
}

/// Splits a comment that is too long into several comments.
fn remarks(remark: Remark) -> Vec<Remark> {
    let pieces = chunks(&remark.body, COMMENT_CHARS_MAX);
    if pieces.len() == 1 {
        return vec![remark];
    }
    let pieces = pieces.into_iter().filter(|piece| !text::is_blank(piece)).enumerate();
    let one = |(index, body): (usize, String)| Remark {
        id: remark.id.as_ref().map(|id| if index == 0 { id.clone() } else { format!("{id}/{index}") }),
        body,
        at: remark.at,
        by: remark.by.clone(),
    };
    pieces.map(one).collect()
}

/// Clears a time that the desk cannot keep.
fn time(at: &mut Option<Instant>, path: &str, odds: &mut Odds) {
    let Some(given) = *at else { return };
    if times::is_never(given) {
        odds.assume(path, &given.to_rfc3339(), format!("{} is read as no time", given.to_rfc3339()));
        *at = None;
    } else if let Err(error) = instant::parse(path, given) {
        odds.keep(path, &given.to_rfc3339(), error.to_string());
        *at = None;
    }
}

fn activity(first: &mut Option<Instant>, last: &mut Option<Instant>, odds: &mut Odds) {
    time(first, "firstActivityAt", odds);
    time(last, "lastActivityAt", odds);
    if let (Some(from), Some(to)) = (*first, *last)
        && from > to
    {
        odds.assume("lastActivityAt", &to.to_rfc3339(), "the last activity is before the first: they are exchanged");
        (*first, *last) = (Some(to), Some(from));
    }
}

fn title(title: &mut String, other: impl Fn() -> String, odds: &mut Odds) {
    if text::is_blank(title) {
        let named = other();
        odds.assume("title", title, format!("there is no title: \"{named}\" stands for it"));
        *title = named;
    }
}

/// Clears a blank name, and cuts a name after `limit` characters.
fn name(name: &mut Option<String>, path: &str, limit: usize, odds: &mut Odds) {
    name.take_if(|name| text::is_blank(name));
    cut(name, path, limit, odds);
}

/// Clears and cuts like [`name`], and reports hidden characters. For names by which people tell things apart.
fn label(label: &mut Option<String>, path: &str, limit: usize, odds: &mut Odds) {
    name(label, path, limit, odds);
    if let Some(label) = label {
        tell_hidden(label, path, odds);
    }
}

/// Reports the hidden characters of an account, a name, a mail address or a tag. The desk stores it without them, so
/// two names of the file may become equal; therefore the report says the name that results.
fn tell_hidden(name: &str, path: &str, odds: &mut Odds) {
    let found: BTreeSet<char> = text::hidden(name.trim()).map(|(_, c)| c).collect();
    if text::is_blank(name) || found.is_empty() {
        return;
    }
    let codes: Vec<String> = found.iter().take(CODES_MAX).map(|c| format!("U+{:04X}", *c as u32)).collect();
    let (codes, more) = (codes.join(", "), if found.len() > CODES_MAX { ", …" } else { "" });
    // The desk refuses a longer account; other names were cut.
    let read: String = text::visible(name).chars().take(ACCOUNT_CHARS_MAX).collect();
    let reason = format!("characters that cannot be seen are left out ({codes}{more}): this is read as \"{read}\"");
    odds.keep(path, name, reason);
}

/// Cuts a text after `limit` characters.
fn cut(text: &mut Option<String>, path: &str, limit: usize, odds: &mut Odds) {
    if let Some(long) = text.as_mut().filter(|text| text.len() > limit && text.trim().chars().count() > limit) {
        odds.keep(path, long, format!("cut after {limit} characters"));
        *long = long.trim().chars().take(limit).collect();
    } else if let Some(text) = text.as_mut().filter(|text| text.chars().count() > limit) {
        *text = text.trim().to_owned();
    }
}

/// Keeps at most `limit` elements of a list.
fn bound<T: serde::Serialize>(list: &mut Vec<T>, limit: usize, path: &str, odds: &mut Odds) {
    if list.len() > limit {
        let rest = list.split_off(limit);
        let raw = serde_json::to_string(&rest).unwrap_or_default();
        odds.keep(path, &raw, format!("at most {limit}: {} more stay in the raw text", rest.len()));
    }
}

fn tags(tags: &mut Vec<TagRecord>, path: &str, odds: &mut Odds) {
    let mut kept = Vec::with_capacity(tags.len());
    for (index, mut tag) in tags.drain(..).enumerate() {
        let mut name = Some(tag.name);
        label(&mut name, &format!("{path}.{index}"), TAG_CHARS_MAX, odds);
        if let Some(name) = name {
            tag.name = name;
            kept.push(tag);
        }
    }
    *tags = kept;
}

fn party(party: Party, odds: &mut Odds) -> Option<Party> {
    match party {
        Party::User(user) => person(Some(user), "owner", odds).map(Party::User),
        Party::Group(mut group) => {
            if text::is_blank(&group.group) || group.group.trim().chars().count() > ACCOUNT_CHARS_MAX {
                odds.keep("owner", &group.group, format!("an account has 1 to {ACCOUNT_CHARS_MAX} characters"));
                return None;
            }
            tell_hidden(&group.group, "owner", odds);
            label(&mut group.name, "owner.name", ACCOUNT_CHARS_MAX, odds);
            Some(Party::Group(group))
        }
    }
}

fn person(person: Option<Person>, path: &str, odds: &mut Odds) -> Option<Person> {
    let mut person = person?;
    if text::is_blank(&person.account) || person.account.trim().chars().count() > ACCOUNT_CHARS_MAX {
        odds.keep(path, &person.account, format!("an account has 1 to {ACCOUNT_CHARS_MAX} characters"));
        return None;
    }
    tell_hidden(&person.account, path, odds);
    label(&mut person.name, &format!("{path}.name"), ACCOUNT_CHARS_MAX, odds);
    label(&mut person.email, &format!("{path}.email"), ACCOUNT_CHARS_MAX, odds);
    Some(person)
}
