//! Direction of crates, `//!` heads, no marks left in code.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

/// Crates from low to high; a crate uses only what stands before it. The test crate may use anything and is used by nothing.
const ORDER: [&str; 13] = [
    "flotilla-model",
    "flotilla-proto",
    "flotilla-cluster",
    "flotilla-raft",
    "flotilla-auth",
    "flotilla-vfs",
    "flotilla-session",
    "flotilla-sftp",
    "flotilla-ssh",
    "flotilla-api",
    "flotilla",
    "flotilla-check",
    "flotilla-jepsen",
];

/// What a crate must not use: the invariants of absence.
const ABSENT: [(&str, &[&str]); 10] = [
    ("flotilla-model", &["tokio", "openraft", "sled", "prost", "rand", "tracing", "rustix"]),
    ("flotilla-cluster", &["openraft", "sled", "tonic"]),
    ("flotilla-raft", &["russh", "axum", "flotilla-vfs"]),
    ("flotilla-auth", &["russh", "flotilla-vfs"]),
    ("flotilla-vfs", &["flotilla-model", "flotilla-cluster"]),
    ("flotilla-session", &["russh", "russh-sftp", "openraft"]),
    ("flotilla-sftp", &["russh"]),
    ("flotilla-ssh", &["openraft", "flotilla-raft"]),
    ("flotilla-api", &["openraft", "flotilla-raft", "flotilla-vfs", "russh"]),
    ("flotilla", &["openraft", "sled"]),
];

pub(crate) fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().to_owned()
}

/// Where a manifest names what is built into a crate; a target has the same tables of its own.
const BUILT_IN: [&str; 2] = ["dependencies", "build-dependencies"];

/// What a manifest names under `tables`, for every target: the package's own name, and what else is said of it.
fn dependencies(manifest: &toml::Table, tables: &[&str]) -> Vec<(String, toml::Value)> {
    let targets = manifest.get("target").and_then(toml::Value::as_table).into_iter().flatten();
    let places = targets.filter_map(|(_, target)| target.as_table()).chain([manifest]);
    let named = places.flat_map(|place| tables.iter().filter_map(|table| place.get(*table)?.as_table())).flatten();
    named
        .map(|(name, what)| {
            let package = what.get("package").and_then(toml::Value::as_str).unwrap_or(name);
            (package.to_owned(), what.clone())
        })
        .collect()
}

fn manifest(folder: &str) -> toml::Table {
    std::fs::read_to_string(root().join(folder).join("Cargo.toml")).unwrap().parse().unwrap()
}

/// The manifests of the workspace's crates.
fn manifests() -> Vec<toml::Table> {
    let workspace = manifest("");
    let members = workspace["workspace"]["members"].as_array().unwrap();
    members.iter().map(|member| manifest(member.as_str().unwrap())).collect()
}

/// Each workspace crate with the names of what is built into it.
fn crates() -> BTreeMap<String, BTreeSet<String>> {
    let one = |manifest: &toml::Table| {
        let name = manifest["package"]["name"].as_str().unwrap().to_owned();
        (name, dependencies(manifest, &BUILT_IN).into_iter().map(|(name, _)| name).collect())
    };
    manifests().iter().map(one).collect()
}

/// Features that a release must not hold. A build without debug assertions does not compile with them.
const FOR_TESTS: [&str; 2] = ["planted-bugs", "simulation"];

fn asks_for_them(text: &str) -> bool {
    FOR_TESTS.iter().any(|feature| text.contains(feature))
}

/// What of a manifest, a crate's or the workspace's, puts them into a build that does not ask for them.
fn plants(manifest: &toml::Table) -> Vec<String> {
    let mut found = Vec::new();
    let all = [BUILT_IN.as_slice(), &["dev-dependencies"]].concat();
    let shared = manifest.get("workspace").and_then(toml::Value::as_table);
    let shared = shared.map(|workspace| dependencies(workspace, &["dependencies"])).unwrap_or_default();
    for (name, what) in dependencies(manifest, &all).into_iter().chain(shared) {
        if asks_for_them(&what.to_string()) {
            found.push(format!("{name} is asked for with a feature for tests"));
        }
    }
    for (name, implied) in manifest.get("features").and_then(toml::Value::as_table).into_iter().flatten() {
        if name == "default" || (!FOR_TESTS.contains(&name.as_str()) && asks_for_them(&implied.to_string())) {
            found.push(format!("the feature {name}"));
        }
    }
    let profiles = manifest.get("profile").and_then(toml::Value::as_table).into_iter().flatten();
    let asserting = profiles.filter(|(_, profile)| profile.get("debug-assertions").is_some());
    found.extend(asserting.map(|(name, _)| format!("profile {name} sets debug-assertions")));
    found
}

fn sources(folder: &Path, found: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap().to_string_lossy().into_owned();
        if path.is_dir() && !name.starts_with('.') && name != "target" && name != "gen" {
            sources(&path, found);
        } else if name.ends_with(".rs") {
            found.push(path);
        }
    }
}

