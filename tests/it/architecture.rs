//! The architecture rules that a compiler does not check: allowed imports, file names and file lengths.
//!
//! Each rule is a function of a file, and returns its findings; `tests` at the end shows that each rule finds a
//! violation. A rule sees `use crate::{a, b}`, a path in an expression and a path in a macro's arguments alike.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;
use std::sync::LazyLock;

use crate::support::rust_source::{Function, Role, RustFile};

/// The folders of `src/` in their total order: each imports only those before it.
const FOLDERS: [&str; 8] = ["domain", "storage", "realtime", "app", "import", "sample", "graphql", "server"];

/// The files of `src/` that wire the folders together and may import all of them; no folder imports these.
const WIRING: [&str; 5] = ["config", "cli", "lib", "log", "main"];

/// The rooms of `server/` in their total order: each imports only rooms of the lines before it. Rooms of one line do
/// not know each other. A room is a folder or a file. `mod` is the file that lists the rooms.
const ROOMS: [&[&str]; 11] = [
    &["edge"],
    &["operation"],
    &["execution"],
    &["share"],
    &["settings"],
    &["served"],
    &["http", "ws"],
    &["desk"],
    &["routes"],
    &["listen"],
    &["mod"],
];

/// The most files that import each other in a circle, for folders whose files have an order inside.
///
/// A group of subscribers and its members know each other, so `server/` has circles of two files. The types of a
/// GraphQL schema refer to each other (an incident has comments, a comment has its incident), so `graphql/` has one
/// large circle, which may only shrink.
const CIRCLES: [(&str, usize); 2] = [("server/", 3), ("graphql/", 18)];

/// File names that tell nothing about their content.
const DRAWERS: [&str; 7] = ["utils", "helpers", "common", "types", "models", "service", "manager"];

/// A longer file has more than one role.
const LINES_MAX: usize = 550;

/// The framework items that `domain/` may use, so that a word has one definition for the column and the API.
const DOMAIN_DERIVES: [(&str, &[&str]); 2] =
    [("sea_orm", &["ActiveEnum", "DeriveActiveEnum", "EnumIter"]), ("async_graphql", &["Enum", "OneofObject"])];

/// The frameworks, and the folders that may name them.
const FRAMEWORKS: [(&str, &[&str]); 6] = [
    ("sea_orm", &["storage"]),
    ("sea_orm_migration", &["storage"]),
    ("watchfloor_migrations", &["storage"]),
    ("sqlx", &["storage"]),
    ("async_graphql", &["graphql", "server"]),
    ("axum", &["server"]),
];

/// Maps a file to its violations.
type Rule = fn(&RustFile) -> Vec<String>;

/// The files of `src/`, by their paths.
type Sources = BTreeMap<String, RustFile>;

static SOURCES: LazyLock<Sources> = LazyLock::new(sources);

/// Every rule, with the sentence that it enforces.
const RULES: [(&str, Rule); 8] = [
    ("a folder imports only folders to its left", imports_only_to_the_left),
    ("the rooms of the server stand in an order", rooms_of_the_server_stand_in_an_order),
    ("each framework has its folder", frameworks_stay_in_their_folder),
    ("only storage/object.rs knows the object store", only_the_object_file_stores_objects),
    ("only app/ opens a transaction, but for the one that begins a log", only_app_transacts),
    ("only the relay feeds the ring", only_the_relay_publishes),
    ("a file opens with its role, and stays short enough to have one", opens_with_its_role_and_stays_short),
    ("a name says what is inside", names_say_what_is_inside),
];

