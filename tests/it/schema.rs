//! The schema as text: the committed file is up to date, and every item has a description.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use async_graphql::parser::parse_schema;
use async_graphql::parser::types::{TypeKind, TypeSystemDefinition};

use crate::support::kit::kit;

#[test]
fn the_committed_schema_is_the_one_that_is_served() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("schema.graphql");
    let committed = std::fs::read_to_string(path).unwrap_or_default();
    // Not assert_eq: two whole schemas would be unreadable.
    let differs = committed.lines().zip(watchfloor::graphql::sdl().lines()).position(|(a, b)| a != b);
    assert!(committed == watchfloor::graphql::sdl(), "run `make schema` and commit schema.graphql (line {differs:?})");
}

#[tokio::test]
async fn graphql_eslint_has_no_finding_in_the_schema() {
    let run = kit("lint.mjs").output().await.expect("node runs");
    assert!(run.status.success(), "{}", String::from_utf8_lossy(&run.stderr));
}

#[test]
fn the_roots_are_named_as_everybody_expects() {
    let sdl = watchfloor::graphql::sdl();
    for root in ["type Query {", "type Mutation {", "type Subscription {"] {
        assert!(sdl.contains(root), "{root}");
    }
}

#[test]
fn every_word_of_the_schema_is_described() {
    let schema = parse_schema(watchfloor::graphql::sdl()).expect("SDL");
    let mut silent = Vec::new();
    let mut check = |name: String, described: bool| {
        if !described {
            silent.push(name);
        }
    };
    for definition in schema.definitions {
        let TypeSystemDefinition::Type(definition) = definition else { continue };
        let definition = definition.node;
        let name = definition.name.node.to_string();
        check(name.clone(), definition.description.is_some());
        match definition.kind {
            TypeKind::Object(_) | TypeKind::Interface(_) => {
                let fields = match definition.kind {
                    TypeKind::Object(object) => object.fields,
                    TypeKind::Interface(interface) => interface.fields,
                    _ => Vec::new(),
                };
                for field in fields {
                    let place = format!("{name}.{}", field.node.name.node);
                    check(place.clone(), field.node.description.is_some());
                    for argument in field.node.arguments {
                        let argument = argument.node;
                        check(format!("{place}({})", argument.name.node), argument.description.is_some());
                    }
                }
            }
            TypeKind::Enum(values) => {
                for value in values.values {
                    check(format!("{name}.{}", value.node.value.node), value.node.description.is_some());
                }
            }
            TypeKind::InputObject(input) => {
                for field in input.fields {
                    check(format!("{name}.{}", field.node.name.node), field.node.description.is_some());
                }
            }
            TypeKind::Scalar | TypeKind::Union(_) => {}
        }
    }
    assert!(silent.is_empty(), "{} words without a description:\n{}", silent.len(), silent.join("\n"));
}

/// The fields of each payload, with their types.
const RECEIPT: [(&str, &str); 4] =
    [("position", "String!"), ("changed", "Boolean!"), ("clientMutationId", "String"), ("replayed", "Boolean!")];

#[test]
fn every_mutation_takes_an_idempotency_key_and_returns_a_receipt() {
    let schema = parse_schema(watchfloor::graphql::sdl()).expect("SDL");
    let (mut inputs, mut payloads) = (BTreeMap::new(), BTreeMap::new());
    let mut mutations = Vec::new();
    for definition in schema.definitions {
        let TypeSystemDefinition::Type(definition) = definition else { continue };
        let name = definition.node.name.node.to_string();
        match definition.node.kind {
            TypeKind::InputObject(input) => {
                let fields = input.fields.into_iter().map(|field| field.node);
                let fields = fields.map(|field| (field.name.node.to_string(), field.ty.node.to_string()));
                inputs.insert(name, fields.collect::<Vec<_>>());
            }
            TypeKind::Object(object) if name == "Mutation" => mutations = object.fields,
            TypeKind::Object(object) => {
                let fields = object.fields.into_iter().map(|field| field.node);
                let fields = fields.map(|field| (field.name.node.to_string(), field.ty.node.to_string()));
                payloads.insert(name, fields.collect::<Vec<_>>());
            }
            _ => {}
        }
    }
    assert!(mutations.len() > 30, "{} mutations", mutations.len());
    for mutation in mutations.into_iter().map(|field| field.node) {
        let input = &inputs[&mutation.arguments[0].node.ty.node.base.to_string()];
        let payload = &payloads[&mutation.ty.node.base.to_string()];
        let call = [("clientMutationId", "String"), ("idempotencyKey", "String")];
        for (fields, wanted) in [(input, &call[..]), (payload, &RECEIPT[..])] {
            let is_there =
                |(name, ty): &&(&str, &str)| fields.iter().any(|(is, of)| (is.as_str(), of.as_str()) == (name, ty));
            let missing: Vec<_> = wanted.iter().filter(|field| !is_there(field)).collect();
            assert!(missing.is_empty(), "{} lacks {missing:?}", mutation.name.node);
        }
    }
}

