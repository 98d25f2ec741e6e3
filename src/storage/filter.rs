//! Incident filters in SQL. `domain/filter.rs` applies the same filters in memory.
//!
//! Every condition here is true or false, never unknown (NULL): `NOT` of an unknown drops rows that `matches()` keeps.

use std::collections::BTreeMap;

use sea_orm::entity::prelude::*;
use sea_orm::sea_query::{ExprTrait, Func, IntoIden, LikeExpr, Query, SelectStatement, SimpleExpr, UnionType};
use sea_orm::{ActiveEnum, Condition};

use super::incident::row::{Column, Entity};
use super::{alert, entity, search, tag};
use crate::domain::classification::{ClassificationFilter, ClassificationKind};
use crate::domain::entity::EntityKind;
use crate::domain::filter::{EntityFilter, IncidentFilter, OwnerFilter, TagFilter, TimeRange};
use crate::domain::incident::{Status, referenced_number};
use crate::domain::summary::OPEN;

/// How each condition of a filter's top level is written. Every way selects the same incidents.
#[derive(Clone, Copy, Debug)]
pub(super) struct Ways {
    pub(super) status: StatusWay,
    pub(super) tags: ConditionForm,
    pub(super) entities: ConditionForm,
    /// Products and providers.
    pub(super) alerts: ConditionForm,
    pub(super) text: TextWay,
}

/// How a condition on another table is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum ConditionForm {
    /// As `IN` a list, from which the database may start.
    Listed,
    /// As `(IN a list) IS TRUE`. PostgreSQL plans a list in a conjunction as a join, and would plan a hundred joins for
    /// minutes. It does not turn this form into a join.
    Asked,
    /// As `EXISTS` for each incident. SQLite starts from a list whenever it gets one, however long the list is.
    Each,
}

/// How a text is searched.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum TextWay {
    /// In the columns of each incident.
    Each,
    /// In the table of searchable texts, by PostgreSQL's trigrams.
    Table,
    /// In the incidents that SQLite's trigram index finds.
    Index,
}

/// How statuses are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum StatusWay {
    /// So that the database sees that they are open, and can use the indexes of open incidents.
    Known,
    /// As a list, so that SQLite keeps to the index of an order.
    Listed,
}

/// The ways below the top level of a filter.
const BELOW: Ways = Ways {
    status: StatusWay::Listed,
    tags: ConditionForm::Asked,
    entities: ConditionForm::Asked,
    alerts: ConditionForm::Asked,
    text: TextWay::Each,
};

/// Returns the condition of a queue: not deleted, and meeting the filter.
pub(super) fn queue(filter: &IncidentFilter, ways: Ways) -> Condition {
    Condition::all().add(Column::DeletedAt.is_null()).add(reading(filter, ways))
}

/// Selects the incidents with one of these statuses. The values are literals, because a database that plans before it
/// knows the parameters cannot tell whether a partial index serves. They are joined by `OR`, because SQLite recognises
/// the condition of a partial index only in the form in which it was written.
pub(super) fn of_status(list: &[Status], way: StatusWay) -> Condition {
    let literal = |status: &Status| SimpleExpr::Constant(status.to_value().into());
    let status = Expr::col((Entity, Column::Status));
    if way == StatusWay::Known && !list.is_empty() && list.iter().all(|status| OPEN.contains(status)) {
        return list.iter().fold(Condition::any(), |any, each| any.add(status.clone().eq(literal(each))));
    }
    match list {
        // SQLite does not see that `IN` a list of one value is an equality.
        [one] => Condition::all().add(status.eq(literal(one))),
        _ => Condition::all().add(status.is_in(list.iter().map(literal))),
    }
}

/// Whether a folded text contains a folded needle.
pub(super) fn contains(folded: impl ExprTrait, needle: &str) -> SimpleExpr {
    let mut pattern = String::with_capacity(needle.len() + 2);
    pattern.push('%');
    for character in needle.chars() {
        if matches!(character, '%' | '_' | '\\') {
            pattern.push('\\');
        }
        pattern.push(character);
    }
    pattern.push('%');
    folded.like(LikeExpr::new(pattern).escape('\\'))
}

fn never() -> SimpleExpr {
    Expr::cust("1 = 0")
}

fn held(way: ConditionForm, in_table: impl IntoIden, incident: impl IntoIden, mut ids: SelectStatement) -> SimpleExpr {
    match way {
        ConditionForm::Listed => Column::Id.in_subquery(ids),
        ConditionForm::Asked => Column::Id.in_subquery(ids).is(SimpleExpr::Constant(true.into())),
        ConditionForm::Each => {
            let of_it = Expr::col((in_table.into_iden(), incident.into_iden())).equals((Entity, Column::Id));
            Expr::exists(ids.and_where(of_it).to_owned())
        }
    }
}