#[test]
fn the_source_keeps_the_rules_of_the_house() {
    assert!(SOURCES.contains_key("lib.rs"), "the sources were found");
    let mut wrong = module_files(&SOURCES.keys().map(String::as_str).collect());
    for (path, file) in &*SOURCES {
        for (sentence, rule) in RULES {
            wrong.extend(rule(file).into_iter().map(|finding| format!("src/{path}: {finding} ({sentence})")));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn no_circle_of_imports_grows() {
    for (folder, known) in CIRCLES {
        let circles = circles(folder, &SOURCES);
        let largest = circles.iter().max_by_key(|circle| circle.len()).cloned().unwrap_or_default();
        let (found, files) = (largest.len(), largest.join(", "));
        assert!(found <= known, "{found} files of {folder} import each other, {known} are the most: {files}");
        let is_loose = folder == "graphql/" && found < known;
        assert!(!is_loose, "the largest circle of {folder} has {found} files now: write that into CIRCLES");
    }
}

/// Names that SeaORM expects in the module of each table.
const OF_EACH_TABLE: [&str; 2] = ["Model", "Relation"];

#[test]
fn the_name_of_a_type_has_one_meaning() {
    let twice = names_defined_twice(&SOURCES);
    assert!(twice.is_empty(), "give the second meaning a name of its own: {}", Vec::from_iter(twice).join(", "));
}

/// The most lines of a function, from `fn` to its last brace.
const FUNCTION_LINES_MAX: usize = 60;

/// Functions that are longer: a table, or columns in their order. The list may only shrink.
const LONG_FUNCTIONS: &str = include_str!("fixtures/long_functions.txt");

#[test]
fn functions_stay_short() {
    may_only_shrink(LONG_FUNCTIONS, &long_functions(&SOURCES), "give a step of the function a name of its own");
}

fn long_functions(sources: &Sources) -> BTreeSet<String> {
    let functions = sources.iter().flat_map(|(path, file)| file.functions.iter().map(move |function| (path, function)));
    let long = functions.filter(|(_, function)| function.lines > FUNCTION_LINES_MAX);
    long.map(|(path, function)| format!("{path}: {}", function.name)).collect()
}

/// Parameters of type `bool`, which a caller fills with a `true` that says nothing. The list may only shrink.
const BOOLEAN_PARAMETERS: &str = include_str!("fixtures/boolean_parameters.txt");

#[test]
fn no_parameter_is_a_boolean() {
    let advice = "take an enum with two values, or make two functions";
    may_only_shrink(BOOLEAN_PARAMETERS, &boolean_parameters(&SOURCES), advice);
}

fn boolean_parameters(sources: &Sources) -> BTreeSet<String> {
    let functions = sources.iter().flat_map(|(path, file)| file.functions.iter().map(move |function| (path, function)));
    let each = |(path, function): (&String, &Function)| {
        let booleans = function.booleans.iter();
        booleans.map(|name| format!("{path}: {}({name})", function.name)).collect::<Vec<_>>()
    };
    functions.flat_map(each).collect()
}

/// Compares findings with the list of known findings. A new finding is an error, and so is a line of the list that is
/// no longer found.
fn may_only_shrink(known: &str, found: &BTreeSet<String>, advice: &str) {
    let known: BTreeSet<&str> = known.lines().collect();
    let new: Vec<&str> = found.iter().map(String::as_str).filter(|name| !known.contains(name)).collect();
    assert!(new.is_empty(), "{advice}: {}", new.join(", "));
    let gone: Vec<&str> = known.into_iter().filter(|name| !found.contains(*name)).collect();
    assert!(gone.is_empty(), "remove from the list in tests/it/fixtures: {}", gone.join(", "));
}

/// Returns the names of types that are defined twice. A noun of the domain may have an output type of the same name in
/// `graphql/`.
fn names_defined_twice(sources: &Sources) -> BTreeSet<String> {
    let mut places: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
    for (path, file) in sources {
        for name in file.outside_tests().filter(|name| name.role == Role::Type) {
            places.entry(&name.path[0]).or_default().push(folder(path));
        }
    }
    let is_twice = |(name, folders): &(&str, Vec<&str>)| {
        let is_pair = folders.len() == 2 && folders.contains(&"domain") && folders.contains(&"graphql");
        folders.len() > 1 && !is_pair && !OF_EACH_TABLE.contains(name)
    };
    places.into_iter().filter(is_twice).map(|(name, _)| name.to_owned()).collect()
}

fn imports_only_to_the_left(file: &RustFile) -> Vec<String> {
    let own = folder(&file.path);
    let reach = if WIRING.contains(&own) {
        FOLDERS.len()
    } else if let Some(place) = FOLDERS.iter().position(|folder| *folder == own) {
        place
    } else {
        return vec![format!("`{own}` has no place in the order of the folders")];
    };
    let imported: BTreeSet<&str> =
        file.names.iter().filter_map(|name| Some(name.in_crate.as_ref()?[0].as_str())).collect();
    imported
        .into_iter()
        .filter(|name| *name != own && !FOLDERS[..reach].contains(name))
        .filter(|name| !(WIRING.contains(&own) && WIRING.contains(name)))
        .map(|name| format!("imports `{name}`, which is not to the left of `{own}`"))
        .collect()
}

fn rooms_of_the_server_stand_in_an_order(file: &RustFile) -> Vec<String> {
    let Some(inside) = file.path.strip_prefix("server/") else { return Vec::new() };
    let own = folder(inside);
    let level = |room: &str| ROOMS.iter().position(|rooms| rooms.contains(&room));
    let Some(reach) = level(own) else { return vec![format!("`{own}` has no place in the order of the rooms")] };
    let inside = file.outside_tests().filter_map(|name| name.in_crate.as_ref()).filter(|path| path[0] == "server");
    // Names that are no rooms stand in `mod.rs`.
    let rooms: BTreeSet<&str> =
        inside.map(|path| path.get(1).map_or("mod", |room| level(room).map_or("mod", |_| room.as_str()))).collect();
    rooms
        .into_iter()
        .filter(|room| *room != own && level(room).is_none_or(|level| level >= reach))
        .map(|room| format!("imports `{room}`, which is not to the left of `{own}`"))
        .collect()
}

/// Returns the circles of imports among the files of a folder, each with its files in the order of their names.
fn circles(folder: &str, sources: &Sources) -> BTreeSet<Vec<String>> {
    let files: BTreeSet<&str> = sources.keys().map(String::as_str).filter(|path| path.starts_with(folder)).collect();
    let imports: BTreeMap<&str, BTreeSet<&str>> = files
        .iter()
        .map(|path| {
            let paths = sources[*path].outside_tests().filter_map(|name| name.in_crate.as_ref());
            let imported = paths.filter_map(|imported| file_of(imported, &files));
            (*path, imported.filter(|imported| imported != path).collect())
        })
        .collect();
    let reached: BTreeMap<&str, BTreeSet<&str>> = files.iter().map(|path| (*path, reached(path, &imports))).collect();
    let circle = |path: &str| {
        let back = reached[path].iter().filter(|other| reached[**other].contains(path));
        back.map(|file| (*file).to_owned()).collect::<Vec<_>>()
    };
    files.iter().map(|path| circle(path)).filter(|circle| circle.len() > 1).collect()
}

/// Returns the files that a file imports, directly or through other files.
fn reached<'f>(start: &'f str, imports: &BTreeMap<&'f str, BTreeSet<&'f str>>) -> BTreeSet<&'f str> {
    let (mut reached, mut open) = (BTreeSet::new(), vec![start]);
    while let Some(path) = open.pop() {
        open.extend(imports[path].iter().filter(|next| reached.insert(**next)));
    }
    reached
}

/// Returns the file of the module that holds the item of a path, if it is one of `files`.
fn file_of<'f>(path: &[String], files: &BTreeSet<&'f str>) -> Option<&'f str> {
    let candidates = (1..=path.len()).rev().flat_map(|length| {
        let module = path[..length].join("/");
        [format!("{module}.rs"), format!("{module}/mod.rs")]
    });
    candidates.filter_map(|candidate| files.get(candidate.as_str()).copied()).next()
}