pub(crate) fn all_sources() -> Vec<PathBuf> {
    let mut found = Vec::new();
    for folder in ["proto", "raft", "node", "api", "jepsen"] {
        sources(&root().join(folder), &mut found);
    }
    assert!(found.len() > 50, "the walk found too little: {}", found.len());
    found
}

#[test]
fn lower_crates_never_use_higher_ones() {
    let crates = crates();
    assert_eq!(crates.keys().map(String::as_str).collect::<BTreeSet<_>>(), ORDER.into_iter().collect());
    let place = |name: &str| ORDER.iter().position(|other| *other == name);
    for (name, dependencies) in &crates {
        for dependency in dependencies {
            if let Some(other) = place(dependency) {
                assert!(other < place(name).unwrap(), "{name} uses {dependency}, which is above it");
            }
        }
    }
}

#[test]
fn crates_do_not_use_what_they_must_not_know() {
    let crates = crates();
    for (name, absent) in ABSENT {
        for dependency in absent {
            assert!(!crates[name].contains(*dependency), "{name} must not use {dependency}");
        }
    }
}

#[test]
fn no_build_has_planted_bugs_by_default() {
    let mut sites = 0;
    for file in all_sources() {
        let text = std::fs::read_to_string(&file).unwrap();
        let lines: Vec<&str> = text.lines().collect();
        for (at, line) in lines.iter().enumerate().filter(|(_, line)| line.contains("planted::is(")) {
            let guarded = at > 0 && lines[at - 1].trim() == "#[cfg(feature = \"planted-bugs\")]";
            assert!(guarded || line.contains("\"planted::is("), "{}: {line}", file.display());
            sites += usize::from(guarded);
        }
    }
    assert!(sites >= 7, "the walk found {sites} planted bugs");
    for manifest in manifests().into_iter().chain([manifest("")]) {
        let found = plants(&manifest);
        let whose = manifest.get("package").and_then(|package| package["name"].as_str()).unwrap_or("the workspace");
        assert!(found.is_empty(), "{whose}: {found:?}");
    }
}

#[test]
fn a_dependency_is_seen_wherever_a_manifest_may_name_it() {
    let named = r#"
        [dependencies]
        a = "1"
        [build-dependencies]
        b.workspace = true
        [target.'cfg(unix)'.dependencies]
        other = { package = "c", version = "1" }
        [target.'cfg(unix)'.build-dependencies]
        d = "1"
        [dev-dependencies]
        e = "1"
    "#;
    let named = dependencies(&named.parse().unwrap(), &BUILT_IN);
    assert_eq!(
        named.into_iter().map(|(name, _)| name).collect::<BTreeSet<_>>(),
        ["a", "b", "c", "d"].map(Into::into).into()
    );
    for planted in [
        "[dependencies]\nm = { path = 'm', features = ['planted-bugs'] }",
        "[build-dependencies]\nm = { path = 'm', features = ['planted-bugs'] }",
        "[dev-dependencies]\nm = { path = 'm', features = ['planted-bugs'] }",
        "[target.'cfg(unix)'.dependencies]\nm = { path = 'm', features = ['planted-bugs'] }",
        "[workspace.dependencies]\nm = { path = 'm', features = ['planted-bugs'] }",
        "[features]\ndefault = []",
        "[features]\nfast = ['m/planted-bugs']",
        "[profile.release]\ndebug-assertions = true",
    ] {
        assert_eq!(plants(&planted.parse().unwrap()).len(), 1, "{planted}");
    }
}

#[test]
fn every_source_file_says_what_it_is_for() {
    for file in all_sources() {
        let text = std::fs::read_to_string(&file).unwrap();
        assert!(text.starts_with("//! ") || text.starts_with("//!\n"), "{} has no //! head", file.display());
    }
}

#[test]
fn no_test_is_switched_off_and_no_module_is_called_mod() {
    let mark = ["#[", "ignore"].concat();
    for file in all_sources() {
        let text = std::fs::read_to_string(&file).unwrap();
        assert!(!text.contains(&mark), "{} switches a test off", file.display());
        assert_ne!(file.file_name().unwrap(), "mod.rs", "{}", file.display());
    }
}

/// A name in backticks with three underscores or more is a test.
#[test]
fn every_test_that_the_proofs_name_exists() {
    let proofs = std::fs::read_to_string(root().join("docs/proofs.md")).unwrap();
    let sources: String = all_sources().iter().map(|file| std::fs::read_to_string(file).unwrap()).collect();
    let names = proofs.split('`').skip(1).step_by(2).filter(|name| name.matches('_').count() >= 3);
    let missing: Vec<&str> = names.filter(|name| !sources.contains(&format!("fn {name}("))).collect();
    assert!(missing.is_empty(), "docs/proofs.md names tests that do not exist: {missing:#?}");
}