fn reading(filter: &IncidentFilter, ways: Ways) -> Condition {
    let known_in = |column: Column, values: Vec<SimpleExpr>| {
        Condition::all().add(column.is_not_null()).add(Expr::col((Entity, column)).is_in(values))
    };
    let words = |words: Vec<String>| words.into_iter().map(Expr::value).collect::<Vec<_>>();
    let determined = |kind: ClassificationKind, list: Vec<String>| {
        known_in(Column::Determination, words(list)).add(Column::Classification.eq(kind))
    };
    let mut all =
        Condition::all()
            .add_option(filter.status.as_ref().map(|list| of_status(list, ways.status)))
            .add_option(filter.severity.as_ref().map(|list| Column::Severity.is_in(list.iter().copied())))
            .add_option(filter.number.as_ref().map(|list| Column::Number.is_in(list.iter().copied())))
            .add_option(filter.has_active_alerts.map(|wanted| Column::HasActiveAlerts.eq(wanted)))
            .add_option(filter.owner.as_ref().map(|it| owned(it, Column::OwnerUserId, Column::OwnerGroupId)))
            .add_option(filter.classification.as_ref().map(|list| classified(list)))
            .add_option(filter.threat.as_ref().map(|list| {
                determined(ClassificationKind::TruePositive, list.iter().map(ActiveEnum::to_value).collect())
            }))
            .add_option(filter.activity.as_ref().map(|list| {
                determined(
                    ClassificationKind::InformationalExpectedActivity,
                    list.iter().map(ActiveEnum::to_value).collect(),
                )
            }))
            .add_option(filter.reason.as_ref().map(|list| {
                determined(ClassificationKind::FalsePositive, list.iter().map(ActiveEnum::to_value).collect())
            }))
            .add_option(filter.created.as_ref().map(|range| within(Column::CreatedAt, range)))
            .add_option(filter.updated.as_ref().map(|range| within(Column::UpdatedAt, range)))
            .add_option(filter.first_activity.as_ref().map(|range| within(Column::FirstActivityAt, range)))
            .add_option(filter.last_activity.as_ref().map(|range| within(Column::LastActivityAt, range)))
            .add_option(filter.resolved.as_ref().map(|range| within(Column::ResolvedAt, range)))
            .add_option(filter.text.as_ref().map(|needle| written(needle, ways.text)));
    if let Some(names) = &filter.product {
        all = all.add(with_alert(alert::row::Column::Product, names, ways.alerts));
    }
    if let Some(names) = &filter.provider {
        all = all.add(with_alert(alert::row::Column::Provider, names, ways.alerts));
    }
    if let Some(entities) = &filter.entity {
        all = all.add(held(ways.entities, entity::held::Entity, entity::held::Column::IncidentId, holding(entities)));
    }
    if let Some(tags) = &filter.tags {
        all = all.add(tagged(tags, ways.tags));
    }
    for each in filter.and.iter().flatten() {
        all = all.add(reading(each, BELOW));
    }
    if let Some(any) = &filter.or {
        all = all.add(any.iter().fold(Condition::any().add(never()), |any, each| any.add(reading(each, BELOW))));
    }
    if let Some(not) = &filter.not {
        all = all.add(Condition::all().add(Expr::cust("1 = 1")).add(reading(not, BELOW)).not());
    }
    all
}

/// Selects incidents or alerts by owner. `user` and `group` are the columns of the owner.
///
/// Omits parts that are never true: SQLite uses indexes for an `OR` only if each part has an index.
pub(super) fn owned<C: ColumnTrait>(filter: &OwnerFilter, user: C, group: C) -> Condition {
    let mut any = Condition::any();
    if filter.unassigned {
        any = any.add(user.is_null().and(group.is_null()));
    }
    if let Some(users) = filter.users.as_ref().filter(|users| !users.is_empty()) {
        let ids = users.iter().map(|id| id.0);
        any = any.add(user.is_not_null().and(user.is_in(ids)));
    }
    if let Some(groups) = filter.groups.as_ref().filter(|groups| !groups.is_empty()) {
        let ids = groups.iter().map(|id| id.0);
        any = any.add(group.is_not_null().and(group.is_in(ids)));
    }
    if any.is_empty() { any.add(never()) } else { any }
}

fn classified(wanted: &[ClassificationFilter]) -> Condition {
    let mut any = Condition::any().add(never());
    for each in wanted {
        any = any.add(match each.kind() {
            None => Column::Classification.is_null(),
            Some(kind) => Column::Classification.is_not_null().and(Column::Classification.eq(kind)),
        });
    }
    any
}

fn within(column: Column, range: &TimeRange) -> Condition {
    Condition::all()
        .add(column.is_not_null())
        .add_option(range.from.map(|from| column.gte(from)))
        .add_option(range.to.map(|to| column.lt(to)))
}