fn frameworks_stay_in_their_folder(file: &RustFile) -> Vec<String> {
    let own = folder(&file.path);
    let mut wrong = Vec::new();
    for (framework, homes) in FRAMEWORKS.into_iter().filter(|(_, homes)| !homes.contains(&own)) {
        let derives = DOMAIN_DERIVES.iter().find(|(name, _)| *name == framework && own == "domain");
        let is_derive = |name: &str| derives.is_some_and(|(_, allowed)| allowed.contains(&name));
        let said = file.names.iter().filter(|name| name.path.iter().any(|step| step == framework));
        wrong.extend(said.filter_map(|name| match &name.path[..] {
            // `#[sea_orm(…)]` configures the derive; it does not use the library.
            [_] if name.role == Role::Attribute && derives.is_some() => None,
            [_, item] if is_derive(item) => None,
            _ => Some(format!("says `{framework}`, whose place is {}/", homes.join("/ or "))),
        }));
    }
    wrong
}

fn only_the_object_file_stores_objects(file: &RustFile) -> Vec<String> {
    let said = file.names.iter().filter(|name| name.path[0] == "object_store" && file.path != "storage/object.rs");
    said.map(|_| "says `object_store`, whose place is storage/object.rs".to_owned()).collect()
}

fn only_app_transacts(file: &RustFile) -> Vec<String> {
    // storage/connect.rs writes the head of a new log, before any command exists.
    if folder(&file.path) == "app" || file.path == "storage/connect.rs" {
        return Vec::new();
    }
    ["transact", "transact_together", "begin_series"]
        .into_iter()
        .flat_map(|name| says(file, name, "storage"))
        .map(|said| format!("{said}; commands do that, in app/"))
        .collect()
}

