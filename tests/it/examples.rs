//! Runs every file of `examples/` against a desk, so that the README's operations work as they stand.

use std::collections::BTreeMap;
use std::path::Path;

use serde_json::{Value, json};

use crate::support::database::{TestDatabase, each_database};
use crate::support::desk::TestDesk;

each_database!(every_example_works);

fn examples() -> BTreeMap<String, (String, Value)> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("examples");
    let mut examples = BTreeMap::new();
    for file in std::fs::read_dir(&folder).expect("the folder examples") {
        let path = file.expect("a file").path();
        if path.extension().is_some_and(|extension| extension == "graphql") {
            let text = std::fs::read_to_string(&path).expect("an operation");
            let variables = std::fs::read_to_string(path.with_extension("variables.json"));
            let variables = variables.map_or(json!({}), |text| serde_json::from_str(&text).expect("variables"));
            let name = path.file_stem().expect("a name").to_string_lossy().into_owned();
            examples.insert(name, (text, variables));
        }
    }
    examples
}

async fn every_example_works(database: TestDatabase) {
    let desk = TestDesk::open(&database).await;
    let incident = desk.incident("Token of a build agent used from abroad").await;
    let examples = examples();
    assert!(examples.len() >= 10, "the README's operations are examples");
    for (name, (text, mut variables)) in examples {
        if variables.get("incident").is_some() {
            variables["incident"] = json!(incident);
        }
        // The incident of the other examples is closed by then.
        for side in ["source", "target"] {
            if variables.get(side).is_some() {
                variables[side] = json!(desk.incident("Token of another build agent used from abroad").await);
            }
        }
        if text.contains("\nsubscription ") {
            let mut following = desk.follow(&text, variables).await;
            let first = following.item().await["__typename"].take();
            assert!(["Live", "QueueSummary"].contains(&first.as_str().expect("a type")), "{name} begins with {first}");
        } else {
            let data = desk.data(&text, variables).await;
            let empty = data.as_object().expect("data").values().any(Value::is_null);
            assert!(!empty, "{name} answers nothing: {data}");
        }
    }
}