/// Selects the incidents of a text: the incidents whose title or description contains it, and the incident of which it
/// is the reference. A trigram index only names candidates, so the text itself is checked as well. The number is part
/// of the list of candidates, because databases use no index for an `OR` of a list and another condition.
fn written(needle: &str, way: TextWay) -> Condition {
    let stands = |title: SimpleExpr, description: SimpleExpr| {
        Condition::any()
            .add(contains(title, needle))
            .add(description.clone().is_not_null().and(contains(description, needle)))
    };
    let number = referenced_number(needle);
    let in_each = stands(Expr::col((Entity, Column::TitleFolded)), Expr::col((Entity, Column::DescriptionFolded)))
        .add_option(number.map(|number| Column::Number.eq(number)));
    match way {
        TextWay::Each => in_each,
        TextWay::Table => {
            let searched = |column: &'static str| Expr::col((search::INCIDENTS, column));
            let mut found = Query::select()
                .column((search::INCIDENTS, "incident_id"))
                .from(search::INCIDENTS)
                .cond_where(stands(searched("title_folded"), searched("description_folded")))
                .to_owned();
            if let Some(number) = number {
                let of_number =
                    Query::select().column(Column::Id).from(Entity).and_where(Column::Number.eq(number)).to_owned();
                found.union(UnionType::All, of_number);
            }
            Condition::all().add(Column::Id.in_subquery(found))
        }
        TextWay::Index => {
            let mut found = search::incidents_with(needle);
            if let Some(number) = number {
                found.union(UnionType::All, Query::select().expr(Expr::value(number)).to_owned());
            }
            Condition::all().add(Column::Number.in_subquery(found)).add(in_each)
        }
    }
}

/// Selects by a product or provider, whatever the case of ASCII letters. `LOWER` changes no other letter: not on SQLite,
/// and on PostgreSQL not in a column with the collation `C`.
pub(super) fn named(column: alert::row::Column, names: &[String]) -> SimpleExpr {
    Func::lower(Expr::col(column.as_column_ref())).is_in(names.iter().map(|name| name.to_ascii_lowercase()))
}

fn with_alert(column: alert::row::Column, names: &[String], way: ConditionForm) -> SimpleExpr {
    let ids = Query::select()
        .column(alert::row::Column::IncidentId)
        .from(alert::row::Entity)
        .and_where(alert::row::Column::IncidentId.is_not_null())
        .and_where(named(column, names))
        .to_owned();
    held(way, alert::row::Entity, alert::row::Column::IncidentId, ids)
}

/// Selects the incidents that hold one of these entities.
pub(super) fn holding(entities: &[EntityFilter]) -> SelectStatement {
    use entity::held::Column;
    let named =
        any_of(entities.iter().map(|wanted| (wanted.kind, wanted.value.clone())), Column::Kind, Column::ValueKey);
    Query::select()
        .column(Column::IncidentId)
        .from(entity::held::Entity)
        .cond_where(Condition::all().add(Column::ToVersion.is_null()).add(named))
        .to_owned()
}

/// Selects entities by folded value, and by kind if a kind is given. Values are listed by kind, because SQLite counts
/// each `OR` as a level and takes a thousand levels.
pub(super) fn any_of<C: ColumnTrait>(
    entities: impl Iterator<Item = (Option<EntityKind>, String)>,
    kind: C,
    value: C,
) -> Condition {
    let mut by_kind: BTreeMap<Option<EntityKind>, Vec<String>> = BTreeMap::new();
    for (kind, value) in entities {
        by_kind.entry(kind).or_default().push(value);
    }
    by_kind.into_iter().fold(Condition::any().add(never()), |any, (of, values)| {
        let within = value.is_in(values);
        any.add(match of {
            Some(of) => within.and(kind.eq(of)),
            None => within,
        })
    })
}

/// Selects the incidents that have a tag with one of these keys.
pub(super) fn having(keys: &[String]) -> SelectStatement {
    Query::select()
        .column(tag::held::Column::IncidentId)
        .from(tag::held::Entity)
        .and_where(tag::held::Column::Key.is_in(keys.iter().cloned()))
        .to_owned()
}

fn tagged(filter: &TagFilter, way: ConditionForm) -> Condition {
    let held = |ids| held(way, tag::held::Entity, tag::held::Column::IncidentId, ids);
    let mut all = Condition::all();
    if let Some(keys) = &filter.any {
        all = all.add(held(having(keys)));
    }
    if let Some(keys) = filter.all.as_ref().filter(|keys| !keys.is_empty()) {
        // One subquery for all keys: a subquery for each of the keys that a filter may name keeps PostgreSQL planning
        // for a minute.
        let distinct = Expr::col(tag::held::Column::Key).count_distinct();
        let every = having(keys)
            .group_by_col(tag::held::Column::IncidentId)
            .and_having(distinct.eq(keys.len() as i64))
            .to_owned();
        all = all.add(held(every));
    }
    if let Some(keys) = &filter.none {
        all = all.add(Column::Id.not_in_subquery(having(keys)));
    }
    if let Some(kinds) = &filter.kind {
        let of_kind = Query::select()
            .column(tag::held::Column::IncidentId)
            .from(tag::held::Entity)
            .and_where(tag::held::Column::Kind.is_in(kinds.iter().copied()))
            .to_owned();
        all = all.add(held(of_kind));
    }
    all
}