fn only_the_relay_publishes(file: &RustFile) -> Vec<String> {
    says(file, "publish", "realtime")
        .filter(|_| file.path != "realtime/relay.rs")
        .map(|said| format!("{said}; realtime/relay.rs alone feeds the ring, in the order of the log"))
        .collect()
}

/// Finds the name of a function outside unit tests. The definition of the function may stand in the folder `home`.
fn says(file: &RustFile, function: &str, home: &str) -> impl Iterator<Item = String> {
    let is_home = folder(&file.path) == home;
    let said = file.outside_tests().filter(move |name| name.path.iter().any(|step| step == function));
    said.filter(move |name| !(is_home && name.role == Role::Function)).map(move |_| format!("says `{function}`"))
}

fn opens_with_its_role_and_stays_short(file: &RustFile) -> Vec<String> {
    let mut wrong = Vec::new();
    if !file.text.starts_with("//! ") {
        wrong.push("opens without `//!` and a sentence on its role".to_owned());
    }
    // The unit tests at its end do not count.
    let lines = file.text.lines().take_while(|line| *line != "#[cfg(test)]").count();
    if lines > LINES_MAX {
        wrong.push(format!("has {lines} lines, {LINES_MAX} are the most"));
    }
    wrong
}

fn names_say_what_is_inside(file: &RustFile) -> Vec<String> {
    file.path
        .trim_end_matches(".rs")
        .split('/')
        .filter(|name| DRAWERS.contains(name))
        .map(|name| format!("is in a drawer called `{name}`"))
        .collect()
}

/// Requires `mod.rs` instead of `foo.rs` beside `foo/`, so that a noun's files are together.
fn module_files(paths: &BTreeSet<&str>) -> Vec<String> {
    let folders: BTreeSet<&str> =
        paths.iter().filter_map(|path| path.rsplit_once('/')).map(|(folder, _)| folder).collect();
    let mut wrong = Vec::new();
    for folder in folders {
        if paths.contains(format!("{folder}.rs").as_str()) {
            wrong.push(format!("src/{folder}.rs lies beside src/{folder}/: make it src/{folder}/mod.rs"));
        } else if !paths.contains(format!("{folder}/mod.rs").as_str()) {
            wrong.push(format!("src/{folder}/ has no mod.rs"));
        }
    }
    wrong
}

/// Returns every source file, by its path below `src/`.
fn sources() -> Sources {
    fn collect(root: &Path, folder: &Path, into: &mut Sources) {
        for entry in fs::read_dir(folder).expect("a readable folder") {
            let path = entry.expect("a readable entry").path();
            if path.is_dir() {
                collect(root, &path, into);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                let name = path.strip_prefix(root).expect("below the root").to_str().expect("a name in UTF-8");
                let text = fs::read_to_string(&path).expect("a readable file");
                into.insert(name.to_owned(), RustFile::read(name, &text));
            }
        }
    }
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut into = BTreeMap::new();
    collect(&root, &root, &mut into);
    into
}