/// Types with a field `id` that are no nodes: they show an object that `node` finds under another type, or as it was.
const NO_NODES: [&str; 4] = ["Actor", "IncidentAsOf", "Owner", "QueueRow"];

#[test]
fn every_object_with_an_id_is_a_node() {
    let schema = parse_schema(watchfloor::graphql::sdl()).expect("SDL");
    let mut missing = Vec::new();
    for definition in schema.definitions {
        let TypeSystemDefinition::Type(definition) = definition else { continue };
        let (name, kind) = (definition.node.name.node.to_string(), definition.node.kind);
        let TypeKind::Object(object) = kind else { continue };
        let has_id = object.fields.iter().any(|field| field.node.name.node == "id");
        let is_node = object.implements.iter().any(|interface| interface.node == "Node");
        if has_id && !is_node && !NO_NODES.contains(&name.as_str()) {
            missing.push(name);
        }
    }
    assert!(missing.is_empty(), "{missing:?} have an id, and `node` does not find them");
}

/// Fields of type `ID` whose names do not say so: a filter is sent back as it is read, and the fields of all deltas are
/// called `before` and `after`.
const IDS_BY_OTHER_NAMES: [&str; 4] =
    ["AlertOwnerDelta.after", "AlertOwnerDelta.before", "OwnerFilter.groups", "OwnerFilter.users"];

#[test]
fn a_field_that_holds_an_id_is_named_so_and_no_other_field_is() {
    let schema = parse_schema(watchfloor::graphql::sdl()).expect("SDL");
    let mut found = BTreeSet::new();
    for definition in schema.definitions {
        let TypeSystemDefinition::Type(definition) = definition else { continue };
        let fields = match definition.node.kind {
            TypeKind::Object(object) => object.fields,
            TypeKind::Interface(interface) => interface.fields,
            _ => continue,
        };
        for field in fields.into_iter().map(|field| field.node) {
            let (name, ty) = (field.name.node.to_string(), field.ty.node.to_string());
            let is_named = name == "id" || name.ends_with("Id") || name.ends_with("Ids");
            let is_id = ty.replace(['[', ']', '!'], "") == "ID";
            if is_named != is_id && !(is_named && ty.starts_with("String")) {
                found.insert(format!("{}.{name}", definition.node.name.node));
            }
        }
    }
    assert_eq!(found, IDS_BY_OTHER_NAMES.map(str::to_owned).into(), "an id ends in Id, an object does not");
}

/// The types of a filter in answers, and the input types that they mirror.
const MIRRORED: [(&str, &str); 5] = [
    ("EntityFilter", "EntityFilterInput"),
    ("IncidentFilter", "IncidentFilterInput"),
    ("OwnerFilter", "OwnerFilterInput"),
    ("TagFilter", "TagFilterInput"),
    ("TimeRange", "TimeRangeInput"),
];

#[test]
fn a_filter_in_an_answer_has_the_fields_of_the_input() {
    let schema = parse_schema(watchfloor::graphql::sdl()).expect("SDL");
    let mut fields: BTreeMap<String, BTreeMap<String, String>> = BTreeMap::new();
    for definition in schema.definitions {
        let TypeSystemDefinition::Type(definition) = definition else { continue };
        let of_type: BTreeMap<String, String> = match definition.node.kind {
            TypeKind::Object(object) => {
                let fields = object.fields.into_iter().map(|field| field.node);
                fields.map(|field| (field.name.node.to_string(), field.ty.node.to_string())).collect()
            }
            TypeKind::InputObject(input) => {
                let fields = input.fields.into_iter().map(|field| field.node);
                fields.map(|field| (field.name.node.to_string(), field.ty.node.to_string())).collect()
            }
            _ => continue,
        };
        fields.insert(definition.node.name.node.to_string(), of_type);
    }
    for (shown, input) in MIRRORED {
        let mut expected = fields[input].clone();
        for ty in expected.values_mut() {
            for (shown, input) in MIRRORED {
                *ty = ty.replace(input, shown);
            }
        }
        if shown == "IncidentFilter" {
            expected.insert("json".to_owned(), "JSON!".to_owned());
        }
        assert_eq!(fields[shown], expected, "{shown} mirrors {input}: see graphql/saved_filter.rs");
    }
}

