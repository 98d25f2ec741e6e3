//! The reading of an incident filter in SQL: `domain/filter.rs` is the same reading in memory.
//!
//! Every condition here is true or false, never unknown: `NOT` of an unknown would drop rows that `matches()` keeps.

use std::collections::BTreeMap;

use sea_orm::entity::prelude::*;
use sea_orm::sea_query::{ExprTrait, LikeExpr, Query, SelectStatement, SimpleExpr};
use sea_orm::{ActiveEnum, Condition};

use super::incident::row::{Column, Entity};
use super::{alert, entity, tag};
use crate::domain::classification::ClassificationKind;
use crate::domain::entity::EntityKind;
use crate::domain::filter::{EntityFilter, IncidentFilter, OwnerFilter, QueueFilter, TagFilter, TimeRange};

/// The incidents of a queue: not deleted, and met by the filter.
pub(super) fn queue(filter: &QueueFilter) -> Condition {
    Condition::all().add(Column::DeletedAt.is_null()).add(condition(filter.filter()))
}

/// The same without the conditions that `drop` takes out of the filter's top level.
pub(super) fn queue_without(filter: &QueueFilter, drop: impl FnOnce(&mut IncidentFilter)) -> Condition {
    let mut rest = filter.filter().clone();
    drop(&mut rest);
    Condition::all().add(Column::DeletedAt.is_null()).add(condition(&rest))
}

/// Whether a folded text holds a folded needle.
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

fn condition(filter: &IncidentFilter) -> Condition {
    reading(filter, |ids| Column::Id.in_subquery(ids))
}

/// The reading of a filter below another. PostgreSQL plans a subquery of a conjunction as a join, and a hundred joins
/// for minutes; it takes one that is asked whether it is true as it stands.
fn below(filter: &IncidentFilter) -> Condition {
    reading(filter, |ids| Column::Id.in_subquery(ids).is(SimpleExpr::Constant(true.into())))
}

fn reading(filter: &IncidentFilter, held: fn(SelectStatement) -> SimpleExpr) -> Condition {
    let known_in = |column: Column, values: Vec<SimpleExpr>| {
        Condition::all().add(column.is_not_null()).add(Expr::col((Entity, column)).is_in(values))
    };
    let words = |words: Vec<String>| words.into_iter().map(Expr::value).collect::<Vec<_>>();
    let determined = |kind: ClassificationKind, list: Vec<String>| {
        known_in(Column::Determination, words(list)).add(Column::Classification.eq(kind))
    };
    let mut all =
        Condition::all()
            .add_option(filter.status.as_ref().map(|list| Column::Status.is_in(list.iter().copied())))
            .add_option(filter.severity.as_ref().map(|list| Column::Severity.is_in(list.iter().copied())))
            .add_option(filter.number.as_ref().map(|list| Column::Number.is_in(list.iter().copied())))
            .add_option(filter.has_active_alerts.map(|wanted| Column::HasActiveAlerts.eq(wanted)))
            .add_option(filter.owner.as_ref().map(owner))
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
            .add_option(filter.text.as_ref().map(|needle| written(needle)));
    if let Some(names) = &filter.product {
        all = all.add(held(with_alert(alert::row::Column::Product, names)));
    }
    if let Some(names) = &filter.provider {
        all = all.add(held(with_alert(alert::row::Column::Provider, names)));
    }
    if let Some(entities) = &filter.entity {
        all = all.add(held(holding(entities)));
    }
    if let Some(tags) = &filter.tags {
        all = all.add(tagged(tags, held));
    }
    for each in filter.and.iter().flatten() {
        all = all.add(below(each));
    }
    if let Some(any) = &filter.or {
        all = all.add(any.iter().fold(Condition::any().add(never()), |any, each| any.add(below(each))));
    }
    if let Some(not) = &filter.not {
        all = all.add(Condition::all().add(Expr::cust("1 = 1")).add(below(not)).not());
    }
    all
}

fn owner(filter: &OwnerFilter) -> Condition {
    let mut any = Condition::any().add(never());
    if filter.unassigned {
        any = any.add(Column::OwnerUserId.is_null().and(Column::OwnerGroupId.is_null()));
    }
    if !filter.users.is_empty() {
        let ids = filter.users.iter().map(|id| id.0);
        any = any.add(Column::OwnerUserId.is_not_null().and(Column::OwnerUserId.is_in(ids)));
    }
    if !filter.groups.is_empty() {
        let ids = filter.groups.iter().map(|id| id.0);
        any = any.add(Column::OwnerGroupId.is_not_null().and(Column::OwnerGroupId.is_in(ids)));
    }
    any
}

fn classified(kinds: &[ClassificationKind]) -> Condition {
    let mut any = Condition::any().add(never());
    for kind in kinds {
        any = any.add(match kind {
            ClassificationKind::NotSet => Column::Classification.is_null(),
            kind => Column::Classification.is_not_null().and(Column::Classification.eq(*kind)),
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

fn written(needle: &str) -> Condition {
    let description = Column::DescriptionFolded;
    Condition::any()
        .add(contains(Expr::col((Entity, Column::TitleFolded)), needle))
        .add(description.is_not_null().and(contains(Expr::col((Entity, description)), needle)))
}

fn with_alert(column: alert::row::Column, names: &[String]) -> SelectStatement {
    Query::select()
        .column(alert::row::Column::IncidentId)
        .from(alert::row::Entity)
        .and_where(alert::row::Column::IncidentId.is_not_null())
        .and_where(column.is_in(names.iter().cloned()))
        .to_owned()
}

fn holding(entities: &[EntityFilter]) -> SelectStatement {
    use entity::held::Column;
    let named =
        any_of(entities.iter().map(|wanted| (wanted.kind, wanted.value.clone())), Column::Kind, Column::ValueKey);
    Query::select()
        .column(Column::IncidentId)
        .from(entity::held::Entity)
        .cond_where(Condition::all().add(Column::ToVersion.is_null()).add(named))
        .to_owned()
}

/// Entities by kind, where one is given, and folded value: a list for each kind, because SQLite nests no deeper than a
/// thousand and counts each `OR`.
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

fn tagged(filter: &TagFilter, held: fn(SelectStatement) -> SimpleExpr) -> Condition {
    let having = |keys: &[String]| {
        Query::select()
            .column(tag::held::Column::IncidentId)
            .from(tag::held::Entity)
            .and_where(tag::held::Column::Key.is_in(keys.iter().cloned()))
            .to_owned()
    };
    let mut all = Condition::all();
    if let Some(keys) = &filter.any {
        all = all.add(held(having(keys)));
    }
    if let Some(keys) = filter.all.as_ref().filter(|keys| !keys.is_empty()) {
        // One look for all of them: as many as a filter may name, each by itself, keep PostgreSQL planning for a minute.
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
