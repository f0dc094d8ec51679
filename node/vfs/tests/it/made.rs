//! A name that was made and stands is told from one that was never made: what it is counted by depends on it.

use flotilla_vfs::{Durability, VfsError, VfsResult};

use crate::fixtures::*;
use crate::guards::StopAfter;

/// More checks than any of the calls makes.
const CHECKS: usize = 40;

fn require_told(fixture: &Fixture, name: &str, outcome: VfsResult<()>) -> &'static str {
    match (fixture.inside(name).symlink_metadata().is_ok(), outcome) {
        (false, Err(VfsError::Stopped(_))) => "not made",
        (true, Err(VfsError::Made(after))) if matches!(*after, VfsError::Stopped(_)) => "made",
        (true, Ok(())) => "done",
        (is_there, outcome) => panic!("{name}: there {is_there}, told {outcome:?}"),
    }
}

#[tokio::test]
async fn whatever_ends_an_exclusive_open_or_a_symlink_after_the_name_was_made_says_so() {
    let fixture = Fixture::new().await;
    let (mut opened, mut linked) = (Vec::new(), Vec::new());
    for allowed in 0..CHECKS {
        let (file, link) = (format!("file-{allowed}"), format!("link-{allowed}"));
        let made = fixture.root.open(file.as_bytes(), EXCLUSIVE, &(StopAfter::new(allowed) as _)).await.map(drop);
        opened.push(require_told(&fixture, &file, made));
        let guard = StopAfter::new(allowed) as _;
        let made = fixture.root.symlink(link.as_bytes(), b"anywhere", Durability::Close, &guard).await;
        linked.push(require_told(&fixture, &link, made));
    }
    for seen in [opened, linked] {
        for what in ["not made", "made", "done"] {
            assert!(seen.contains(&what), "{what}: {seen:?}");
        }
    }
}
