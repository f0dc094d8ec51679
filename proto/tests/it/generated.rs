//! The checked-in code of `proto/` is what the generator makes now.

use std::path::{Path, PathBuf};

use prost::Message;

/// Set to anything, the test writes the files instead of comparing them.
const WRITE: &str = "FLOTILLA_WRITE_GENERATED";
const PACKAGE: &str = "flotilla.admin.v1";

#[test]
fn the_generated_admin_services_are_current() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let descriptors = protox::compile(sources(root), [root.join("proto")]).expect("the .proto files");
    let bytes = descriptors.encode_to_vec();
    let made = tempfile::tempdir().expect("a temporary folder");
    tonic_prost_build::configure()
        .emit_rerun_if_changed(false)
        .btree_map(".")
        .out_dir(made.path())
        .compile_fds(descriptors)
        .expect("generated code");
    let code = std::fs::read(made.path().join(format!("{PACKAGE}.rs"))).expect("the generated file");
    check(&root.join(format!("src/gen/{PACKAGE}.rs")), &code);
    check(&root.join(format!("src/gen/{PACKAGE}.bin")), &bytes);
}

fn sources(root: &Path) -> Vec<PathBuf> {
    let folder = std::fs::read_dir(root.join("proto/flotilla/admin/v1")).expect("the folder of .proto files");
    let mut files: Vec<PathBuf> = folder.map(|entry| entry.expect("a folder entry").path()).collect();
    files.sort();
    files
}

fn check(kept: &Path, new: &[u8]) {
    if std::env::var_os(WRITE).is_some() {
        std::fs::write(kept, new).expect("writing the generated file");
    }
    let old = std::fs::read(kept).unwrap_or_default();
    assert!(old == new, "proto/ changed: run this test with {WRITE}=1 and commit {}", kept.display());
}
