//! Direction of crates, `//!` heads, no marks left in code.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

/// Crates from low to high; a crate uses only what stands before it. The test crate may use anything and is used by nothing.
const ORDER: [&str; 12] = [
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

/// Each workspace crate with the names under `[dependencies]`.
fn crates() -> BTreeMap<String, BTreeSet<String>> {
    let workspace: toml::Table = std::fs::read_to_string(root().join("Cargo.toml")).unwrap().parse().unwrap();
    let members = workspace["workspace"]["members"].as_array().unwrap();
    members
        .iter()
        .map(|member| {
            let file = root().join(member.as_str().unwrap()).join("Cargo.toml");
            let manifest: toml::Table = std::fs::read_to_string(file).unwrap().parse().unwrap();
            let name = manifest["package"]["name"].as_str().unwrap().to_owned();
            let dependencies = manifest.get("dependencies").and_then(toml::Value::as_table);
            (name, dependencies.into_iter().flatten().map(|(name, _)| name.clone()).collect())
        })
        .collect()
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
    let workspace: toml::Table = std::fs::read_to_string(root().join("Cargo.toml")).unwrap().parse().unwrap();
    for member in workspace["workspace"]["members"].as_array().unwrap() {
        let manifest = std::fs::read_to_string(root().join(member.as_str().unwrap()).join("Cargo.toml")).unwrap();
        let manifest: toml::Table = manifest.parse().unwrap();
        let features = manifest.get("features").and_then(toml::Value::as_table);
        assert!(features.is_none_or(|features| !features.contains_key("default")), "{member} has default features");
        let dependencies = manifest.get("dependencies").map(ToString::to_string).unwrap_or_default();
        assert!(!dependencies.contains("planted-bugs"), "{member} depends on planted bugs");
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