/// Returns the first step of a path: `domain` for `domain/tag.rs`, `main` for `main.rs`.
fn folder(path: &str) -> &str {
    path.split('/').next().unwrap_or_default().trim_end_matches(".rs")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bites(rule: Rule, path: &str, text: &str) {
        assert!(!rule(&RustFile::read(path, text)).is_empty(), "the rule overlooks {text:?} in {path}");
    }

    fn passes(rule: Rule, path: &str, text: &str) {
        assert_eq!(rule(&RustFile::read(path, text)), Vec::<String>::new(), "{text:?} in {path} is within the rules");
    }

    fn read(files: &[(&str, &str)]) -> Sources {
        files.iter().map(|(path, text)| ((*path).to_owned(), RustFile::read(path, text))).collect()
    }

    #[test]
    fn an_import_to_the_right_is_found() {
        let rule = imports_only_to_the_left;
        bites(rule, "domain/tag.rs", "use crate::storage::Store;");
        bites(rule, "domain/tag.rs", "use crate::{domain::Tag, storage::{self, Row}};");
        bites(rule, "domain/tag.rs", "fn f() { crate::app::run() }");
        bites(rule, "domain/tag.rs", "use super::super::storage::Store;");
        bites(rule, "domain/mod.rs", "use super::storage::Store;");
        bites(rule, "domain/mod.rs", "use super::{app, graphql};");
        bites(rule, "domain/a/b.rs", "use super::super::super::app::App;");
        bites(rule, "domain/tag.rs", "fn f() { vec![a, (crate::app::run(), 1)] }");
        bites(rule, "domain/tag.rs", "fn f() { run! { use crate::{domain::Tag, app::{App}}; } }");
        bites(rule, "domain/tag.rs", "#[derive(super::super::app::Make)] struct A;");
        bites(rule, "domain/tag.rs", "mod inner { use super::super::super::app::App; }");
        bites(rule, "realtime/feed.rs", "use crate::app::App;");
        bites(rule, "app/mod.rs", "use crate::config::Config;");
        bites(rule, "graphql/mod.rs", "use crate::Everything;");
        bites(rule, "sample/mod.rs", "use watchfloor::server;");
        bites(rule, "extra/mod.rs", "");
    }

    #[test]
    fn an_import_against_the_order_of_the_rooms_is_found() {
        let rule = rooms_of_the_server_stand_in_an_order;
        bites(rule, "server/edge/accept.rs", "use crate::server::operation::Ready;");
        bites(rule, "server/edge/accept.rs", "use super::super::{headers, share::key::Key};");
        bites(rule, "server/operation/mod.rs", "use super::share::key::Key;");
        bites(rule, "server/http/call.rs", "use crate::{domain::Error, server::{edge::url, ws::socket}};");
        bites(rule, "server/share/group.rs", "fn f() { crate::server::served::f() }");
        bites(rule, "server/desk/mod.rs", "use crate::server::router;");
        bites(rule, "server/ws/mod.rs", "use super::Desk;");
        bites(rule, "server/edge/accept.rs", "use crate::server::{self};");
        bites(rule, "server/extra.rs", "");
        passes(rule, "server/ws/socket.rs", "use super::reader::Reader; use crate::server::served::Served;");
        passes(rule, "server/mod.rs", "pub use self::desk::Desk; mod edge;");
        passes(rule, "server/listen.rs", "use super::{edge::connections, routes::router};");
        passes(rule, "server/edge/url.rs", "#[cfg(test)]\nmod tests { use crate::server::desk::Desk; }");
        passes(rule, "server/edge/url.rs", "pub(in crate::server) fn f() {}");
        passes(rule, "cli.rs", "use crate::server::Desk;");
    }

    #[test]
    fn a_circle_of_imports_is_found() {
        let circles = |files: &[(&str, &str)]| {
            circles("a/", &read(files)).into_iter().map(|circle| circle.join(" ")).collect::<Vec<_>>()
        };
        let (b, c) = ("use super::c::{self, C};", "fn f() { crate::a::b::f() }");
        assert_eq!(circles(&[("a/mod.rs", "mod b; mod c;"), ("a/b.rs", b), ("a/c.rs", c)]), ["a/b.rs a/c.rs"]);
        let through_the_parent = [("a/mod.rs", "mod b; fn f() { b::f() }"), ("a/b.rs", "use super::{super::x, Item};")];
        assert_eq!(circles(&through_the_parent), ["a/b.rs a/mod.rs"]);
        let long =
            [("a/b.rs", "use super::{c::C, d};"), ("a/c.rs", "use super::d::D;"), ("a/d.rs", "use super::b::B;")];
        assert_eq!(circles(&long), ["a/b.rs a/c.rs a/d.rs"]);
        let in_order =
            [("a/mod.rs", "mod b; mod c;"), ("a/b.rs", "use super::c::C;"), ("a/c.rs", "use crate::x::b::B;")];
        assert_eq!(circles(&in_order), [""; 0]);
        assert_eq!(circles(&[("a/b.rs", "#[cfg(test)]\nmod tests { use super::super::c; }"), ("a/c.rs", b)]), [""; 0]);
    }

    #[test]
    fn a_second_meaning_of_a_name_is_found() {
        let twice = |files: &[(&str, &str)]| names_defined_twice(&read(files)).into_iter().collect::<Vec<_>>();
        assert_eq!(twice(&[("app/a.rs", "struct Turn;"), ("server/b.rs", "pub enum Turn { A }")]), ["Turn"]);
        assert_eq!(twice(&[("domain/a.rs", "mod x { trait Turn {} } mod y { struct Turn; }")]), ["Turn"]);
        assert_eq!(twice(&[("domain/a.rs", "struct Alert;"), ("graphql/a.rs", "struct Alert;")]), [""; 0]);
        assert_eq!(twice(&[("app/a.rs", "struct A; // struct A;\n#[cfg(test)] mod tests { struct A; }")]), [""; 0]);
    }

    #[test]
    fn a_long_function_and_a_boolean_parameter_are_found() {
        let long = |lines: usize| read(&[("app/a.rs", &format!("impl A {{ fn f() {{{}}} }}", "\n".repeat(lines - 1)))]);
        assert!(long_functions(&long(FUNCTION_LINES_MAX)).is_empty());
        assert!(long_functions(&long(FUNCTION_LINES_MAX + 1)).contains("app/a.rs: f"));
        let booleans = |text: &str| boolean_parameters(&read(&[("app/a.rs", text)])).into_iter().collect::<Vec<_>>();
        assert_eq!(booleans("impl A { fn f(&self, all: bool) {} }"), ["app/a.rs: f(all)"]);
        assert_eq!(booleans("fn f(a: u8) -> bool { fn g(mut b: bool) {} }"), ["app/a.rs: g(b)"]);
        assert_eq!(booleans("fn f(_: bool, a: Option<bool>) {}\n#[cfg(test)] mod tests { fn g(b: bool) {} }"), [""; 0]);
    }

    #[test]
    fn an_import_to_the_left_is_fine() {
        let rule = imports_only_to_the_left;
        passes(rule, "server/mod.rs", "use crate::{graphql, app::App, domain::{Error, tag}};");
        passes(rule, "storage/tag.rs", "use super::Store; use crate::storage::Row; pub(crate) fn f() {}");
        passes(rule, "domain/tag.rs", "mod tests { use super::*; } mod more { use super::super::text; }");
        passes(
            rule,
            "domain/tag.rs",
            "/// See [`crate::storage`].\n// use crate::app;\nconst A: &str = \"crate::app::b\";",
        );
        passes(
            rule,
            "domain/tag.rs",
            "/* crate::app /* */ crate::app */ fn f<'a>(x: &'a str) { '\"'; r#\"crate::app\"#; }",
        );
        passes(rule, "main.rs", "use watchfloor::{cli, server}; use crate::config::Config;");
        passes(rule, "cli.rs", "use crate::config::Config; use super::server;");
        passes(rule, "lib.rs", "pub mod domain;");
    }

    #[test]
    fn a_framework_outside_its_folder_is_found() {
        let rule = frameworks_stay_in_their_folder;
        bites(rule, "app/mod.rs", "use sea_orm::DatabaseConnection;");
        bites(rule, "main.rs", "fn f() { sqlx::query(\"\"); }");
        bites(rule, "domain/tag.rs", "use sea_orm::{DeriveActiveEnum, EntityTrait};");
        bites(rule, "domain/tag.rs", "use async_graphql::Object;");
        bites(rule, "domain/tag.rs", "use async_graphql as gql;");
        bites(rule, "realtime/feed.rs", "#[derive(async_graphql::Enum)] enum A {}");
        bites(rule, "graphql/mod.rs", "use axum::Router;");
        bites(rule, "app/mod.rs", "#[sea_orm(rs_type = \"String\")] enum A {}");
        passes(rule, "storage/tag.rs", "use sea_orm::entity::prelude::*;");
        passes(rule, "server/http.rs", "use axum::Router; use async_graphql::Request;");
        passes(
            rule,
            "domain/tag.rs",
            "use async_graphql::Enum; use sea_orm::{DeriveActiveEnum, EnumIter};\n#[derive(Enum)]\n#[sea_orm(rs_type = \"String\")]\nenum A {}",
        );
    }

    #[test]
    fn an_object_store_outside_its_file_is_found() {
        let rule = only_the_object_file_stores_objects;
        bites(rule, "app/attachment.rs", "use object_store::ObjectStore;");
        bites(rule, "storage/attachment.rs", "fn f(store: &dyn object_store::ObjectStore) {}");
        passes(rule, "storage/object.rs", "use object_store::ObjectStore;");
        passes(rule, "storage/mod.rs", "mod object; pub use object::Objects; // object_store");
    }

    #[test]
    fn a_second_writer_is_found() {
        bites(
            only_app_transacts,
            "graphql/mutation.rs",
            "async fn f() { store.transact(|tx| async { Ok(()) }).await }",
        );
        bites(
            only_app_transacts,
            "graphql/mutation.rs",
            "async fn f() { store.transact_together(LockPlan::default(), |tx| async { Ok(()) }).await }",
        );
        bites(only_app_transacts, "storage/mod.rs", "fn f(s: Store) { s.transact::<()>(|_| ()) }");
        bites(only_app_transacts, "server/mod.rs", "pub async fn transact<T>() {}");
        bites(only_app_transacts, "import/batches.rs", "async fn f() { app.store.begin_series().await }");
        passes(only_app_transacts, "storage/mod.rs", "impl Store { pub async fn transact<T>(&self) {} }");
        passes(only_app_transacts, "app/tag.rs", "fn f() { self.store.transact(|tx| ()) }");
        passes(only_app_transacts, "storage/mod.rs", "#[cfg(test)]\nmod tests { fn f() { s.transact(|_| ()) } }");

        bites(only_the_relay_publishes, "app/tag.rs", "fn f() { self.hub.publish(change) }");
        bites(only_the_relay_publishes, "realtime/mod.rs", "fn f() { Hub::publish(&hub, change) }");
        passes(only_the_relay_publishes, "realtime/mod.rs", "impl Hub { pub(super) fn publish(&self) {} }");
        passes(only_the_relay_publishes, "realtime/relay.rs", "fn f() { hub.publish(change) }");
    }

    #[test]
    fn a_file_without_a_role_a_long_file_and_a_drawer_are_found() {
        bites(opens_with_its_role_and_stays_short, "app/mod.rs", "use std::fmt;\n");
        bites(opens_with_its_role_and_stays_short, "app/mod.rs", &format!("//! Long.\n{}", "\n".repeat(LINES_MAX)));
        passes(
            opens_with_its_role_and_stays_short,
            "app/mod.rs",
            &format!("//! Long.\n{}", "\n".repeat(LINES_MAX - 1)),
        );
        bites(names_say_what_is_inside, "app/utils.rs", "");
        bites(names_say_what_is_inside, "app/types/mod.rs", "");
        passes(names_say_what_is_inside, "app/title.rs", "");
    }

    #[test]
    fn a_file_beside_its_folder_is_found() {
        let wrong = |paths: &[&'static str]| module_files(&paths.iter().copied().collect()).len();
        assert_eq!(wrong(&["lib.rs", "app/mod.rs", "app/tag/mod.rs", "app/tag/name.rs"]), 0);
        assert_eq!(wrong(&["app.rs", "app/tag.rs"]), 1);
        assert_eq!(wrong(&["app/tag.rs"]), 1);
        assert_eq!(wrong(&["app/mod.rs", "app/tag.rs", "app/tag/mod.rs"]), 1);
    }
}
