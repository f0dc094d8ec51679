//! The checked-in code of `proto/peer.proto` is what the generator makes now.

use std::path::Path;

/// Set to anything, the test writes the files instead of comparing them.
const WRITE: &str = "FLOTILLA_WRITE_GENERATED";

#[test]
fn the_generated_peer_service_is_current() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let descriptors = protox::compile([root.join("proto/peer.proto")], [root.join("proto")]).expect("peer.proto");
    let made = tempfile::tempdir().expect("a temporary folder");
    tonic_prost_build::configure()
        .emit_rerun_if_changed(false)
        .out_dir(made.path())
        .compile_fds(descriptors)
        .expect("generated code");
    let name = "flotilla.peer.v1.rs";
    let new = std::fs::read_to_string(made.path().join(name)).expect("the generated file");
    let kept = root.join("src/gen").join(name);
    if std::env::var_os(WRITE).is_some() {
        std::fs::write(&kept, &new).expect("writing the generated file");
    }
    let old = std::fs::read_to_string(&kept).unwrap_or_default();
    assert!(old == new, "proto/peer.proto changed: run the test with {WRITE}=1 and commit src/gen");
}