#[test]
fn a_length_of_time_names_its_unit() {
    let schema = watchfloor::graphql::sdl();
    let is_bare = |line: &&str| line.trim_start().starts_with("window:") || line.contains("(window:");
    let bare: Vec<&str> = schema.lines().filter(is_bare).collect();
    assert!(bare.is_empty(), "{bare:?}");
}

/// The fields of shared streams whose bytes are the same for everybody who may see the item, `Type.field` a line.
const JUDGED: &str = include_str!("fixtures/shared_fields.txt");

/// Fields that read the present state. A stream that selects such a field is not shared.
const PRESENT: [&str; 9] =
    ["alert", "bookmark", "comment", "freedFrom", "incident", "movedTo", "other", "source", "target"];

/// The subscriptions whose streams callers may share.
const SHARED_ROOTS: [&str; 3] = ["activityLog", "incidentQueue", "queueSummary"];

#[test]
fn every_field_of_a_shared_stream_was_judged() {
    let schema = parse_schema(watchfloor::graphql::sdl()).expect("SDL");
    // For each type: its fields with their types, and the types that may stand for it.
    let mut fields: BTreeMap<String, Vec<(String, String)>> = BTreeMap::new();
    let mut stand_for: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for definition in schema.definitions {
        let TypeSystemDefinition::Type(definition) = definition else { continue };
        let name = definition.node.name.node.to_string();
        let of_type = match definition.node.kind {
            TypeKind::Object(object) => {
                for interface in object.implements {
                    stand_for.entry(interface.node.to_string()).or_default().push(name.clone());
                }
                object.fields
            }
            TypeKind::Interface(interface) => interface.fields,
            TypeKind::Union(union) => {
                let members = union.members.into_iter().map(|member| member.node.to_string());
                stand_for.entry(name.clone()).or_default().extend(members);
                Vec::new()
            }
            _ => Vec::new(),
        };
        let named = of_type.into_iter().map(|field| {
            let ty = field.node.ty.node.to_string();
            (field.node.name.node.to_string(), ty.replace(['[', ']', '!'], ""))
        });
        fields.insert(name, named.collect());
    }
    let roots = fields["Subscription"].iter().filter(|(name, _)| SHARED_ROOTS.contains(&name.as_str()));
    let mut open: Vec<&str> = roots.map(|(_, ty)| ty.as_str()).collect();
    assert_eq!(open.len(), SHARED_ROOTS.len());
    let (mut seen, mut reached) = (BTreeSet::new(), BTreeSet::new());
    while let Some(ty) = open.pop() {
        if !seen.insert(ty) {
            continue;
        }
        open.extend(stand_for.get(ty).into_iter().flatten().map(String::as_str));
        for (name, of) in fields.get(ty).into_iter().flatten().filter(|(name, _)| !PRESENT.contains(&name.as_str())) {
            reached.insert(format!("{ty}.{name}"));
            open.push(of);
        }
    }
    let judged: BTreeSet<String> = JUDGED.lines().map(str::to_owned).collect();
    let unjudged: Vec<_> = reached.difference(&judged).collect();
    assert!(
        unjudged.is_empty(),
        "is each of these a function of the change alone? Then add it to shared_fields.txt, and its name to \
         SHARED_FIELDS. If it reads the present state, add its name to PRESENT: {unjudged:?}"
    );
    let gone: Vec<_> = judged.difference(&reached).collect();
    assert!(gone.is_empty(), "remove from shared_fields.txt: {gone:?}");
    let names = judged.iter().filter_map(|pair| pair.split('.').nth(1)).chain(["__typename"]);
    let names: Vec<&str> = names.collect::<BTreeSet<_>>().into_iter().collect();
    assert_eq!(watchfloor::graphql::SHARED_FIELDS, names, "SHARED_FIELDS has the names of shared_fields.txt, in order");
}
